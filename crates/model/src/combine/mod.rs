//! Several files as one dataset.
//!
//! Variables are joined by coordinate label along the dimension that grows; all others must agree. What changes no
//! decoded value is never an error; what would change one is refused unless a policy decides. Nothing is read here:
//! small values were loaded before, large ones are described as pieces that the engine reads later.

pub mod absent;
pub mod attributes;
pub mod derived;
pub mod error;
pub mod expect;
pub mod join;
pub mod labels;
mod lengths;
mod meant;
pub mod padding;
mod placing;
pub mod policy;
pub mod statics;
pub mod steps;
pub mod times;
pub mod values;
pub mod view;

use bytes::Bytes;

use crate::{
    attribute::Attributes,
    codec::CodecChain,
    combine::{
        attributes::Dropped,
        error::CombineError,
        labels::Label,
        policy::Policies,
        view::{FileView, Values, ViewAxis, ViewVariable},
    },
    dtype::DataType,
    packing::ValueRule,
    region::Region,
};

/// One dataset made of several files.
#[derive(Debug, Clone)]
pub struct Combined {
    /// Paths of the groups with their attributes; the root first.
    pub groups: Vec<(String, Attributes)>,
    /// The variables.
    pub variables: Vec<CombinedVariable>,
    /// The dimension that grows from file to file, with its labels.
    pub along: Option<(String, Vec<Label>)>,
    /// Attributes that were left out because files differ in them.
    pub dropped: Vec<Dropped>,
    /// Variables that are stored otherwise than in the files, with the reason.
    pub notes: Vec<(String, String)>,
    /// Variables too large to be compared here, whose values must agree before anything is written.
    pub must_equal: Vec<MustEqual>,
}

/// One variable of the joined dataset.
#[derive(Debug, Clone)]
pub struct CombinedVariable {
    /// Absolute path.
    pub path: String,
    /// Names of its dimensions.
    pub dimensions: Vec<String>,
    /// Its shape.
    pub shape: Vec<u64>,
    /// What one element is in the store.
    pub dtype: DataType,
    /// The value of elements that were never written, little-endian, in the store's type.
    pub fill: Vec<u8>,
    /// Attributes.
    pub attributes: Attributes,
    /// The first file's chunks.
    pub source_chunk_shape: Vec<u64>,
    /// Whether that file cuts the variable into chunks.
    pub is_chunked: bool,
    /// The codecs of the files, if all files have the same.
    pub source_codecs: Option<CodecChain>,
    /// Which of its dimensions grows from file to file.
    pub along: Option<usize>,
    /// Its values, or where they come from.
    pub content: Content,
}

/// Values, or where they come from.
#[derive(Debug, Clone)]
pub enum Content {
    /// Elements of a fixed size, little-endian, C order.
    Inline(Bytes),
    /// Texts.
    Texts(Vec<Option<String>>),
    /// Boxes of files. They do not overlap and are sorted by their start along the growing dimension. What no box
    /// fills holds the variable's fill value.
    Pieces(Vec<Piece>),
}

/// A box of the joined variable that one file fills.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Number of the file.
    pub file: usize,
    /// Number of the variable in the file's `Dataset`.
    pub variable: usize,
    /// The box.
    pub at: Region,
    /// For each dimension of the box, where its elements come from.
    pub axes: Vec<ViewAxis>,
    /// Source dimensions that the box has not, each at one index.
    pub fixed: Vec<(usize, u64)>,
    /// What happens to each value.
    pub rule: ValueRule,
}

/// Two variables of two files whose values must be the same.
#[derive(Debug, Clone)]
pub struct MustEqual {
    /// Path of the variable.
    pub path: String,
    /// The dimension that grows, for the message.
    pub along: String,
    /// The file whose values are written.
    pub first: (usize, ViewVariable),
    /// A file that must agree.
    pub other: (usize, ViewVariable),
}

/// Joins files into one dataset.
///
/// A single file passes as it is: its labels are neither sorted nor checked.
///
/// # Errors
/// [`CombineError`], naming file, variable and rule.
pub fn combine(files: &[FileView], policies: &Policies) -> Result<Combined, CombineError> {
    match files {
        [] => Err(CombineError::NoFiles),
        [one] => single(one, policies.keeps_counts),
        many => join::join(many, policies),
    }
}

/// One file as a dataset.
fn single(file: &FileView, keeps_counts: bool) -> Result<Combined, CombineError> {
    let mut notes = Vec::new();
    let policies = Policies { keeps_counts, ..Policies::default() };
    let variables = file
        .variables
        .iter()
        .map(|variable| {
            let in_file = values::InFile { file: &file.name, variable };
            let plan = values::plan(&[in_file], &policies)?;
            if let Some(note) = plan.note {
                notes.push((variable.path.clone(), note));
            }
            let rule = plan.rules.into_iter().next().unwrap_or_default();
            let mut attributes = variable.attributes.clone();
            if let Some(packing) = &plan.packing {
                values::replace_packing(&mut attributes, packing);
            }
            values::follow_counts(&mut attributes, &rule, &variable.dtype, &plan.dtype);
            let content = match variable.values.as_deref() {
                Some(Values::Texts(texts)) => Content::Texts(texts.clone()),
                Some(Values::Fixed(bytes)) if rule == ValueRule::Verbatim => Content::Inline(bytes.clone()),
                _ => Content::Pieces(vec![piece(0, variable, &Region::whole(&variable.shape), &rule)]),
            };
            Ok(CombinedVariable {
                path: variable.path.clone(),
                dimensions: variable.dimensions.clone(),
                shape: variable.shape.clone(),
                fill: fill_after(&variable.rule.then(&rule), &variable.fill),
                dtype: plan.dtype,
                attributes,
                source_chunk_shape: variable.chunk_shape.clone(),
                is_chunked: variable.is_chunked,
                source_codecs: Some(variable.codecs.clone()),
                along: None,
                content,
            })
        })
        .collect::<Result<Vec<_>, CombineError>>()?;
    Ok(Combined {
        groups: file.groups.iter().map(|group| (group.path.clone(), group.attributes.clone())).collect(),
        variables,
        along: None,
        dropped: Vec::new(),
        notes,
        must_equal: Vec::new(),
    })
}

/// The piece that fills `at` with all of `variable`; `rule` follows the variable's own.
pub(crate) fn piece(file: usize, variable: &ViewVariable, at: &Region, rule: &ValueRule) -> Piece {
    Piece {
        file,
        variable: variable.source,
        at: at.clone(),
        axes: variable.axes.clone(),
        fixed: variable.fixed.clone(),
        rule: variable.rule.then(rule),
    }
}

/// What an unwritten element becomes in the store; zeros if it cannot be mapped (it is then written out).
#[must_use]
pub fn fill_after(rule: &ValueRule, fill: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if crate::rule::apply(rule, fill, &mut out).is_err() {
        out = vec![0; crate::rule::target_bytes(rule, fill.len())];
    }
    out
}
