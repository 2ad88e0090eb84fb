//! Lazuli as one library: lazy arrays, model files, networks and the engine, under one name.
//!
//! The rooms are re-exported whole ([`core`], [`io`], [`nn`], [`models`], [`planner`], [`engine`]); what stands here itself ties
//! them together: [`store`] finds a model on this machine, [`Model`] opens it, [`backends`] makes the runtime that
//! computes, [`planning`] says what it will take, [`Session`] runs one sequence for measurements, and [`quantize`] writes
//! checkpoints in other formats.
//!
//! ```no_run
//! use lazuli::Model;
//! use lazuli::backends::RuntimeOptions;
//! use lazuli::engine::{Engine, EngineOptions, Request};
//! use lazuli::io::{Position, StreamDecoder};
//!
//! let model = Model::open("SmolLM2-135M-Instruct.Q4_1.gguf")?;
//! let tokenizer = model.tokenizer()?;
//! let runtime = RuntimeOptions::default().runtime()?;
//! let engine = Engine::start(model.causal_lm()?, runtime, EngineOptions::default())?;
//! let request = Request {
//!     max_tokens: Some(40),
//!     stop_tokens: tokenizer.eog().to_vec(),
//!     text: Some(Box::new(StreamDecoder::new(&tokenizer, Position::Continuation))),
//!     ..Request::new(lazuli::text_prompt(&tokenizer, "The speed of light is"))
//! };
//! println!("{}", engine.submit(request).wait()?.text);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod backends;
mod bandwidth;
mod error;
mod model;
pub mod planning;
mod prompt;
pub mod quantize;
mod session;
pub mod store;
pub mod synth;
mod thinking;
mod traffic;

pub use bandwidth::read_bandwidth;
pub use error::{Error, Result};
pub use model::Model;
pub use prompt::{ChatPrompt, chat_prompt, text_prompt};
pub use session::{PREFILL_CHUNK, Session};
pub use traffic::DecodeTraffic;

pub use lazuli_core as core;
pub use lazuli_engine as engine;
pub use lazuli_io as io;
pub use lazuli_models as models;
pub use lazuli_nn as nn;
pub use lazuli_planner as planner;
pub use lazuli_quant as quant;
