//! `frazil ls`: what is at a place.

use frazil_model::report::{Report, shown_name};
use frazil_store::rfc3339;
use frazil_transfer::{
    TransferError,
    list::{Kind, Line, list, list_all},
};
use serde_json::{Value, json};

use crate::{
    arguments::Ls,
    output::{Answer, Talk, bytes, print},
};

/// The column that says what things are has at least this width.
const LEAST_WIDTH: usize = 6;

/// Lines that are said at once.
const LINES_AT_A_TIME: usize = 1000;

pub fn run(words: &Ls, talk: &Talk) -> Result<Answer, TransferError> {
    let mut report = Report::of("ls");
    if words.recursive {
        return every(words, talk, report);
    }
    let lines = list(&words.place)?;
    report.total("n_items", lines.len());
    if talk.json && !talk.lines {
        report.items = lines.iter().map(item).collect();
        return Ok(Answer { report, text: String::new() });
    }
    // A folder may hold a million files: what is said need not be held as well.
    let (last, others) = lines.len().checked_sub(LINES_AT_A_TIME).map_or((&lines[..], &[][..]), |n| {
        let (others, last) = lines.split_at(n);
        (last, others)
    });
    let said = |some: &[Line]| match talk.lines {
        true => some.iter().map(|line| format!("{}\n", item(line))).collect(),
        false => shown(some),
    };
    for some in others.chunks(LINES_AT_A_TIME) {
        // A reader that has seen enough closes the pipe, and the answer says so in the end.
        let _ = print(&said(some));
    }
    if talk.lines {
        let _ = print(&said(last));
        return Ok(Answer { report, text: String::new() });
    }
    Ok(Answer { text: said(last), report })
}

/// Every file below, said as the listing goes on.
fn every(words: &Ls, talk: &Talk, mut report: Report) -> Result<Answer, TransferError> {
    let (mut n_files, mut n_bytes) = (0_u64, 0_u64);
    let mut text = String::new();
    let mut n_held = 0;
    list_all(&words.place, |line| {
        n_files += 1;
        n_bytes = n_bytes.saturating_add(line.size_bytes.unwrap_or(0));
        if talk.json && !talk.lines {
            report.items.push(item(&line));
            return Ok(());
        }
        if talk.lines {
            text.push_str(&format!("{}\n", item(&line)));
        } else {
            let (size, time) = columns(&line);
            text.push_str(&format!("{size:>8}  {time:20}  {}\n", shown_name(&line.name)));
        }
        n_held += 1;
        if n_held == LINES_AT_A_TIME {
            n_held = 0;
            // A reader that has seen enough closes the pipe, and the answer says so in the end.
            let _ = print(&std::mem::take(&mut text));
        }
        Ok(())
    })?;
    report.total("n_files", n_files);
    report.total("n_bytes", n_bytes);
    if talk.lines {
        // The answer itself prints the Report alone.
        let _ = print(&std::mem::take(&mut text));
    }
    Ok(Answer { report, text })
}

fn columns(line: &Line) -> (String, String) {
    (line.size_bytes.map(bytes).unwrap_or_default(), line.modified_seconds.map(rfc3339).unwrap_or_default())
}

fn shown(lines: &[Line]) -> String {
    let kind = |line: &Line| match line.kind {
        Kind::Bucket => "bucket".to_owned(),
        Kind::Folder => "folder".to_owned(),
        Kind::Store { version, .. } => format!("zarr {version}"),
        Kind::Repository { .. } => "icechunk".to_owned(),
        Kind::File => "file".to_owned(),
        Kind::Other => "other".to_owned(),
    };
    let width = lines.iter().map(|line| kind(line).len()).fold(LEAST_WIDTH, usize::max);
    let mut text = String::new();
    for line in lines {
        let (size, time) = columns(line);
        let slash = if matches!(line.kind, Kind::Folder | Kind::Bucket) { "/" } else { "" };
        let variables = line.variables();
        let more = if variables.is_empty() { String::new() } else { format!("  ({})", shown_name(&variables)) };
        let name = shown_name(&line.name);
        text.push_str(&format!("{:width$}  {size:>8}  {time:20}  {name}{slash}{more}\n", kind(line)));
    }
    text
}

fn item(line: &Line) -> Value {
    let kind = match line.kind {
        Kind::Bucket => "bucket",
        Kind::Folder => "folder",
        Kind::Store { .. } | Kind::Repository { .. } => "store",
        Kind::File => "file",
        Kind::Other => "other",
    };
    let mut item = json!({"name": line.name, "kind": kind, "size_bytes": line.size_bytes});
    if let Some(seconds) = line.modified_seconds {
        item["modified"] = json!(rfc3339(seconds));
    }
    if let Kind::Store { version, variables } = &line.kind {
        item["zarr_format"] = json!(version);
        item["variables"] = json!(variables);
    }
    if let Kind::Repository { version } = line.kind {
        item["icechunk_format"] = json!(version);
    }
    item
}
