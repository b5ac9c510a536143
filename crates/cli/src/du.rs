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

/// Lines of a message.
const MOST_POSTED: usize = 20;

/// A Report that was kept is no longer.
const MAX_KEPT_BYTES: u64 = 1 << 30;

/// No place holds more, and differences of such numbers are numbers still.
const MAX_BYTES: u64 = i64::MAX as u64;

/// What Reports of this verb say they are.
const SCHEMA: &str = "frazil.du/1";

/// What an earlier Report said.
struct Before {
    /// Bytes of each group.
    groups: BTreeMap<String, u64>,
    n_bytes: u64,
    /// When that was.
    at: Option<String>,
}

pub fn run(words: &Du) -> Result<Answer, TransferError> {
    let by = match words.by {
        UsedBy::Folder => By::Folder { depth: usize::from(words.depth) },
        UsedBy::Owner => By::Owner,
        UsedBy::Age => By::Age,
        UsedBy::Store => By::Store,
    };
    // Before the listing, which may take long.
    if let Some(Err(error)) = words.save.as_deref().map(may_be_saved) {
        return Ok(Answer::failed("du", error));
    }
    // The first of a row of Reports has none before it.
    let is_first = words.save.is_some() && words.since.as_deref().is_some_and(|path| path.symlink_metadata().is_err());
    let since = words.since.as_deref().filter(|_| !is_first);
    let before = since.map(|path| earlier(path, words)).transpose()?;
    let mounts = if words.other_file_systems { Mounts::Entered } else { Mounts::PassedOver };
    let used = usage(&words.place, by, mounts)?;
    let mut report = report_of(&used, words, before.as_ref());
    if let Some(path) = words.since.as_deref().filter(|_| is_first) {
        let message = format!("there is no `{}` yet, so that nothing is compared", path.display());
        report.warn("du.no-earlier", message);
    }
    let text = shown(&used, words, before.as_ref());
    if let Some(path) = &words.save {
        let text = serde_json::to_string(&report).map_err(std::io::Error::from);
        if let Err(error) = text.and_then(|text| save(path, &text)) {
            let message = format!("the Report could not be kept in `{}`: {}", path.display(), error.kind());
            report.fail(ErrorReport::new("du.save", message, Exit::Partly));
        }
    }
    Ok(Answer { report, text })
}

/// Whether a Report may be kept there: nothing is there, or an earlier one is.
fn may_be_saved(path: &Path) -> Result<(), ErrorReport> {
    let refused = |why: &str| {
        let message = format!("`{}` is {why}, and is left as it is", path.display());
        Err(ErrorReport::new("du.save", message, Exit::No).with_hint("name another file with `--save`"))
    };
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => refused(&format!("no file that can be looked at ({})", error.kind())),
        // Nothing to lose: a pipe, a terminal, a file that is empty.
        Ok(about) if about.is_dir() => refused("a folder"),
        Ok(about) if !about.is_file() || about.len() == 0 => Ok(()),
        Ok(_) => {
            let mut text = String::new();
            let read = fs::File::open(path).and_then(|file| file.take(MAX_KEPT_BYTES).read_to_string(&mut text));
            let report: Option<Report> = read.ok().and_then(|_| serde_json::from_str(&text).ok());
            match report.is_some_and(|report| report.schema == SCHEMA) {
                true => Ok(()),
                false => refused("no earlier Report of `frazil du`"),
            }
        }
    }
}

