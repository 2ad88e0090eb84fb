//! The CPU backend: workers that walk a plan together, and the kernels that its steps run.

pub mod kernel;
pub mod pool;
pub mod simd;
