//! Addresses with holes: `https://host/{variable}/{time:%Y%m%d}.nc`.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::Serialize;

use crate::recipe::{amount::bad, date::TimeFormat, error::Fault, read::shortened, source::KeyValue};

/// Text with `{key}` fields in it; `{{` and `}}` stand for the braces themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field { key: String, format: Format },
}

/// How a field is written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Format {
    AsItIs,
    /// `{month:02}`
    Digits(usize),
    /// `{time:%Y}`
    Time(TimeFormat),
}

impl FromStr for Template {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else if let Some((field, after)) = from.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(field_of(field)?);
                rest = after;
            } else {
                let reason = "a brace is open or closed alone; `{{` and `}}` stand for the braces themselves";
                return Err(bad(reason.to_owned()));
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self { text: text.to_owned(), pieces })
    }
}

fn field_of(field: &str) -> Result<Piece, Fault> {
    let (key, format) = field.split_once(':').unwrap_or((field, ""));
    // `{file.year}` says the same as `{year}`.
    let key = key.strip_prefix("file.").unwrap_or(key);
    if key.is_empty() || !key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-') {
        return Err(bad(format!("`{{{}}}` names no key", shortened(field))));
    }
    let digits = format.strip_prefix('0').and_then(|width| width.parse().ok()).filter(|width| (1..=20).contains(width));
    let format = match digits {
        _ if format.is_empty() => Format::AsItIs,
        Some(width) => Format::Digits(width),
        None if format.contains('%') => Format::Time(format.parse()?),
        None => {
            let reason = format!("`{{{}}}` is written neither `{{key:02}}` nor `{{key:%Y%m%d}}`", shortened(field));
            return Err(bad(reason));
        }
    };
    Ok(Piece::Field { key: key.to_owned(), format })
}

impl Template {
    /// The keys it names, each as often as it stands there.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Field { key, .. } => Some(key.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The text before the first field.
    #[must_use]
    pub fn start(&self) -> String {
        match self.pieces.first() {
            Some(Piece::Text(text)) => text.clone(),
            Some(Piece::Field { .. }) | None => String::new(),
        }
    }

    /// The text with the values of `keys` in the fields.
    ///
    /// # Errors
    /// A key that is not there, or a value that cannot be written as its field asks.
    pub fn fill(&self, keys: &BTreeMap<String, KeyValue>) -> Result<String, Fault> {
        let mut filled = String::with_capacity(self.text.len());
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Field { key, format } => {
                    let Some(value) = keys.get(key) else {
                        return Err(bad(format!("`{{{key}}}` has no value: there is no key `{key}`")));
                    };
                    filled.push_str(&written(key, value, format)?);
                }
            }
        }
        Ok(filled)
    }
}

fn written(key: &str, value: &KeyValue, format: &Format) -> Result<String, Fault> {
    match (format, value) {
        (Format::AsItIs, _) => Ok(value.to_string()),
        (Format::Time(format), KeyValue::Time(moment)) => Ok(format.write(*moment)),
        (Format::Digits(width), KeyValue::Integer { value, .. }) => Ok(format!("{value:0width$}")),
        (Format::Time(_), _) => Err(bad(format!("`{{{key}:%…}}` is written as a time, and `{key}` is `{value}`"))),
        (Format::Digits(_), _) => Err(bad(format!("`{{{key}:0…}}` is written as a number, and `{key}` is `{value}`"))),
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Template {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}
