//! Templates of Kerchunk's version 1: texts with `{{…}}`, of which the part that its specification shows is known.
//!
//! Names, whole numbers, texts in quotes, `+ - * // %`, parentheses, and calls of templates that have parameters. It
//! promises that every template ends, and that what it does not know is an error and never left as it stands.

use std::collections::BTreeMap;

use super::bad;
use crate::FormatError;

/// Templates that call templates, and parentheses within parentheses.
const MOST_DEPTH: usize = 32;

/// Bytes that a template may become.
const MOST_BYTES: usize = 64 << 10;

/// Names and what they stand for.
#[derive(Debug, Default, Clone)]
pub(super) struct Names<'a> {
    /// The document's own.
    pub templates: Option<&'a BTreeMap<String, String>>,
    /// Those that a dimension or a call gives.
    pub values: BTreeMap<String, Value>,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Number(i64),
    Text(String),
}

impl Value {
    fn into_text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// What `template` says.
pub(super) fn render(template: &str, names: &Names<'_>) -> Result<String, FormatError> {
    rendered(template, names, 0)
}

fn rendered(template: &str, names: &Names<'_>, depth: usize) -> Result<String, FormatError> {
    if depth > MOST_DEPTH {
        return Err(bad("its templates have no end"));
    }
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (inside, behind) =
            after.split_once("}}").ok_or_else(|| bad(format!("a template has no end: `{}`", short(template))))?;
        out.push_str(before);
        let mut parser = Parser { rest: inside, names, depth: depth + 1 };
        let value = parser.sum()?;
        if !parser.rest.trim().is_empty() {
            return Err(unknown(inside));
        }
        out.push_str(&value.into_text());
        if out.len() > MOST_BYTES {
            return Err(bad("a template becomes too long"));
        }
        rest = behind;
    }
    if rest.contains("{%") {
        return Err(unknown(rest));
    }
    out.push_str(rest);
    Ok(out)
}

