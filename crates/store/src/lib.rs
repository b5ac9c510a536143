//! Places to bytes, and back.
//!
//! It knows files, web servers and buckets: sizes, fingerprints, ranges, listings, safe writes, locks. It does not know what
//! the bytes mean.

pub mod address;
mod asking;
mod bearer;
pub mod beneath;
pub mod bounds;
pub mod bucket;
pub mod cache;
pub mod clock;
pub mod digest;
pub mod error;
pub mod folder;
mod giver;
mod keys;
pub mod lock;
pub mod login;
pub mod manners;
mod open;
pub mod pace;
pub mod pin;
pub mod profile;
pub mod read;
mod region;
pub mod secret;
pub mod session;
mod settled;
mod shared_key;
mod sign;
mod skew;
pub mod small;
pub mod steady;
mod token;
pub mod trust;
pub mod web;

pub use error::StoreError;
pub use settled::rfc3339;
