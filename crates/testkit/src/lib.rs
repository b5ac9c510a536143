//! For tests only: a web server that tells lies, and one that does not.

pub mod lying;
pub mod nginx;
