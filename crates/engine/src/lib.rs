//! Runs a plan within its limits.
//!
//! It scans sources, plans, reads, decodes, encodes and writes, and can be stopped anywhere. It knows neither the
//! terminal nor Python; it answers with a `Report`.

mod blocks;
pub mod boxes;
mod buckets;
pub mod build;
pub mod compare;
pub mod derived;
pub mod elsewhere;
mod endless;
pub mod error;
pub mod expect;
pub mod extend;
pub mod find;
pub mod grow;
mod held;
pub mod identity;
pub mod index;
pub mod inspect;
pub mod journal;
mod kept;
mod known;
pub mod make;
pub mod others;
pub mod parts;
pub mod places;
pub mod planning;
pub mod prepare;
pub mod progress;
pub mod publish;
pub mod receipt;
pub mod recorded;
pub mod referred;
pub mod repeat;
pub mod replace;
pub mod revise;
pub mod run;
pub mod scan;
pub mod sinks;
pub mod source;
pub mod standing;
pub mod store;
pub mod store_source;
pub mod strided;
pub mod unchanged;
pub mod verify;
pub mod views;
pub mod virtually;

pub use error::EngineError;
