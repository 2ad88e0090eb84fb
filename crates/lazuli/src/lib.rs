//! Lazuli as one library: lazy arrays, model files, networks and the engine, under one name.
//!
//! The rooms are re-exported whole ([`core`], [`io`], [`nn`], [`models`], [`engine`]); what stands here itself ties
//! them together: [`store`] finds a model on this machine, [`Model`] opens it, [`backends`] makes the runtime that
//! computes, and [`Session`] runs one sequence for measurements.
#![forbid(unsafe_code)]

pub mod backends;
mod bandwidth;
mod error;
mod model;
mod session;
pub mod store;
mod traffic;

pub use bandwidth::read_bandwidth;
pub use error::{Error, Result};
pub use model::Model;
pub use session::{PREFILL_CHUNK, Session};
pub use traffic::DecodeTraffic;

pub use lazuli_core as core;
pub use lazuli_engine as engine;
pub use lazuli_io as io;
pub use lazuli_models as models;
pub use lazuli_nn as nn;
pub use lazuli_quant as quant;
