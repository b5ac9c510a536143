//! `frazil scratch list`: what goes when.

use frazil_model::report::{Report, one_line};
use frazil_store::rfc3339;
use frazil_transfer::{
    TransferError,
    place::Written,
    scratch::{Survey, Terms, Told, Unit, now_to_look, rules_about, rules_of, survey},
};
use serde_json::json;

use super::{moment_of, rule::as_data, stretch, words_of};
use crate::{
    arguments::ScratchList,
    output::{Answer, bytes, table},
};

/// Lines that are shown to people; the Report has all.
const MOST_SHOWN: usize = 100;

pub fn run(words: &ScratchList) -> Result<Answer, TransferError> {
    let written = Written::read(&words.place)?;
    let mut report = Report::of("scratch-list");
    report.more.insert("place".into(), json!(written.place.shown()));
    let mut heads = Vec::new();
    let terms = match words.older_than {
        Some(seconds) => {
            heads.push(format!(
                "as `scratch expire --older-than` would have it: stores go when they are {} old",
                stretch(seconds)
            ));
            Terms::WholeStores { seconds }
        }
        None => match rules_of(&written)? {
            Told::Rules(rules) => {
                let about = rules_about(&rules, &written.place);
                heads.extend(about.iter().map(|rule| format!("rule: {}", one_line(&words_of(rule)))));
                if !about.iter().any(|rule| rule.is_plain()) {
                    heads.push("no rule of the server deletes here".into());
                }
                report.more.insert("rules".into(), about.iter().map(|rule| as_data(rule)).collect());
                Terms::Rules(rules)
            }
            Told::Unknown(why) => {
                report.warn("scratch.rules-unknown", format!("by which rule the server deletes is not known: {why}"));
                Terms::None
            }
        },
    };
    report.more.entry("rules").or_insert(serde_json::Value::Null);
    let (now_seconds, note) = now_to_look(&written)?;
    if let Some(note) = note {
        report.warn("scratch.clock", note);
    }
    let survey = survey(&written, &terms, now_seconds, words.within)?;
    tell(&mut report, &survey, words);
    let text = shown(&written, &survey, words, &heads);
    Ok(Answer { report, text })
}

fn tell(report: &mut Report, survey: &Survey, words: &ScratchList) {
    let total = &survey.total;
    report.total("n_objects", total.n_objects);
    report.total("n_bytes", total.n_bytes);
    report.total("n_staying", total.n_staying);
    report.total("n_soon", total.n_soon);
    report.total("soon_bytes", total.soon_bytes);
    report.more.insert("at".into(), json!(rfc3339(survey.now_seconds)));
    report.more.insert("within_seconds".into(), json!(words.within));
    let soon = survey.soon();
    let soon = soon
        .iter()
        .map(|(owner, n_objects, n_bytes)| json!({"owner": owner, "n_objects": n_objects, "size_bytes": n_bytes}));
    report.more.insert("soon".into(), soon.collect());
    report.items.extend(survey.units.iter().map(as_item));
}

/// A store or a folder as data.
pub(super) fn as_item(unit: &Unit) -> serde_json::Value {
    let fate = &unit.fate;
    json!({
        "name": unit.name, "kind": if unit.is_store { "store" } else { "files" }, "owner": unit.owner(),
        "n_objects": fate.n_objects, "size_bytes": fate.n_bytes,
        "oldest": fate.oldest_seconds.map(rfc3339), "newest": fate.newest_seconds.map(rfc3339),
        "goes_from": fate.first_seconds.map(rfc3339), "gone_from": fate.last_seconds.filter(|_| fate.n_staying == 0).map(rfc3339),
        "n_staying": fate.n_staying, "n_soon": fate.n_soon, "soon_bytes": fate.soon_bytes,
    })
}

fn shown(written: &Written, survey: &Survey, words: &ScratchList, heads: &[String]) -> String {
    let total = &survey.total;
    let mut text = format!(
        "{}: {} in {} objects · {}\n",
        one_line(&written.place.shown()),
        bytes(total.n_bytes),
        total.n_objects,
        moment_of(survey.now_seconds)
    );
    heads.iter().for_each(|head| text.push_str(&format!("{head}\n")));
    let when = |seconds: Option<u64>| match seconds {
        None => "stays".to_owned(),
        Some(seconds) if seconds <= survey.now_seconds => "any time now".into(),
        Some(seconds) => moment_of(seconds),
    };
    let mut rows = vec![["goes from", "all gone from", "size", "objects", "what"].map(str::to_owned).to_vec()];
    for unit in survey.units.iter().take(MOST_SHOWN) {
        let fate = &unit.fate;
        rows.push(vec![
            when(fate.first_seconds),
            if fate.n_staying > 0 && fate.first_seconds.is_some() {
                "some stays".into()
            } else {
                when(fate.last_seconds)
            },
            bytes(fate.n_bytes),
            fate.n_objects.to_string(),
            called(unit),
        ]);
    }
    text.push_str(&table(&rows));
    if survey.units.len() > MOST_SHOWN {
        text.push_str(&format!("and {} more\n", survey.units.len() - MOST_SHOWN));
    }
    let soon = survey.soon();
    if soon.is_empty() {
        text.push_str(&format!("in the next {} nothing goes\n", stretch(words.within)));
        return text;
    }
    text.push_str(&format!("in the next {}:\n", stretch(words.within)));
    let owners = soon.iter().map(|(owner, n_objects, n_bytes)| {
        let owner = if owner.is_empty() { "(in no folder)".to_owned() } else { one_line(owner) };
        vec![bytes(*n_bytes), format!("{n_objects} objects"), owner]
    });
    text.push_str(&table(&owners.collect::<Vec<_>>()));
    text
}

/// How a store or a folder is called.
pub(super) fn called(unit: &Unit) -> String {
    match (unit.name.as_str(), unit.is_store) {
        ("", true) => "(all of it)".into(),
        ("", false) => "(in no folder)".into(),
        (name, true) => one_line(name),
        (name, false) => format!("{}/ (files)", one_line(name)),
    }
}
