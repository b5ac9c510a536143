//! `frazil inspect`: what was found, as text.

use std::sync::atomic::AtomicBool;

use frazil_engine::{
    EngineError,
    index::IndexUse,
    inspect::{Digests, Options, inspect},
};
use frazil_model::report::{Report, one_line};
use serde_json::Value;

use crate::{
    arguments::{Inspect, n_threads},
    output::{Answer, Talk, bytes, table},
};

/// Groups whose variables are shown; `--json` has them all.
const MOST_VARIABLES: usize = 500;

/// Attributes that are shown.
const IMPORTANT: [&str; 7] =
    ["title", "Conventions", "institution", "source", "product_version", "license", "time_coverage_start"];

/// Differences that are shown of one era.
const MOST_DIFFERENCES: usize = 12;

/// Letters of a value that are shown.
const MOST_LETTERS: usize = 90;

pub fn run(words: &Inspect, talk: &Talk, stop: &AtomicBool) -> Result<Answer, EngineError> {
    let options = Options {
        digests: if words.digest { Digests::Yes } else { Digests::No },
        memory_bytes: words.memory.0,
        n_threads: n_threads(words.threads),
        index: if words.no_index { IndexUse::Bypass } else { IndexUse::Use },
        stop,
    };
    let report = inspect(&words.places, &options)?;
    let text = if talk.json { String::new() } else { text(&report) };
    Ok(Answer { report, text })
}

fn text(report: &Report) -> String {
    let sources = list(report.more.get("sources"));
    let mut text = String::new();
    let n_sources = report.totals.get("n_sources").and_then(Value::as_u64).unwrap_or(0);
    if let ([one], 1) = (sources, n_sources) {
        text.push_str(&one_source(one, &report.items));
        return text;
    }
    if n_sources == 0 {
        return text;
    }
    text.push_str(&format!(
        "{n_sources} files and stores, {}\n",
        bytes(report.totals.get("stored_bytes").and_then(Value::as_u64).unwrap_or(0))
    ));
    if let Some(eras) = report.more.get("eras") {
        text.push_str(&era_table(eras));
    }
    if let Some(targets) = report.more.get("targets") {
        text.push_str(&verdicts(list(Some(targets))));
    }
    let unread = report.items.iter().filter(|item| item.get("unread").is_some());
    for item in unread.take(MOST_VARIABLES) {
        text.push_str(&format!("unread {} {}: {}\n", word(item, "source"), word(item, "path"), word(item, "unread")));
    }
    // The first file stands for those that are alike.
    if let Some(first) = sources.first() {
        let name = word(first, "source");
        let items: Vec<Value> = report.items.iter().filter(|item| word(item, "source") == name).cloned().collect();
        text.push_str(&format!("\n{}", one_source(first, &items)));
    }
    text
}

fn one_source(about: &Value, items: &[Value]) -> String {
    let size = about.get("size_bytes").and_then(Value::as_u64);
    let size = size.unwrap_or_else(|| items.iter().map(|item| number(item, "stored_bytes")).sum());
    let mut text = format!("{}  {}  {}\n", word(about, "source"), word(about, "format"), bytes(size));
    for group in list(about.get("groups")) {
        let dimensions: Vec<String> = list(group.get("dimensions"))
            .iter()
            .map(|dimension| {
                let grows = if dimension["unlimited"] == true { " (can grow)" } else { "" };
                format!("{} {}{grows}", word(dimension, "name"), number(dimension, "length"))
            })
            .collect();
        if !dimensions.is_empty() {
            text.push_str(&format!("dimensions {}: {}\n", word(group, "path"), dimensions.join(", ")));
        }
        if word(group, "path") == "/" {
            for name in IMPORTANT {
                if let Some(value) = group.pointer(&format!("/attributes/{name}")).and_then(Value::as_str) {
                    text.push_str(&format!("{name}: {}\n", short(value)));
                }
            }
        }
    }
    text.push_str("variables\n");
    let read: Vec<&Value> = items.iter().filter(|item| item.get("dtype").is_some()).collect();
    let rows: Vec<Vec<String>> = read.iter().take(MOST_VARIABLES).map(|item| row(item)).collect();
    text.push_str(&table(&rows));
    if read.len() > MOST_VARIABLES {
        text.push_str(&format!("  … and {} more; --json lists them all\n", read.len() - MOST_VARIABLES));
    }
    for item in items {
        if let Some(time) = item.get("time") {
            let (first, last, calendar) = (word(time, "first"), word(time, "last"), word(time, "calendar"));
            text.push_str(&format!("time {}: {first} to {last}, {calendar} calendar\n", word(item, "path")));
        }
    }
    for item in items.iter().filter(|item| item.get("digest").is_some()) {
        text.push_str(&format!("{}  {}\n", word(item, "digest"), word(item, "path")));
    }
    for item in items.iter().filter(|item| item.get("unread").is_some()) {
        text.push_str(&format!("unread {}: {}\n", word(item, "path"), word(item, "unread")));
    }
    for holder in std::iter::once(about).chain(items) {
        for advice in list(holder.get("advice")) {
            let path = holder.get("path").map_or_else(String::new, |_| format!("{}: ", word(holder, "path")));
            text.push_str(&format!("advice {path}{}\n", word(advice, "message")));
        }
    }
    text
}

