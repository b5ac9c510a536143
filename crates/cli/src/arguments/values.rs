//! Values of options, read by the grammar of recipes, so that a word means the same everywhere.

use std::str::FromStr;

use frazil_model::recipe::{
    amount::ByteSize,
    combine::{Align, Alignment, Differ, DifferAttrs, DifferDtype, DifferPacking, DifferTime, DifferUnits, Duplicates},
    span::Spanned,
    spec::ChunkSpec,
    virtually::{FORMATS, IfIncompatible, PINNINGS, POLICIES, Pinning, VirtualFormat},
    write::ZarrFormat,
};

use super::ShardSpec;

/// Reads a value by the grammar of recipes.
pub(super) fn read<T>(text: &str) -> Result<T, String>
where
    T: FromStr<Err = frazil_model::recipe::Fault>,
{
    text.parse().map_err(|fault| plain(&fault))
}

/// What is wrong, without the key that a recipe would have.
fn plain(fault: &frazil_model::recipe::Fault) -> String {
    match fault {
        frazil_model::recipe::Fault::BadValue { reason, .. } => reason.clone(),
        frazil_model::recipe::Fault::UnknownValue { suggestion: Some(near), .. } => format!("did you mean `{near}`?"),
        frazil_model::recipe::Fault::UnknownValue { known, .. } => format!("known are {}", known.join(", ")),
        other => other.to_string(),
    }
}

pub(super) fn threads(text: &str) -> Result<usize, String> {
    /// More threads than any machine has use for.
    const MAX_THREADS: usize = 1024;
    match text.parse() {
        Ok(n @ 1..=MAX_THREADS) => Ok(n),
        _ => Err(format!("a number of threads is 1 to {MAX_THREADS}")),
    }
}

pub(super) fn zarr_format(text: &str) -> Result<ZarrFormat, String> {
    match text {
        "2" => Ok(ZarrFormat::V2),
        "3" => Ok(ZarrFormat::V3),
        _ => Err("it is 2 or 3".into()),
    }
}

pub(super) fn virtual_format(text: &str) -> Result<VirtualFormat, String> {
    named(text, &FORMATS)
}

/// A size that may be none at all.
pub(super) fn some_bytes(text: &str) -> Result<ByteSize, String> {
    if text == "0" { Ok(ByteSize(0)) } else { read(text) }
}

pub(super) fn pinning(text: &str) -> Result<Pinning, String> {
    named(text, &PINNINGS)
}

pub(super) fn if_incompatible(text: &str) -> Result<IfIncompatible, String> {
    named(text, &POLICIES)
}

fn named<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let known: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    found.ok_or_else(|| format!("it is one of {}", known.join(", ")))
}

pub(super) fn shards(text: &str) -> Result<ShardSpec, String> {
    match read::<ChunkSpec>(text)? {
        ChunkSpec::Explicit(lengths) => Ok(ShardSpec(lengths)),
        ChunkSpec::Auto { .. } => Err("shards are named lengths, such as `time=300`".into()),
    }
}

pub(super) fn duplicates(text: &str) -> Result<Duplicates, String> {
    match text {
        "error" => Ok(Duplicates::Error),
        "first" => Ok(Duplicates::First),
        "last" => Ok(Duplicates::Last),
        _ => Err("it is `error`, `first` or `last`".into()),
    }
}

/// `name=value` words with commas between them.
fn rules<'t>(text: &'t str, example: &str) -> Result<Vec<(&'t str, &'t str)>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("it is written like `{example}`"))?;
            Ok((name.trim(), value.trim()))
        })
        .collect()
}

pub(super) fn differ(text: &str) -> Result<Differ, String> {
    let mut differ = Differ::default();
    for (name, value) in rules(text, "packing=repack,units=first")? {
        let known = match name {
            "packing" => choose(
                value,
                &mut differ.packing,
                &[
                    ("error", DifferPacking::Error),
                    ("repack", DifferPacking::Repack),
                    ("decode", DifferPacking::Decode),
                ],
            ),
            "dtype" => {
                choose(value, &mut differ.dtype, &[("error", DifferDtype::Error), ("promote", DifferDtype::Promote)])
            }
            "units" => {
                choose(value, &mut differ.units, &[("error", DifferUnits::Error), ("first", DifferUnits::First)])
            }
            "time" => choose(value, &mut differ.time, &[("rebase", DifferTime::Rebase), ("error", DifferTime::Error)]),
            "attrs" => choose(
                value,
                &mut differ.attrs,
                &[
                    ("drop_conflicts", DifferAttrs::DropConflicts),
                    ("drop-conflicts", DifferAttrs::DropConflicts),
                    ("first", DifferAttrs::First),
                    ("error", DifferAttrs::Error),
                ],
            ),
            _ => return Err(format!("`{name}` is none of packing, dtype, units, time, attrs")),
        };
        known.map_err(|known| format!("`{name}` is one of {known}, not `{value}`"))?;
    }
    Ok(differ)
}

/// Sets the choice that a word names; the error lists the words.
fn choose<T: Copy>(word: &str, choice: &mut T, words: &[(&str, T)]) -> Result<(), String> {
    match words.iter().find(|(name, _)| *name == word) {
        Some((_, named)) => {
            *choice = *named;
            Ok(())
        }
        None => Err(words.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")),
    }
}

pub(super) fn align(text: &str) -> Result<Align, String> {
    let mut align = Align::default();
    for (name, value) in rules(text, "lat=1e-5")? {
        let how = match value {
            "exact" => Alignment::Exact,
            "outer" => Alignment::Outer,
            _ => match value.parse::<f64>() {
                Ok(tolerance) if tolerance.is_finite() && tolerance >= 0.0 => Alignment::Tolerance(tolerance),
                _ => return Err(format!("`{value}` is no distance such as `1e-5`, nor `exact` or `outer`")),
            },
        };
        align.dimensions.push((Spanned::unplaced(name.to_owned()), how));
    }
    align.dimensions.sort_by(|(a, _), (b, _)| a.value.cmp(&b.value));
    Ok(align)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_for_files_that_differ_are_words() {
        let rules = differ("packing=repack,units=first").unwrap();
        assert_eq!((rules.packing, rules.units), (DifferPacking::Repack, DifferUnits::First));
        assert!(differ("packing=guess").unwrap_err().contains("repack"));
        assert!(differ("colour=red").is_err());
        assert_eq!(align("lat=1e-5").unwrap().of("lat"), Alignment::Tolerance(1e-5));
        assert_eq!(align("lat=outer").unwrap().of("lon"), Alignment::Exact);
        assert!(align("lat=near").is_err());
    }
}
