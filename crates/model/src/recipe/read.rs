//! Typed reading of a YAML tree that goes on after an error, so that an author sees all of them at once.
//!
//! Every reader answers `None` after noting what is wrong; the caller goes on with the next key.

use std::str::FromStr;

use crate::recipe::{
    error::{Fault, MAX_ERRORS, RecipeError},
    span::{Position, Spanned},
    suggest::nearest,
    yaml::{Content, Node},
};

/// The errors found so far in one document.
pub(crate) struct Problems {
    pub document: usize,
    pub errors: Vec<RecipeError>,
    /// Regular expressions that may still be compiled: each costs milliseconds.
    pub patterns_left: usize,
}

impl Problems {
    pub(crate) fn of_document(document: usize) -> Self {
        /// As many as a file with several recipes may have.
        const MAX_PATTERNS: usize = 64;
        Self { document, errors: Vec::new(), patterns_left: MAX_PATTERNS }
    }

    /// Whether more errors would not be kept, so that nobody need look for them.
    pub(crate) fn are_enough(&self) -> bool {
        self.errors.len() >= MAX_ERRORS
    }

    pub(crate) fn add(&mut self, at: Position, fault: Fault) {
        if !self.are_enough() {
            self.errors.push(RecipeError { document: self.document, at, fault });
        }
    }

    pub(crate) fn bad(&mut self, at: Position, key: &str, reason: impl Into<String>) {
        self.add(at, Fault::BadValue { key: key.to_owned(), reason: reason.into() });
    }

    pub(crate) fn not_yet(&mut self, at: Position, key: &str) {
        self.add(at, Fault::NotYet { key: key.to_owned() });
    }

    fn wrong(&mut self, node: &Node, key: &str, expected: &str, example: &str) {
        let fault = Fault::WrongType {
            key: key.to_owned(),
            expected: expected.to_owned(),
            example: example.to_owned(),
            found: node.describe(),
        };
        self.add(node.at, fault);
    }
}

/// A plain value, with the type that YAML's core schema gives it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Plain {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
}

impl Node {
    /// What it is, for a message.
    pub(crate) fn describe(&self) -> String {
        match &self.content {
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a mapping".to_owned(),
            Content::Scalar { .. } => match self.plain() {
                Some(Plain::Null) | None => "empty".to_owned(),
                Some(Plain::Bool(value)) => format!("{value}"),
                Some(Plain::Integer(value)) => format!("the number {value}"),
                Some(Plain::Float(value)) => format!("the number {value}"),
                Some(Plain::Text(text)) => format!("`{}`", shortened(&text)),
            },
        }
    }

    /// The value of a scalar.
    pub(crate) fn plain(&self) -> Option<Plain> {
        let Content::Scalar { text, quoted } = &self.content else { return None };
        if *quoted {
            return Some(Plain::Text(text.clone()));
        }
        Some(match text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => Plain::Null,
            "true" | "True" | "TRUE" => Plain::Bool(true),
            "false" | "False" | "FALSE" => Plain::Bool(false),
            ".nan" | ".NaN" | ".NAN" => Plain::Float(f64::NAN),
            ".inf" | "+.inf" | ".Inf" => Plain::Float(f64::INFINITY),
            "-.inf" | "-.Inf" => Plain::Float(f64::NEG_INFINITY),
            _ => number(text).unwrap_or_else(|| Plain::Text(text.clone())),
        })
    }

    /// The text of a scalar as written, if there is any.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, quoted } if *quoted || !matches!(self.plain(), Some(Plain::Null)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn list(&self) -> Option<&[Self]> {
        if let Content::List(items) = &self.content { Some(items) } else { None }
    }

    pub(crate) fn map(&self) -> Option<&[(Spanned<String>, Self)]> {
        if let Content::Map(entries) = &self.content { Some(entries) } else { None }
    }
}

fn number(text: &str) -> Option<Plain> {
    // `inf` and `nan` are words in YAML; Rust would read them as numbers.
    if !text.contains(|c: char| c.is_ascii_digit()) || text.contains(|c: char| !"0123456789+-.eE".contains(c)) {
        return None;
    }
    if let Ok(value) = text.parse() {
        return Some(Plain::Integer(value));
    }
    // A whole number that does not fit would lose digits as a float; it stays text, which nobody takes for a number.
    let has_point = text.contains(['.', 'e', 'E']);
    text.parse().ok().filter(|value: &f64| has_point && value.is_finite()).map(Plain::Float)
}

