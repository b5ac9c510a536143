//! Places to bytes, and back.
