//! The `frazil` command.

fn main() {}
