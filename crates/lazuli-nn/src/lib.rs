//! Placeholder: this room is being built.
#![forbid(unsafe_code)]
