//! HDF5 and netCDF-4 files.
//!
//! Metadata only: what a file holds and where its chunks are. Bytes of chunks are turned into values in `codecs`.
//! [`Hdf5Decoder`] asks for the ranges it needs, all that can be known at a time; [`decode_whole`] is for files that
//! are in memory.

mod array;
mod attributes;
pub mod btree2;
pub mod checksum;
pub mod chunk_index;
pub(crate) mod cursor;
mod dataspace;
mod datatype;
mod decoder;
mod element;
pub mod float_bits;
mod fractal_heap;
mod global_heap;
mod header;
pub mod integer_bits;
mod layout;
mod links;
mod local_heap;
mod netcdf4;
mod pipeline;
mod session;
mod shared;
mod strings;
pub mod superblock;
pub mod text_cells;
mod tree;
mod virtual_layout;

pub use decoder::{Hdf5Decoder, decode_whole};
pub use strings::strings;
pub use superblock::FileContext;

/// Whether a file that begins with `head` is an HDF5 file. One with a user block in front is not seen here.
#[must_use]
pub fn looks_like_hdf5(head: &[u8]) -> bool {
    head.starts_with(superblock::SIGNATURE)
}
