//! JSON as zarr-python writes it: with bare `NaN`, `Infinity` and `-Infinity`, which JSON itself does not have.
//!
//! In memory such a number is an object with the single key NUL, which no attribute can be. It promises that what was
//! written is read again, and that the same value gives the same bytes.

use serde_json::{Map, Value, json};

use crate::FormatError;

const MARK: &str = "\0";
const TOKENS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];

/// A number, finite or not.
pub(super) fn float(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { json!({ MARK: float_name(value) }) }
}

/// The name of a number that is not finite, as Zarr spells it in fill values.
pub(super) fn float_name(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// The number of a name.
pub(super) fn named_float(name: &str) -> Option<f64> {
    Some(match name {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        _ => return None,
    })
}

/// The number that `value` is, finite or not; integers round beyond 2^53.
pub(super) fn as_float(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| named_float(value.as_object()?.get(MARK)?.as_str()?))
}

/// Reads a document.
pub(super) fn parse(what: &str, text: &str) -> Result<Value, FormatError> {
    serde_json::from_str(&marked(text)).map_err(|error| FormatError::Malformed {
        what: what.to_owned(),
        offset: 0,
        reason: error.to_string(),
    })
}

/// The text with its bare tokens marked; text inside quotes stays.
fn marked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(token) = TOKENS.iter().find(|token| rest.starts_with(**token)) {
            out.push_str(&format!("{{\"\\u0000\":\"{token}\"}}"));
            rest = rest.get(token.len()..).unwrap_or_default();
            continue;
        }
        let n_bytes = if rest.starts_with('"') { quoted_bytes(rest) } else { plain_bytes(rest) };
        let (taken, left) = rest.split_at(n_bytes);
        out.push_str(taken);
        rest = left;
    }
    out
}

/// Bytes of the text in quotes that `text` begins with.
fn quoted_bytes(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Bytes up to the next quote or token; at least one character.
fn plain_bytes(text: &str) -> usize {
    let first = text.chars().next().map_or(0, char::len_utf8);
    let rest = text.get(first..).unwrap_or_default();
    first + rest.find(['"', 'N', 'I', '-']).unwrap_or(rest.len())
}

/// Writes a document, indented by two spaces, keys in the order given.
pub(super) fn to_text(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out);
    out
}

fn write(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(map) => match map.get(MARK) {
            Some(Value::String(token)) if map.len() == 1 => out.push_str(token),
            _ => write_object(map, depth, out),
        },
        Value::Array(values) if values.is_empty() => out.push_str("[]"),
        Value::Array(values) => {
            out.push('[');
            for (place, value) in values.iter().enumerate() {
                new_line(place, depth + 1, out);
                write(value, depth + 1, out);
            }
            new_line(0, depth, out);
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn write_object(map: &Map<String, Value>, depth: usize, out: &mut String) {
    if map.is_empty() {
        return out.push_str("{}");
    }
    out.push('{');
    for (place, (key, value)) in map.iter().enumerate() {
        new_line(place, depth + 1, out);
        out.push_str(&Value::from(key.as_str()).to_string());
        out.push_str(": ");
        write(value, depth + 1, out);
    }
    new_line(0, depth, out);
    out.push('}');
}

fn new_line(place: usize, depth: usize, out: &mut String) {
    if place > 0 {
        out.push(',');
    }
    out.push('\n');
    out.push_str(&"  ".repeat(depth));
}
