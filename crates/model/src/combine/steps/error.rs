//! Why a step cannot be done to a file: which line, which file, which name.

use crate::{
    problem::{Exit, Problem},
    recipe::{span::Position, suggest::nearest},
};

/// How many names a message lists.
const MAX_LISTED: usize = 8;

/// A step that cannot be done to a file.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}`{step}`: {fault}", place(*at, file))]
pub struct StepError {
    /// Where the author wrote it; line 0 is the command line.
    pub at: Position,
    /// The verb.
    pub step: &'static str,
    /// The file.
    pub file: String,
    /// What is wrong.
    pub fault: StepFault,
}

/// What is wrong with a step.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs)]
pub enum StepFault {
    #[error("there is no {what} `{name}`{}", among(known))]
    Unknown { what: Thing, name: String, known: Vec<String> },
    #[error("there is a {what} `{name}` already")]
    Taken { what: Thing, name: String },
    #[error("`{name}` has {got} elements along `{dimension}`, and only a dimension of length one can be taken away")]
    NotSingle { name: String, dimension: String, got: u64 },
    #[error("`{name}` has {n_dimensions} dimensions; labels stand along one")]
    NotOneDimensional { name: String, n_dimensions: usize },
    #[error("the labels of `{name}` cannot be used: {reason}")]
    Labels { name: String, reason: String },
    #[error("`{written}` is not a {wanted}, as the labels of `{name}` are")]
    LabelKind { name: String, written: String, wanted: &'static str },
    #[error("no label of `{name}` is {written}; they run from {first} to {last}")]
    NothingPicked { name: String, written: String, first: String, last: String },
    #[error("`{name}` holds {label} twice")]
    Twice { name: String, label: String },
    #[error("`{name}` cannot be {what}: {reason}")]
    Values { name: String, what: &'static str, reason: String },
    #[error("the file has no key `{name}`{}", among(known))]
    NoKey { name: String, known: Vec<String> },
    #[error("`{written}` of {origin} is not a time{}", format.as_ref().map(|format| format!(" as `{format}` writes it")).unwrap_or_default())]
    NotATime { origin: String, written: String, format: Option<String> },
    #[error("`{dimension}` has {got} elements, and {origin} gives one label")]
    OneLabel { dimension: String, got: u64, origin: String },
    #[error("attribute `{attribute}` of `{name}` decides what its values are")]
    DecodesValues { name: String, attribute: String },
    #[error("`{attribute}` {value} of `{name}` is no {dtype}")]
    WrongFill { name: String, attribute: String, value: String, dtype: String },
    #[error("`{name}` has no way to say \"missing\": it is {dtype} without `_FillValue`")]
    NoMissing { name: String, dtype: String },
    #[error("`{name}` is {length} long along `{dimension}`, and `{other}` {other_length}")]
    Lengths { name: String, length: u64, dimension: String, other: String, other_length: u64 },
    #[error("`{name}` runs from {first} to {last}, and the box goes over its edge")]
    OverTheEdge { name: String, first: String, last: String },
    #[error("nothing lies in the box: `{name}` runs from {first} to {last}")]
    NothingInBox { name: String, first: String, last: String },
    #[error("`{name}` would be computed from variables that are computed themselves, more than {limit} in all")]
    TooDeep { name: String, limit: usize },
    #[error("`{name}` cannot be held in memory: {got_bytes} bytes, and the limit is {limit_bytes}")]
    TooLarge { name: String, got_bytes: u64, limit_bytes: u64 },
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Thing {
    Variable,
    Dimension,
    VariableOrDimension,
    Coordinate,
    Group,
    Attribute,
}

impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Variable => "variable",
            Self::Dimension => "dimension",
            Self::VariableOrDimension => "variable or dimension",
            Self::Coordinate => "coordinate",
            Self::Group => "group",
            Self::Attribute => "attribute",
        })
    }
}

