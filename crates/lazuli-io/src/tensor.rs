//! What a file says about one tensor: name, shape, encoding, and where its bytes lie.
//!
//! Shapes are row-major here (the last axis is contiguous), whatever order the file writes them in.

use std::fmt;
use std::ops::Range;

use lazuli_quant::Format;

use crate::error::TensorFault;

/// How a tensor's elements are stored.
///
/// Wider than the set of types that arrays compute with: a checkpoint may carry integer tables or raw
/// float-8 codes that only become an array together with other tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The plain types say what they are.
pub enum Encoding {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    BF16,
    F32,
    F64,
    /// Float-8 with 4 exponent and 3 mantissa bits, finite only (OCP "E4M3FN").
    F8E4M3,
    /// Float-8 with 5 exponent and 2 mantissa bits.
    F8E5M2,
    /// Unsigned power of two, bias 127 (OCP microscaling scale).
    F8E8M0,
    /// Packed in blocks or planes.
    Quant(Format),
}

impl Encoding {
    /// Bytes of one element; `None` for packed encodings.
    pub fn element_bytes(self) -> Option<usize> {
        Some(match self {
            Self::Bool | Self::U8 | Self::I8 | Self::F8E4M3 | Self::F8E5M2 | Self::F8E8M0 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::BF16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::Quant(_) => return None,
        })
    }

    /// Alignment that reading elements of `plane` in place needs, in bytes: blocks are read byte by byte,
    /// the codes and scales of planar formats as what they are.
    pub fn alignment(self, plane: usize) -> usize {
        match (self, plane) {
            (Self::Quant(Format::Affine { scale, .. }), 1 | 2) => scale.bytes(),
            (Self::Quant(Format::Affine { .. }), _) => 4,
            (Self::Quant(Format::Fp8Block { .. }), 1) => 4,
            _ => self.element_bytes().unwrap_or(1),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quant(format) => write!(f, "{format:?}"),
            plain => write!(f, "{plain:?}"),
        }
    }
}

/// Where the bytes of one plane lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plane {
    /// Index into the checkpoint's list of files.
    pub file: usize,
    /// Byte offsets in that file.
    pub bytes: Range<usize>,
}

/// One tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name in the file.
    pub name: String,
    /// Lengths of the axes, the contiguous one last; a scalar has none.
    pub shape: Vec<usize>,
    /// How elements are stored.
    pub encoding: Encoding,
    /// One range per plane: one for plain types and block formats, two or three for planar formats.
    pub planes: Vec<Plane>,
}

impl TensorInfo {
    /// Elements in all.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Stored bytes of all planes.
    pub fn bytes(&self) -> usize {
        self.planes.iter().map(|plane| plane.bytes.len()).sum()
    }
}

/// Bytes that a tensor of `shape` (row-major, as read from an unchecked header) takes in a one-plane
/// encoding, and the shape in this machine's integers.
///
/// # Errors
/// [`TensorFault::ShapeOverflow`], [`TensorFault::RaggedRow`]; [`TensorFault::Unsupported`] for planar formats.
pub(crate) fn checked_size(shape: &[u64], encoding: Encoding) -> Result<(Vec<usize>, usize), TensorFault> {
    let overflow = || TensorFault::ShapeOverflow(shape.to_vec());
    let dims: Vec<usize> =
        shape.iter().map(|&n| usize::try_from(n)).collect::<Result<_, _>>().map_err(|_| overflow())?;
    // A zero axis would hide an overflow of the others, and the product of any prefix must fit too.
    let elements = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1))).ok_or_else(overflow)?;
    let elements = if dims.contains(&0) { 0 } else { elements };
    let bytes = match encoding {
        Encoding::Quant(format) => {
            let cols = dims.last().copied().unwrap_or(1);
            let block = format.block_len();
            if cols % block != 0 {
                return Err(TensorFault::RaggedRow { cols, block, encoding });
            }
            if format.planes() != 1 {
                return Err(TensorFault::Unsupported { name: format!("{format:?} in one plane") });
            }
            let rows = if elements == 0 { 0 } else { elements / cols };
            format.bytes(rows, cols).ok_or_else(overflow)?
        }
        plain => elements.checked_mul(plain.element_bytes().unwrap_or(1)).ok_or_else(overflow)?,
    };
    // Slices may not be longer than `isize::MAX` bytes.
    if bytes > isize::MAX as usize {
        return Err(overflow());
    }
    Ok((dims, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked() {
        assert_eq!(checked_size(&[], Encoding::F32), Ok((vec![], 4)));
        assert_eq!(checked_size(&[3, 64], Encoding::Quant(Format::Q4_0)), Ok((vec![3, 64], 3 * 2 * 18)));
        assert_eq!(checked_size(&[0, 7], Encoding::F16), Ok((vec![0, 7], 0)));
        assert!(matches!(
            checked_size(&[3, 48], Encoding::Quant(Format::Q4_0)),
            Err(TensorFault::RaggedRow { cols: 48, block: 32, .. })
        ));
        for shape in [&[u64::MAX, 2][..], &[1 << 32, 1 << 32], &[0, u64::MAX, 3], &[1 << 62, 1]] {
            let found = checked_size(shape, Encoding::F32);
            assert_eq!(found, Err(TensorFault::ShapeOverflow(shape.to_vec())));
        }
    }
}
