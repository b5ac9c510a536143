//! Whether a dataset is what its recipe expects.
//!
//! What can be known from names, attributes and labels is known before anything is read: `check`. What lies in the
//! values is seen while they pass, piece by piece in any order: `ValueChecker`. Nothing here reads.

use std::collections::BTreeMap;

use crate::{
    attribute::Attributes,
    combine::{
        Combined, CombinedVariable, Content,
        attributes::show,
        join::keeps_step,
        labels::{Label, fixed_labels},
    },
    dtype::{DataType, FloatType},
    packing::{Packing, ValueRule, decoded_type},
    problem::Problem,
    recipe::{
        amount::Interval,
        each::{AttributeEdit, MaskRule},
        expect::{Direction, Expectation, ExpectedAttributes},
        span::{Position, Spanned},
        suggest::nearest,
    },
    rule,
};

/// Something that was expected and is not so.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("line {}: {unmet}", at.line)]
pub struct Failure {
    /// Where the author wrote it.
    pub at: Position,
    /// What is not so.
    pub unmet: Unmet,
}

/// What is not as expected.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Unmet {
    #[error("there is no {what} `{name}`")]
    NoName { what: &'static str, name: String, known: Vec<String> },
    #[error("`{name}` is {got} long, not {wanted}")]
    Length { name: String, got: u64, wanted: u64 },
    #[error("the labels of `{name}` cannot be looked at: {reason}")]
    Labels { name: String, reason: String },
    #[error("`{name}` does not only {direction}: after {before} comes {after}")]
    Order { name: String, direction: &'static str, before: String, after: String },
    #[error("after `{name}` = {before} comes {after}, and a step of {wanted} was expected")]
    Gap { name: String, before: String, after: String, wanted: Interval },
    #[error("`{name}` holds {label} twice")]
    Twice { name: String, label: String },
    #[error("`{attribute}` of `{name}` is {got}, not {wanted}")]
    Attribute { name: String, attribute: String, got: String, wanted: String },
    #[error(
        "{n_outside} of {n_values} values of `{name}` lie outside {low} to {high}; they run from {least} to {most}"
    )]
    Outside { name: String, low: f64, high: f64, n_outside: u64, n_values: u64, least: f64, most: f64 },
    #[error("{n_missing} of {n_values} values of `{name}` are missing, more than {allowed} of them")]
    Missing { name: String, n_missing: u64, n_values: u64, allowed: f64 },
    #[error("`{name}` is {dtype}, which has no range")]
    NoNumbers { name: String, dtype: String },
}

impl Problem for Failure {
    fn code(&self) -> &'static str {
        match &self.unmet {
            Unmet::NoName { .. } => "expect.unknown-name",
            Unmet::Length { .. } => "expect.dims",
            Unmet::Labels { .. } => "expect.labels",
            Unmet::Order { .. } => "expect.monotonic",
            Unmet::Gap { .. } => "expect.gaps",
            Unmet::Twice { .. } => "expect.unique",
            Unmet::Attribute { .. } => "expect.attribute",
            Unmet::Outside { .. } | Unmet::NoNumbers { .. } => "expect.range",
            Unmet::Missing { .. } => "expect.missing",
        }
    }

    fn hint(&self) -> Option<String> {
        let Unmet::NoName { name, known, .. } = &self.unmet else { return None };
        Some(format!("did you mean `{}`?", nearest(name, known.iter().map(String::as_str))?))
    }
}

