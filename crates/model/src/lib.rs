//! The nouns of frazil, and pure logic on them.
//!
//! Everything here is a plain value or a plain function: no files, no network, no clock, no async. That is
//! what lets the rules of combining and planning be tested as tables and laws.

pub mod attribute;
pub mod codec;
pub mod dataset;
pub mod dtype;
pub mod location;
pub mod manifest;
pub mod problem;
pub mod range;
pub mod time;
pub mod zarr;