/// Text of the author's in a message: one line, not endless.
pub(crate) fn shortened(text: &str) -> String {
    /// As much as a message line bears.
    const MAX_SHOWN_CHARS: usize = 60;
    let mut shown: String = text.chars().take(MAX_SHOWN_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MAX_SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// A mapping with known keys.
pub(crate) struct Fields<'n> {
    section: &'n str,
    at: Position,
    entries: &'n [(Spanned<String>, Node)],
}

impl<'n> Fields<'n> {
    /// The mapping `node`. Keys that are neither `known` nor `planned` are noted as unknown, planned ones as not yet there.
    pub(crate) fn of(
        node: &'n Node,
        section: &'n str,
        known: &[&str],
        planned: &[&str],
        example: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        let Some(entries) = node.map() else {
            problems.wrong(node, section, "a mapping", example);
            return None;
        };
        for (key, _) in entries {
            if problems.are_enough() {
                break;
            }
            if planned.contains(&key.as_str()) {
                problems.not_yet(key.at, &format!("{section}.{key}"));
            } else if !known.contains(&key.as_str()) {
                problems.add(key.at, unknown_key(section, key, known));
            }
        }
        Some(Self { section, at: node.at, entries })
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(name, _)| name.value == key).map(|(_, node)| node)
    }

    pub(crate) fn need(&self, key: &str, example: &str, problems: &mut Problems) -> Option<&'n Node> {
        let node = self.get(key);
        if node.is_none() {
            let fault = Fault::MissingKey {
                section: self.section.to_owned(),
                key: key.to_owned(),
                example: example.to_owned(),
            };
            problems.add(self.at, fault);
        }
        node
    }
}

pub(crate) fn unknown_key(section: &str, key: &str, known: &[&str]) -> Fault {
    Fault::UnknownKey {
        section: section.to_owned(),
        key: shortened(key),
        suggestion: nearest(key, known.iter().copied()),
        known: known.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// A text; numbers count as their text.
pub(crate) fn text(node: &Node, key: &str, example: &str, problems: &mut Problems) -> Option<Spanned<String>> {
    let Some(text) = node.text().filter(|text| !text.is_empty()) else {
        problems.wrong(node, key, "text", example);
        return None;
    };
    Some(Spanned::new(text.to_owned(), node.at))
}

/// A text, or a list of texts.
pub(crate) fn texts(node: &Node, key: &str, example: &str, problems: &mut Problems) -> Vec<Spanned<String>> {
    match node.list() {
        None if node.map().is_some() || node.text().is_none() => {
            problems.wrong(node, key, "a list", example);
            Vec::new()
        }
        None => text(node, key, example, problems).into_iter().collect(),
        Some([]) => {
            problems.wrong(node, key, "a list that is not empty", example);
            Vec::new()
        }
        Some(items) => items.iter().filter_map(|item| text(item, key, example, problems)).collect(),
    }
}

/// The entries of a mapping that is not empty.
pub(crate) fn entries<'n>(
    node: &'n Node,
    key: &str,
    example: &str,
    problems: &mut Problems,
) -> &'n [(Spanned<String>, Node)] {
    match node.map() {
        Some(entries) if !entries.is_empty() => entries,
        _ => {
            problems.wrong(node, key, "a mapping that is not empty", example);
            &[]
        }
    }
}

/// A finite number.
pub(crate) fn finite(node: &Node, key: &str, example: &str, problems: &mut Problems) -> Option<f64> {
    #[allow(clippy::cast_precision_loss)] // a number of a recipe
    match node.plain() {
        Some(Plain::Integer(value)) => Some(value as f64),
        Some(Plain::Float(value)) if value.is_finite() => Some(value),
        _ => {
            problems.wrong(node, key, "a number", example);
            None
        }
    }
}

/// A whole number of at least `least`.
pub(crate) fn whole(node: &Node, key: &str, least: u64, example: &str, problems: &mut Problems) -> Option<u64> {
    if let Some(Plain::Integer(value)) = node.plain()
        && let Ok(value) = u64::try_from(value)
        && value >= least
    {
        return Some(value);
    }
    problems.wrong(node, key, &format!("a whole number of at least {least}"), example);
    None
}

/// `true` or `false`.
pub(crate) fn truth(node: &Node, key: &str, problems: &mut Problems) -> Option<bool> {
    if let Some(Plain::Bool(value)) = node.plain() {
        return Some(value);
    }
    problems.wrong(node, key, "true or false", "true");
    None
}

/// One of a few words.
pub(crate) fn word<T: Copy>(node: &Node, key: &str, choices: &[(&str, T)], problems: &mut Problems) -> Option<T> {
    let example = choices.first().map_or("", |(name, _)| *name);
    let written = text(node, key, example, problems)?;
    let found = choices.iter().find(|(name, _)| *name == written.value).map(|(_, value)| *value);
    if found.is_none() {
        let fault = Fault::UnknownValue {
            key: key.to_owned(),
            value: shortened(&written),
            suggestion: nearest(&written, choices.iter().map(|(name, _)| *name)),
            known: choices.iter().map(|(name, _)| (*name).to_owned()).collect(),
        };
        problems.add(node.at, fault);
    }
    found
}

/// A text with a grammar of its own, read by the same `FromStr` as on the command line.
pub(crate) fn parsed<T>(node: &Node, key: &str, example: &str, problems: &mut Problems) -> Option<T>
where
    T: FromStr,
    T::Err: Into<Fault>,
{
    let written = text(node, key, example, problems)?;
    match written.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            problems.add(node.at, error.into().under(key));
            None
        }
    }
}

impl Fault {
    /// The same fault, said of `key`: a grammar does not know under which key or option it stands.
    #[must_use]
    pub fn under(self, key: &str) -> Self {
        match self {
            Self::BadValue { reason, .. } => Self::BadValue { key: key.to_owned(), reason },
            Self::UnknownValue { value, suggestion, known, .. } => {
                Self::UnknownValue { key: key.to_owned(), value, suggestion, known }
            }
            other => other,
        }
    }
}
