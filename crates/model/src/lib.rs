//! The nouns of frazil, and pure logic on them.
//!
//! Everything here is a plain value or a plain function: no files, no network, no clock, no async. That is
//! what lets the rules of combining and planning be tested as tables and laws.

pub mod attribute;
pub mod codec;
pub mod column;
pub mod combine;
pub mod counts;
pub mod dataset;
pub mod dtype;
pub mod era;
pub mod layout;
pub mod location;
pub mod manifest;
pub mod numbers;
pub mod packing;
pub mod pattern;
pub mod plan;
pub mod problem;
pub mod range;
pub mod recipe;
pub mod record;
pub mod references;
pub mod region;
pub mod report;
pub mod rule;
pub mod shell;
pub mod time;
pub mod zarr;
