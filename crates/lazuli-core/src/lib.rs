//! The array framework under Lazuli: lazy arrays on one pool of memory, and the plans they become.
//!
//! An [`Array`] is a handle to a node of a graph. Operations only build nodes; [`Runtime::eval`] turns the
//! nodes that were asked for, and nothing else, into a [`plan::Plan`] that a [`Backend`] runs as a whole.
//! This crate does no file I/O, reads no environment and starts no threads.
//!
//! ```
//! use lazuli_core::{Array, Runtime};
//!
//! let rt = Runtime::reference();
//! let x = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [2, 2]);
//! let y = (&x * 2.0 + 1.0).sum(-1); // nothing has been computed yet
//! rt.eval(&[&y])?;
//! assert_eq!(y.as_slice::<f32>()?, &[8.0, 16.0]);
//! # Ok::<(), lazuli_core::Error>(())
//! ```
#![deny(unsafe_code)]

mod array;
mod backend;
pub mod buffer;
mod dtype;
mod error;
pub mod fused;
mod graph;
mod infer;
mod op;
mod ops;
pub mod plan;
mod reference;
mod repeat;
mod runtime;
mod shape;

pub use array::{Array, Plane, View};
pub use backend::{Backend, Bindings, Program, Ticket};
pub use buffer::{Buffer, HUGE_PAGE, Mapped};
pub use dtype::{DType, Element};
pub use error::{Error, Result};
pub use fused::Fused;
pub use op::{Binary, Op, Reduce, Rounding, Scalar, Unary};
pub use reference::Reference;
pub use repeat::Repeater;
pub use runtime::{Runtime, RuntimeStats};
pub use shape::{Layout, Shape};

/// The weight formats that a quantised array can have.
pub use lazuli_quant as quant;
