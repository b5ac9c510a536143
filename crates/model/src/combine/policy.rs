//! What the author of a recipe decides for files that differ.

use serde::{Deserialize, Serialize};

/// Every decision about files that differ. The default refuses whatever would change a value.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Policies {
    /// The dimension that grows from file to file; `None`: the one whose labels differ.
    pub along: Option<String>,
    /// Other packing: `scale_factor`, `add_offset`, `_FillValue`, `missing_value` or the packed dtype.
    pub packing: PackingPolicy,
    /// Other dtype of numbers that are not packed.
    pub dtype: DtypePolicy,
    /// Descriptive attributes that differ.
    pub attributes: AttributePolicy,
    /// Coordinates of the other dimensions.
    pub align: Vec<(Option<String>, Align)>,
    /// A label that occurs twice.
    pub duplicates: Duplicates,
    /// The step between labels, as text of a duration, and what happens where it is not kept.
    pub gaps: Option<Gaps>,
}

/// What to do with files of different packing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum PackingPolicy {
    /// Refuse.
    #[default]
    Error,
    /// Store counts of one packing, if every stored count maps exactly.
    Repack,
    /// Store the values that xarray computes.
    Decode,
}

/// What to do with files of different dtype.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DtypePolicy {
    /// Refuse.
    #[default]
    Error,
    /// Store the widest type, if every value fits it.
    Widen,
}

/// What to do with descriptive attributes that differ. Those that change the meaning are always an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum AttributePolicy {
    /// Leave them out and list them.
    #[default]
    DropConflicts,
    /// Keep the first file's.
    First,
    /// Refuse.
    Error,
}

/// How coordinates of files are matched.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub enum Align {
    /// Equal to the bit.
    #[default]
    Exact,
    /// At most this far apart; the first file's are written.
    Tolerance(f64),
}

/// What to do with a label that occurs in two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Duplicates {
    /// Refuse.
    #[default]
    Error,
    /// Take the first file's.
    First,
    /// Take the last file's.
    Last,
}

/// The step that labels are expected to keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gaps {
    /// Nanoseconds from one label to the next.
    pub expect_ns: i128,
    /// Whether another step is an error or a warning.
    pub otherwise: GapPolicy,
}

/// What to do with a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum GapPolicy {
    /// Refuse.
    #[default]
    Error,
    /// Say it.
    Allow,
}

impl Policies {
    /// How coordinates of `dimension` are matched.
    #[must_use]
    pub fn align_of(&self, dimension: &str) -> Align {
        let named = self.align.iter().find(|(name, _)| name.as_deref() == Some(dimension));
        let general = || self.align.iter().find(|(name, _)| name.is_none());
        named.or_else(general).map_or(Align::Exact, |(_, align)| *align)
    }
}
