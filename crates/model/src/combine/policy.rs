//! What the author of a recipe decides for files that differ.
//!
//! The words are the recipe's; this is what remains of them once names were checked against the files.

use crate::{combine::labels::Label, recipe::span::Spanned};

pub use crate::recipe::combine::{
    Align, Alignment, Differ, DifferAttrs, DifferDtype, DifferPacking, DifferTime, DifferUnits, Duplicates, Gaps,
    Otherwise,
};

/// Every decision about files that differ. The default refuses whatever would change a value.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policies {
    /// The dimension that grows from file to file; `None`: the one whose labels differ.
    pub along: Option<String>,
    /// Further dimensions along which elements are placed by label.
    pub also_along: Vec<String>,
    /// Keys that are the labels of a dimension that no file has.
    pub label_keys: Vec<(Spanned<String>, Spanned<String>)>,
    /// Labels of a dimension at which a file is known to be missing: what it would bring is filled.
    pub fillable: Vec<(String, Vec<Label>)>,
    /// When the coordinates of two files are the same.
    pub align: Align,
    /// What may differ from file to file.
    pub differ: Differ,
    /// Whether labels may be missing along the growing dimension.
    pub gaps: Option<Gaps>,
    /// What to do about a label that occurs twice.
    pub duplicates: Duplicates,
    /// Whether the first file is a store that the others follow: what is decoded there is decoded in them.
    pub follows_store: bool,
    /// Whether the labels of a store that is compared with its files fall along the growing dimension.
    pub descends: Option<bool>,
    /// Whether counts stay counts where a codec can say what JSON attributes cannot: nothing is copied then.
    pub keeps_counts: bool,
    /// Whether nobody asked for what `differ` says of packing and types: references would have it so, and a group for each
    /// kind of file may be better than values made anew.
    pub differ_is_unasked: bool,
}
