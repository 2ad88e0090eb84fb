//! Lazuli as one library.
#![forbid(unsafe_code)]

pub mod store;
