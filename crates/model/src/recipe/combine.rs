//! How the files become one dataset, and which differences the author allows.

use serde::{Deserialize, Serialize};

use crate::recipe::{
    amount::Interval,
    read::{Fields, Problems, entries, finite, parsed, text, texts, word},
    span::{Position, Spanned},
    yaml::Node,
};

/// How files are joined. Without `along` and `merge` there is one file.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Combine {
    /// Dimensions along which files follow one another, outermost first.
    pub along: Vec<Along>,
    /// What sets files with different variables side by side.
    pub merge: Option<Merge>,
    /// When the coordinates of two files are the same.
    pub align: Align,
    /// What may differ from file to file.
    pub differ: Differ,
    /// Whether labels may be missing along the joined dimension.
    pub gaps: Option<Gaps>,
    /// What to do about a label that occurs twice.
    pub duplicates: Duplicates,
}

/// A dimension along which files follow one another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Along {
    /// Its name.
    pub dimension: Spanned<String>,
    /// The key that tells files apart along it (`{time: year}`); without it, the dimension's coordinate does.
    pub key: Option<Spanned<String>>,
}

/// What sets files side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Merge {
    /// A key whose values hold different variables.
    Key(Spanned<String>),
    /// Sources by name.
    Sources(Vec<Spanned<String>>),
}

/// When coordinates are the same.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Align {
    /// For every dimension that is not listed.
    pub otherwise: Alignment,
    /// For these, sorted by name.
    pub dimensions: Vec<(Spanned<String>, Alignment)>,
}

impl Align {
    /// How `dimension` is aligned.
    #[must_use]
    pub fn of(&self, dimension: &str) -> Alignment {
        self.dimensions.iter().find(|(name, _)| name.value == dimension).map_or(self.otherwise, |(_, how)| *how)
    }
}

/// How the labels of two files are compared.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub enum Alignment {
    /// Equal to the bit.
    #[default]
    Exact,
    /// No further apart than this, in the coordinate's unit; the first file's labels stand.
    Tolerance(f64),
    /// All labels of all files; what a file lacks is missing.
    Outer,
}

/// What may differ from file to file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Differ {
    /// `scale_factor`, `add_offset`.
    pub packing: DifferPacking,
    /// Units and epoch of times.
    pub time: DifferTime,
    /// Units of other variables.
    pub units: DifferUnits,
    /// Descriptive attributes.
    pub attrs: DifferAttrs,
    /// Types of stored values.
    pub dtype: DifferDtype,
}

/// Files that are packed differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DifferPacking {
    /// Stop.
    #[default]
    Error,
    /// Give all the packing of one file, where readers get the same bits from every count; else write decoded values.
    Repack,
    /// Write decoded values.
    Decode,
}

/// Files whose times count from different epochs or in different units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DifferTime {
    /// Count all as the first file does, where that is exact.
    #[default]
    Rebase,
    /// Stop.
    Error,
}

/// Files whose `units` are not the same text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DifferUnits {
    /// Stop.
    #[default]
    Error,
    /// The author says that they mean the same: the first file's text stands, values are untouched.
    First,
}

/// Files whose descriptive attributes differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DifferAttrs {
    /// Leave out those that differ, and list them.
    #[default]
    DropConflicts,
    /// The first file's stand.
    First,
    /// Stop.
    Error,
}

/// Files whose types differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DifferDtype {
    /// Stop.
    #[default]
    Error,
    /// The smallest type that holds every value of all of them exactly.
    Promote,
}

/// The spacing of labels, and what to do where it breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gaps {
    /// From one label to the next.
    pub expect: Interval,
    /// What to do about a longer way.
    pub otherwise: Otherwise,
    /// Where the author wrote it.
    #[serde(skip)]
    pub at: Position,
}

/// What to do about a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Otherwise {
    /// Stop.
    #[default]
    Error,
    /// Go on, and list it.
    Allow,
}

/// What to do about a label that occurs twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Duplicates {
    /// Stop.
    #[default]
    Error,
    /// Take the first.
    First,
    /// Take the last.
    Last,
}

pub(crate) const DUPLICATES: [(&str, Duplicates); 3] =
    [("error", Duplicates::Error), ("first", Duplicates::First), ("last", Duplicates::Last)];

/// The mapping under `combine`.
pub(crate) fn combine(node: &Node, problems: &mut Problems) -> Combine {
    let known = ["along", "merge", "align", "differ", "gaps", "duplicates"];
    let Some(fields) = Fields::of(node, "combine", &known, &["tiles", "rows"], "{along: time}", problems) else {
        return Combine::default();
    };
    Combine {
        along: fields.get("along").map_or_else(Vec::new, |node| along(node, problems)),
        merge: fields.get("merge").and_then(|node| merge(node, problems)),
        align: fields.get("align").map_or_else(Align::default, |node| align(node, problems)),
        differ: fields.get("differ").map_or_else(Differ::default, |node| differ(node, problems)),
        gaps: fields.get("gaps").and_then(|node| gaps(node, problems)),
        duplicates: fields
            .get("duplicates")
            .and_then(|node| word(node, "duplicates", &DUPLICATES, problems))
            .unwrap_or_default(),
    }
}

