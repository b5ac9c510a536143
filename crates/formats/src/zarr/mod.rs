//! The metadata of Zarr stores, v2 and v3: documents to datasets, and back.
//!
//! It promises that what it writes opens in stock zarr-python and xarray, and that the same input gives the same bytes.
//! It knows no keys but those of metadata and chunks, and no bytes of chunks.

mod attributes;
mod codecs;
mod counts;
mod dtypes;
mod fill;
mod json;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use fill::base64;
pub(crate) use read::of_layouts;
pub use read::{ZarrDataset, read_document, read_v2_consolidated, read_v2_documents, read_v3_documents, read_v3_root};
pub use write::{
    array_document_v2, array_document_v3, attributes_document_v2, consolidated_document_v2, group_attributes_v2,
    group_document_v2, group_document_v3, note_v2, note_v3, root_document_v3,
};

use crate::FormatError;

pub(crate) fn unsupported(what: &str, reason: impl Into<String>) -> FormatError {
    FormatError::Unsupported { what: what.to_owned(), reason: reason.into() }
}
