//! Memory and speed of a model on a machine, by arithmetic over tables.
//!
//! Owns three descriptions and what follows from them: [`ModelShape`] (a model's tensors and caches, from its
//! settings), [`Machine`] (memory, bandwidth, arithmetic, from tables of chips) and [`Weights`] (how tensors are
//! packed). [`plan`] puts them together. It opens no file and asks no system: data come in, numbers go out.
#![forbid(unsafe_code)]

mod advice;
mod csv;
mod error;
mod kv;
pub mod machine;
pub mod memory;
mod packing;
mod plan;
mod quantity;
pub mod shape;
pub mod speed;
mod want;
mod weights;

pub use advice::Change;
pub use error::{Error, Result};
pub use kv::KvFormat;
pub use machine::{Budget, Machine, machines};
pub use memory::{Memory, Sizes, Workload};
pub use packing::{ByPacking, Packing};
pub use plan::{Beyond, Options, Outcome, Row, Source, plan};
pub use quantity::{parse_bandwidth, parse_bytes, parse_sequences, parse_tokens};
pub use shape::{ModelShape, catalogue};
pub use speed::{Bound, EngineKind, Estimate};
pub use want::{Reached, Want, reaches};
pub use weights::{StoredBytes, Weights};
