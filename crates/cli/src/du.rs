//! `frazil du`: who uses how much, as a table, a Report or a message.

use std::{collections::BTreeMap, fs, io::Read, path::Path};

use frazil_model::{
    problem::Exit,
    report::{ErrorReport, Report, one_line},
};
use frazil_store::{StoreError, rfc3339};
use frazil_transfer::{
    TransferError,
    usage::{By, Group, Mounts, Usage, usage},
};
use serde_json::{Value, json};

use crate::{
    arguments::{Du, UsedBy},
    output::{Answer, bytes, table},
};

/// Lines that are shown to people; the Report has all.
const MOST_SHOWN: usize = 50;

/// A Report that was kept is no longer.
const MAX_KEPT_BYTES: u64 = 1 << 30;

/// What an earlier Report said of a group, in bytes.
type Before = BTreeMap<String, u64>;

pub fn run(words: &Du) -> Result<Answer, TransferError> {
    let by = match words.by {
        UsedBy::Folder => By::Folder { depth: usize::from(words.depth) },
        UsedBy::Owner => By::Owner,
        UsedBy::Age => By::Age,
        UsedBy::Store => By::Store,
    };
    // Before the listing, which may take long.
    let before = words.since.as_deref().map(|path| earlier(path, words)).transpose()?;
    let mounts = if words.other_file_systems { Mounts::Entered } else { Mounts::PassedOver };
    let used = usage(&words.place, by, mounts)?;
    let mut report = report_of(&used, words, before.as_ref());
    let text = shown(&used, words, before.as_ref());
    if let Some(path) = &words.save {
        let text = serde_json::to_string(&report).map_err(std::io::Error::from);
        if let Err(error) = text.and_then(|text| fs::write(path, text)) {
            let message = format!("the Report could not be kept in `{}`: {}", path.display(), error.kind());
            report.fail(ErrorReport::new("du.save", message, Exit::Partly));
        }
    }
    Ok(Answer { report, text })
}

fn report_of(used: &Usage, words: &Du, before: Option<&Before>) -> Report {
    let mut report = Report::of("du");
    report.total("n_objects", used.total.n_objects);
    report.total("n_bytes", used.total.n_bytes);
    report.total("apparent_bytes", used.apparent_bytes);
    if let Some(open) = used.open {
        report.total("n_open_uploads", open.n_uploads);
        report.total("open_upload_bytes", open.n_bytes);
        report.more.insert("oldest_open_upload".into(), json!(open.oldest_seconds.map(rfc3339)));
    }
    if let Some(limit) = words.limit_of {
        report.total("limit_bytes", limit.0);
    }
    report.more.insert("place".into(), json!(used.place.shown()));
    report.more.insert("by".into(), json!(word(words.by)));
    report.more.insert("depth".into(), json!(words.depth));
    report.more.insert("at".into(), json!(used.now_seconds.map(rfc3339)));
    for group in &used.groups {
        let mut item = json!({
            "name": group.name, "n_objects": group.amount.n_objects, "n_bytes": group.amount.n_bytes,
            "newest": group.amount.newest_seconds.map(rfc3339),
        });
        if let Some(before) = before {
            item["grown_bytes"] = json!(grown(group, before));
        }
        report.items.push(item);
    }
    if let Some(before) = before {
        let gone = before.iter().filter(|(name, _)| !used.groups.iter().any(|group| group.name == **name));
        report.items.extend(gone.map(|(name, n_bytes)| {
            json!({"name": name, "n_objects": 0, "n_bytes": 0, "newest": null, "grown_bytes": i64::try_from(*n_bytes).unwrap_or(i64::MAX).saturating_neg()})
        }));
    }
    for (name, why) in &used.passed_over {
        report.warn("du.passed-over", format!("`{name}` is not counted: {why}"));
    }
    for (name, why) in &used.uncounted {
        report.warn("du.uncounted", format!("`{name}` is not counted: {why}"));
    }
    if let Some((name, why)) = used.uncounted.first() {
        let message = format!("the sums lack what could not be counted; the first: `{name}`: {why}");
        report.fail(ErrorReport::new("du.uncounted", message, Exit::Partly));
    }
    report
}

fn word(by: UsedBy) -> &'static str {
    match by {
        UsedBy::Folder => "folder",
        UsedBy::Owner => "owner",
        UsedBy::Age => "age",
        UsedBy::Store => "store",
    }
}

