//! Documents that say where the chunks of other files lie: Kerchunk as JSON and as Parquet, Icechunk, and DMR++.
//!
//! What they describe reads like a Zarr store whose objects are ranges of other files. It promises that a document of a
//! stranger is read within stated bounds of size, number and depth, or refused by name. It does not know where files
//! are: names stay as they are stored.

mod base64;
pub mod dmrpp;
mod flat;
pub mod icechunk;
pub mod json;
pub mod kerchunk;
pub mod parquet;
mod table;
pub mod tables;
mod template;

pub use dmrpp::{looks_like_dmrpp, read_dmrpp};
pub use json::{looks_like_json, read_json};
pub use parquet::{MOST_TABLE_BYTES, ParquetReferences};
pub use table::{Described, Target};

use crate::FormatError;

/// Bytes of a document that is read whole.
pub const MAX_DOCUMENT_BYTES: u64 = 256 << 20;

/// Chunks that one document may list.
pub const MOST_REFERENCES: usize = 20_000_000;

/// Files that one document may name.
const MOST_FILES: usize = 2_000_000;

/// Bytes of chunks that a document holds itself.
const MOST_INLINE_BYTES: usize = 256 << 20;

fn bad(reason: impl Into<String>) -> FormatError {
    FormatError::Unsupported { what: "the document of references".into(), reason: reason.into() }
}

fn too_many(what: &str, claimed: usize, limit: usize) -> FormatError {
    FormatError::TooLarge { what: what.into(), claimed: claimed as u64, limit: limit as u64 }
}
