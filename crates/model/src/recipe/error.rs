//! What can be wrong with a recipe, and where.
//!
//! Each error stands on one line and names the key. `render` shows the line of the recipe with a caret beneath.

use std::fmt;

use crate::{
    problem::{Exit, Problem},
    recipe::span::Position,
};

/// No more than this many errors of one text are kept: the first ones are what an author mends first.
pub const MAX_ERRORS: usize = 50;

/// One thing wrong with a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeError {
    /// Which YAML document of the file, from 1.
    pub document: usize,
    /// Where.
    pub at: Position,
    /// What.
    pub fault: Fault,
}

/// What is wrong, without the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Fault {
    #[error("this is not YAML: {reason}")]
    Yaml { reason: String },
    #[error("{what} is larger than the limit of {limit}")]
    TooLarge { what: String, limit: u64 },
    #[error("the file holds no recipe")]
    Empty,
    #[error("key `{key}` was given before, on line {first_line}")]
    DuplicateKey { key: String, first_line: u32 },
    #[error("unknown key `{key}` in `{section}`{}", did_you_mean(.suggestion.as_deref()))]
    UnknownKey { section: String, key: String, suggestion: Option<String>, known: Vec<String> },
    #[error("`{key}` cannot be `{value}`{}", did_you_mean(.suggestion.as_deref()))]
    UnknownValue { key: String, value: String, suggestion: Option<String>, known: Vec<String> },
    #[error("`{key}` must be {expected}, for example `{example}`, and is {found}")]
    WrongType { key: String, expected: String, example: String, found: String },
    #[error("`{section}` lacks `{key}`, for example `{example}`")]
    MissingKey { section: String, key: String, example: String },
    #[error("`{key}` still holds the placeholder `{value}`")]
    Placeholder { key: String, value: String },
    #[error("`{key}` is not supported yet")]
    NotYet { key: String },
    #[error("`{key}`: {reason}")]
    BadValue { key: String, reason: String },
    #[error("`{key}` names `{name}`; {among}{}", did_you_mean(.suggestion.as_deref()))]
    UnknownName { key: String, name: String, among: String, suggestion: Option<String> },
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// On one line, whatever the author's names hold: no line breaks, no escapes for a terminal, no end of text.
impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.line > 0 {
            write!(f, "line {}, column {}: ", self.at.line, self.at.column)?;
        }
        /// More than that buries the message.
        const MAX_SHOWN_CHARS: usize = 500;
        let message = self.fault.to_string();
        let shown: String =
            message.chars().take(MAX_SHOWN_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let cut = if message.chars().nth(MAX_SHOWN_CHARS).is_some() { "…" } else { "" };
        write!(f, "{shown}{cut}")
    }
}

impl std::error::Error for RecipeError {}

impl Problem for RecipeError {
    fn code(&self) -> &'static str {
        self.fault.code()
    }

    fn hint(&self) -> Option<String> {
        self.fault.hint()
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

impl Problem for Fault {
    fn code(&self) -> &'static str {
        match self {
            Self::Yaml { .. } => "recipe.yaml",
            Self::TooLarge { .. } => "recipe.too-large",
            Self::Empty => "recipe.empty",
            Self::DuplicateKey { .. } => "recipe.duplicate-key",
            Self::UnknownKey { .. } => "recipe.unknown-key",
            Self::UnknownValue { .. } => "recipe.unknown-value",
            Self::WrongType { .. } => "recipe.wrong-type",
            Self::MissingKey { .. } => "recipe.missing-key",
            Self::Placeholder { .. } => "recipe.placeholder",
            Self::NotYet { .. } => "recipe.not-yet",
            Self::BadValue { .. } => "recipe.bad-value",
            Self::UnknownName { .. } => "recipe.unknown-name",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { known, .. } | Self::UnknownValue { known, .. } if !known.is_empty() => Some(format!(
                "known are {}",
                known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            )),
            Self::Placeholder { .. } => Some("write the value, or take the line out".into()),
            Self::DuplicateKey { .. } => Some("keep one of the two".into()),
            _ => None,
        }
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

impl RecipeError {
    /// The error, the line of `text` it is about, and a caret beneath its column.
    #[must_use]
    pub fn render(&self, text: &str) -> String {
        /// A line longer than this is shown in part.
        const MAX_SHOWN: usize = 120;
        let index = self.at.line.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        let Some(line) = index.and_then(|index| text.lines().nth(index)) else {
            return self.to_string();
        };
        let column = usize::try_from(self.at.column).unwrap_or(1).max(1);
        // A line of a hundred thousand characters would bury the message.
        let skipped = if column > MAX_SHOWN { column - MAX_SHOWN / 2 } else { 0 };
        let shown: String =
            line.chars().skip(skipped).take(MAX_SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let number = self.at.line.to_string();
        let margin = " ".repeat(number.len());
        let indent = " ".repeat(column - 1 - skipped.min(column - 1));
        format!("{self}\n{margin} |\n{number} | {shown}\n{margin} | {indent}^")
    }
}
