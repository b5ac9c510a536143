//! Documents that say where the chunks of an array lie: in other people's files.
//!
//! Nothing here reads or writes; what goes in are names, numbers and small values, and what comes out are bytes.

mod flat;
pub mod icechunk;
pub mod kerchunk;
pub mod tables;
