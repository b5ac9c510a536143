//! `frazil cp` and `frazil sync`: from anywhere to anywhere.

use std::sync::atomic::AtomicBool;

use frazil_model::{
    problem::{Exit, Problem},
    report::{ErrorReport, Report, one_line, shown_name},
};
use frazil_transfer::{
    TransferError,
    copy::{Filter, Mode, Plan, Proof, Request, Scope, plan},
    place::Written,
    progress::Progress,
    run::{self, Outcome, Watch},
};
use serde_json::{Value, json};

use crate::{
    arguments::{Confirmed, Cp, Filters, Sync},
    confirm::{confirm, word_for},
    made::this_command,
    output::{Answer, Talk, bytes, print},
    progress::moving,
};

/// What would be done is said in pieces of so many bytes.
const SAID_AT_A_TIME_BYTES: usize = 64 << 10;

/// Names that are told one by one where people read.
const MOST_NAMED: usize = 20;

pub fn cp(words: &Cp, talk: &Talk, stop: &AtomicBool) -> Result<Answer, TransferError> {
    let (dest, sources) = words.places.split_last().ok_or(TransferError::Nothing { place: String::new() })?;
    let mode = if words.overwrite { Mode::CopyOver } else { Mode::Copy };
    let request = request(sources, dest, mode, &words.filters)?;
    let stage = if words.dry_run { Stage::DryRun } else { Stage::All };
    moved("cp", &request, stage, &Confirmed { yes: false, max_objects: None }, talk, stop)
}

pub fn sync(words: &Sync, talk: &Talk, stop: &AtomicBool) -> Result<Answer, TransferError> {
    let mode = if words.delete { Mode::SyncAndDelete } else { Mode::Sync };
    let request = request(std::slice::from_ref(&words.source), &words.dest, mode, &words.filters)?;
    let stage = if words.dry_run { Stage::DryRun } else { Stage::All };
    moved("sync", &request, stage, &words.confirmed, talk, stop)
}

/// How far to go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    DryRun,
    All,
}

fn request(sources: &[String], dest: &str, mode: Mode, filters: &Filters) -> Result<Request, TransferError> {
    Ok(Request {
        sources: sources.iter().map(|text| Written::read(text)).collect::<Result<_, _>>()?,
        dest: Written::read_dest(dest)?,
        mode,
        proof: if filters.checksum { Proof::Read } else { Proof::Remembered },
        scope: if filters.inside_store { Scope::InsideStores } else { Scope::WholeStores },
        filter: Filter { include: filters.include.clone(), exclude: filters.exclude.clone() },
    })
}

fn moved(
    verb: &'static str,
    request: &Request,
    stage: Stage,
    confirmed: &Confirmed,
    talk: &Talk,
    stop: &AtomicBool,
) -> Result<Answer, TransferError> {
    let progress = Progress::default();
    let plan = moving(talk, &progress, || plan(request))?;
    let mut report = Report::of(verb);
    tell(&mut report, &plan);
    if stage == Stage::DryRun {
        report.dry_run = true;
        let mut text = String::new();
        if talk.json {
            report.items.extend(planned(&plan));
        } else {
            text = say_all(&plan);
            text.push_str(&format!("{}\n", words(verb, &plan)));
        }
        judge(&mut report, verb, &plan, None);
        return Ok(Answer { report, text });
    }
    if !talk.quiet && !talk.json {
        talk.say(&words(verb, &plan));
    }
    if !plan.deletes.is_empty() {
        let n_bytes = plan.deletes.iter().map(|delete| delete.size_bytes).fold(0, u64::saturating_add);
        // What `--overwrite` replaces as one store was said by that word.
        if request.mode == Mode::SyncAndDelete {
            confirm(talk, confirmed, &word_for(&plan.root), plan.deletes.len() as u64, n_bytes)?;
        }
    }
    let outcome = moving(talk, &progress, || run::run(&plan, Watch { progress: &progress, stop }));
    let mut outcome = outcome.map_err(|error| match error {
        TransferError::Interrupted { open, .. } => TransferError::Interrupted { resume: Some(this_command()), open },
        other => other,
    })?;
    if plan.tasks.len() == 1
        && let Some((_, error)) = outcome.failed.pop()
    {
        return Err(error);
    }
    account(&mut report, &outcome);
    judge(&mut report, verb, &plan, Some(&outcome));
    let text = if talk.quiet { String::new() } else { done(&plan, &outcome) };
    Ok(Answer { report, text })
}

