//! The loop that turns requests into tokens: scheduling, batching, sampling, stopping.
#![forbid(unsafe_code)]

pub mod sample;
pub mod stop;

pub use sample::SamplingParams;
