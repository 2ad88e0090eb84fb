//! Formats of eight-bit floats as [`Blocks`]: MXFP8 and block FP8, both e4m3.
//!
//! Their codes are no small integers: 15 binary exponents lie between the smallest and the largest. For few rows of
//! activations the codes become floats in registers, by moving their bits to where half precision has them, and are
//! multiplied with the activations' codes as floats: exact weights, and fast enough for the memory. For many rows a
//! panel takes each 32 weights as signed bytes with a scale of their own. That rounds them by at most 1/254 of the
//! largest of the 32, which is what the activations' rounding costs too, and keeps the integer products.

use super::blocks::{Blocks, GROUP, OCTET, Octet, SideLayout, coarse, read_u64};
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

/// Unpacks 256 weights for a panel: rounds each 32 to signed bytes.
///
/// # Safety
/// The octet must be whole.
#[inline(always)]
pub(super) unsafe fn unpack<S: Dot, F: Blocks>(s: S, o: Octet, codes: &mut [u8; OCTET], numbers: &mut [f32]) {
    let mut values = [0f32; GROUP];
    // SAFETY: the octet has 256 codes; `values` and `codes` take 32 and 256, and there are 16 numbers or more.
    unsafe {
        F::store_scales(s, numbers.as_mut_ptr(), F::scales(s, o, s.eight_splat(1.0)));
        for (g, codes) in codes.chunks_exact_mut(GROUP).enumerate() {
            s.store_wide(values.as_mut_ptr(), s.wide_e4m3(o.at(g * GROUP)));
            s.store_wide(values.as_mut_ptr().add(16), s.wide_e4m3(o.at(g * GROUP + 16)));
            let mut largest = s.zero();
            let mut poison = s.zero();
            for i in (0..GROUP).step_by(S::LANES) {
                let value = s.load(values.as_ptr().add(i));
                largest = s.max(s.abs(value), largest);
                poison = s.fma(value, s.zero(), poison);
            }
            let largest = s.reduce_max(largest);
            let inverse = s.splat(if largest > 0.0 { 127.0 / largest } else { 0.0 });
            for i in (0..GROUP).step_by(S::LANES) {
                let code = s.to_i32(s.mul(s.load(values.as_ptr().add(i)), inverse));
                s.store_i8(codes.as_mut_ptr().cast::<i8>().add(i), code);
            }
            // Zero, unless a weight was NaN: no maximum shows that.
            numbers[g] *= largest / 127.0 + s.reduce_sum(poison);
        }
        let bias = S::PANEL_BIAS as i8;
        for at in (0..OCTET).step_by(64) {
            let p = codes.as_mut_ptr().add(at);
            s.store_bytes(p, s.add_byte(s.bytes(p), bias));
        }
    }
}
