//! What must hold of the result, checked before it is published.

use serde::Serialize;

use crate::{
    attribute::AttributeValue,
    recipe::{
        amount::Interval,
        each::AttributeEdit,
        error::Fault,
        read::{Fields, Problems, entries, finite, parsed, text, texts, unknown_key, whole},
        span::Spanned,
        steps::{attribute_edit, named_words},
        yaml::Node,
    },
};

/// One thing that must hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Expectation {
    /// Lengths of dimensions.
    Dims(Vec<(Spanned<String>, u64)>),
    /// Decoded values lie in a range.
    Range {
        /// Smallest and largest value of each variable.
        ranges: Vec<(Spanned<String>, f64, f64)>,
        /// The largest fraction of values that may be missing; without it, any.
        allow_nan: Option<f64>,
    },
    /// Labels only rise, or only fall.
    Monotonic(Vec<(Spanned<String>, Direction)>),
    /// Labels follow one another at this distance.
    Gaps(Vec<(Spanned<String>, Interval)>),
    /// Units of variables, as text.
    Units(Vec<(Spanned<String>, Spanned<String>)>),
    /// Attributes of a variable, or of the dataset (written `global`).
    AttrsEqual(Vec<ExpectedAttributes>),
    /// No label occurs twice.
    Unique(Vec<Spanned<String>>),
    /// This fraction of the chunks, read again and compared with the sources.
    SampleEqualsSource(f64),
}

/// Which way labels run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Direction {
    /// Each larger than the one before.
    Increasing,
    /// Each smaller than the one before.
    Decreasing,
    /// One of the two.
    Either,
}

/// Attributes that must be there with these values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExpectedAttributes {
    /// Of a variable, or of the dataset.
    pub of: Option<Spanned<String>>,
    /// Name and value; [`AttributeEdit::Remove`] means that it must not be there.
    pub attributes: Vec<(Spanned<String>, AttributeEdit)>,
}

impl ExpectedAttributes {
    /// Whether `found` is what is expected of one attribute. Numbers are compared by value, not by type.
    #[must_use]
    #[allow(clippy::float_cmp)]
    pub fn holds(expected: &AttributeEdit, found: Option<&AttributeValue>) -> bool {
        match (expected, found) {
            (AttributeEdit::Remove, found) => found.is_none(),
            (AttributeEdit::Set(AttributeValue::Numbers(expected)), Some(AttributeValue::Numbers(found))) => {
                expected.to_f64() == found.to_f64()
            }
            (AttributeEdit::Set(expected), Some(found)) => expected == found,
            (AttributeEdit::Set(_), None) => false,
        }
    }
}

const KINDS: [&str; 8] =
    ["dims", "range", "monotonic", "gaps", "units", "attrs_equal", "unique", "sample_equals_source"];

/// The list under `expect`; a mapping of the same keys says the same.
pub(crate) fn expect(node: &Node, problems: &mut Problems) -> Vec<Spanned<Expectation>> {
    let single = std::slice::from_ref(node);
    let mut found = Vec::new();
    for item in node.list().unwrap_or(single) {
        for (kind, node) in entries(item, "expect", "[{dims: {lat: 180}}]", problems) {
            if problems.are_enough() {
                return found;
            }
            if KINDS.contains(&kind.as_str()) {
                found.extend(expectation(kind, node, problems).map(|expected| Spanned::new(expected, kind.at)));
            } else {
                problems.add(kind.at, unknown_key("expect", kind, &KINDS));
            }
        }
    }
    found
}

fn expectation(kind: &str, node: &Node, problems: &mut Problems) -> Option<Expectation> {
    Some(match kind {
        "dims" => {
            let mut dims = Vec::new();
            for (name, node) in entries(node, kind, "{lat: 180}", problems) {
                dims.extend(whole(node, kind, 0, "180", problems).map(|length| (name.clone(), length)));
            }
            dims.sort_by(|(a, _), (b, _)| a.value.cmp(&b.value));
            Expectation::Dims(dims)
        }
        "range" => range(node, problems),
        "monotonic" => {
            let directions = [
                ("increasing", Direction::Increasing),
                ("decreasing", Direction::Decreasing),
                ("either", Direction::Either),
            ];
            Expectation::Monotonic(named_words(node, kind, &directions, Direction::Either, problems))
        }
        "gaps" => {
            let mut gaps = Vec::new();
            for (name, node) in entries(node, kind, "{time: 1d}", problems) {
                gaps.extend(parsed(node, kind, "1d", problems).map(|interval| (name.clone(), interval)));
            }
            Expectation::Gaps(gaps)
        }
        "units" => {
            let mut units = Vec::new();
            for (name, node) in entries(node, kind, "{sst: K}", problems) {
                units.extend(text(node, kind, "K", problems).map(|text| (name.clone(), text)));
            }
            Expectation::Units(units)
        }
        "attrs_equal" => Expectation::AttrsEqual(attributes(node, problems)),
        "unique" => {
            let names = texts(node, kind, "[time]", problems);
            if names.is_empty() {
                return None;
            }
            Expectation::Unique(names)
        }
        _ => {
            let fraction = match node.map() {
                None => Some(node),
                Some(_) => Fields::of(node, kind, &["fraction"], &[], "{fraction: 0.01}", problems)?.need(
                    "fraction",
                    "fraction: 0.01",
                    problems,
                ),
            };
            Expectation::SampleEqualsSource(fraction_of(fraction?, "fraction", problems)?)
        }
    })
}

fn range(node: &Node, problems: &mut Problems) -> Expectation {
    let example = "{precip: [0, 1000], allow_nan: 0.0}";
    let mut ranges = Vec::new();
    let mut allow_nan = None;
    for (name, node) in entries(node, "range", example, problems) {
        if name.value == "allow_nan" {
            allow_nan = fraction_of(node, "allow_nan", problems);
            continue;
        }
        let Some([low, high]) = node.list() else {
            let fault = Fault::WrongType {
                key: format!("range.{name}"),
                expected: "the smallest and the largest value".to_owned(),
                example: "[0, 1000]".to_owned(),
                found: node.describe(),
            };
            problems.add(node.at, fault);
            continue;
        };
        let (low, high) = (finite(low, "range", "0", problems), finite(high, "range", "1000", problems));
        if let (Some(low), Some(high)) = (low, high) {
            if low > high {
                problems.bad(node.at, "range", format!("{low} is above {high}"));
            }
            ranges.push((name.clone(), low, high));
        }
    }
    ranges.sort_by(|(a, ..), (b, ..)| a.value.cmp(&b.value));
    Expectation::Range { ranges, allow_nan }
}

fn fraction_of(node: &Node, key: &str, problems: &mut Problems) -> Option<f64> {
    let fraction = finite(node, key, "0.01", problems)?;
    if !(0.0..=1.0).contains(&fraction) {
        problems.bad(node.at, key, "is a fraction, from 0 to 1");
        return None;
    }
    Some(fraction)
}

fn attributes(node: &Node, problems: &mut Problems) -> Vec<ExpectedAttributes> {
    let example = "{sst: {units: K}}";
    let mut found = Vec::new();
    for (name, node) in entries(node, "attrs_equal", example, problems) {
        let mut attributes = Vec::new();
        for (attribute, node) in entries(node, "attrs_equal", example, problems) {
            attributes.extend(attribute_edit(node, attribute, problems).map(|edit| (attribute.clone(), edit)));
        }
        let of = (name.value != "global").then(|| name.clone());
        found.push(ExpectedAttributes { of, attributes });
    }
    found
}
