//! Why files cannot be combined: which file, which variable, which rule.

use crate::{problem::Problem, recipe::suggest::nearest};

/// Why files cannot be combined.
#[derive(Debug, Clone, thiserror::Error, PartialEq)]
#[allow(missing_docs)]
pub enum CombineError {
    #[error("there is no file to read")]
    NoFiles,
    #[error("{rule}: `{file}` has {what} {value} for `{variable}`; `{first_file}` has {first_value}")]
    Differs {
        rule: Rule,
        variable: String,
        what: String,
        file: String,
        value: String,
        first_file: String,
        first_value: String,
    },
    #[error("`{variable}` is in `{first_file}` and not in `{file}`")]
    Absent { variable: String, file: String, first_file: String },
    #[error(
        "`{variable}` has no dimension `{along}`, and its values in `{file}` differ from those in `{first_file}`: {detail}"
    )]
    Static { variable: String, along: String, file: String, first_file: String, detail: String },
    #[error("`{file}` is not there, and which labels of `{dimension}` it would have cannot be known: {reason}")]
    AbsentLabels { dimension: String, file: String, reason: String },
    #[error("no file has `{variable}` at `{dimension}` = {label}")]
    Uncovered { variable: String, dimension: String, label: String },
    #[error("coordinate `{dimension}` of `{file}` does not match that of `{first_file}`: {detail}")]
    Coordinate { dimension: String, file: String, first_file: String, detail: String },
    #[error("`{file}` and `{first_file}` both hold `{dimension}` = {label}")]
    Duplicate { dimension: String, label: String, file: String, first_file: String },
    #[error("after `{dimension}` = {before} comes {after}, in `{file}`; a step of {expected} was expected")]
    Gap { dimension: String, before: String, after: String, file: String, expected: String },
    #[error("the files differ along {}: which one do they follow each other in?", list(candidates))]
    Ambiguous { candidates: Vec<String> },
    #[error(
        "`{file}` and `{first_file}` have the same coordinates and the same variables, so no dimension grows from file to file"
    )]
    NothingGrows { file: String, first_file: String },
    #[error("no file has a dimension `{dimension}`; the files have {}", list(known))]
    NoDimension { dimension: String, known: Vec<String> },
    #[error("`{file}` has no labels for `{dimension}`: no variable of that name along it")]
    NoLabels { dimension: String, file: String },
    #[error(
        "`{file}`: `{dimension}` of group `{group}` has not the labels of that of `{first_group}`: {label} against {first_label}"
    )]
    GroupLabels {
        dimension: String,
        file: String,
        group: String,
        first_group: String,
        label: String,
        first_label: String,
    },
    #[error("the labels of `{dimension}` in `{file}` cannot be ordered: {reason}")]
    Labels { dimension: String, file: String, reason: String },
    #[error("`{variable}` of `{file}` has time {value}, which `{units}` cannot hold exactly")]
    TimeInexact { variable: String, file: String, value: String, units: String },
    #[error("{what} is not there yet")]
    NotYet { what: String },
    #[error("`{variable}` of `{file}` cannot be written: {reason}")]
    Unwritable { variable: String, file: String, reason: String },
    #[error("`{variable}` of `{file}` is too large to be joined in memory: {reason}")]
    TooLarge { variable: String, file: String, reason: String },
}

/// The rule that two files broke; its name is the error's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Rule {
    Units,
    Calendar,
    Packing,
    Fill,
    Dtype,
    NoCommonDtype,
    Dimensions,
    Length,
    Meaning,
    Attributes,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Units => "units differ",
            Self::Calendar => "calendars differ",
            Self::Packing => "packing differs",
            Self::Fill => "fill values differ",
            Self::Dtype => "dtypes differ",
            Self::NoCommonDtype => "dtypes differ, and no type holds the values of both",
            Self::Dimensions => "dimensions differ",
            Self::Length => "lengths differ",
            Self::Meaning => "meanings differ",
            Self::Attributes => "attributes differ",
        })
    }
}

