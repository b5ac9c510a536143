//! For tests only: a web server that tells lies.

pub mod lying;
