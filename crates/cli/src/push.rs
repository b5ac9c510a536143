//! `frazil push`: files to an inbox, as one delivery.

use std::sync::atomic::AtomicBool;

use frazil_model::{
    problem::{Exit, Problem},
    report::{ErrorReport, Report, one_line},
};
use frazil_store::pace;
use frazil_transfer::{
    TransferError,
    copy::Filter,
    delivery::{Already, Claiming, MANIFEST, Pushing, Sent, Wanted, prepare},
    place::Written,
    progress::Progress,
    run::Watch,
};
use serde_json::json;

use crate::{
    arguments::Push,
    made::this_command,
    output::{Answer, Talk, bytes},
    progress::moving,
};

/// Names that are told one by one where people read.
const MOST_NAMED: usize = 20;

pub fn run(words: &Push, talk: &Talk, stop: &AtomicBool) -> Result<Answer, TransferError> {
    if let Some(limit) = words.limit {
        pace::limit(limit.0);
    }
    let wanted = Wanted {
        sources: words.sources.iter().map(|text| Written::read(text)).collect::<Result<_, _>>()?,
        to: Written::read_dest(&words.to)?,
        name: words.name.clone(),
        note: words.note.clone(),
        who: who(),
        version: env!("CARGO_PKG_VERSION"),
        filter: Filter { include: Vec::new(), exclude: words.exclude.clone() },
    };
    let resumable = |error| match error {
        TransferError::Interrupted { open, .. } => TransferError::Interrupted { resume: Some(this_command()), open },
        other => other,
    };
    if !talk.quiet && !talk.json {
        talk.say("reading what is to be sent");
    }
    let looking = Progress::default();
    let claiming = if words.dry_run { Claiming::Look } else { Claiming::Take };
    let mut report = Report::of("push");
    let pushing = match moving(talk, &looking, || prepare(&wanted, claiming, &looking, stop)) {
        Err(TransferError::Undeliverable { names }) => return Ok(undeliverable(report, names)),
        pushing => pushing.map_err(resumable)?,
    };
    tell(&mut report, &pushing);
    if words.dry_run {
        report.dry_run = true;
        let mut text = String::new();
        for task in &pushing.plan.tasks {
            report.items.push(json!({"name": &*task.to, "outcome": "would-send", "size_bytes": task.found.size_bytes}));
            text.push_str(&format!("send {:>8}  {}\n", bytes(task.found.size_bytes), one_line(&task.to)));
        }
        text.push_str(&format!("{}\n", plan(&pushing)));
        return Ok(Answer { report, text });
    }
    if !talk.quiet && !talk.json {
        talk.say(&plan(&pushing));
    }
    let progress = Progress::default();
    let sent = moving(talk, &progress, || pushing.run(&wanted, Watch { progress: &progress, stop }));
    let sent = sent.map_err(resumable)?;
    Ok(answer(report, &pushing, &sent, talk))
}

fn answer(mut report: Report, pushing: &Pushing, sent: &Sent, talk: &Talk) -> Answer {
    let outcome = &sent.outcome;
    report.total("n_sent", outcome.n_files);
    report.total("sent_bytes", outcome.n_bytes);
    report.total("n_failed", outcome.n_failed);
    let mut text = String::new();
    for (name, error) in &outcome.failed {
        let error = ErrorReport::of(error);
        text.push_str(&format!("  not sent: {}: {}\n", one_line(name), error.message));
        report.items.push(json!({
            "name": name, "outcome": "failed", "code": error.code, "message": error.message, "cause": error.cause,
        }));
    }
    if let Some((name, error)) = outcome.failed.first() {
        let alike = outcome.failed.iter().all(|(_, other)| other.exit() == error.exit());
        let exit = match error.exit() {
            exit @ (Exit::SignIn | Exit::Later) if alike => exit,
            _ => Exit::Partly,
        };
        let n_failed = usize::try_from(outcome.n_failed).unwrap_or(usize::MAX);
        let (n_all, first) = (pushing.files.len(), format!("`{name}`: {error}"));
        report.fail(ErrorReport::of(&TransferError::Part { n_failed, n_all, done: "sent", first, exit }));
        return Answer { report, text };
    }
    if let Some(manifest) = &sent.manifest {
        report.more.insert("seal".into(), json!(manifest.seal));
        report.more.insert("when".into(), json!(manifest.when));
        report.more.insert("clock".into(), json!(manifest.clock));
    }
    let already = if sent.was_accepted { Already::Seen } else { pushing.already };
    report.more.insert("outcome".into(), json!(if already == Already::No { "sent" } else { "already-there" }));
    report.more.insert("seen".into(), json!(already != Already::Noted && pushing.can_see()));
    if !talk.quiet {
        let (place, same) = (pushing.place.shown(), files(pushing.files.len()));
        text = match already {
            Already::Seen => format!("{place} is there already, or was until it was accepted, with the same {same}\n"),
            Already::Noted => format!(
                "{place} was sent whole from this machine, with the same {same}; what is there now may not be read from here\n"
            ),
            Already::No => format!(
                "sent {} · {} → {} · {MANIFEST} says that it is whole\n",
                files(pushing.files.len()),
                bytes(pushing.files.iter().map(|file| file.size_bytes).sum()),
                pushing.place.shown()
            ),
        };
    }
    Answer { report, text }
}

/// The answer that names cannot be delivered: all of them.
fn undeliverable(mut report: Report, names: Vec<(String, String)>) -> Answer {
    for (name, reason) in &names {
        report.items.push(json!({"name": name, "outcome": "undeliverable", "message": reason}));
    }
    let text = first_lines(names.iter().map(|(name, reason)| format!("{name}: {reason}")));
    report.fail(ErrorReport::of(&TransferError::Undeliverable { names }));
    Answer { report, text }
}

fn tell(report: &mut Report, pushing: &Pushing) {
    report.more.insert("delivery".into(), json!(pushing.place.shown()));
    report.total("n_files", pushing.files.len());
    report.total("n_bytes", pushing.files.iter().map(|file| file.size_bytes).sum::<u64>());
    report.total("n_planned", pushing.plan.tasks.len());
    report.total("planned_bytes", pushing.plan.n_bytes());
    report.total("n_same", pushing.plan.same.0);
    report.total("same_bytes", pushing.plan.same.1);
}

/// The plan in a line.
fn plan(pushing: &Pushing) -> String {
    let mut text = format!(
        "plan push: {} · {} → {}",
        files(pushing.plan.tasks.len()),
        bytes(pushing.plan.n_bytes()),
        pushing.place.shown()
    );
    if pushing.plan.same.0 > 0 {
        text.push_str(&format!(" · {} there already", pushing.plan.same.0));
    }
    text
}

pub fn files(n: usize) -> String {
    if n == 1 { "1 file".into() } else { format!("{n} files") }
}

/// Lines for people: the first of many.
pub fn first_lines(lines: impl ExactSizeIterator<Item = String>) -> String {
    let n_more = lines.len().saturating_sub(MOST_NAMED);
    let mut text: String = lines.take(MOST_NAMED).map(|line| format!("  {}\n", one_line(&line))).collect();
    if n_more > 0 {
        text.push_str(&format!("  and {n_more} more; --json names all\n"));
    }
    text
}

/// Who types, as far as this machine knows.
fn who() -> String {
    let user = ["JUPYTERHUB_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let user = user.unwrap_or_else(|| "somebody".into());
    one_line(&if host.trim().is_empty() { user } else { format!("{user}@{}", host.trim()) })
}
