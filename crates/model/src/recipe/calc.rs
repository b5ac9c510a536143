//! Arithmetic of a recipe: `sqrt(u ** 2 + v ** 2)`, as a tree. Total: no loops, no side effects, bounded in size.

use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::recipe::{amount::bad, error::Fault};

/// An expression over variables.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    text: String,
}

impl FromStr for Expression {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        if text.is_empty() { Err(bad("empty".into())) } else { Ok(Self { text: text.to_owned() }) }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Expression {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
