//! What is listed, copied, kept alike and deleted, from any place to any other.
//!
//! It promises that a plan stands before every deletion, that a Zarr store is one thing whose metadata comes last and
//! goes first, that a transfer which was killed goes on where it was, and that what arrived is what was sent, or that it
//! says plainly where it cannot know. It does not know what the bytes mean, nor the terminal.

pub mod atoms;
pub mod check;
pub mod copy;
pub mod delivery;
pub mod error;
pub mod gc;
pub mod guard;
pub mod known;
pub mod list;
mod making;
pub mod place;
pub mod probe;
pub mod progress;
pub mod remove;
pub mod run;
pub mod same;
pub mod scratch;
pub mod sums;
mod together;
pub mod usage;
pub mod walk;
mod window;

pub use error::TransferError;
