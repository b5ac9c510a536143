//! Runs a plan within its limits.