/// Keeps a Report whole, or leaves the earlier one.
fn save(path: &Path, text: &str) -> std::io::Result<()> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if real.metadata().is_ok_and(|about| !about.is_file()) {
        return fs::write(real, text);
    }
    let mut fresh = real.as_os_str().to_owned();
    fresh.push(format!(".{}.new", std::process::id()));
    let written = fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, &real));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
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
        report.total("n_over_limit", n_over(used, words, limit.0));
    }
    report.more.insert("place".into(), json!(used.place.shown()));
    report.more.insert("by".into(), json!(word(words.by)));
    report.more.insert("depth".into(), json!(words.depth));
    report.more.insert("at".into(), json!(used.now_seconds.map(rfc3339)));
    for group in &used.groups {
        let mut item = json!({
            "name": group.name, "n_objects": group.amount.n_objects, "size_bytes": group.amount.n_bytes,
            "newest": group.amount.newest_seconds.map(rfc3339),
        });
        if let Some(before) = before {
            item["grown_bytes"] = json!(grown(group, before));
        }
        report.items.push(item);
    }
    if let Some(before) = before {
        report.total("grown_bytes", difference(used.total.n_bytes, before.n_bytes));
        report.more.insert("since".into(), json!(before.at));
        let gone = gone(used, before).into_iter();
        report.items.extend(gone.map(|(name, n_bytes)| {
            json!({"name": name, "n_objects": 0, "size_bytes": 0, "newest": null, "grown_bytes": difference(0, n_bytes)})
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

/// Groups that are no more.
fn gone<'a>(used: &Usage, before: &'a Before) -> Vec<(&'a String, u64)> {
    let there: std::collections::HashSet<&str> = used.groups.iter().map(|group| group.name.as_str()).collect();
    before.groups.iter().filter(|(name, _)| !there.contains(name.as_str())).map(|(name, n)| (name, *n)).collect()
}

/// How many owners have more than may be; the whole place, if it is not looked at by owner.
fn n_over(used: &Usage, words: &Du, limit: u64) -> usize {
    match words.by {
        UsedBy::Owner => owners(used).filter(|group| group.amount.n_bytes > limit).count(),
        _ => usize::from(used.total.n_bytes > limit),
    }
}

/// Groups that are somebody's: what lies in no folder is nobody's.
fn owners(used: &Usage) -> impl Iterator<Item = &Group> {
    used.groups.iter().filter(|group| !group.name.is_empty())
}

/// What an earlier Report said, if it was of the same place, counted the same way, and whole.
fn earlier(path: &Path, words: &Du) -> Result<Before, TransferError> {
    let wrong = |reason: &str| TransferError::Uncomparable { file: path.display().to_string(), reason: reason.into() };
    let location = frazil_model::location::Location::File(path.display().to_string());
    let mut text = String::new();
    let file = fs::File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => wrong("there is no such file"),
        _ => StoreError::reading(&location, error).into(),
    })?;
    file.take(MAX_KEPT_BYTES).read_to_string(&mut text).map_err(|error| StoreError::reading(&location, error))?;
    let report: Report = serde_json::from_str(&text).map_err(|_| wrong("it is no Report"))?;
    let is_alike = report.schema == SCHEMA
        && report.more.get("by") == Some(&json!(word(words.by)))
        && report.more.get("depth") == Some(&json!(words.depth));
    if !is_alike {
        return Err(wrong("it is no Report of `frazil du` that counted by the same"));
    }
    if !report.ok {
        return Err(wrong("it lacks what could not be counted then"));
    }
    let place = frazil_transfer::place::Written::read(&words.place)?.place.shown();
    if report.more.get("place") != Some(&json!(place)) {
        return Err(wrong("it is of another place"));
    }
    // What is no number there would count as nothing, and all of it as grown.
    let number = |value: Option<&Value>, of: &str| {
        let number = value.and_then(Value::as_u64).filter(|number| *number <= MAX_BYTES);
        number.ok_or_else(|| wrong(&format!("{of} is no number of bytes")))
    };
    let mut groups = BTreeMap::new();
    for (at, item) in report.items.iter().enumerate() {
        let name = item["name"].as_str().ok_or_else(|| wrong(&format!("item {at} has no name")))?;
        let n_bytes = number(item.get("size_bytes"), &format!("`size_bytes` of `{}`", one_line(name)))?;
        groups.insert(name.to_owned(), n_bytes);
    }
    let n_bytes = number(report.totals.get("n_bytes"), "`totals.n_bytes`")?;
    let at = match report.more.get("at") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if is_moment(text) => Some(text.clone()),
        Some(_) => return Err(wrong("`at` is no moment such as 2026-11-30T09:58:26Z")),
    };
    Ok(Before { groups, n_bytes, at })
}

/// Whether a text is a moment as Reports tell it.
fn is_moment(text: &str) -> bool {
    text.len() == 20
        && text.bytes().zip(b"0000-00-00T00:00:00Z").all(|(byte, like)| match like {
            b'0' => byte.is_ascii_digit(),
            _ => byte == *like,
        })
}

fn grown(group: &Group, before: &Before) -> i64 {
    difference(group.amount.n_bytes, before.groups.get(&group.name).copied().unwrap_or(0))
}

fn difference(now: u64, before: u64) -> i64 {
    let difference = i128::from(now) - i128::from(before);
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}

fn signed(n_bytes: i64) -> String {
    match n_bytes {
        0 => "=".into(),
        _ => format!("{}{}", if n_bytes < 0 { "-" } else { "+" }, bytes(n_bytes.unsigned_abs())),
    }
}

