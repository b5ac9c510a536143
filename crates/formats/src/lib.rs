//! Bytes of scientific file formats to datasets, and back.
//!
//! No async and no IO: a decoder is a plain function over the bytes held so far. It answers that it is done, or
//! which ranges it needs next. So it can be fuzzed on slices and driven over any kind of storage.

pub mod codecs;
pub mod error;
pub mod hdf5;
pub mod netcdf3;
pub mod references;
pub mod sparse;
pub mod zarr;

pub use error::FormatError;
pub use sparse::{Progress, SparseBytes, Stop, Wants};

use frazil_model::{dataset::Dataset, manifest::ChunkManifest};

/// What a file holds and where its chunks are.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Structure and attributes.
    pub dataset: Dataset,
    /// Places of the chunks, one table for each variable of `dataset`.
    pub manifest: ChunkManifest,
}
