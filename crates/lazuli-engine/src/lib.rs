//! The loop that turns requests into tokens: scheduling, batching, sampling, stopping.
//!
//! [`Engine::start`] takes a model and a runtime to a thread of its own. A [`Request`] goes in, and its
//! [`Stream`] gives [`Event`]s. In each step the thread runs one ragged batch: a chunk of a prompt for some
//! sequences, one token for the others. It knows no file, no HTTP and no backend by name.
#![forbid(unsafe_code)]

mod engine;
mod error;
mod event;
pub mod reasoning;
mod request;
pub mod sample;
pub mod schedule;
pub mod stop;
mod worker;

pub use engine::{Answer, Canceller, Engine, EngineOptions, EngineStats, RequestId, Stream};
pub use error::{Error, Result};
pub use event::{Event, FinishReason, RequestStats};
pub use reasoning::Reasoning;
pub use request::{Request, TextStream};
pub use sample::{ParamError, SamplingParams};