/// Lines for people: what is most, then what else there is to say.
fn shown(used: &Usage, words: &Du, before: Option<&Before>) -> String {
    let most = if words.markdown { MOST_POSTED } else { MOST_SHOWN };
    let rows = rows_of(used, words, before, most);
    let mut lines = vec![];
    if let Some(rest) = used.groups.get(most..).filter(|rest| !rest.is_empty()) {
        let sum = rest.iter().map(|group| group.amount.n_bytes).fold(0, u64::saturating_add);
        lines.push(format!("and {} more: {}", rest.len(), bytes(sum)));
    }
    let gone = before.map(|before| gone(used, before)).unwrap_or_default();
    if !gone.is_empty() {
        let sum = gone.iter().map(|(_, n_bytes)| n_bytes).fold(0, |sum: u64, n| sum.saturating_add(*n));
        let names: Vec<String> = gone.iter().take(3).map(|(name, _)| called(name, words, used)).collect();
        let and =
            if gone.len() > names.len() { format!(" and {} more", gone.len() - names.len()) } else { String::new() };
        lines.push(format!("gone: {}{and}, -{}", names.join(", "), bytes(sum)));
    }
    if let Some(limit) = words.limit_of {
        lines.push(match (words.by, n_over(used, words, limit.0)) {
            (UsedBy::Owner, n_over) => {
                format!("{n_over} of {} have more than {}", owners(used).count(), bytes(limit.0))
            }
            _ => format!("{}% of {} used", percent(used.total.n_bytes, limit.0), bytes(limit.0)),
        });
    }
    if let Some(open) = used.open.filter(|open| open.n_uploads > 0) {
        let since = open.oldest_seconds.map(|oldest| format!(", the oldest since {}", moment(&rfc3339(oldest))));
        let since = since.unwrap_or_default();
        lines.push(format!("{} uploads not finished: {}{since}", open.n_uploads, bytes(open.n_bytes)));
    }
    if !used.uncounted.is_empty() {
        lines.push(format!("NOT WHOLE: {} places could not be counted", used.uncounted.len()));
    }
    let mut sum = format!("{} in {}", bytes(used.total.n_bytes), objects(used.total.n_objects));
    if let Some(before) = before {
        let since = before.at.as_deref().map(|at| format!(" since {}", moment(at))).unwrap_or_default();
        sum.push_str(&format!(" · {}{since}", signed(difference(used.total.n_bytes, before.n_bytes))));
    }
    sum.push_str(&used.now_seconds.map(|now| format!(" · {}", moment(&rfc3339(now)))).unwrap_or_default());
    if words.markdown {
        return markdown(&used.place.shown(), &sum, &rows, &lines);
    }
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    format!("{}: {sum}\n{}{lines}", one_line(&used.place.shown()), table(&rows))
}

/// A line for each group, numbers first, the largest on top.
fn rows_of(used: &Usage, words: &Du, before: Option<&Before>, most: usize) -> Vec<Vec<String>> {
    let limit = words.limit_of.filter(|_| words.by == UsedBy::Owner);
    let mut head = vec!["size".to_owned(), "share".into()];
    head.extend(limit.map(|limit| format!("of {}", bytes(limit.0))));
    head.extend(before.map(|_| "grown".into()));
    head.extend(["objects".into(), "newest".into(), word(words.by).into()]);
    let mut rows = vec![head];
    for group in used.groups.iter().take(most) {
        let n_bytes = group.amount.n_bytes;
        let mut row = vec![bytes(n_bytes), format!("{}%", percent(n_bytes, used.total.n_bytes))];
        row.extend(limit.map(|limit| format!("{}%", percent(n_bytes, limit.0))));
        row.extend(before.map(|before| signed(grown(group, before))));
        let newest = group.amount.newest_seconds.map(rfc3339).unwrap_or_default();
        row.push(thousands(group.amount.n_objects));
        row.push(newest.get(..10).unwrap_or_default().to_owned());
        row.push(called(&group.name, words, used));
        rows.push(row);
    }
    rows
}

/// How a group is called.
fn called(name: &str, words: &Du, used: &Usage) -> String {
    match (name, words.by) {
        ("", UsedBy::Store) if used.groups.len() == 1 => "(all of it)".into(),
        ("", _) => "(in no folder)".into(),
        _ => one_line(name),
    }
}

/// `2026-11-30T09:58:26Z` as people write it.
fn moment(text: &str) -> String {
    match text.get(..16) {
        Some(minutes) => format!("{} UTC", minutes.replace('T', " ")),
        None => text.to_owned(),
    }
}

pub fn objects(n_objects: u64) -> String {
    format!("{} object{}", thousands(n_objects), if n_objects == 1 { "" } else { "s" })
}

/// `1,234,567`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn percent(part: u64, whole: u64) -> u64 {
    let percent = (u128::from(part) * 100 + u128::from(whole) / 2) / u128::from(whole.max(1));
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
        text.push_str(&format!("\n{}\n", escaped(line)));
    }
    text
}

fn escaped(cell: &str) -> String {
    let (cell, mut text) = (one_line(cell), String::new());
    let mut before = ' ';
    let mut letters = cell.chars().peekable();
    while let Some(letter) = letters.next() {
        // Also of dialects: mathematics, what stands high or is marked, and small pictures such as `:tada:`, no times of day.
        let next = letters.peek().copied().unwrap_or(' ');
        let is_picture = (next.is_ascii_alphanumeric() || "+-_".contains(next))
            && !(before.is_ascii_digit() && next.is_ascii_digit());
        if "\\`*_[]|<>#&~@$^=".contains(letter) || (letter == ':' && is_picture) {
            text.push('\\');
        }
        text.push(letter);
        before = letter;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_moments_are_as_people_write_them() {
        for (number, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), expected);
        }
        assert_eq!(moment("2026-11-30T09:58:26Z"), "2026-11-30 09:58 UTC");
        assert_eq!(escaped("$x$ :tada: at 09:58, a|b\u{202e}c"), "\\$x\\$ \\:tada: at 09:58, a\\|b c");
        assert_eq!((percent(995, 1000), percent(994, 1000), percent(1, 0)), (100, 99, 100));
    }
}
