//! `frazil accept`: deliveries are looked at, taken on, or waited for.

mod listing;
mod watching;

use std::sync::atomic::AtomicBool;

use frazil_model::{
    problem::{Exit, Problem},
    report::{ErrorReport, Report, one_line},
};
use frazil_store::pace;
use frazil_transfer::{
    TransferError,
    check::{Extra, manifest::Checked},
    delivery::{
        Again, Delivery, Difference, Inbox, Landing, Manifest, Standing, Taking, again, check, clear, hold, look,
        record, surely_apart, take_plan, why_none,
    },
    guard,
    place::{Place, Written},
    progress::Progress,
    run::{self, Outcome, Watch},
};
use serde_json::json;

use crate::{
    arguments::{Accept, Arguments, Verb},
    build,
    made::this_command,
    output::{Answer, Talk, bytes},
    progress::moving,
    push::{files, first_lines},
};

/// Stands for the name of the delivery in the path of a feedstock.
const NAME: &str = "{name}";

pub fn run(words: &Accept, talk: &Talk, stop: &AtomicBool) -> Result<Answer, TransferError> {
    if let Some(limit) = words.limit {
        pace::limit(limit.0);
    }
    let place = Written::read(&words.place)?.place;
    if words.list {
        return listing::list(&place, words, talk, stop);
    }
    let to = Written::read_dest(words.to.as_deref().unwrap_or_default())?;
    if words.watch {
        return watching::watch(&place, &to, words, talk, stop);
    }
    let delivery = look(&place)?;
    let to = if to.ends_with_slash { to.place.below(&delivery.name) } else { to.place };
    let answer = one(&delivery, &to, words, talk, stop).map_err(|error| match error {
        TransferError::Interrupted { open, .. } => TransferError::Interrupted { resume: Some(this_command()), open },
        other => other,
    })?;
    let is_silent = talk.quiet && answer.report.ok && !answer.report.dry_run;
    Ok(if is_silent { Answer { text: String::new(), ..answer } } else { answer })
}

/// What a delivery says of itself, as data.
fn tell(report: &mut Report, delivery: &Delivery, manifest: &Manifest, to: &Place) {
    report.more.insert("delivery".into(), json!(delivery.place.shown()));
    report.more.insert("to".into(), json!(to.shown()));
    report.more.insert("who".into(), json!(manifest.who));
    report.more.insert("when".into(), json!(manifest.when));
    report.more.insert("note".into(), json!(manifest.note));
    report.total("n_files", manifest.files.len());
    report.total("n_bytes", manifest.size_bytes);
}

/// Takes one delivery on, alone.
fn one(
    delivery: &Delivery,
    to: &Place,
    words: &Accept,
    talk: &Talk,
    stop: &AtomicBool,
) -> Result<Answer, TransferError> {
    if delivery.standing() == Standing::Unfinished {
        return Err(why_none(&delivery.place));
    }
    if words.dry_run {
        return taken_on(delivery, to, words, talk, stop);
    }
    guard::bounds(&delivery.place)?;
    let _held = hold(&delivery.place)?;
    // Somebody else may have taken it on since it was looked at.
    taken_on(&look(&delivery.place)?, to, words, talk, stop)
}

/// Takes on a delivery that is as it was looked at.
fn taken_on(
    delivery: &Delivery,
    to: &Place,
    words: &Accept,
    talk: &Talk,
    stop: &AtomicBool,
) -> Result<Answer, TransferError> {
    let mut report = Report::of("accept");
    let shown = delivery.place.shown();
    let inbox = match (words.keep, &words.build) {
        (false, _) => Inbox::Clears,
        (true, None) => Inbox::Keeps,
        (true, Some(_)) => Inbox::KeepsAndBuilds,
    };
    let reading = Progress::default();
    match moving(talk, &reading, || again(delivery, to, inbox, &reading, stop))? {
        Again::All => {}
        left => return settled(report, delivery, to, &left, words),
    }
    let Some(manifest) = &delivery.manifest else { return Err(TransferError::Unfinished { place: shown }) };
    tell(&mut report, delivery, manifest, to);
    let landing = Landing::of(&delivery.place, to, &manifest.seal)?;
    let reading = Progress::default();
    let checked = moving(talk, &reading, || check(&delivery.place, manifest, Extra::Counts, &reading, stop))?;
    if !checked.differences.is_empty() {
        let (n, first) = (checked.differences.len(), first_of(&checked.differences));
        return Ok(refused(report, &TransferError::NotAsSent { place: shown, n, first }, &checked.differences));
    }
    let taking = Taking { delivery, manifest, to, landing };
    let plan = take_plan(&taking, &checked)?;
    report.total("n_planned", plan.tasks.len());
    report.total("planned_bytes", plan.n_bytes());
    let said = format!("plan accept: {} · {} → {}", files(plan.tasks.len()), bytes(plan.n_bytes()), to.shown());
    if words.dry_run {
        report.dry_run = true;
        return Ok(Answer { report, text: format!("{shown} is whole\n{said}\n") });
    }
    if !talk.quiet && !talk.json {
        talk.say(&said);
    }
    let _landing_held = taking.landing.hold()?;
    if !words.keep {
        let told = surely_apart(&delivery.place, &taking.landing.place, manifest);
        told.inspect_err(|_| taking.landing.leave())?;
    }
    let progress = Progress::default();
    let outcome = moving(talk, &progress, || run::run(&plan, Watch { progress: &progress, stop }))?;
    if let Some(error) = part_of(&outcome, manifest.files.len()) {
        report.fail(ErrorReport::of(&error));
        return Ok(Answer { report, text: String::new() });
    }
    let reading = Progress::default();
    let landing = &taking.landing;
    let there: Checked = moving(talk, &reading, || check(&landing.place, manifest, landing.others(), &reading, stop))?;
    if !there.differences.is_empty() {
        let (place, n, first) = (landing.place.shown(), there.differences.len(), first_of(&there.differences));
        return Ok(refused(report, &TransferError::NotAsCopied { place, n, first }, &there.differences));
    }
    landing.arrive()?;
    if let Some(feedstock) = feedstock(words, &delivery.name, &mut report)
        && let Some(error) = built(&feedstock, &mut report, talk, stop)
    {
        report.fail(error);
        let text = format!("{} are at {}; the inbox is not cleared\n", files(manifest.files.len()), to.shown());
        return Ok(Answer { report, text });
    }
    let kept = record(&taking, words.keep)?;
    if !words.keep {
        clear(&delivery.place, &kept)?;
    }
    report.more.insert("outcome".into(), json!("accepted"));
    let size = bytes(manifest.size_bytes);
    let text = format!("accepted {shown} · {} · {size} → {}\n", files(manifest.files.len()), to.shown());
    Ok(Answer { report, text })
}

