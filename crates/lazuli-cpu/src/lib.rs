//! The CPU backend: workers that walk a plan together, and the kernels that its steps run.

#![deny(unsafe_code)]

mod exec;
#[allow(unsafe_code)]
pub mod kernel;
#[allow(unsafe_code)]
pub mod pool;
#[allow(unsafe_code)]
pub mod simd;

pub use exec::{Cpu, Precision};