impl Problem for StepError {
    fn code(&self) -> &'static str {
        match &self.fault {
            StepFault::Unknown { .. } => "step.unknown-name",
            StepFault::Taken { .. } => "step.name-taken",
            StepFault::NotSingle { .. } => "step.not-single",
            StepFault::NotOneDimensional { .. } => "step.not-one-dimensional",
            StepFault::Labels { .. } | StepFault::LabelKind { .. } => "step.labels",
            StepFault::NothingPicked { .. } => "step.nothing-picked",
            StepFault::Twice { .. } => "step.twice",
            StepFault::Values { .. } => "step.values",
            StepFault::NoKey { .. } => "step.no-key",
            StepFault::NotATime { .. } => "step.not-a-time",
            StepFault::OneLabel { .. } => "step.one-label",
            StepFault::DecodesValues { .. } => "step.decodes-values",
            StepFault::WrongFill { .. } => "step.wrong-fill",
            StepFault::NoMissing { .. } => "step.no-missing",
            StepFault::Lengths { .. } => "step.lengths",
            StepFault::OverTheEdge { .. } => "step.over-the-edge",
            StepFault::NothingInBox { .. } => "step.nothing-in-box",
            StepFault::TooDeep { .. } => "step.too-deep",
            StepFault::TooLarge { .. } => "step.too-large",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match &self.fault {
            StepFault::Unknown { name, known, .. } | StepFault::NoKey { name, known } => {
                let plain = name.trim_start_matches('/');
                format!("did you mean `{}`?", nearest(plain, known.iter().map(String::as_str))?)
            }
            StepFault::Taken { name, .. } => {
                format!("choose another name, or take the old one out with `drop: [{name}]`")
            }
            StepFault::NotSingle { dimension, .. } => {
                format!("choose one element first: `subset: {{{dimension}: LABEL}}`")
            }
            StepFault::NotOneDimensional { .. } => {
                "subset along the dimensions of the array by their own labels".into()
            }
            StepFault::LabelKind { wanted: "time", .. } => {
                "write times as `2010`, `2010-06` or `2010-06-30T12:00`".into()
            }
            StepFault::NotATime { format: None, .. } => {
                "say how it is written: `parse: {KEY: \"%Y%m%d\"}` at the source of a key, `format` for an attribute"
                    .into()
            }
            StepFault::Twice { name, .. } => format!("choose `dedup: {{{name}: first}}` or `last`"),
            StepFault::DecodesValues { name, attribute } => {
                format!("`fix_before_decode: {{{name}: {{{attribute}: …}}}}` mends it before values are read")
            }
            StepFault::NoMissing { name, .. } => format!(
                "make it a float first with `cast: {{{name}: float32}}`, or choose a count that no value has with `fix_before_decode: {{{name}: {{_FillValue: …}}}}`"
            ),
            StepFault::OverTheEdge { .. } => {
                "take the two parts one by one, each up to the edge: their longitudes would not follow one another"
                    .into()
            }
            StepFault::TooDeep { .. } => "write what it is made of into one expression".into(),
            _ => return None,
        })
    }

    fn exit(&self) -> Exit {
        match self.fault {
            StepFault::Unknown { .. } | StepFault::NoKey { .. } | StepFault::DecodesValues { .. } => Exit::Usage,
            _ => Exit::No,
        }
    }
}

fn place(at: Position, file: &str) -> String {
    if at.line == 0 { format!("`{file}`, ") } else { format!("line {}: `{file}`, ", at.line) }
}

fn among(known: &[String]) -> String {
    let listed: Vec<String> = known.iter().take(MAX_LISTED).map(|name| format!("`{name}`")).collect();
    match known.len().saturating_sub(MAX_LISTED) {
        _ if known.is_empty() => "; there are none".to_owned(),
        0 => format!("; there are {}", listed.join(", ")),
        more => format!("; there are {} and {more} more", listed.join(", ")),
    }
}
