//! What writes.

pub mod zarr;
