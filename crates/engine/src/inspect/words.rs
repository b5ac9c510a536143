//! Codecs, attributes and reasons in words.

use frazil_model::{
    attribute::{AttributeValue, Attributes, Numbers},
    codec::{ByteOrder, Codec, CodecChain},
    problem::Problem,
};
use serde_json::{Map, Value};
use std::error::Error;

use crate::error::EngineError;

/// Numbers of one attribute that are shown; tables in attributes can have millions.
const MOST_NUMBERS: usize = 100_000;

/// A chain in words: `shuffle, deflate 4`; `none` if there is no step.
#[must_use]
pub fn codec_words(chain: &CodecChain, swap_bytes: u32) -> String {
    let mut words: Vec<String> = Vec::new();
    if chain.byte_order == ByteOrder::Big && swap_bytes > 1 {
        words.push("big-endian".into());
    }
    words.extend(chain.steps.iter().map(step_words));
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

fn step_words(step: &Codec) -> String {
    let level = |name: &str, level: &Option<u32>| level.map_or(name.to_owned(), |level| format!("{name} {level}"));
    match step {
        Codec::Shuffle { .. } => "shuffle".into(),
        Codec::Deflate { level: found } => level("deflate", found),
        Codec::Gzip { level: found } => level("gzip", found),
        Codec::Fletcher32 => "fletcher32".into(),
        Codec::Crc32c => "crc32c".into(),
        Codec::Zstd { level } => level.map_or("zstd".into(), |level| format!("zstd {level}")),
        Codec::Blosc { cname, clevel, shuffle, .. } => {
            let shuffle = ["", " with shuffle", " with bit shuffle"].get(*shuffle as usize).copied().unwrap_or("");
            format!("blosc {cname} {clevel}{shuffle}")
        }
        Codec::Hdf5 { id, name, .. } => {
            let known = frazil_formats::codecs::name_of_hdf5_filter(*id);
            let name = if known == "unknown filter" && !name.is_empty() { name.as_str() } else { known };
            format!("{name} (HDF5 filter {id})")
        }
        Codec::IntegerBits { precision, .. } => format!("integers of {precision} bits"),
        Codec::TextCells { size_bytes, .. } => format!("texts in cells of {size_bytes}"),
        Codec::FloatBits { .. } => "floats of an unusual layout".into(),
    }
}

/// Attributes as JSON, with the types of numbers lost and NaN as text.
pub(super) fn attributes(attributes: &Attributes) -> Value {
    let mut object = Map::new();
    for (name, value) in &attributes.0 {
        object.insert(name.clone(), attribute(value));
    }
    Value::Object(object)
}

fn attribute(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::Text(text) => text.clone().into(),
        AttributeValue::Texts(texts) => texts.clone().into(),
        AttributeValue::Unread(reason) => serde_json::json!({"unread": reason}),
        AttributeValue::Numbers(numbers) => {
            let mut all = listed(numbers);
            match (all.len(), all.pop()) {
                (1, Some(single)) => single,
                (_, last) => {
                    all.extend(last);
                    Value::Array(all)
                }
            }
        }
    }
}

fn listed(numbers: &Numbers) -> Vec<Value> {
    let float = |value: f64| {
        serde_json::Number::from_f64(value).map_or_else(|| Value::String(value.to_string()), Value::Number)
    };
    match numbers {
        // The shortest text that gives the same float32, not the digits of a float64.
        Numbers::F32(values) => {
            values.iter().take(MOST_NUMBERS).map(|value| value.to_string().parse().map_or(Value::Null, float)).collect()
        }
        Numbers::F64(values) => values.iter().take(MOST_NUMBERS).map(|value| float(*value)).collect(),
        Numbers::U64(values) => values.iter().take(MOST_NUMBERS).map(|value| (*value).into()).collect(),
        other => {
            let integers = other.to_integers().unwrap_or_default();
            integers
                .into_iter()
                .take(MOST_NUMBERS)
                .filter_map(|value| i64::try_from(value).ok())
                .map(Value::from)
                .collect()
        }
    }
}

/// Why something could not be read, without the names that stand beside it.
pub(super) fn reason(error: &EngineError, file: &str) -> String {
    let text = match error {
        EngineError::Unreadable { reason, file: named, .. } if named == file => reason.clone(),
        EngineError::Chunk { chunk, source, .. } => format!("chunk {chunk} could not be read: {source}"),
        other => match other.source() {
            Some(cause) => format!("{other}: {cause}"),
            None => other.to_string(),
        },
    };
    match error.hint() {
        Some(hint) if matches!(error, EngineError::Store(_)) => format!("{text} ({hint})"),
        _ => text,
    }
}
