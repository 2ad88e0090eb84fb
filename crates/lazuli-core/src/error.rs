//! What can go wrong when arrays meet the world: evaluation, memory, borrowing.
//!
//! Shape errors while a graph is built are bugs of the caller and panic with operation and shapes instead.

use crate::{DType, Shape};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an evaluation or a borrow failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The array's value has not been computed.
    #[error("array {shape} {dtype} has not been evaluated: call `Runtime::eval` on it first")]
    NotEvaluated {
        /// Its shape.
        shape: Shape,
        /// Its element type.
        dtype: DType,
    },
    /// A borrow asked for another element type than the array has.
    #[error("array holds {found}, but {wanted} was asked for: cast it first")]
    WrongDType {
        /// What the array holds.
        found: DType,
        /// What was asked for.
        wanted: DType,
    },
    /// A borrow needs elements without gaps.
    #[error(
        "array {shape} is a strided or misaligned view: call `contiguous` on it before borrowing its data"
    )]
    Strided {
        /// Its shape.
        shape: Shape,
    },
    /// Host memory does not hold what the shape says.
    #[error("{shape} {dtype} needs {needed} bytes from offset {offset}, but the buffer has {found}")]
    OutOfBounds {
        /// The shape asked for.
        shape: Shape,
        /// Its element type.
        dtype: DType,
        /// Bytes needed.
        needed: usize,
        /// Where they were to start.
        offset: usize,
        /// Bytes that there are.
        found: usize,
    },
    /// A packed row must consist of whole blocks.
    #[error("{dtype} packs {block} elements per block, which does not divide rows of {cols}")]
    Ragged {
        /// The format.
        dtype: DType,
        /// Elements per block.
        block: usize,
        /// Elements per row.
        cols: usize,
    },
    /// Arrays cannot be stacked.
    #[error("arrays cannot be stacked: {why}")]
    Stack {
        /// What does not fit.
        why: String,
    },
    /// An index array pointed outside what it indexes.
    #[error("{op}: index {index} is outside 0..{len}")]
    Index {
        /// The operation that read the index.
        op: &'static str,
        /// The offending value.
        index: i64,
        /// How many entries there are.
        len: usize,
    },
    /// Memory could not be had.
    #[error("cannot allocate {bytes} bytes for {what}: use a smaller context, batch or model")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
        /// What they were for.
        what: &'static str,
    },
    /// A backend met something that it does not do.
    #[error("{backend} cannot run {op}: {why}")]
    Unsupported {
        /// The backend's name.
        backend: &'static str,
        /// The operation.
        op: String,
        /// What is missing.
        why: String,
    },
    /// Packed bytes could not be decoded.
    #[error("cannot decode {dtype}: {why}")]
    Decode {
        /// The format.
        dtype: DType,
        /// What is wrong.
        why: String,
    },
}