fn along(node: &Node, problems: &mut Problems) -> Vec<Along> {
    if let Some(items) = node.list() {
        return items.iter().flat_map(|item| along_one(item, problems)).collect();
    }
    along_one(node, problems)
}

fn along_one(node: &Node, problems: &mut Problems) -> Vec<Along> {
    if node.map().is_none() {
        let dimension = text(node, "along", "time", problems);
        return dimension.into_iter().map(|dimension| Along { dimension, key: None }).collect();
    }
    entries(node, "along", "{time: year}", problems)
        .iter()
        .map(|(name, node)| Along { dimension: name.clone(), key: text(node, "along", "{time: year}", problems) })
        .collect()
}

fn merge(node: &Node, problems: &mut Problems) -> Option<Merge> {
    if node.list().is_some() {
        let sources = texts(node, "merge", "[ocean, ice]", problems);
        return (!sources.is_empty()).then_some(Merge::Sources(sources));
    }
    text(node, "merge", "variable", problems).map(Merge::Key)
}

fn align(node: &Node, problems: &mut Problems) -> Align {
    let single = node.map().is_none()
        || node.map().is_some_and(|entries| entries.iter().any(|(key, _)| key.value == "tolerance"));
    if single {
        return Align { otherwise: alignment(node, problems).unwrap_or_default(), dimensions: Vec::new() };
    }
    let mut dimensions: Vec<(Spanned<String>, Alignment)> = entries(node, "align", "{lat: exact}", problems)
        .iter()
        .filter_map(|(name, node)| Some((name.clone(), alignment(node, problems)?)))
        .collect();
    dimensions.sort_by(|(a, _), (b, _)| a.value.cmp(&b.value));
    Align { otherwise: Alignment::default(), dimensions }
}

fn alignment(node: &Node, problems: &mut Problems) -> Option<Alignment> {
    if node.map().is_none() {
        return word(node, "align", &[("exact", Alignment::Exact), ("outer", Alignment::Outer)], problems);
    }
    let fields = Fields::of(node, "align", &["tolerance"], &[], "{tolerance: 1e-5}", problems)?;
    let node = fields.need("tolerance", "tolerance: 1e-5", problems)?;
    let tolerance = finite(node, "tolerance", "1e-5", problems)?;
    if tolerance <= 0.0 {
        problems.bad(node.at, "tolerance", "must be above 0; `exact` is the word for 0");
        return None;
    }
    Some(Alignment::Tolerance(tolerance))
}

fn differ(node: &Node, problems: &mut Problems) -> Differ {
    let known = ["packing", "time", "units", "attrs", "dtype"];
    let Some(fields) = Fields::of(node, "differ", &known, &["columns"], "{packing: repack}", problems) else {
        return Differ::default();
    };
    let packings =
        [("error", DifferPacking::Error), ("repack", DifferPacking::Repack), ("decode", DifferPacking::Decode)];
    let times = [("rebase", DifferTime::Rebase), ("error", DifferTime::Error)];
    let units = [("error", DifferUnits::Error), ("first", DifferUnits::First)];
    let attrs =
        [("drop_conflicts", DifferAttrs::DropConflicts), ("first", DifferAttrs::First), ("error", DifferAttrs::Error)];
    let dtypes = [("error", DifferDtype::Error), ("promote", DifferDtype::Promote)];
    Differ {
        packing: fields.get("packing").and_then(|node| word(node, "packing", &packings, problems)).unwrap_or_default(),
        time: fields.get("time").and_then(|node| word(node, "time", &times, problems)).unwrap_or_default(),
        units: fields.get("units").and_then(|node| word(node, "units", &units, problems)).unwrap_or_default(),
        attrs: fields.get("attrs").and_then(|node| word(node, "attrs", &attrs, problems)).unwrap_or_default(),
        dtype: fields.get("dtype").and_then(|node| word(node, "dtype", &dtypes, problems)).unwrap_or_default(),
    }
}

fn gaps(node: &Node, problems: &mut Problems) -> Option<Gaps> {
    let example = "{expect: 1d, otherwise: error}";
    let fields = Fields::of(node, "gaps", &["expect", "otherwise"], &[], example, problems)?;
    let choices = [("error", Otherwise::Error), ("allow", Otherwise::Allow)];
    let otherwise =
        fields.get("otherwise").and_then(|node| word(node, "otherwise", &choices, problems)).unwrap_or_default();
    let expect = fields.need("expect", "expect: 1d", problems)?;
    Some(Gaps { expect: parsed(expect, "expect", "1d", problems)?, otherwise, at: expect.at })
}
