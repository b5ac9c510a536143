//! `frazil scratch expire`: old stores go, a plan first.

use std::sync::atomic::AtomicBool;

use frazil_model::{
    problem::Exit,
    report::{ErrorReport, Report, one_line},
};
use frazil_store::rfc3339;
use frazil_transfer::{
    TransferError,
    place::Written,
    progress::Progress,
    run::Watch,
    scratch::{
        Unit,
        catalog::Named,
        expire::{Plan, Stays, plan, run as carry_out},
    },
};
use serde_json::json;

use super::{
    list::{as_item, called},
    moment_of, stretch,
};
use crate::{
    arguments::ScratchExpire,
    confirm::{confirm, word_for},
    made::this_command,
    output::{Answer, Talk, bytes},
    progress::moving,
};

/// Stores that are named one by one where people read.
const MOST_NAMED: usize = 50;

pub fn run(words: &ScratchExpire, talk: &Talk, stop: &AtomicBool) -> Result<Answer, TransferError> {
    let written = Written::read(&words.place)?;
    // What cannot be read may name anything, so that nothing goes.
    let named = Named::read(&words.catalog)?;
    let progress = Progress::default();
    let plan = moving(talk, &progress, || plan(&written, words.older_than, &named))?;
    let mut report = Report::of("scratch-expire");
    tell(&mut report, &plan, &written, words);
    if words.dry_run {
        report.dry_run = true;
        return Ok(Answer { report, text: shown(&plan, words) });
    }
    if plan.goes.is_empty() {
        let text = if talk.quiet { String::new() } else { shown(&plan, words) };
        return Ok(Answer { report, text });
    }
    if !talk.quiet && !talk.json {
        talk.say(shown(&plan, words).trim_end());
    }
    let n_objects = plan.n_objects();
    confirm(talk, &words.confirmed, &word_for(&written.place), n_objects, plan.n_bytes())?;
    let expired = moving(talk, &progress, || carry_out(&plan, Watch { progress: &progress, stop }));
    let expired = expired.map_err(|error| match error {
        TransferError::Interrupted { .. } => TransferError::Interrupted { resume: Some(this_command()), open: None },
        other => other,
    })?;
    report.total("n_deleted", expired.n_stores);
    report.total("deleted_bytes", expired.n_bytes);
    report.total("n_left", expired.left.len());
    if let Some((name, error)) = expired.left.first() {
        let (n_all, first) = (usize::try_from(n_objects).unwrap_or(usize::MAX), format!("`{name}`: {error}"));
        let n_failed = expired.left.len();
        let error = TransferError::Part { n_failed, n_all, done: "deleted", first, exit: Exit::Partly };
        report.fail(ErrorReport::of(&error));
    }
    let n_stores = usize::try_from(expired.n_stores).unwrap_or(usize::MAX);
    let text = format!("deleted {} · {}\n", stores(n_stores), bytes(expired.n_bytes));
    Ok(Answer { report, text: if talk.quiet { String::new() } else { text } })
}

fn tell(report: &mut Report, plan: &Plan, written: &Written, words: &ScratchExpire) {
    report.more.insert("place".into(), json!(written.place.shown()));
    report.more.insert("at".into(), json!(rfc3339(plan.now_seconds)));
    report.more.insert("older_than_seconds".into(), json!(words.older_than));
    report.total("n_stores", plan.goes.len());
    report.total("n_objects", plan.n_objects());
    report.total("n_bytes", plan.n_bytes());
    report.total("n_staying", plan.stays.len());
    report.total("n_loose", plan.n_loose);
    for (unit, _) in &plan.goes {
        let mut item = as_item(unit);
        item["outcome"] = json!("goes");
        report.items.push(item);
    }
    for (unit, why) in &plan.stays {
        let mut item = as_item(unit);
        let (reason, words) = why_of(why);
        item["outcome"] = json!("stays");
        item["reason"] = json!(reason);
        item["message"] = json!(words);
        report.items.push(item);
    }
}

fn why_of(why: &Stays) -> (&'static str, String) {
    match why {
        Stays::Young => ("young", "not all of it is old enough".into()),
        Stays::Named { catalog } => ("in-catalog", format!("{} names it", one_line(catalog))),
        Stays::Written { how } => ("written-to", how.clone()),
        Stays::Unknown { why } => ("not-known", why.clone()),
    }
}

fn stores(n: usize) -> String {
    if n == 1 { "1 store".into() } else { format!("{n} stores") }
}

fn line(unit: &Unit) -> String {
    let newest = unit.fate.newest_seconds.map(|newest| format!(", last written {}", moment_of(newest)));
    format!(
        "{} · {} objects · {}{}",
        called(unit),
        unit.fate.n_objects,
        bytes(unit.fate.n_bytes),
        newest.unwrap_or_default()
    )
}

fn shown(plan: &Plan, words: &ScratchExpire) -> String {
    let mut text = String::new();
    for (unit, _) in plan.goes.iter().take(MOST_NAMED) {
        text.push_str(&format!("delete {}\n", line(unit)));
    }
    if plan.goes.len() > MOST_NAMED {
        text.push_str(&format!("delete {} more stores\n", plan.goes.len() - MOST_NAMED));
    }
    // What is young stays without a word.
    let told = plan.stays.iter().filter(|(_, why)| *why != Stays::Young);
    for (unit, why) in told.take(MOST_NAMED) {
        text.push_str(&format!("keep {}: {}\n", called(unit), why_of(why).1));
    }
    text.push_str(&format!(
        "{} older than {} · {} · {} that stay · {}\n",
        stores(plan.goes.len()),
        stretch(words.older_than),
        bytes(plan.n_bytes()),
        plan.stays.len(),
        moment_of(plan.now_seconds)
    ));
    if plan.n_loose > 0 {
        text.push_str(&format!("{} files that are in no store stay\n", plan.n_loose));
    }
    text
}