/// The error of a copy of which files failed.
fn part_of(outcome: &Outcome, n_all: usize) -> Option<TransferError> {
    let (name, error) = outcome.failed.first()?;
    let n_failed = usize::try_from(outcome.n_failed).unwrap_or(usize::MAX);
    let (first, exit) = (format!("`{name}`: {error}"), error.exit());
    Some(TransferError::Part { n_failed, n_all, done: "copied", first, exit })
}

/// What is left to do of a delivery that was accepted before.
fn settled(
    mut report: Report,
    delivery: &Delivery,
    to: &Place,
    left: &Again<'_>,
    words: &Accept,
) -> Result<Answer, TransferError> {
    let shown = delivery.place.shown();
    report.dry_run = words.dry_run;
    let (outcome, text, record) = match left {
        Again::All => return Err(TransferError::Unfinished { place: shown }),
        Again::Nothing(record) => {
            ("already-accepted", format!("{shown} was accepted already; its files are at {}\n", to.shown()), record)
        }
        Again::Clear(record) if words.dry_run => {
            let text = format!("{shown} was accepted, and every file is at {}; what is left would go\n", to.shown());
            ("would-clear", text, record)
        }
        Again::Clear(record) => {
            surely_apart(&delivery.place, to, &record.manifest)?;
            clear(&delivery.place, record)?;
            ("accepted", format!("{shown} was accepted, and is cleared now\n"), record)
        }
        Again::Differs(record, differences) => {
            tell(&mut report, delivery, &record.manifest, to);
            let (to, n) = (to.shown(), differences.len());
            let error = TransferError::NotThere { place: shown, to, n, first: first_of(differences) };
            return Ok(refused(report, &error, differences));
        }
    };
    tell(&mut report, delivery, &record.manifest, to);
    report.more.insert("outcome".into(), json!(outcome));
    Ok(Answer { report, text })
}

fn first_of(differences: &[Difference]) -> String {
    differences.first().map(|one| format!("`{}`: {}", one.name, one.words)).unwrap_or_default()
}

/// The answer that something is not as it was sent.
fn refused(mut report: Report, error: &TransferError, differences: &[Difference]) -> Answer {
    for one in differences {
        report.items.push(json!({"name": one.name, "outcome": one.what, "message": one.words}));
    }
    report.more.insert("outcome".into(), json!("refused"));
    report.fail(ErrorReport::of(error));
    let text = first_lines(differences.iter().map(|one| format!("{}: {}: {}", one.what, one.name, one.words)));
    Answer { report, text }
}

/// The feedstock that is run for a delivery, if there is one.
fn feedstock(words: &Accept, name: &str, report: &mut Report) -> Option<String> {
    let text = words.build.as_deref()?;
    if !text.contains(NAME) {
        return Some(text.to_owned());
    }
    let feedstock = text.replace(NAME, name);
    if std::path::Path::new(&feedstock).exists() {
        return Some(feedstock);
    }
    report.warn("accept.no-feedstock", format!("there is no feedstock `{feedstock}`, so nothing was built"));
    None
}

/// Runs a feedstock as if `frazil build` had been typed. Answers what went wrong.
fn built(feedstock: &str, report: &mut Report, talk: &Talk, stop: &AtomicBool) -> Option<ErrorReport> {
    use clap::Parser;
    let words = match Arguments::try_parse_from(["frazil", "build", "--", feedstock]).map(|words| words.verb) {
        Ok(Verb::Build(words)) => words,
        other => {
            let why = other.err().map_or_else(String::new, |error| one_line(&error.to_string()));
            let message = format!("`{feedstock}` is no feedstock that can be built: {why}");
            return Some(ErrorReport::new("usage.feedstock", message, Exit::Usage));
        }
    };
    match build::run(&words, talk, stop) {
        Ok(answer) => {
            report.more.insert("build".into(), serde_json::to_value(&answer.report).unwrap_or_default());
            answer.report.error
        }
        Err(error) => Some(ErrorReport::of(&error)),
    }
}
