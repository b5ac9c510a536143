//! `frazil accept`: deliveries are looked at, taken on, or waited for.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use frazil_model::{
    problem::{Exit, Problem},
    report::{ErrorReport, Report, one_line},
};
use frazil_store::pace;
use frazil_transfer::{
    TransferError,
    check::{Extra, manifest::Checked},
    delivery::{
        Delivery, Difference, Landing, Manifest, Standing, Taking, check, clear, deliveries, look, record, take_plan,
    },
    place::{Place, Written},
    progress::Progress,
    run::{self, Outcome, Watch},
};
use serde_json::{Value, json};

use crate::{
    arguments::{Accept, Arguments, Verb},
    build,
    made::this_command,
    output::{Answer, Talk, bytes, print, print_report, table},
    progress::moving,
    push::{files, first_lines},
};

/// Stands for the name of the delivery in the path of a feedstock.
const NAME: &str = "{name}";

/// How often it is looked whether somebody wants to stop.
const LOOKED_EVERY: Duration = Duration::from_millis(100);

pub fn run(words: &Accept, talk: &Talk, stop: &AtomicBool) -> Result<Answer, TransferError> {
    if let Some(limit) = words.limit {
        pace::limit(limit.0);
    }
    let place = Written::read(&words.place)?.place;
    if words.list {
        return list(&place, words, talk, stop);
    }
    let to = Written::read_dest(words.to.as_deref().unwrap_or_default())?;
    if words.watch {
        return watch(&place, &to, words, talk, stop);
    }
    let delivery = look(&place)?;
    let to = if to.ends_with_slash { to.place.below(&delivery.name) } else { to.place };
    one(&delivery, &to, words, talk, stop).map_err(|error| match error {
        TransferError::Interrupted { open, .. } => TransferError::Interrupted { resume: Some(this_command()), open },
        other => other,
    })
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

/// Takes one delivery on.
fn one(
    delivery: &Delivery,
    to: &Place,
    words: &Accept,
    talk: &Talk,
    stop: &AtomicBool,
) -> Result<Answer, TransferError> {
    let mut report = Report::of("accept");
    let shown = delivery.place.shown();
    match (delivery.standing(), &delivery.record) {
        (Standing::Accepted, Some(record)) => {
            tell(&mut report, delivery, &record.manifest, to);
            report.more.insert("outcome".into(), json!("already-accepted"));
            let text = format!("{shown} was accepted already; its files went to {}\n", record.to);
            return Ok(Answer { report, text });
        }
        (Standing::Clearing, Some(record)) if !words.dry_run => {
            clear(&delivery.place, record)?;
            tell(&mut report, delivery, &record.manifest, to);
            report.more.insert("outcome".into(), json!("accepted"));
            return Ok(Answer { report, text: format!("{shown} was accepted, and is cleared now\n") });
        }
        _ => {}
    }
    let Some(manifest) = &delivery.manifest else { return Err(TransferError::Unfinished { place: shown }) };
    tell(&mut report, delivery, manifest, to);
    let reading = Progress::default();
    let checked = moving(talk, &reading, || check(&delivery.place, manifest, Extra::Counts, &reading, stop))?;
    if !checked.differences.is_empty() {
        return Ok(refused(report, &shown, &checked.differences));
    }
    let landing = Landing::of(to, &manifest.seal)?;
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
        return Ok(refused(report, &landing.place.shown(), &there.differences));
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

/// The answer that something is not as it was sent.
fn refused(mut report: Report, place: &str, differences: &[Difference]) -> Answer {
    for one in differences {
        report.items.push(json!({"name": one.name, "outcome": one.what, "message": one.words}));
    }
    let first = differences.first().map(|one| format!("`{}`: {}", one.name, one.words)).unwrap_or_default();
    let (place, n) = (place.to_owned(), differences.len());
    report.more.insert("outcome".into(), json!("refused"));
    report.fail(ErrorReport::of(&TransferError::NotAsSent { place, n, first }));
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

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Whole => "whole",
        Standing::Unfinished => "unfinished",
        Standing::Clearing | Standing::Accepted => "accepted",
    }
}

/// Says which deliveries there are.
fn list(inbox: &Place, words: &Accept, talk: &Talk, stop: &AtomicBool) -> Result<Answer, TransferError> {
    let mut report = Report::of("accept");
    report.more.insert("inbox".into(), json!(inbox.shown()));
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (name, delivery) in deliveries(inbox)? {
        let (state, item) = match &delivery {
            Err(error) => ("damaged", json!({"name": name, "state": "damaged", "message": error.to_string()})),
            Ok(delivery) => state(delivery, words, talk, stop)?,
        };
        let about = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let size = item.get("size_bytes").and_then(Value::as_u64).map(bytes).unwrap_or_default();
        rows.push(vec![name.clone(), state.to_owned(), size, about("when"), about("who"), about("note")]);
        report.items.push(item);
    }
    report.total("n_deliveries", rows.len());
    Ok(Answer { report, text: table(&rows) })
}

fn state(
    delivery: &Delivery,
    words: &Accept,
    talk: &Talk,
    stop: &AtomicBool,
) -> Result<(&'static str, Value), TransferError> {
    let mut state = word(delivery.standing());
    let manifest = delivery.manifest.as_ref().or(delivery.record.as_ref().map(|record| &record.manifest));
    let mut item = json!({"name": delivery.name, "state": state});
    if let Some(manifest) = manifest {
        item["n_files"] = json!(manifest.files.len());
        item["size_bytes"] = json!(manifest.size_bytes);
        item["who"] = json!(manifest.who);
        item["when"] = json!(manifest.when);
        item["note"] = json!(manifest.note);
        if words.check && delivery.standing() == Standing::Whole {
            let progress = Progress::default();
            let checked = moving(talk, &progress, || check(&delivery.place, manifest, Extra::Counts, &progress, stop))?;
            if !checked.differences.is_empty() {
                state = "damaged";
                let names = checked.differences.iter().map(|one| json!({"name": one.name, "what": one.what}));
                item["differences"] = names.collect();
            }
            item["state"] = json!(state);
        }
    }
    if let Some(record) = &delivery.record {
        item["to"] = json!(record.to);
    }
    Ok((state, item))
}

/// Takes each delivery on as it comes.
fn watch(inbox: &Place, to: &Written, words: &Accept, talk: &Talk, stop: &AtomicBool) -> Result<Answer, TransferError> {
    let mut report = Report::of("accept");
    report.more.insert("inbox".into(), json!(inbox.shown()));
    let (mut told, mut n_accepted, mut n_refused) = (BTreeSet::<(String, String)>::new(), 0_u64, 0_u64);
    let calm = Talk { progress: false, quiet: true, ..talk.clone() };
    'rounds: while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        match deliveries(inbox) {
            Err(error) => talk.say(&format!("{}: {error}; it is looked at again", inbox.shown())),
            Ok(all) => {
                for (name, delivery) in all {
                    if stop.load(Ordering::Relaxed) {
                        break 'rounds;
                    }
                    let seal = match &delivery {
                        Ok(delivery) if [Standing::Unfinished, Standing::Accepted].contains(&delivery.standing()) => {
                            continue;
                        }
                        Ok(delivery) => {
                            delivery.manifest.as_ref().map(|manifest| manifest.seal.clone()).unwrap_or_default()
                        }
                        Err(error) => error.to_string(),
                    };
                    if told.contains(&(name.clone(), seal.clone())) {
                        continue;
                    }
                    let started = Instant::now();
                    let answer =
                        delivery.and_then(|delivery| one(&delivery, &to.place.below(&name), words, &calm, stop));
                    let mut answer = match answer {
                        Err(TransferError::Interrupted { .. }) => break 'rounds,
                        Err(error) => Answer { report: Report::failed("accept", &error), text: String::new() },
                        Ok(answer) => answer,
                    };
                    answer.report.seconds = (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
                    answer.report.more.insert("name".into(), json!(name));
                    // What may work later is tried again in the next round, and told again.
                    if answer.report.error.as_ref().is_none_or(|error| error.exit != Exit::Later.code()) {
                        told.insert((name.clone(), seal));
                    }
                    n_accepted += u64::from(answer.report.ok);
                    n_refused += u64::from(!answer.report.ok);
                    log(&name, &answer, talk);
                }
            }
        }
        while began.elapsed() < words.every && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(LOOKED_EVERY);
        }
    }
    report.total("n_accepted", n_accepted);
    report.total("n_refused", n_refused);
    let text = format!("stopped · {n_accepted} accepted · {n_refused} refused\n");
    Ok(Answer { report, text })
}

/// A line for people and, for programs, a Report.
fn log(name: &str, answer: &Answer, talk: &Talk) {
    let line = match &answer.report.error {
        None => format!("{name}: {}", answer.text.trim()),
        Some(error) => format!("{name}: refused: {}", error.message),
    };
    // Whoever listens no more is not told; the work goes on.
    if talk.json {
        let _ = print_report(&answer.report);
        talk.say(&line);
    } else {
        let _ = print(&format!("{line}\n"));
    }
}
