//! The `lazuli` binary.
#![forbid(unsafe_code)]

fn main() {}
