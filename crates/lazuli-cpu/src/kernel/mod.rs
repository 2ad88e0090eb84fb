//! Kernels: the inner loops that the steps of a plan run.
//!
//! A kernel is an object made when a plan is made (sizes, element types, vector level), whose `run` takes a range of
//! its units of work and raw pointers. Units are independent: their results are the same bits however they are
//! divided among workers. Kernels start no threads, allocate nothing and know nothing of arrays or plans.

pub mod attention;
pub mod choice;
pub mod copy;
pub mod element;
pub mod elementwise;
mod error;
pub mod experts;
pub mod gated;
pub mod gather;
pub mod kv_write;
pub mod latent;
mod math;
pub mod matmul_float;
pub mod norm;
pub mod plain;
pub mod quant;
pub mod rope;
pub mod softmax;
pub mod stream;

#[cfg(test)]
mod testing;

pub use element::Element;
pub use error::IndexError;
