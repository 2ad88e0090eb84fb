//! What a model takes before it is loaded: from its files' headers and this machine to `lazuli-planner`'s arithmetic.
//!
//! `subject` says what is planned (a model of the catalogue, files here, files on the hub), `exact` what the engine
//! itself allocates, `host` what this machine is, `calibration` how fast it was measured to be. No arithmetic here.

mod calibration;
mod exact;
mod gguf;
mod host;
mod subject;

pub use calibration::{Calibration, calibrate};
pub use exact::{Allocation, allocation, fixed_bytes, longest_context};
pub use host::{host, memory_budget};
pub use subject::{Origin, Subject};
