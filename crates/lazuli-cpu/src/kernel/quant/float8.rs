//! Formats of eight-bit floats as [`Blocks`]: MXFP8 and block FP8, both e4m3.
//!
//! Their codes are no small integers: 15 binary exponents lie between the smallest and the largest. For few rows of
//! activations the codes become floats in registers, by moving their bits to where half precision has them, and are
//! multiplied with the activations as they are: exact, and fast enough for the memory. There is no panel for many rows.
//! Rounding 32 weights to signed bytes with a scale of their own doubled the divergence of a DeepSeek-V3 model's logits,
//! and two such bytes for a weight cost as much as products in `f32`, which are exact: those it is.

use super::blocks::{Blocks, Octet, SideLayout, coarse, read_u64};
use super::planar::{has_full_byte, side_eight, side_offset};
use crate::simd::Dot;

/// e4m3 codes. `MX`: an e8m0 scale for each 32; otherwise an f32 factor for each tile of rows and columns.
pub(super) struct Float8<const MX: bool>;

impl<const MX: bool> Blocks for Float8<MX> {
    const LEN: usize = 32;
    const BYTES: usize = 32;
    const PLANES: usize = 2;
    const FLOAT: bool = true;
    coarse!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        // SAFETY: the octet is whole.
        unsafe { s.bytes(o.at(64 * C)) }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Eight {
        // SAFETY: the caller gives a whole octet of scales.
        unsafe {
            let (scales, unit) = if MX {
                let exponents = read_u64(o.1.planes[0]);
                // The last exponent is NaN.
                let unit = if has_full_byte(exponents) { f32::NAN } else { 512.0 };
                (s.eight_half_e8m0(exponents), unit)
            } else {
                (side_eight(s, o.1.planes[0], o.1.layout), 256.0)
            };
            s.eight_mul(scales, s.eight_mul(s.eight_splat(unit), by))
        }
    }
    #[inline(always)]
    fn side_offset(octet: usize, layout: SideLayout) -> usize {
        if MX { 8 * octet } else { side_offset(octet, layout) }
    }
}