/// What is not as expected of names, lengths, labels and attributes.
#[must_use]
pub fn check(expectations: &[Spanned<Expectation>], combined: &Combined) -> Vec<Failure> {
    let mut found = Vec::new();
    for expected in expectations {
        match &expected.value {
            Expectation::Dims(dims) => {
                dims.iter().for_each(|(name, wanted)| dims_of(combined, name, *wanted, &mut found))
            }
            Expectation::Monotonic(names) => {
                for (name, direction) in names {
                    let labels = labels(combined, name);
                    found.extend(labels.and_then(|labels| in_order(name, &labels, *direction)).err().map(placed(name)));
                }
            }
            Expectation::Gaps(gaps) => {
                for (name, step) in gaps {
                    let labels = labels(combined, name);
                    found.extend(labels.and_then(|labels| without_gap(name, &labels, *step)).err().map(placed(name)));
                }
            }
            Expectation::Unique(names) => {
                for name in names {
                    let labels = labels(combined, name);
                    found.extend(labels.and_then(|labels| once_each(name, labels)).err().map(placed(name)));
                }
            }
            Expectation::Units(units) => {
                for (name, wanted) in units {
                    let got = variable(combined, name).map(|one| one.attributes.text("units").map(str::to_owned));
                    found.extend(match got {
                        Err(unmet) => Some(placed(name)(unmet)),
                        Ok(Some(got)) if got == wanted.value => None,
                        Ok(got) => Some(placed(name)(Unmet::Attribute {
                            name: name.value.clone(),
                            attribute: "units".to_owned(),
                            got: got.map_or_else(|| "none".to_owned(), |got| format!("`{got}`")),
                            wanted: format!("`{wanted}`"),
                        })),
                    });
                }
            }
            Expectation::AttrsEqual(all) => all.iter().for_each(|one| attributes_of(combined, one, &mut found)),
            // Ranges are of values; `ValueChecker` looks at them. Samples are compared by who can read sources.
            Expectation::Range { ranges, .. } => {
                for (name, ..) in ranges {
                    found.extend(variable(combined, name).err().map(placed(name)));
                }
            }
            Expectation::SampleEqualsSource(_) => {}
        }
    }
    found
}

/// The largest fraction of chunks that is to be compared with the sources; `None` if none is.
#[must_use]
pub fn sample_fraction(expectations: &[Spanned<Expectation>]) -> Option<f64> {
    let fractions = expectations.iter().filter_map(|expected| match expected.value {
        Expectation::SampleEqualsSource(fraction) => Some(fraction),
        _ => None,
    });
    fractions.max_by(f64::total_cmp)
}

fn placed<T>(name: &Spanned<T>) -> impl Fn(Unmet) -> Failure + use<T> {
    let at = name.at;
    move |unmet| Failure { at, unmet }
}

fn plain(path: &str) -> &str {
    path.trim_start_matches('/')
}

fn variable<'a>(combined: &'a Combined, name: &str) -> Result<&'a CombinedVariable, Unmet> {
    combined.variables.iter().find(|variable| plain(&variable.path) == plain(name)).ok_or_else(|| Unmet::NoName {
        what: "variable",
        name: name.to_owned(),
        known: combined.variables.iter().map(|variable| plain(&variable.path).to_owned()).collect(),
    })
}

fn dims_of(combined: &Combined, name: &Spanned<String>, wanted: u64, found: &mut Vec<Failure>) {
    let mut known: Vec<String> = Vec::new();
    let mut is_there = false;
    for variable in &combined.variables {
        for (dimension, got) in variable.dimensions.iter().zip(&variable.shape) {
            known.push(dimension.clone());
            if *dimension != name.value || is_there {
                continue;
            }
            is_there = true;
            if *got != wanted {
                found.push(placed(name)(Unmet::Length { name: name.value.clone(), got: *got, wanted }));
            }
        }
    }
    if !is_there {
        found.push(placed(name)(Unmet::NoName { what: "dimension", name: name.value.clone(), known }));
    }
}

/// The labels that a one-dimensional variable holds.
fn labels(combined: &Combined, name: &str) -> Result<Vec<Label>, Unmet> {
    if let Some((_, labels)) = combined.along.as_ref().filter(|(along, _)| along == plain(name)) {
        return Ok(labels.clone());
    }
    let variable = variable(combined, name)?;
    let fail = |reason: String| Unmet::Labels { name: name.to_owned(), reason };
    if variable.dimensions.len() > 1 {
        return Err(fail(format!("it has {} dimensions", variable.dimensions.len())));
    }
    match &variable.content {
        Content::Inline(bytes) => fixed_labels(&variable.dtype, &variable.attributes, bytes).map_err(fail),
        Content::Texts(texts) => Ok(texts.iter().map(|text| Label::Text(text.clone().unwrap_or_default())).collect()),
        Content::Pieces(_) => Err(fail("they are too many to be held".to_owned())),
    }
}

