//! `frazil accept --list`: which deliveries there are, and how far each is.

use std::sync::atomic::AtomicBool;

use frazil_model::{
    problem::{Exit, Problem as _},
    report::{ErrorReport, Report, one_line},
};
use frazil_store::StoreError;
use frazil_transfer::{
    TransferError,
    check::Extra,
    delivery::{Delivery, Standing, check, deliveries},
    place::Place,
    progress::Progress,
};
use serde_json::{Value, json};

use super::first_of;
use crate::{
    arguments::Accept,
    output::{Answer, Talk, bytes, table},
    progress::moving,
};

/// What is not as it was sent.
const DAMAGED: &str = "damaged";

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Whole => "whole",
        Standing::Unfinished => "unfinished",
        Standing::Clearing | Standing::Accepted => "accepted",
    }
}

/// Says which deliveries there are.
pub fn list(inbox: &Place, words: &Accept, talk: &Talk, stop: &AtomicBool) -> Result<Answer, TransferError> {
    let mut report = Report::of("accept");
    report.more.insert("inbox".into(), json!(inbox.shown()));
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (name, delivery) in deliveries(inbox)? {
        let (state, item) = match &delivery {
            Err(error) => untold(&name, error, &mut report),
            Ok(delivery) => match state(delivery, words, talk, stop) {
                Err(error @ TransferError::Interrupted { .. }) => return Err(error),
                Err(error) => untold(&name, &error, &mut report),
                Ok(told) => told,
            },
        };
        if state == DAMAGED && words.check {
            let message = format!("`{}` is not as it was sent", one_line(&name));
            report.fail(ErrorReport::new("delivery.not-as-sent", message, Exit::No));
        }
        // Whoever may write to the inbox chose these words: they are no lines and no orders to a terminal.
        let about = |key: &str| one_line(item.get(key).and_then(Value::as_str).unwrap_or_default());
        let size = item.get("size_bytes").and_then(Value::as_u64).map(bytes).unwrap_or_default();
        let went = item.get("to").and_then(Value::as_str).map(|to| format!("went to {}", one_line(to)));
        let last: Vec<String> = [went.unwrap_or_default(), about("message"), about("note")].into();
        let last: Vec<String> = last.into_iter().filter(|words| !words.is_empty()).collect();
        rows.push(vec![one_line(&name), state.to_owned(), size, about("when"), about("who"), last.join(" · ")]);
        report.items.push(item);
    }
    report.total("n_deliveries", rows.len());
    Ok(Answer { report, text: table(&rows) })
}

/// A delivery of which nobody can say how far it is: its manifest is none, or could not be read this time.
fn untold(name: &str, error: &TransferError, report: &mut Report) -> (&'static str, Value) {
    let is_unread = matches!(error, TransferError::Store(StoreError::Refused { .. } | StoreError::Read { .. }));
    let is_damaged = error.exit() == Exit::No && !is_unread;
    let state = if is_damaged { DAMAGED } else { "not known" };
    if !is_damaged {
        report.fail(ErrorReport::of(error));
    }
    (state, json!({"name": name, "state": state, "message": error.to_string()}))
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
                state = DAMAGED;
                let names = checked.differences.iter().map(|one| json!({"name": one.name, "what": one.what}));
                item["differences"] = names.collect();
                let n = checked.differences.len();
                item["message"] = json!(format!("{n} not as sent; the first: {}", first_of(&checked.differences)));
            }
            item["state"] = json!(state);
        }
    }
    if let Some(record) = &delivery.record {
        item["to"] = json!(record.to);
    }
    Ok((state, item))
}
