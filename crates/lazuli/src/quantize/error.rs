//! [`QuantizeError`]: why a checkpoint cannot be written in another format.

use std::path::PathBuf;

/// What stands in the way, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// A format's name that means nothing for this kind of target.
    #[error("the format `{name}` cannot be written: {hint}")]
    Format {
        /// The name given.
        name: String,
        /// What works.
        hint: String,
    },
    /// The target is there already.
    #[error("{} exists already: remove it, name another target, or give --force to replace it", path.display())]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// The target cannot be written, whatever the format.
    #[error("cannot write {}: {what}", path.display())]
    Target {
        /// The target.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// Not enough room.
    #[error("{} needs {need} bytes, but its disk has {free} bytes left: make room or choose another place", path.display())]
    DiskFull {
        /// The target.
        path: PathBuf,
        /// Bytes that will be written.
        need: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The source is packed, and nobody said that it may be decoded.
    #[error(
        "the source is packed already (tensor `{tensor}` is {encoding}): quantising it again loses more than quantising \
         the original; give --requantize to do so all the same"
    )]
    Packed {
        /// The first packed tensor.
        tensor: String,
        /// Its encoding.
        encoding: String,
    },
    /// A tensor cannot have the format.
    #[error("tensor `{tensor}` of shape {shape:?} cannot be written as {format}: {what}")]
    Tensor {
        /// The tensor, by the name that it would have.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The format.
        format: String,
        /// Why not, and what to do.
        what: String,
    },
    /// A tensor holds what no format can store.
    #[error("tensor `{tensor}`: element {column} of row {row} is {what}")]
    Value {
        /// The tensor, by its name in the source.
        tensor: String,
        /// The row.
        row: usize,
        /// The element of the row.
        column: usize,
        /// What it is, and what was expected.
        what: String,
    },
    /// A pattern of `--layer` that means nothing.
    #[error("--layer {text}: {what}")]
    Pattern {
        /// The argument.
        text: String,
        /// What is wrong with it.
        what: String,
    },
    /// This kind of source cannot become this kind of target.
    #[error("{0}")]
    Direction(String),
    /// The source cannot be read, or the target not written.
    #[error(transparent)]
    File(Box<lazuli_io::Error>),
    /// The source's description of its model is not understood.
    #[error(transparent)]
    Model(Box<lazuli_models::Error>),
    /// A tensor's bytes do not decode or its values not encode.
    #[error("tensor `{tensor}`: {source}")]
    Codec {
        /// The tensor.
        tensor: String,
        /// What does not fit.
        source: lazuli_quant::QuantError,
    },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// A result of this module.
pub type Result<T, E = QuantizeError> = std::result::Result<T, E>;

impl From<lazuli_io::Error> for QuantizeError {
    fn from(error: lazuli_io::Error) -> Self {
        Self::File(Box::new(error))
    }
}

impl From<lazuli_models::Error> for QuantizeError {
    fn from(error: lazuli_models::Error) -> Self {
        Self::Model(Box::new(error))
    }
}