fn in_order(name: &str, labels: &[Label], direction: Direction) -> Result<(), Unmet> {
    let rises = labels.windows(2).find(|pair| matches!(pair, [a, b] if a >= b));
    let falls = labels.windows(2).find(|pair| matches!(pair, [a, b] if a <= b));
    let (wrong, words) = match direction {
        Direction::Increasing => (rises, "rise"),
        Direction::Decreasing => (falls, "fall"),
        Direction::Either => (rises.filter(|_| falls.is_some()), "rise, nor only fall"),
    };
    let Some([before, after]) = wrong else { return Ok(()) };
    let (before, after) = (before.to_string(), after.to_string());
    Err(Unmet::Order { name: name.to_owned(), direction: words, before, after })
}

fn without_gap(name: &str, labels: &[Label], wanted: Interval) -> Result<(), Unmet> {
    for pair in labels.windows(2) {
        let [before, after] = pair else { continue };
        match (before, after) {
            (Label::Time(a, calendar), Label::Time(b, _)) if keeps_step(*a, *b, *calendar, wanted) => {}
            (Label::Time(..), Label::Time(..)) => {
                let (before, after) = (before.to_string(), after.to_string());
                return Err(Unmet::Gap { name: name.to_owned(), before, after, wanted });
            }
            _ => return Err(Unmet::Labels { name: name.to_owned(), reason: "they are no times".to_owned() }),
        }
    }
    Ok(())
}

fn once_each(name: &str, mut labels: Vec<Label>) -> Result<(), Unmet> {
    labels.sort_unstable();
    match labels.windows(2).find(|pair| matches!(pair, [a, b] if a == b)) {
        Some([label, _]) => Err(Unmet::Twice { name: name.to_owned(), label: label.to_string() }),
        _ => Ok(()),
    }
}

fn attributes_of(combined: &Combined, expected: &ExpectedAttributes, found: &mut Vec<Failure>) {
    let nothing = Attributes::default();
    let (name, attributes) = match &expected.of {
        None => {
            let root = combined.groups.iter().find(|(path, _)| path == "/");
            ("global".to_owned(), root.map_or(&nothing, |(_, attributes)| attributes))
        }
        Some(name) => match variable(combined, name) {
            Ok(variable) => (name.value.clone(), &variable.attributes),
            Err(unmet) => return found.push(placed(name)(unmet)),
        },
    };
    for (attribute, wanted) in &expected.attributes {
        let got = attributes.get(attribute);
        if !ExpectedAttributes::holds(wanted, got) {
            let wanted = match wanted {
                AttributeEdit::Set(value) => show(Some(value)),
                AttributeEdit::Remove => "none".to_owned(),
            };
            let (name, attribute_name) = (name.clone(), attribute.value.clone());
            found.push(placed(attribute)(Unmet::Attribute { name, attribute: attribute_name, got: show(got), wanted }));
        }
    }
}

/// Looks at values while they pass.
///
/// Feed it each element of the store once, in any order and in pieces of any size; several checkers may share the work
/// and be merged.
#[derive(Debug, Clone, Default)]
pub struct ValueChecker {
    watched: BTreeMap<String, Vec<Watched>>,
}

/// One range of one variable.
#[derive(Debug, Clone)]
struct Watched {
    name: Spanned<String>,
    low: f64,
    high: f64,
    allowed: Option<f64>,
    /// From the store's elements to their values; `None` if it holds no numbers.
    rule: Option<ValueRule>,
    dtype: DataType,
    /// The bounds as the values' type holds them.
    range: MaskRule,
    n_values: u64,
    n_missing: u64,
    n_outside: u64,
    least: f64,
    most: f64,
}

impl ValueChecker {
    /// A checker for the ranges among the expectations.
    #[must_use]
    pub fn new(expectations: &[Spanned<Expectation>], combined: &Combined) -> Self {
        let mut watched: BTreeMap<String, Vec<Watched>> = BTreeMap::new();
        for expected in expectations {
            let Expectation::Range { ranges, allow_nan } = &expected.value else { continue };
            for (name, low, high) in ranges {
                // A name that is not there was told by `check`.
                let Ok(variable) = variable(combined, name) else { continue };
                watched.entry(variable.path.clone()).or_default().push(Watched::new(
                    name,
                    (*low, *high),
                    *allow_nan,
                    variable,
                ));
            }
        }
        Self { watched }
    }