/// The plan as data.
fn tell(report: &mut Report, plan: &Plan) {
    report.more.insert("dest".into(), json!(plan.root.shown()));
    report.total("n_planned", plan.tasks.len());
    report.total("planned_bytes", plan.n_bytes());
    report.total("n_same", plan.same.0);
    report.total("same_bytes", plan.same.1);
    report.total("n_in_the_way", plan.in_the_way.len());
    report.total("n_passed_over", plan.passed_over.len());
    report.total("n_to_delete", plan.deletes.len());
    for name in &plan.in_the_way {
        report.items.push(json!({"name": name, "outcome": "in-the-way"}));
    }
    for (name, reason) in &plan.passed_over {
        report.items.push(json!({"name": name, "outcome": "passed-over", "reason": reason}));
    }
    if plan.n_by_time > 0 {
        let message =
            format!("{} files were taken for the same by size and time alone; --checksum reads them", plan.n_by_time);
        report.warn("transfer.by-time", message);
    }
}

/// What a dry run says of each file.
fn planned(plan: &Plan) -> impl Iterator<Item = Value> {
    let moves = plan.tasks.iter().map(|task| {
        let outcome = if task.replaces { "would-replace" } else { "would-copy" };
        json!({"name": &*task.to, "outcome": outcome, "size_bytes": task.found.told_bytes()})
    });
    let deletes = plan
        .deletes
        .iter()
        .map(|delete| json!({"name": delete.name, "outcome": "would-delete", "size_bytes": delete.size_bytes}));
    moves.chain(deletes)
}

/// Says what would become of each file, and answers the last of it: what is said of a million need not be held.
fn say_all(plan: &Plan) -> String {
    let moves = plan.tasks.iter().map(|task| {
        let what = if task.replaces { "replace" } else { "copy" };
        (what, task.found.told_bytes(), &*task.to)
    });
    let deletes = plan.deletes.iter().map(|delete| ("delete", Some(delete.size_bytes), delete.name.as_str()));
    let mut text = String::new();
    for (what, size_bytes, name) in moves.chain(deletes) {
        text.push_str(&format!("{what:8} {:>8}  {}\n", size_bytes.map_or("?".into(), bytes), shown_name(name)));
        if text.len() >= SAID_AT_A_TIME_BYTES {
            // A reader that has seen enough closes the pipe, and the answer says so in the end.
            let _ = print(&std::mem::take(&mut text));
        }
    }
    text
}

/// Where everything goes: for a file by itself, its own place.
fn dest(plan: &Plan) -> String {
    shown_name(&match plan.tasks.as_slice() {
        [task] if task.found.name.is_empty() => plan.root.below(&task.to).shown(),
        _ => plan.root.shown(),
    })
}

/// The plan in a line, and what is in its way in more.
fn words(verb: &str, plan: &Plan) -> String {
    let root = shown_name(&plan.root.shown());
    let is_told = plan.tasks.iter().all(|task| task.found.told_bytes().is_some());
    let size = if is_told { bytes(plan.n_bytes()) } else { "as large as it is: its server does not tell".into() };
    let mut text = format!("plan {verb}: {} · {size} → {root}", files(plan.tasks.len() as u64));
    let mut add = |n: u64, what: &str| {
        if n > 0 {
            text.push_str(&format!(" · {n} {what}"));
        }
    };
    add(plan.same.0, "there already");
    add(plan.deletes.len() as u64, "to be deleted");
    add(plan.in_the_way.len() as u64, "in the way");
    add(plan.passed_over.len() as u64, "passed over");
    for name in plan.in_the_way.iter().take(MOST_NAMED) {
        text.push_str(&format!("\n  in the way: {}", shown_name(name)));
    }
    for (name, reason) in plan.passed_over.iter().take(MOST_NAMED) {
        text.push_str(&format!("\n  passed over: {}: {reason}", shown_name(name)));
    }
    text
}

fn files(n: u64) -> String {
    if n == 1 { "1 file".into() } else { format!("{n} files") }
}

fn account(report: &mut Report, outcome: &Outcome) {
    report.total("n_files", outcome.n_files);
    report.total("n_bytes", outcome.n_bytes);
    report.total("n_deleted", outcome.n_deleted);
    report.total("n_failed", outcome.n_failed);
    report.total("n_unverified", outcome.n_unverified);
    for (name, error) in &outcome.failed {
        let error = ErrorReport::of(error);
        report.items.push(json!({
            "name": name, "outcome": "failed", "code": error.code, "message": error.message, "cause": error.cause,
        }));
    }
    for (name, reason) in &outcome.kept {
        report.items.push(json!({"name": name, "outcome": "kept", "reason": reason}));
    }
    if outcome.n_unverified > 0 {
        let message = format!(
            "{} arrived with the right length, and their servers keep no digest to compare them with",
            files(outcome.n_unverified)
        );
        report.warn("transfer.unverified", message);
    }
    if let Some((name, reason)) = outcome.kept.first() {
        report.warn(
            "transfer.kept",
            format!("{} stay; the first, `{}`: {reason}", files(outcome.kept.len() as u64), shown_name(name)),
        );
    }
}

