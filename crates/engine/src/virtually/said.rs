//! What a plan of references says of itself.

use frazil_model::{combine::Content, recipe::virtually::VirtualFormat, report::Report};
use serde::Serialize;
use serde_json::json;

use super::{
    address::{Way, doors},
    make::{Part, VirtualRequest},
    record::Record,
};
use crate::views::LeftOut;

/// Groups that are named one by one.
const MOST_GROUPS: usize = 10;

/// Chunks of a plan, and where their bytes are.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Amounts {
    /// Chunks that stay in the files.
    pub references: u64,
    /// Their stored bytes.
    pub referenced_bytes: u64,
    /// Chunks that are made from the files' values.
    pub native_chunks: u64,
    /// Their decoded bytes.
    pub native_bytes: u64,
    /// Chunks of small values that were read along with the structure.
    pub inline_chunks: u64,
    /// Their decoded bytes.
    pub inline_bytes: u64,
    /// Most memory that making chunks will take.
    pub peak_memory_bytes: u64,
}

impl Amounts {
    /// Of a dataset in these parts.
    pub fn of(parts: &[Part]) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.peak_memory_bytes += part.work.as_ref().map_or(0, |work| work.peak_memory_bytes);
            for (number, (target, counts)) in part.laid.targets.iter().zip(&part.laid.counts).enumerate() {
                let made = counts.native.len() as u64;
                let n_bytes = made.saturating_mul(target.chunk_bytes());
                let (chunks, bytes) = match is_held(part, number) {
                    true => (&mut all.inline_chunks, &mut all.inline_bytes),
                    false => (&mut all.native_chunks, &mut all.native_bytes),
                };
                (*chunks, *bytes) = (chunks.saturating_add(made), bytes.saturating_add(n_bytes));
                all.references = all.references.saturating_add(counts.references);
                all.referenced_bytes = all.referenced_bytes.saturating_add(counts.referenced_bytes);
            }
        }
        all
    }
}

/// Whether the values of an array are in memory, since joining needed them.
fn is_held(part: &Part, number: usize) -> bool {
    !matches!(part.combined.variables[number].content, Content::Pieces(_))
}

/// The arrays of which chunks are made from the files' values, each with the reason.
pub(crate) fn made_arrays(parts: &[Part]) -> Vec<(String, String)> {
    let of_part = |part: &Part| -> Vec<(String, String)> {
        let numbers = (0..part.laid.targets.len()).filter(|number| !is_held(part, *number));
        numbers
            .filter(|number| !part.laid.counts[*number].native.is_empty())
            .filter_map(|number| {
                Some((format!("{}{}", part.prefix, part.laid.targets[number].path), why_made(part, number)?))
            })
            .collect()
    };
    parts.iter().flat_map(of_part).collect()
}

fn why_made(part: &Part, number: usize) -> Option<String> {
    let why = part.laid.counts[number].why?;
    let path = &part.laid.targets[number].path;
    let note = part.combined.notes.iter().find(|(about, _)| about == path).map(|(_, note)| note.as_str());
    Some(note.unwrap_or_else(|| why.words()).to_owned())
}

/// What the plan says.
pub(super) fn tell(
    report: &mut Report,
    wanted: &VirtualRequest,
    (parts, why_split): (&[Part], Option<&str>),
    record: &Record,
) {
    let sum = |of: &dyn Fn(&Part) -> usize| parts.iter().map(of).sum::<usize>();
    let amounts = Amounts::of(parts);
    report.total("files", sum(&|part| part.sources.len()));
    report.total("arrays", sum(&|part| part.laid.targets.len()));
    report.total("references", amounts.references);
    report.total("referenced_bytes", amounts.referenced_bytes);
    report.total("peak_memory_bytes", amounts.peak_memory_bytes);
    report.more.insert("plan".into(), json!(record.plan));
    let doors = doors(parts.iter().flat_map(|part| &part.files.addresses));
    let prefixes = |is_wanted: &dyn Fn(&Way) -> bool| {
        json!(doors.iter().filter(|(_, way)| is_wanted(way)).map(|(prefix, _)| prefix).collect::<Vec<_>>())
    };
    report.more.insert("leads_to".into(), prefixes(&|_| true));
    report.more.insert("asks_unsigned".into(), prefixes(&|way| !way.is_signed()));
    for part in parts {
        report.items.extend((0..part.laid.targets.len()).map(|number| item(part, number)));
        notes(report, part);
    }
    report.total("native_chunks", amounts.native_chunks);
    report.total("native_bytes", amounts.native_bytes);
    report.total("inline_chunks", amounts.inline_chunks);
    report.total("inline_bytes", amounts.inline_bytes);
    if parts.len() > 1 {
        report.warn("virtual.split", split_words(parts, why_split));
    }
    if amounts.native_bytes > 0 && wanted.write.format == VirtualFormat::Icechunk {
        report.warn("virtual.native", format!("{} chunks cannot be referenced and are copied", amounts.native_chunks));
    }
    let left_out: Vec<&LeftOut> = parts.iter().flat_map(|part| &part.left_out).collect();
    crate::make::tell_left_out(report, &left_out);
}

/// Why files are set apart, and which group has which of them.
fn split_words(parts: &[Part], why_split: Option<&str>) -> String {
    let group = |part: &Part| {
        let (name, n) = (part.prefix.trim_start_matches('/'), part.sources.len());
        let first = part.sources.first().map_or("", |source| source.name.as_str());
        if n > 1 { format!("{name} has `{first}` and {} more", n - 1) } else { format!("{name} has `{first}`") }
    };
    let mut groups: Vec<String> = parts.iter().take(MOST_GROUPS).map(group).collect();
    if parts.len() > MOST_GROUPS {
        groups.push(format!("and so on up to {}", parts[parts.len() - 1].prefix.trim_start_matches('/')));
    }
    let why = why_split.map_or_else(String::new, |why| format!(" ({why})"));
    format!(
        "the files cannot be one dataset by reference{why}: files that are alike became a group each, and each is opened by the \
         name of its group; {}",
        groups.join(", ")
    )
}

/// What is said of one array.
fn item(part: &Part, number: usize) -> serde_json::Value {
    let is_held = is_held(part, number);
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
    if let (false, Some(why)) = (is_held, why_made(part, number)) {
        item["why"] = json!(why);
    }
    item
}

fn notes(report: &mut Report, part: &Part) {
    for (path, note) in &part.combined.notes {
        report.warn("combine.note", format!("{path}: {note}"));
    }
    crate::make::tell_attributes(report, &part.combined);
}
