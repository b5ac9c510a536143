//! What a plan of references says of itself.

use frazil_model::{combine::Content, recipe::virtually::VirtualFormat, report::Report};
use serde_json::json;

use super::{
    address::doors,
    lay::Counts,
    make::{Part, VirtualRequest},
    pinned::Record,
};
use crate::views::LeftOut;

/// What the plan says.
pub(super) fn tell(report: &mut Report, wanted: &VirtualRequest, parts: &[Part], record: &Record) {
    let sum = |of: &dyn Fn(&Part) -> u64| parts.iter().map(of).fold(0, u64::saturating_add);
    let counted =
        |of: &dyn Fn(&Counts) -> u64| sum(&|part: &Part| part.laid.counts.iter().map(of).fold(0, u64::saturating_add));
    report.total("files", sum(&|part| part.sources.len() as u64));
    report.total("arrays", sum(&|part| part.laid.targets.len() as u64));
    report.total("references", counted(&|counts| counts.references));
    report.total("referenced_bytes", counted(&|counts| counts.referenced_bytes));
    report.total("peak_memory_bytes", sum(&|part| part.work.as_ref().map_or(0, |work| work.peak_memory_bytes)));
    report.more.insert("plan".into(), json!(record.plan));
    let doors = doors(parts.iter().flat_map(|part| &part.files.addresses));
    report.more.insert("leads_to".into(), json!(doors.keys().collect::<Vec<_>>()));
    let (mut n_native, mut native_bytes, mut n_inline, mut inline_bytes) = (0_u64, 0_u64, 0_u64, 0_u64);
    for part in parts {
        for (number, target) in part.laid.targets.iter().enumerate() {
            let counts = &part.laid.counts[number];
            let is_held = !matches!(part.combined.variables[number].content, Content::Pieces(_));
            let made = counts.native.len() as u64;
            let n_bytes = made.saturating_mul(target.chunk_bytes());
            if is_held {
                (n_inline, inline_bytes) = (n_inline + made, inline_bytes.saturating_add(n_bytes));
            } else {
                (n_native, native_bytes) = (n_native + made, native_bytes.saturating_add(n_bytes));
            }
            report.items.push(item(part, number, is_held));
        }
        notes(report, part);
    }
    report.total("native_chunks", n_native);
    report.total("native_bytes", native_bytes);
    report.total("inline_chunks", n_inline);
    report.total("inline_bytes", inline_bytes);
    if parts.len() > 1 {
        let groups: Vec<&str> = parts.iter().map(|part| part.prefix.trim_start_matches('/')).collect();
        report.warn(
            "virtual.split",
            format!("the files cannot be one dataset by reference: each kind is a group, {}", groups.join(", ")),
        );
    }
    if native_bytes > 0 && wanted.write.format == VirtualFormat::Icechunk {
        report.warn("virtual.native", format!("{n_native} chunks cannot be referenced and are copied"));
    }
    let left_out: Vec<&LeftOut> = parts.iter().flat_map(|part| &part.left_out).collect();
    crate::make::tell_left_out(report, &left_out);
}

/// What is said of one array.
fn item(part: &Part, number: usize, is_held: bool) -> serde_json::Value {
    let (target, counts) = (&part.laid.targets[number], &part.laid.counts[number]);
    let made = counts.native.len() as u64;
    let how = match (is_held, counts.references, made) {
        (true, ..) => "inline",
        (false, _, 0) => "referenced",
        (false, 0, _) => "native",
        (false, ..) => "hybrid",
    };
    #[allow(clippy::cast_precision_loss)] // a share for people to read
    let share = if is_held { 0.0 } else { made as f64 / (made + counts.references).max(1) as f64 };
    let mut item = json!({
        "path": format!("{}{}", part.prefix, target.path), "shape": target.shape, "dtype": target.dtype.to_string(),
        "dimensions": target.dimensions, "chunks": target.chunk_shape,
        "codecs": crate::inspect::words::codec_words(&target.codecs, target.dtype.swap_bytes()),
        "how": how, "references": counts.references, "native_share": share,
    });
    if let (false, Some(why)) = (is_held, counts.why) {
        let note = part.combined.notes.iter().find(|(path, _)| *path == target.path).map(|(_, note)| note.as_str());
        item["why"] = json!(note.unwrap_or_else(|| why.words()));
    }
    item
}

fn notes(report: &mut Report, part: &Part) {
    for (path, note) in &part.combined.notes {
        report.warn("combine.note", format!("{path}: {note}"));
    }
    crate::make::tell_dropped(report, &part.combined);
}