/// What an earlier Report said, if it was of the same place, counted the same way, and whole.
fn earlier(path: &Path, words: &Du) -> Result<Before, TransferError> {
    let wrong = |reason: &str| TransferError::Uncountable { reason: format!("`{}` {reason}", path.display()) };
    let location = frazil_model::location::Location::File(path.display().to_string());
    let mut text = String::new();
    let file = fs::File::open(path).map_err(|error| StoreError::reading(&location, error))?;
    file.take(MAX_KEPT_BYTES).read_to_string(&mut text).map_err(|error| StoreError::reading(&location, error))?;
    let report: Report = serde_json::from_str(&text).map_err(|_| wrong("is no Report"))?;
    let is_alike = report.schema == "frazil.du/1"
        && report.more.get("by") == Some(&json!(word(words.by)))
        && report.more.get("depth") == Some(&json!(words.depth));
    if !is_alike {
        return Err(wrong("is no Report of `frazil du` that counted by the same"));
    }
    if !report.ok {
        return Err(wrong("lacks what could not be counted then, so that nothing can be compared with it"));
    }
    let place = frazil_transfer::place::Written::read(&words.place)?.place.shown();
    if report.more.get("place") != Some(&json!(place)) {
        return Err(wrong("is of another place"));
    }
    let amount = |item: &Value| Some((item["name"].as_str()?.to_owned(), item["n_bytes"].as_u64()?));
    Ok(report.items.iter().filter_map(amount).collect())
}

fn grown(group: &Group, before: &Before) -> i64 {
    let before = before.get(&group.name).copied().unwrap_or(0);
    let difference = i128::from(group.amount.n_bytes) - i128::from(before);
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}

fn signed(n_bytes: i64) -> String {
    match n_bytes {
        0 => "=".into(),
        _ => format!("{}{}", if n_bytes < 0 { "-" } else { "+" }, bytes(n_bytes.unsigned_abs())),
    }
}

/// Lines for people: what is most, then the sum.
fn shown(used: &Usage, words: &Du, before: Option<&Before>) -> String {
    let title = if words.by == UsedBy::Folder { "folder" } else { word(words.by) };
    let mut head = vec!["bytes".to_owned(), "share".into(), "objects".into(), title.into()];
    if before.is_some() {
        head.insert(1, "grown".into());
    }
    let mut rows = vec![head];
    for group in used.groups.iter().take(MOST_SHOWN) {
        let share = format!("{}%", percent(group.amount.n_bytes, used.total.n_bytes));
        let name = if group.name.is_empty() { "(in no folder)".to_owned() } else { one_line(&group.name) };
        let mut row = vec![bytes(group.amount.n_bytes), share, group.amount.n_objects.to_string(), name];
        if let Some(before) = before {
            row.insert(1, signed(grown(group, before)));
        }
        rows.push(row);
    }
    let mut lines = vec![];
    if used.groups.len() > MOST_SHOWN {
        lines.push(format!("and {} more, smaller ones", used.groups.len() - MOST_SHOWN));
    }
    if let Some(limit) = words.limit_of {
        lines.push(format!("{}% of {} used", percent(used.total.n_bytes, limit.0), bytes(limit.0)));
    }
    if let Some(open) = used.open.filter(|open| open.n_uploads > 0) {
        let since = open.oldest_seconds.map(|oldest| format!(", the oldest since {}", rfc3339(oldest)));
        let since = since.unwrap_or_default();
        lines.push(format!("{} uploads not finished: {}{since}", open.n_uploads, bytes(open.n_bytes)));
    }
    if !used.uncounted.is_empty() {
        lines.push(format!("NOT WHOLE: {} places could not be counted", used.uncounted.len()));
    }
    let at = used.now_seconds.map(|now| format!(" · {}", rfc3339(now))).unwrap_or_default();
    let sum = format!("{} · {} objects{at}", bytes(used.total.n_bytes), used.total.n_objects);
    if words.markdown {
        return markdown(&used.place.shown(), &sum, &rows, &lines);
    }
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    format!("{}: {sum}\n{}{lines}", one_line(&used.place.shown()), table(&rows))
}

fn percent(part: u64, whole: u64) -> u64 {
    let percent = u128::from(part) * 100 / u128::from(whole.max(1));
    u64::try_from(percent).unwrap_or(u64::MAX)
}

/// The same as a message. Names are somebody else's: what would be a mark of Markdown is escaped.
fn markdown(place: &str, sum: &str, rows: &[Vec<String>], lines: &[String]) -> String {
    let mut text = format!("**{}**: {sum}\n\n", escaped(place));
    for (at, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().map(|cell| escaped(cell)).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
        if at == 0 {
            let n_numbers = row.len().saturating_sub(1);
            text.push_str(&format!("|{}---|\n", "---:|".repeat(n_numbers)));
        }
    }
    for line in lines {
        text.push_str(&format!("\n{line}\n"));
    }
    text
}

fn escaped(cell: &str) -> String {
    let mut text = String::new();
    for letter in one_line(cell).chars() {
        if "\\`*_[]|<>#&~@".contains(letter) {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}
