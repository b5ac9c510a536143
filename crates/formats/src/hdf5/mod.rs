//! HDF5 and netCDF-4 files.

pub mod btree2;
pub mod checksum;
pub mod chunk_index;
pub(crate) mod cursor;
pub mod superblock;
