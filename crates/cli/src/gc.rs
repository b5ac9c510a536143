//! `frazil gc`: what runs that were killed left behind, a plan first.

use frazil_model::{
    problem::Exit,
    report::{ErrorReport, Report, one_line},
};
use frazil_store::rfc3339;
use frazil_transfer::{
    TransferError,
    gc::{Plan, Stays, Stray, What, plan, plan_at_home, run as carry_out},
    place::Written,
    progress::Progress,
};
use serde_json::json;

use crate::{
    arguments::Gc,
    confirm::confirm,
    output::{Answer, Talk, bytes},
    progress::moving,
};

/// Lines that are shown to people; the Report has all.
const MOST_SHOWN: usize = 50;

pub fn run(words: &Gc, talk: &Talk) -> Result<Answer, TransferError> {
    let progress = Progress::default();
    let plan = match &words.place {
        Some(text) => {
            let written = Written::read(text)?;
            moving(talk, &progress, || plan(&written, words.older_than))?
        }
        None => plan_at_home(words.older_than)?,
    };
    let mut report = Report::of("gc");
    tell(&mut report, &plan);
    if words.dry_run || plan.goes.is_empty() {
        report.dry_run = words.dry_run;
        let text = if talk.quiet { String::new() } else { shown(&plan) };
        return Ok(Answer { report, text });
    }
    if !talk.quiet && !talk.json {
        talk.say(shown(&plan).trim_end());
    }
    let n_bytes = n_bytes(&plan);
    confirm(talk, &words.confirmed, "left", plan.goes.len() as u64, n_bytes)?;
    let left = moving(talk, &progress, || carry_out(&plan))?;
    report.total("n_left", left.len());
    if let Some((name, why)) = left.first() {
        let first = format!("`{name}`: {why}");
        let (n_failed, n_all) = (left.len(), plan.goes.len());
        report.fail(ErrorReport::of(&TransferError::Part {
            n_failed,
            n_all,
            done: "removed",
            first,
            exit: Exit::Partly,
        }));
    }
    let n_gone = plan.goes.len().saturating_sub(left.len());
    let text = format!("removed {n_gone} things · {}\n", bytes(n_bytes));
    Ok(Answer { report, text: if talk.quiet { String::new() } else { text } })
}

fn n_bytes(plan: &Plan) -> u64 {
    plan.goes.iter().map(|stray| stray.size_bytes).fold(0, u64::saturating_add)
}

fn tell(report: &mut Report, plan: &Plan) {
    report.more.insert("at".into(), json!((plan.now_seconds > 0).then(|| rfc3339(plan.now_seconds))));
    report.total("n_going", plan.goes.len());
    report.total("n_bytes", n_bytes(plan));
    report.total("n_uploads", plan.goes.iter().filter(|stray| matches!(stray.what, What::Upload(_))).count());
    report.total("n_staying", plan.stays.len());
    for stray in &plan.goes {
        report.items.push(item(stray, "goes", None));
    }
    for (stray, why) in &plan.stays {
        let reason = match why {
            Stays::Young => "young",
            Stays::Held => "held",
            Stays::Undated => "not-dated",
            Stays::Unfinished => "unfinished",
        };
        report.items.push(item(stray, "stays", Some(reason)));
    }
    for note in &plan.notes {
        report.warn("gc.not-known", note.clone());
    }
}

fn item(stray: &Stray, outcome: &str, reason: Option<&str>) -> serde_json::Value {
    let (kind, upload) = match &stray.what {
        What::Upload(upload) => ("upload", Some(upload.id.as_str())),
        What::Staged => ("staged", None),
        What::Lock => ("lock", None),
        What::Journal => ("journal", None),
        What::Notes => ("notes", None),
        What::Clock => ("clock", None),
        What::Work => ("work", None),
        What::Arriving => ("arriving", None),
    };
    json!({
        "name": stray.name, "kind": kind, "size_bytes": stray.size_bytes, "written": stray.written_seconds.map(rfc3339),
        "outcome": outcome, "reason": reason, "upload": upload,
    })
}

fn words_of(stray: &Stray, stays: Option<Stays>) -> String {
    let what = match stray.what {
        What::Lock if stays == Some(Stays::Held) => "the lock of a run",
        What::Upload(_) => "an upload that has not ended",
        What::Staged => "a file that is not whole",
        What::Lock => "a lock that nobody holds",
        What::Journal | What::Notes => "notes of a run that is over",
        What::Clock => "a trial of a run that is over",
        What::Work => "work that is not finished",
        What::Arriving => "a delivery that did not arrive whole; the inbox has all of it",
    };
    let written = stray.written_seconds.map(|written| format!(", {}", rfc3339(written))).unwrap_or_default();
    format!("{what} · {}{written} · {}", bytes(stray.size_bytes), one_line(&stray.name))
}

fn shown(plan: &Plan) -> String {
    let mut text = String::new();
    for stray in plan.goes.iter().take(MOST_SHOWN) {
        text.push_str(&format!("remove {}\n", words_of(stray, None)));
    }
    if plan.goes.len() > MOST_SHOWN {
        text.push_str(&format!("remove {} more\n", plan.goes.len() - MOST_SHOWN));
    }
    // What is young is somebody's who is at work.
    for (stray, stays) in plan.stays.iter().filter(|(_, why)| *why != Stays::Young).take(MOST_SHOWN) {
        let why = match stays {
            Stays::Unfinished => "its command goes on with it; `frazil rm` removes the store",
            Stays::Held => "a run holds it",
            Stays::Young | Stays::Undated => "nobody knows how old it is",
        };
        text.push_str(&format!("keep {}: {why}\n", words_of(stray, Some(*stays))));
    }
    let n_young = plan.stays.iter().filter(|(_, why)| *why == Stays::Young).count();
    let young = if n_young > 0 { format!(", {n_young} of them not old enough") } else { String::new() };
    let things = if plan.goes.len() == 1 { "thing" } else { "things" };
    text.push_str(&format!(
        "{} {things} to remove · {} · {} stay{young}\n",
        plan.goes.len(),
        bytes(n_bytes(plan)),
        plan.stays.len()
    ));
    text
}