/// What kept the copy from being whole.
fn judge(report: &mut Report, verb: &str, plan: &Plan, outcome: Option<&Outcome>) {
    let failed = outcome.map_or(&[][..], |outcome| outcome.failed.as_slice());
    let n_failed = outcome.map_or(0, |outcome| usize::try_from(outcome.n_failed).unwrap_or(usize::MAX))
        + plan.in_the_way.len()
        + plan.passed_over.len();
    let n_kept = outcome.map_or(0, |outcome| outcome.kept.len());
    if n_failed + n_kept == 0 {
        return;
    }
    let first = failed
        .first()
        .map(|(name, error)| format!("`{}`: {}", shown_name(name), with_cause(error)))
        .or_else(|| plan.in_the_way.first().map(|name| format!("`{}` is there and differs", shown_name(name))))
        .or_else(|| plan.passed_over.first().map(|(name, reason)| format!("`{}`: {reason}", shown_name(name))))
        .or_else(|| outcome?.kept.first().map(|(name, reason)| format!("`{}`: {reason}", shown_name(name))))
        .unwrap_or_default();
    let n_done = outcome.map_or(plan.tasks.len() as u64, |outcome| outcome.n_files) + plan.same.0;
    // What is held back waits for others, which say why.
    let mut causes = failed.iter().filter(|(_, error)| !matches!(error, TransferError::HeldBack { .. }));
    let first_hint = causes.clone().next().and_then(|(_, error)| error.hint());
    let first_exit = causes.next().map(|(_, error)| error.exit());
    let alike = first_exit.filter(|exit| causes.all(|(_, error)| error.exit() == *exit));
    let exit = match (n_done, alike) {
        (_, Some(exit @ (Exit::SignIn | Exit::Later))) => exit,
        (0, _) => Exit::No,
        _ => Exit::Partly,
    };
    let n_all = plan.tasks.len() + plan.in_the_way.len() + plan.passed_over.len() + n_kept;
    let error = TransferError::Part { n_failed: n_failed + n_kept, n_all, done: "moved", first, exit };
    let mut error = ErrorReport::of(&error);
    if let Some(hint) = first_hint {
        error = error.with_hint(&one_line(&hint));
    } else if failed.is_empty() && !plan.in_the_way.is_empty() {
        error = error.with_hint(match verb {
            "sync" => {
                "what is there stays as it is; `--delete` makes it the source's, and takes away what that has not"
            }
            _ => "what is there stays as it is; `--overwrite` replaces it",
        });
    } else if failed.is_empty() && !plan.passed_over.is_empty() {
        let others = match outcome {
            _ if n_done == 0 => "",
            None => "everything else would be there; ",
            Some(_) => "everything else is there; ",
        };
        let is_unkept = plan.passed_over.iter().any(|(name, _)| plan.root.unkept(name).is_some());
        let rename = if is_unkept { "rename what cannot have its name there; " } else { "" };
        error = error.with_hint(&format!("{others}{rename}`--exclude` leaves files out without a word"));
    }
    report.fail(error);
}

/// An error in one line with its cause.
fn with_cause(error: &TransferError) -> String {
    let ErrorReport { message, cause, .. } = ErrorReport::of(error);
    cause.map_or_else(|| message.clone(), |cause| format!("{message}: {cause}"))
}

/// What was done, in words.
fn done(plan: &Plan, outcome: &Outcome) -> String {
    let mut text = match (outcome.n_files, outcome.failed.len()) {
        (0, 0) => format!("nothing to copy → {}", dest(plan)),
        (n_files, _) => format!("copied {} · {} → {}", files(n_files), bytes(outcome.n_bytes), dest(plan)),
    };
    if plan.same.0 > 0 {
        text.push_str(&format!(" · {} there already", plan.same.0));
    }
    if outcome.n_deleted > 0 {
        text.push_str(&format!(" · {} deleted", outcome.n_deleted));
    }
    text.push('\n');
    for (name, error) in outcome.failed.iter().take(MOST_NAMED) {
        text.push_str(&format!("  not moved: {}: {}\n", shown_name(name), with_cause(error)));
    }
    text
}
