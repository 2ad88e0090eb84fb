//! Formats of eight-bit floats as [`Blocks`]: MXFP8 and block FP8, both e4m3.
//!
//! Their codes are no small integers: 15 binary exponents lie between the smallest and the largest. For few rows of
//! activations the codes become floats in registers, by moving their bits to where half precision has them, and are
//! multiplied with the activations as they are: exact, and fast enough for the memory. There is no panel for many rows.
//! Rounding 32 weights to signed bytes with a scale of their own doubled the divergence of a DeepSeek-V3 model's logits,
//! and two such bytes for a weight cost as much as products in `f32`, which are exact: those it is.

use super::blocks::{Blocks, Octet, coarse};
use crate::simd::Dot;

/// e4m3 codes. `MX`: an e8m0 scale for each 32; otherwise an f32 factor for each tile of rows and columns.
pub(super) struct Float8<const MX: bool>;

impl<const MX: bool> Blocks for Float8<MX> {
    const LEN: usize = 32;
    const BYTES: usize = 32;
    const PLANES: usize = 2;
    const SPREAD: bool = true;
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
            // Codes come over 256, exponents as half of what they stand for.
            let unit = if MX { 512.0 } else { 256.0 };
            s.eight_mul(o.1.eight(s, 0), s.eight_mul(s.eight_splat(unit), by))
        }
    }
}
