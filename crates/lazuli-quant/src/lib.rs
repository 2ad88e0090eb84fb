//! Weight formats: how numbers are packed into blocks and planes, and what they decode to.
//!
//! One file per family of formats. This crate owns block layouts, decoding to `f32` and encoding from it.
//! It knows nothing of arrays, files or kernels: bytes go in, floats come out (and back).
//!
//! ```
//! use lazuli_quant::Format;
//!
//! let weights: Vec<f32> = (0..64).map(|i| i as f32 / 8.0).collect();
//! let planes = Format::Q8_0.encode(&weights, 2, 32)?; // two rows of 32: one block of 34 bytes each
//! assert_eq!(planes[0].len(), 68);
//!
//! let mut row = [0.0; 32];
//! Format::Q8_0.decode_row(&[&planes[0]], 2, 32, 1, &mut row)?;
//! assert!((row[3] - weights[35]).abs() < 0.04);
//! # Ok::<(), lazuli_quant::QuantError>(())
//! ```
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
mod nvfp4;
mod rounding;
mod ternary;

pub use error::QuantError;
pub use format::{Format, ScaleType};
pub use iq::grids;
