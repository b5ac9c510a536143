//! What is done to each file before files are combined: the verbs, as data.
//!
//! Steps run in the order in which they are written, and each sees names as the steps before left them.

use serde::{Deserialize, Serialize, Serializer};

use crate::{
    attribute::AttributeValue,
    dtype::{DataType, FloatType},
    recipe::{
        calc::Expression,
        combine::Duplicates,
        date::TimeFormat,
        span::Spanned,
        spec::{Label, Pick},
        subset::Bbox,
    },
};

/// A step on one file. Names of variables may hold `*` and `?` where a list of names is asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Step {
    /// Only these variables, and what they need: coordinates, bounds, grid mapping, cell measures, ancillary variables.
    Keep(Vec<Spanned<String>>),
    /// Without these variables.
    Drop(Vec<Spanned<String>>),
    /// Old names and new ones, of variables and dimensions; all at once, so that two may change places.
    Rename(Vec<(Spanned<String>, Spanned<String>)>),
    /// Only what is in this group; names are then without the group's path.
    Group(Spanned<String>),
    /// Variables of all groups, a group's path before the name: `a_b_name` where the separator is `_`.
    FlattenGroups {
        /// Between the parts of a path.
        separator: String,
    },
    /// These variables are coordinates.
    SetCoords(Vec<Spanned<String>>),
    /// A new dimension of length one, with its label.
    AddDim {
        /// Its name.
        dimension: Spanned<String>,
        /// Its label.
        label: Spanned<DimLabel>,
    },
    /// The time of a file from somewhere other than its time coordinate.
    TimeFrom(TimeFrom),
    /// Only these labels, sorted by name of the coordinate.
    Subset(Vec<(Spanned<String>, Pick)>),
    /// Only what lies in a box of latitudes and longitudes.
    Bbox(Bbox),
    /// Without these dimensions, which have length one; all such if none is named.
    Squeeze(Vec<Spanned<String>>),
    /// Dimensions in this order; those not named stay behind them in their old order.
    Transpose(Vec<Spanned<String>>),
    /// Sorted by the labels of these dimensions.
    Sort(Vec<(Spanned<String>, Order)>),
    /// Labels of a dimension that occur twice.
    Dedup(Vec<(Spanned<String>, Duplicates)>),
    /// Values in another type, refused where one does not fit. A float becomes the nearest of a narrower float type.
    Cast(Vec<(Spanned<String>, DataType)>),
    /// Values that mean "missing".
    Mask(Vec<(Spanned<String>, MaskRule)>),
    /// New values from old ones, in the order written; a later line sees the results of earlier ones.
    Calc(Vec<(Spanned<String>, Spanned<Expression>)>),
    /// Attributes set and removed, after decoding.
    Attrs(Vec<AttributeEdits>),
    /// Attributes mended before decoding: wrong units, a missing calendar, a wrong fill value.
    FixBeforeDecode(Vec<AttributeEdits>),
    /// Global attributes of a file that become scalar variables: attribute and variable.
    Promote(Vec<(Spanned<String>, Spanned<String>)>),
}

/// The label of a new dimension.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum DimLabel {
    /// The file's value of a key: `{member}` or `{file.member}`.
    Key(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

/// Where the time of a file is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimeFrom {
    /// The dimension and coordinate that is made.
    pub dimension: Spanned<String>,
    /// Where its label is.
    pub from: TimeSource,
}

/// Where the time of a file is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum TimeSource {
    /// A key of the file.
    Key(Spanned<String>),
    /// A global attribute, and how time is written there; without a format, as `2010-06-30T12:00:00`.
    Attribute(Spanned<String>, Option<TimeFormat>),
    /// Another variable of the file.
    Variable(Spanned<String>),
}

/// Which label comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Order {
    /// The smallest.
    #[default]
    Ascending,
    /// The largest.
    Descending,
}

/// Values that mean "missing": any that one of the conditions holds for. In units of the decoded values.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MaskRule {
    /// Equal to one of these.
    pub values: Vec<f64>,
    /// Less than this.
    pub below: Option<f64>,
    /// Greater than this.
    pub above: Option<f64>,
}

impl MaskRule {
    /// The rule with its numbers as a float type holds them.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // rounding is what it is for
    pub fn rounded(&self, float: FloatType) -> Self {
        let round = |value: f64| if float == FloatType::F64 { value } else { f64::from(value as f32) };
        Self {
            values: self.values.iter().map(|value| round(*value)).collect(),
            below: self.below.map(round),
            above: self.above.map(round),
        }
    }

    /// Whether `value` means "missing".
    #[must_use]
    pub fn masks(&self, value: f64) -> bool {
        self.values.contains(&value)
            || self.below.is_some_and(|least| value < least)
            || self.above.is_some_and(|most| value > most)
    }
}

/// Attributes to set and to remove.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttributeEdits {
    /// Of a variable, or of the dataset (written `global`).
    pub of: Option<Spanned<String>>,
    /// Name and new value; without a value the attribute is removed.
    pub edits: Vec<(Spanned<String>, AttributeEdit)>,
}

/// What becomes of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeEdit {
    /// It has this value.
    Set(AttributeValue),
    /// It is taken out (written `~`).
    Remove,
}

/// By type and bits, since JSON has no NaN and does not tell 1 from 1.0.
impl Serialize for AttributeEdit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Remove => serializer.serialize_none(),
            Self::Set(AttributeValue::Numbers(numbers)) => {
                let bits: String = numbers.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                serializer.collect_str(&format_args!("{}:{bits}", numbers.type_name()))
            }
            Self::Set(AttributeValue::Text(text) | AttributeValue::Unread(text)) => {
                serializer.collect_str(&format_args!("text:{text}"))
            }
            Self::Set(AttributeValue::Texts(texts)) => texts.serialize(serializer),
        }
    }
}

impl Pick {
    /// Whether a number is taken.
    ///
    /// `None` if a label is not a number.
    #[must_use]
    #[allow(clippy::float_cmp)] // a label is meant exactly
    pub fn takes(&self, value: f64) -> Option<bool> {
        match self {
            Self::At(label) => Some(label.number()? == value),
            Self::Between(from, to) => {
                let within = |label: &Option<Label>, test: fn(f64, f64) -> bool| match label {
                    None => Some(true),
                    Some(label) => Some(test(value, label.number()?)),
                };
                Some(within(from, |value, from| value >= from)? && within(to, |value, to| value <= to)?)
            }
        }
    }
}
