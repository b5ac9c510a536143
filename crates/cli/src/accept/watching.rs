//! `frazil accept --watch`: each delivery is taken on as it comes.
//!
//! What is wrong with a delivery itself is told once. Whatever else stopped one, a disk without room, files in the way, a
//! server that was away, is tried again, after pauses that grow, and told again only if it is another reason then.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use frazil_model::{
    problem::Exit,
    report::{ErrorReport, Report, one_line},
};
use frazil_transfer::{
    TransferError,
    delivery::{Named, Standing, deliveries, surely_kept},
    place::{Place, Written},
};
use serde_json::json;

use super::one;
use crate::{
    arguments::Accept,
    output::{Answer, Talk, print, print_report},
};

/// How often it is looked whether somebody wants to stop.
const LOOKED_EVERY: Duration = Duration::from_millis(100);

/// The longest pause before something is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Errors that say what is wrong with a delivery itself.
const LASTING: [&str; 4] = ["delivery.not-as-sent", "delivery.manifest", "delivery.record", "delivery.not-kept"];

/// What was said of a delivery, and when it is tried again.
struct Told {
    /// What tells it from another of its name.
    seal: String,
    message: String,
    pause: Duration,
    again: Option<Instant>,
}

/// Counts of what was told.
#[derive(Default)]
struct Counts {
    n_accepted: u64,
    n_refused: u64,
}

/// Takes each delivery on as it comes.
pub fn watch(
    inbox: &Place,
    to: &Written,
    words: &Accept,
    talk: &Talk,
    stop: &AtomicBool,
) -> Result<Answer, TransferError> {
    let mut report = Report::of("accept");
    report.more.insert("inbox".into(), json!(inbox.shown()));
    let (mut told, mut counts) = (BTreeMap::new(), Counts::default());
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        match deliveries(inbox) {
            Err(error) => talk.say(&format!("{}: {error}; it is looked at again", inbox.shown())),
            Ok(all) => {
                for named in all {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    take(named, to, words, talk, stop, (&mut told, &mut counts));
                }
            }
        }
        while began.elapsed() < words.every && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(LOOKED_EVERY);
        }
    }
    let Counts { n_accepted, n_refused } = counts;
    report.total("n_accepted", n_accepted);
    report.total("n_refused", n_refused);
    let text = format!("stopped · {n_accepted} accepted · {n_refused} refused\n");
    Ok(Answer { report, text })
}

/// Takes one on, unless it has been told already.
fn take(
    (name, delivery): Named,
    to: &Written,
    words: &Accept,
    talk: &Talk,
    stop: &AtomicBool,
    (told, counts): (&mut BTreeMap<String, Told>, &mut Counts),
) {
    let seal = match &delivery {
        Ok(delivery) if delivery.standing() == Standing::Unfinished => return,
        // Nothing is left of it.
        Ok(delivery) if delivery.standing() == Standing::Accepted && delivery.manifest.is_none() => return,
        Ok(delivery) => delivery.manifest.as_ref().map(|manifest| manifest.seal.clone()).unwrap_or_default(),
        Err(error) => error.to_string(),
    };
    let before = told.remove(&name).filter(|before| before.seal == seal);
    if before.as_ref().is_some_and(|before| before.again.is_none_or(|again| Instant::now() < again)) {
        told.extend(before.map(|before| (name, before)));
        return;
    }
    let started = Instant::now();
    let calm = Talk { progress: false, quiet: true, ..talk.clone() };
    let place = to.place.below(&name);
    let is_kept = delivery.as_ref().is_ok_and(|delivery| delivery.standing() == Standing::Accepted);
    let answer = delivery.and_then(|delivery| match is_kept {
        true => surely_kept(&delivery, &place).map(|()| None),
        false => one(&delivery, &place, words, &calm, stop).map(Some),
    });
    let mut answer = match answer {
        Ok(None) => {
            told.insert(name, Told { seal, message: String::new(), pause: words.every, again: None });
            return;
        }
        Err(TransferError::Interrupted { .. }) => return,
        // It is left to whoever has it, and looked at again.
        Err(error @ TransferError::BeingAccepted { .. }) => {
            let message = error.to_string();
            if before.is_none_or(|before| before.message != message) {
                talk.say(&one_line(&format!("{name}: {message}")));
            }
            told.insert(name, Told { seal, message, pause: words.every, again: Some(Instant::now() + words.every) });
            return;
        }
        // Somebody else took it on since it was looked at.
        Ok(Some(answer)) if answer.report.more.get("outcome").is_some_and(|outcome| outcome == "already-accepted") => {
            told.insert(name, Told { seal, message: String::new(), pause: words.every, again: None });
            return;
        }
        Err(error) => Answer { report: Report::failed("accept", &error), text: String::new() },
        Ok(Some(answer)) => answer,
    };
    answer.report.seconds = (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    answer.report.more.insert("name".into(), json!(name));
    let message = answer.report.error.as_ref().map(line_of).unwrap_or_default();
    // A server that was busy is asked in the next round; the rest is read from the beginning, so not too often.
    let (pause, again) = match &answer.report.error {
        Some(error) if error.exit == Exit::Later.code() => (words.every, Some(words.every)),
        Some(error) if !LASTING.contains(&error.code.as_str()) => {
            let pause = before.as_ref().map_or(words.every, |before| before.pause.saturating_mul(2));
            let pause = pause.min(LONGEST_PAUSE.max(words.every));
            (pause, Some(pause))
        }
        _ => (words.every, None),
    };
    let is_news = before.is_none_or(|before| before.message != message);
    let again = again.map(|pause| Instant::now() + pause);
    told.insert(name.clone(), Told { seal, message, pause, again });
    if is_news {
        counts.n_accepted += u64::from(answer.report.ok);
        counts.n_refused += u64::from(!answer.report.ok);
        log(&name, &answer, talk);
    }
}

/// An error in one line, with its cause.
fn line_of(error: &ErrorReport) -> String {
    let cause = error.cause.iter().map(|cause| format!(": {cause}"));
    one_line(&std::iter::once(error.message.clone()).chain(cause).collect::<String>())
}

/// A line for people and, for programs, a Report.
fn log(name: &str, answer: &Answer, talk: &Talk) {
    let line = match &answer.report.error {
        None => one_line(&format!("{name}: {}", answer.text.trim())),
        Some(error) => one_line(&format!("{name}: refused: {}", line_of(error))),
    };
    // Whoever listens no more is not told; the work goes on.
    if talk.json {
        let _ = print_report(&answer.report);
        talk.say(&line);
    } else {
        let _ = print(&format!("{line}\n"));
    }
}