impl Problem for CombineError {
    fn code(&self) -> &'static str {
        match self {
            Self::NoFiles => "combine.no-files",
            Self::Differs { rule, .. } => match rule {
                Rule::Units => "combine.units",
                Rule::Calendar => "combine.calendar",
                Rule::Packing => "combine.packing",
                Rule::Fill => "combine.fill",
                Rule::Dtype | Rule::NoCommonDtype => "combine.dtype",
                Rule::Dimensions => "combine.dimensions",
                Rule::Length => "combine.length",
                Rule::Meaning => "combine.meaning",
                Rule::Attributes => "combine.attributes",
            },
            Self::Absent { .. } => "combine.absent",
            Self::AbsentLabels { .. } => "combine.absent-labels",
            Self::Uncovered { .. } => "combine.uncovered",
            Self::Static { .. } => "combine.static",
            Self::Coordinate { .. } => "combine.coordinate",
            Self::Duplicate { .. } => "combine.duplicate",
            Self::Gap { .. } => "combine.gap",
            Self::Ambiguous { .. } => "combine.ambiguous",
            Self::NothingGrows { .. } => "combine.nothing-grows",
            Self::NoDimension { .. } => "combine.no-dimension",
            Self::NoLabels { .. } => "combine.no-labels",
            Self::GroupLabels { .. } => "combine.group-labels",
            Self::Labels { .. } => "combine.labels",
            Self::TimeInexact { .. } => "combine.time-inexact",
            Self::NotYet { .. } => "combine.not-yet",
            Self::Unwritable { .. } => "combine.unwritable",
            Self::TooLarge { .. } => "combine.too-large",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotYet { .. } => "docs/recipe.md says what is".into(),
            Self::Differs { rule: Rule::Packing | Rule::Fill, .. } => {
                "choose `differ: {packing: repack}` (counts of one packing, if they map exactly) or `{packing: decode}` (the values); on the command line `--differ packing=decode`".into()
            }
            Self::Differs { rule: Rule::Dtype, .. } => {
                "choose `differ: {dtype: promote}` if the wider type may hold both; on the command line `--differ dtype=promote`".into()
            }
            Self::Differs { rule: Rule::NoCommonDtype, variable, .. } => {
                format!("build the files apart, or choose a type: `each: [{{cast: {{{}: …}}}}]`", variable.trim_start_matches('/'))
            }
            Self::Differs { rule: Rule::Attributes, .. } => "choose `differ: {attrs: drop_conflicts}`".into(),
            Self::Differs { .. } => "`frazil inspect` shows which files form which era; build them apart".into(),
            Self::Absent { variable, .. } => format!("leave it out with `drop: [{}]` (`--vars` on the command line), or build the files apart", variable.trim_start_matches('/')),
            Self::AbsentLabels { .. } => "choose `missing: skip`, or name the key with `along: {DIMENSION: KEY}`".into(),
            Self::Uncovered { .. } => "add the file that has it; `align: {DIMENSION: outer}` fills what no file has, `missing: fill` what files that are not there would bring".into(),
            Self::Static { detail, .. } | Self::Coordinate { detail, .. } if detail.starts_with(OTHER_TYPE) => {
                "if it is the same numbers: `differ: {dtype: promote}` (`--differ dtype=promote` on the command line)".into()
            }
            Self::Static { variable, .. } => format!("leave it out with `drop: [{}]`, or build the files apart", variable.trim_start_matches('/')),
            Self::Coordinate { dimension, detail, .. } if detail == RUNS_THE_OTHER_WAY => {
                format!("turn it round in every file: `each: [{{sort: {{{dimension}: ascending}}}}]`")
            }
            Self::Coordinate { dimension, detail, .. } if !detail.contains(LARGEST_DIFFERENCE) => {
                format!("build the files apart, or leave what has `{dimension}` out")
            }
            Self::Coordinate { dimension, .. } => format!("if the difference does not matter: `align: {{{dimension}: {{tolerance: 1e-5}}}}` (`--align {dimension}=1e-5` on the command line)"),
            Self::Duplicate { .. } => "choose `duplicates: first` or `last` (`--duplicates first` on the command line)".into(),
            Self::GroupLabels { group, .. } => format!("join one group at a time: `each: [{{group: {group}}}]`"),
            Self::Gap { .. } => "add the missing file, or choose `gaps: {otherwise: allow}`".into(),
            Self::Ambiguous { .. } | Self::NothingGrows { .. } => "name it with `combine: {along: NAME}` (`--along NAME` on the command line)".into(),
            Self::NoLabels { dimension, .. } => format!("give the files labels with `each: [{{add_dim: …}}]` or `time_from`, or leave `{dimension}` out"),
            Self::NoDimension { dimension, known } => {
                return nearest(dimension, known.iter().map(String::as_str)).map(|name| format!("did you mean `{name}`?"));
            }
            Self::Labels { dimension, reason, .. } if reason.starts_with(MISSING_LABEL) => format!(
                "a range takes only those that are there: `each: [{{subset: {{{dimension}: FIRST/LAST}}}}]` (`--select {dimension}=FIRST/LAST` on the command line)"
            ),
            Self::NoFiles | Self::Labels { .. } | Self::TimeInexact { .. } | Self::Unwritable { .. } | Self::TooLarge { .. } => return None,
        })
    }
}

/// Why a label that is missing is none.
pub(super) const MISSING_LABEL: &str = "a label is missing";

/// How a variable differs that is of another type.
pub(super) const OTHER_TYPE: &str = "it is of another type";

/// How a coordinate differs that only runs the other way.
pub(super) const RUNS_THE_OTHER_WAY: &str = "it runs the other way";

/// How a coordinate differs that has other numbers.
pub(super) const LARGEST_DIFFERENCE: &str = "the largest difference is";

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
