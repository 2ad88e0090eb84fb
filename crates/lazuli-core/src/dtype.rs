//! [`DType`]: the only list of element types in the workspace, and [`Element`], its Rust side.

use std::fmt;

use half::{bf16, f16};
use lazuli_quant::Format;

/// What an array's elements are. Quantisation is a dtype: `x.matmul(&w)` works whatever `w` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    BF16,
    /// Signed 32-bit integers: token ids, positions, page tables.
    I32,
    /// Unsigned 32-bit integers.
    U32,
    /// Bytes.
    U8,
    /// One byte per element, 0 or 1.
    Bool,
    /// Packed weights: read by `matmul`, `gather` and `cast`, never written by an operation.
    Quant(Format),
}

impl DType {
    /// Bytes of one element; `None` where elements share blocks.
    pub fn size(self) -> Option<usize> {
        match self {
            Self::F32 | Self::I32 | Self::U32 => Some(4),
            Self::F16 | Self::BF16 => Some(2),
            Self::U8 | Self::Bool => Some(1),
            Self::Quant(_) => None,
        }
    }

    /// Bytes of `rows` rows of `cols` elements, all planes together; `None` if a row does not divide into
    /// whole blocks or the size overflows.
    pub fn bytes(self, rows: usize, cols: usize) -> Option<usize> {
        match self {
            Self::Quant(format) => format.bytes(rows, cols),
            other => rows.checked_mul(cols)?.checked_mul(other.size()?),
        }
    }

    /// Whether this is one of the three floating point types.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }

    /// Whether this is a packed weight format.
    pub fn is_quantised(self) -> bool {
        matches!(self, Self::Quant(_))
    }

    /// The type of `a op b`: the wider float, a float over an integer, and equal types as they are.
    pub(crate) fn promote(self, other: Self) -> Option<Self> {
        if self == other {
            return (!self.is_quantised()).then_some(self);
        }
        match (self.is_float(), other.is_float()) {
            (true, true) => Some(Self::F32),
            (true, false) if !other.is_quantised() => Some(self),
            (false, true) if !self.is_quantised() => Some(other),
            _ => None,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32 => f.write_str("f32"),
            Self::F16 => f.write_str("f16"),
            Self::BF16 => f.write_str("bf16"),
            Self::I32 => f.write_str("i32"),
            Self::U32 => f.write_str("u32"),
            Self::U8 => f.write_str("u8"),
            Self::Bool => f.write_str("bool"),
            Self::Quant(format) => write!(f, "{format:?}"),
        }
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that can stand for an array's elements in host memory.
pub trait Element: sealed::Sealed + Copy + Send + Sync + 'static {
    /// The dtype whose memory layout this type has.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),* $(,)?) => {$(
        impl sealed::Sealed for $rust {}
        impl Element for $rust {
            const DTYPE: DType = DType::$dtype;
        }
    )*};
}

elements! { f32 => F32, f16 => F16, bf16 => BF16, i32 => I32, u32 => U32, u8 => U8 }
