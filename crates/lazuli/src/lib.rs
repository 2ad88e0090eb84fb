//! Lazuli as one library.
#![forbid(unsafe_code)]
