//! Architectures of language models, one file each, and the registry that names them.
//!
//! [`load`] turns a checkpoint into a [`CausalLm`]. Settings are read in one form, that of Hugging Face's
//! `config.json`: what a GGUF file says is translated into it first, and so are its tensor names. Nothing is
//! ignored silently: settings and tensors that nobody reads are errors that name them.
#![forbid(unsafe_code)]

mod arch;
mod config;
pub mod convert;
mod error;
mod gguf;
mod parts;
mod pre_norm;
mod registry;
mod source;
mod spec;

pub use error::{Error, Result};
pub use registry::{CausalLm, architectures, from_arrays, load, tensors};
pub use spec::Spec;