fn unknown(text: &str) -> FormatError {
    bad(format!("a template says more than frazil knows: `{}`", short(text)))
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

struct Parser<'a, 'n> {
    rest: &'a str,
    names: &'a Names<'n>,
    depth: usize,
}

impl<'a> Parser<'a, '_> {
    fn next_is(&mut self, sign: &str) -> bool {
        let rest = self.rest.trim_start();
        match rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn sum(&mut self) -> Result<Value, FormatError> {
        let mut left = self.product()?;
        loop {
            let right = if self.next_is("+") {
                self.product()?
            } else if self.next_is("-") {
                match self.product()? {
                    Value::Number(number) => Value::Number(number.checked_neg().ok_or_else(overflow)?),
                    Value::Text(_) => return Err(bad("a template subtracts a text")),
                }
            } else {
                return Ok(left);
            };
            left = match (left, right) {
                (Value::Number(a), Value::Number(b)) => Value::Number(a.checked_add(b).ok_or_else(overflow)?),
                (Value::Text(a), Value::Text(b)) => Value::Text(a + &b),
                _ => return Err(bad("a template adds a text and a number")),
            };
        }
    }

    fn product(&mut self) -> Result<Value, FormatError> {
        let mut left = self.one()?;
        loop {
            let apply: fn(i64, i64) -> Option<i64> = if self.next_is("*") {
                i64::checked_mul
            } else if self.next_is("//") {
                |a, b| Some(a.checked_div_euclid(b)? - i64::from(b < 0 && a.checked_rem_euclid(b)? != 0))
            } else if self.next_is("%") {
                |a, b| if b > 0 { a.checked_rem_euclid(b) } else { None }
            } else {
                return Ok(left);
            };
            left = match (left, self.one()?) {
                (Value::Number(a), Value::Number(b)) => Value::Number(apply(a, b).ok_or_else(overflow)?),
                _ => return Err(bad("a template multiplies a text")),
            };
        }
    }

    fn one(&mut self) -> Result<Value, FormatError> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(bad("its templates have no end"));
        }
        let value = self.value();
        self.depth -= 1;
        value
    }

    fn value(&mut self) -> Result<Value, FormatError> {
        if self.next_is("(") {
            let value = self.sum()?;
            return if self.next_is(")") { Ok(value) } else { Err(unknown(self.rest)) };
        }
        if self.next_is("-") {
            return match self.one()? {
                Value::Number(number) => number.checked_neg().map(Value::Number).ok_or_else(overflow),
                Value::Text(_) => Err(bad("a template subtracts a text")),
            };
        }
        let rest = self.rest.trim_start();
        if let Some(quote) = rest.chars().next().filter(|sign| matches!(sign, '\'' | '"')) {
            let (text, behind) = rest[1..].split_once(quote).ok_or_else(|| unknown(rest))?;
            self.rest = behind;
            return Ok(Value::Text(text.to_owned()));
        }
        let word = self.word();
        if word.starts_with(|sign: char| sign.is_ascii_digit()) {
            return word.parse().map(Value::Number).map_err(|_| unknown(word));
        }
        if word.is_empty() {
            return Err(unknown(rest));
        }
        if self.next_is("(") { self.call(word) } else { self.named(word, BTreeMap::new()) }
    }

    /// Letters, digits and underscores.
    fn word(&mut self) -> &'a str {
        let rest = self.rest.trim_start();
        let end = rest.find(|sign: char| !(sign.is_ascii_alphanumeric() || sign == '_')).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        self.rest = behind;
        word
    }

    /// A template with the parameters that follow.
    fn call(&mut self, name: &str) -> Result<Value, FormatError> {
        let mut values = BTreeMap::new();
        while !self.next_is(")") {
            let parameter = self.word();
            if parameter.is_empty() || !self.next_is("=") {
                return Err(unknown(self.rest));
            }
            values.insert(parameter.to_owned(), self.sum()?);
            self.next_is(",");
        }
        self.named(name, values)
    }

    fn named(&self, name: &str, values: BTreeMap<String, Value>) -> Result<Value, FormatError> {
        if let (Some(value), true) = (self.names.values.get(name), values.is_empty()) {
            return Ok(value.clone());
        }
        let template = self.names.templates.and_then(|templates| templates.get(name));
        let Some(template) = template else {
            return Err(bad(format!("a template names `{}`, which is nothing", short(name))));
        };
        // The template of a call sees its parameters alone.
        rendered(template, &Names { templates: None, values }, self.depth + 1).map(Value::Text)
    }
}

fn overflow() -> FormatError {
    bad("a template computes a number that is too large")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, expected: Option<&str>) {
        let templates = [("u", "server.domain/path"), ("f", "{{c}}"), ("loop", "{{loop()}}")];
        let templates = templates.map(|(name, text)| (name.to_owned(), text.to_owned())).into_iter().collect();
        let values = BTreeMap::from([("i".to_owned(), Value::Number(3))]);
        let names = Names { templates: Some(&templates), values };
        assert_eq!(render(template, &names).ok().as_deref(), expected, "{template}");
    }

    #[test]
    fn what_the_specification_shows_is_known() {
        check("http://{{u}}_{{i}}", Some("http://server.domain/path_3"));
        check("{{(i + 1) * 1000}}", Some("4000"));
        check("http://{{f(c='text')}}", Some("http://text"));
        check("{{ i // 2 }}-{{ i % 2 }}-{{ -i + 5 }}", Some("1-1-2"));
        check("no template", Some("no template"));
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        for wrong in
            ["{{", "{{x}}", "{{i | abs}}", "{{i / 2}}", "{% for %}", "{{loop()}}", "{{9999999999 * 9999999999}}"]
        {
            check(wrong, None);
        }
        check(&format!("{{{{{}1{}}}}}", "(".repeat(1000), ")".repeat(1000)), None);
    }
}