    /// Whether values of the variable at `path` should be fed.
    #[must_use]
    pub fn wants(&self, path: &str) -> bool {
        self.watched.contains_key(path)
    }

    /// Looks at stored elements of the variable at `path`, little-endian, in the store's type; only those within the
    /// array, not what pads a chunk.
    pub fn feed(&mut self, path: &str, elements: &[u8]) {
        for watched in self.watched.get_mut(path).into_iter().flatten() {
            watched.feed(elements);
        }
    }

    /// Adds what another checker of the same expectations saw.
    pub fn merge(&mut self, other: &Self) {
        for (path, theirs) in &other.watched {
            for (mine, theirs) in self.watched.get_mut(path).into_iter().flatten().zip(theirs) {
                mine.n_values += theirs.n_values;
                mine.n_missing += theirs.n_missing;
                mine.n_outside += theirs.n_outside;
                mine.least = mine.least.min(theirs.least);
                mine.most = mine.most.max(theirs.most);
            }
        }
    }

    /// What is not as expected, of all values that were fed.
    #[must_use]
    pub fn failures(&self) -> Vec<Failure> {
        self.watched.values().flatten().flat_map(Watched::failures).collect()
    }
}

impl Watched {
    fn new(name: &Spanned<String>, (low, high): (f64, f64), allowed: Option<f64>, variable: &CombinedVariable) -> Self {
        let packing = Packing::of(&variable.attributes).through_json();
        let is_number = matches!(variable.dtype, DataType::Int(_) | DataType::Float(_));
        let stored = if let DataType::Float(float) = variable.dtype { float } else { FloatType::F64 };
        let compute = decoded_type(&variable.dtype, &packing).unwrap_or(stored);
        let range = MaskRule { values: Vec::new(), below: Some(low), above: Some(high) }.rounded(compute);
        let rule = ValueRule::Decode { from: variable.dtype.clone(), packing, compute, to: FloatType::F64 };
        Self {
            name: name.clone(),
            low,
            high,
            allowed,
            rule: is_number.then_some(rule),
            dtype: variable.dtype.clone(),
            range,
            n_values: 0,
            n_missing: 0,
            n_outside: 0,
            least: f64::INFINITY,
            most: f64::NEG_INFINITY,
        }
    }

    fn feed(&mut self, elements: &[u8]) {
        /// Bytes that are looked at together; a multiple of every element's size.
        const BLOCK_BYTES: usize = 1 << 14;
        let Some(rule) = &self.rule else { return };
        let mut values = Vec::new();
        for block in elements.chunks(BLOCK_BYTES) {
            values.clear();
            // Decoding cannot fail.
            if rule::apply(rule, block, &mut values).is_err() {
                return;
            }
            for cell in values.chunks_exact(8) {
                let value = cell.try_into().map_or(f64::NAN, f64::from_le_bytes);
                self.n_values += 1;
                if value.is_nan() {
                    self.n_missing += 1;
                    continue;
                }
                self.least = self.least.min(value);
                self.most = self.most.max(value);
                self.n_outside += u64::from(self.range.masks(value));
            }
        }
    }

    fn failures(&self) -> Vec<Failure> {
        let name = self.name.value.clone();
        if self.rule.is_none() {
            return vec![placed(&self.name)(Unmet::NoNumbers { name, dtype: self.dtype.to_string() })];
        }
        let mut found = Vec::new();
        let (n_values, n_missing, n_outside) = (self.n_values, self.n_missing, self.n_outside);
        if n_outside > 0 {
            let (low, high, least, most) = (self.low, self.high, self.least, self.most);
            found.push(Unmet::Outside { name: name.clone(), low, high, n_outside, n_values, least, most });
        }
        #[allow(clippy::cast_precision_loss)] // a fraction
        if let Some(allowed) = self.allowed.filter(|allowed| n_missing as f64 > allowed * n_values as f64) {
            found.push(Unmet::Missing { name, n_missing, n_values, allowed });
        }
        found.into_iter().map(placed(&self.name)).collect()
    }
}

#[cfg(test)]
mod tests;