fn row(item: &Value) -> Vec<String> {
    let lengths = |key: &str| list(item.get(key)).iter().map(|n| n.as_u64().unwrap_or(0)).collect::<Vec<_>>();
    let names = list(item.get("dimensions"));
    let shape: Vec<String> = names
        .iter()
        .zip(lengths("shape"))
        .map(|(name, length)| format!("{} {length}", one_line(name.as_str().unwrap_or_default())))
        .collect();
    let chunks: Vec<String> = lengths("chunk_shape").iter().map(u64::to_string).collect();
    let ratio = item.get("ratio").and_then(Value::as_f64).map_or_else(String::new, |ratio| format!(" ({ratio:.1}×)"));
    vec![
        word(item, "path").trim_start_matches('/').to_owned(),
        word(item, "dtype"),
        format!("({})", shape.join(", ")),
        if chunks.is_empty() { "in one piece".into() } else { format!("chunks {}", chunks.join(" × ")) },
        word(item, "codecs"),
        format!("{}{ratio}", bytes(number(item, "stored_bytes"))),
        short(&word(item, "units")),
    ]
}

fn era_table(table_of: &Value) -> String {
    let eras = list(table_of.get("eras"));
    if let [_] = eras {
        return "all files are alike\n".into();
    }
    let mut text = format!("{} eras\n", eras.len());
    let mut rows = Vec::new();
    for (number_of_era, era) in eras.iter().enumerate() {
        let (first, last) = (word(era, "first"), word(era, "last"));
        let range =
            if first == last { last_part(&first) } else { format!("{} .. {}", last_part(&first), last_part(&last)) };
        let n_files = number(era, "n_files");
        let files = format!("{n_files} {}", if n_files == 1 { "file" } else { "files" });
        let differs = list(era.get("differs"));
        let start = vec![(number_of_era + 1).to_string(), files, range];
        if differs.is_empty() {
            let what = if n_files > 1 { "most files are like this" } else { "the others are compared with this one" };
            rows.push([start.clone(), vec![what.into()]].concat());
        }
        for (place, difference) in differs.iter().take(MOST_DIFFERENCES).enumerate() {
            let start = if place == 0 { start.clone() } else { vec![String::new(); 3] };
            rows.push([start, vec![in_words(difference)]].concat());
        }
        if differs.len() > MOST_DIFFERENCES {
            let more = format!("… and {} more; --json lists them all", differs.len() - MOST_DIFFERENCES);
            rows.push([vec![String::new(); 3], vec![more]].concat());
        }
    }
    text.push_str(&table(&rows));
    let varies: Vec<String> =
        list(table_of.get("varies")).iter().map(|name| one_line(name.as_str().unwrap_or(""))).collect();
    if !varies.is_empty() {
        text.push_str(&format!("differs in most files: {}\n", varies.join(", ")));
    }
    text
}

/// What the files can become together.
fn verdicts(targets: &[Value]) -> String {
    let mut text = String::from("together they can become\n");
    let is_refused = |target: &Value| target["possible"] != true;
    // One reason for all is said once.
    if let [first, others @ ..] = targets
        && targets.iter().all(is_refused)
        && others.iter().all(|other| other["why"] == first["why"])
    {
        text.push_str(&table(&[vec!["nothing as they are".into(), refusal(first)]]));
        return text;
    }
    let rows: Vec<Vec<String>> = targets
        .iter()
        .map(|target| {
            let name = [word(target, "target"), word(target, "format")].join(" ");
            let verdict = match (is_refused(target), target.get("references")) {
                (true, _) => refusal(target),
                (false, Some(_)) => by_reference(target),
                (false, None) => format!(
                    "a copy: {} are read, {} decoded, {} of memory",
                    bytes(number(target, "read_bytes")),
                    bytes(number(target, "decoded_bytes")),
                    bytes(number(target, "peak_memory_bytes"))
                ),
            };
            vec![name.trim_end().to_owned(), verdict]
        })
        .collect();
    text.push_str(&table(&rows));
    text
}

fn by_reference(target: &Value) -> String {
    let n_groups = number(target, "n_groups");
    let mut text = if n_groups > 1 { format!("{n_groups} groups of files that are alike: ") } else { String::new() };
    let n_referenced = number(target, "references");
    text.push_str(&format!(
        "{n_referenced} chunks stay where they are ({})",
        bytes(number(target, "referenced_bytes"))
    ));
    let n_made = number(target, "native_chunks");
    if n_made > 0 {
        let arrays: Vec<String> = list(target.get("made"))
            .iter()
            .map(|made| format!("{}: {}", word(made, "path"), word(made, "why")))
            .collect();
        let more = if arrays.len() > 1 { format!(" and {} more", arrays.len() - 1) } else { String::new() };
        let first = arrays.first().map_or("", String::as_str);
        text.push_str(&format!(", {n_made} must be copied ({}): {first}{more}", bytes(number(target, "native_bytes"))));
    }
    text
}

fn refusal(target: &Value) -> String {
    let hint = word(target, "hint");
    let after = if hint.is_empty() { String::new() } else { format!("; {hint}") };
    format!("no: {}{after}", word(target, "why"))
}

fn in_words(difference: &Value) -> String {
    let what = word(difference, "what");
    let value = |key: &str| difference.get(key).and_then(Value::as_str).map(short);
    match (value("here"), value("most")) {
        (Some(here), Some(most)) => format!("{what} {here} (not {most})"),
        (Some(here), None) => format!("{what} {here} (most have none)"),
        (None, Some(most)) => format!("no {what} (most have {most})"),
        (None, None) => what,
    }
}

fn last_part(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

fn short(text: &str) -> String {
    let shown: String = one_line(text).chars().take(MOST_LETTERS).collect();
    if text.chars().nth(MOST_LETTERS).is_some() { format!("{shown}…") } else { shown }
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Names in files are somebody else's: they are shown without what a terminal would obey.
fn word(value: &Value, key: &str) -> String {
    one_line(value.get(key).and_then(Value::as_str).unwrap_or_default())
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}
