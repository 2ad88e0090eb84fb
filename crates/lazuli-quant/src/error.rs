//! [`QuantError`]: everything that decoding or encoding can refuse.

use crate::Format;

/// Why bytes could not be decoded, or values not encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantError {
    /// The array has more or fewer planes than its format.
    #[error("{format} arrays have {expected} plane(s), found {found}")]
    WrongPlaneCount {
        /// The format asked for.
        format: Format,
        /// Planes given.
        found: usize,
        /// Planes the format has.
        expected: usize,
    },
    /// A plane holds fewer bytes than the shape needs.
    #[error("plane {plane} of a [{rows}, {cols}] {format} array has {found} bytes, needs {expected}")]
    ShortPlane {
        /// The format asked for.
        format: Format,
        /// Index of the plane.
        plane: usize,
        /// Rows of the array.
        rows: usize,
        /// Elements of a row.
        cols: usize,
        /// Bytes given.
        found: usize,
        /// Bytes needed.
        expected: usize,
    },
    /// The shape does not divide into blocks, overflows, or the format's own parameters are impossible.
    #[error("no [{rows}, {cols}] array can be stored as {format}: rows must be a multiple of {} elements long \
             and the size must fit in memory", format.block_len())]
    BadShape {
        /// The format asked for.
        format: Format,
        /// Rows of the array.
        rows: usize,
        /// Elements of a row.
        cols: usize,
    },
    /// A format's parameters name something that does not exist, such as 7-bit affine codes.
    #[error(
        "{format} is not a format: affine takes 2, 3, 4, 5, 6 or 8 bits in groups of 32, 64 or 128, \
             block FP8 takes tiles of at least one element"
    )]
    BadParameters {
        /// The format asked for.
        format: Format,
    },
    /// The row asked for is past the end.
    #[error("row {row} asked of an array with {rows} rows")]
    RowOutOfRange {
        /// Row asked for.
        row: usize,
        /// Rows of the array.
        rows: usize,
    },
    /// The caller's slice of floats has the wrong length.
    #[error("expected {expected} floats for this shape, found a slice of {found}")]
    WrongLength {
        /// Elements of the slice.
        found: usize,
        /// Elements the shape has.
        expected: usize,
    },
    /// A value to encode is infinite or not a number.
    #[error("value {index} is not finite and {format} cannot store it")]
    NotFinite {
        /// The format asked for.
        format: Format,
        /// Index of the first such value.
        index: usize,
    },
    /// The format can be read but not written.
    #[error("{format} can be decoded but not encoded")]
    NoEncoder {
        /// The format asked for.
        format: Format,
    },
    /// A name that no format has.
    #[error(
        "no weight format is called {name:?}: expected a GGUF type such as Q4_K, or affine4g64, mxfp4, nvfp4, \
             mxfp8, fp8block128x128"
    )]
    UnknownName {
        /// The name given.
        name: String,
    },
}
