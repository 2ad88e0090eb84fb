//! Where the weights of a product come from: anything that decodes to rows of floats.

use lazuli_quant::{Format, QuantError};

use super::super::Element;
use super::super::element::{BF16, F16, F32, Float};
use crate::simd::{Level, Simd, stamp};

/// Weights `[n, k]` that are decoded to `f32` piece by piece.
pub trait RowSource: Sync {
    /// Pieces start at multiples of this and are as long, or go to the end of the row.
    fn granule(&self) -> usize;

    /// Decodes the elements `start..start + out.len()` of row `row`.
    fn decode(&self, row: usize, start: usize, out: &mut [f32]);
}

/// Packed weights of any format, through the format's own decoder.
pub struct PackedRows<'a> {
    format: Format,
    planes: &'a [&'a [u8]],
    rows: usize,
    cols: usize,
    /// The row of the planes that is row 0 here.
    first: usize,
}

impl<'a> PackedRows<'a> {
    /// Weights `[rows, cols]` in whole planes of `format`.
    ///
    /// # Errors
    /// Planes that do not fit the format and shape.
    pub fn new(format: Format, planes: &'a [&'a [u8]], rows: usize, cols: usize) -> Result<Self, QuantError> {
        format.check(planes, rows, cols)?;
        Ok(Self { format, planes, rows, cols, first: 0 })
    }

    /// The weights from row `first` of these on.
    pub fn from_row(self, first: usize) -> Self {
        Self { first: self.first + first, ..self }
    }

    /// The granule of such weights, which decides how much scratch memory a product needs.
    pub fn granule_of(format: Format, cols: usize) -> usize {
        if format.block_bytes().is_some() { format.block_len() } else { cols }
    }
}

impl RowSource for PackedRows<'_> {
    fn granule(&self) -> usize {
        Self::granule_of(self.format, self.cols)
    }

    fn decode(&self, row: usize, start: usize, out: &mut [f32]) {
        let row = self.first + row;
        let done = if let Some(bytes) = self.format.block_bytes() {
            let block = (row * self.cols + start) / self.format.block_len();
            let piece = &self.planes[0][block * bytes..];
            self.format.decode_row(&[piece], 1, out.len(), 0, out)
        } else {
            self.format.decode_row(self.planes, self.rows, self.cols, row, out)
        };
        done.expect("planes and shape were checked when the source was made");
    }
}

/// Decodes `count` elements of each of `rows` rows of floats, `stride` elements apart, to consecutive rows of `to`.
pub(super) unsafe fn decode_floats(
    level: Level,
    element: Element,
    (rows, count, stride): (usize, usize, usize),
    from: *const u8,
    to: *mut f32,
) {
    let decode = match element {
        Element::F32 => decode_f32,
        Element::F16 => decode_f16,
        Element::BF16 => decode_bf16,
        other => unreachable!("float weights are F32, F16 or BF16, not {other:?}"),
    };
    // SAFETY: the caller's promise.
    unsafe { decode(level, rows, count, stride, from, to) };
}

stamp! {
    unsafe fn decode_f32(rows: usize, count: usize, stride: usize, from: *const u8, to: *mut f32) = decode::<_, F32>;
    unsafe fn decode_f16(rows: usize, count: usize, stride: usize, from: *const u8, to: *mut f32) = decode::<_, F16>;
    unsafe fn decode_bf16(rows: usize, count: usize, stride: usize, from: *const u8, to: *mut f32) = decode::<_, BF16>;
}

#[inline(always)]
unsafe fn decode<S: Simd, W: Float>(
    s: S,
    rows: usize,
    count: usize,
    stride: usize,
    from: *const u8,
    to: *mut f32,
) {
    let whole = count - count % S::LANES;
    for row in 0..rows {
        // SAFETY: the caller's promise.
        unsafe {
            let (from, to) = (from.cast::<W::Bits>().add(row * stride), to.add(row * count));
            for i in (0..whole).step_by(S::LANES) {
                s.store(to.add(i), W::load(s, from.add(i)));
            }
            if whole < count {
                s.store_partial(
                    to.add(whole),
                    count - whole,
                    W::load_partial(s, from.add(whole), count - whole),
                );
            }
        }
    }
}
