//! Weight formats: how numbers are packed into blocks and planes, and what they decode to.
//!
//! One file per family of formats. This crate owns block layouts, decoding to `f32` and encoding from it.
//! It knows nothing of arrays, files or kernels: bytes go in, floats come out (and back).
#![forbid(unsafe_code)]

mod affine;
pub mod blocks;
mod codec;
mod error;
pub mod float8;
mod format;
mod fp8_block;
mod iq;
mod k_quants;
mod legacy;
mod mx;
mod name;
mod ternary;

pub use error::QuantError;
pub use format::{Format, ScaleType};
