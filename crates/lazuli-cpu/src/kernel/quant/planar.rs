//! The planar formats with small integer codes as [`Blocks`]: MLX affine, MXFP4, NVFP4.
//!
//! Layouts after the documentation of MLX's `quantize`, OCP Microscaling Formats (MX) v1.0 and NVIDIA's NVFP4. The
//! eight-bit floats are in [`super::float8`].
#![allow(clippy::undocumented_unsafe_blocks)]
// SAFETY (of every block here): callers give whole octets of every plane, and every offset below lies within one.

use super::blocks::{Blocks, Octet, coarse, fine, read_u64, unrolled};
use super::sides::SideLayout;
use crate::simd::{Dot, has_full_byte};
use lazuli_quant::blocks::E2M1_DOUBLED;

/// Codes of `B` bits in one stream, `scale * code + bias` for groups of 32, 64 or 128; `B` is not 8.
pub(super) struct Affine<const B: usize>;
/// Codes of 8 bits, likewise.
pub(super) struct Affine8;
/// e2m1 floats, two to a byte, and an e8m0 scale for each 32.
pub(super) struct Mxfp4;
/// e2m1 floats, two to a byte, and an e4m3 scale for each 16.
pub(super) struct Nvfp4;

impl<const B: usize> Blocks for Affine<B> {
    const LEN: usize = 32;
    const BITS: usize = if B < 4 { 4 } else { B };
    const BYTES: usize = 4 * B;
    const PLANES: usize = 3;
    const SPREAD: bool = true;
    const MINS: bool = true;
    coarse!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe { s.bit_codes::<B, C>(o.at(0)) }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Eight {
        unsafe { s.eight_mul(o.1.eight(s, 0), by) }
    }
    #[inline(always)]
    unsafe fn mins<S: Dot>(s: S, o: Octet) -> S::Eight {
        unsafe { o.1.eight(s, 1) }
    }
}

impl Blocks for Affine8 {
    const LEN: usize = 32;
    const BYTES: usize = 32;
    const PLANES: usize = 3;
    const SPREAD: bool = true;
    const SIGNED: bool = true;
    const MINS: bool = true;
    coarse!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        // Signed codes are the stored ones less 128, which the mins make up for.
        unsafe { s.add_byte(s.bytes(o.at(64 * C)), -128) }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Eight {
        unsafe { s.eight_mul(o.1.eight(s, 0), by) }
    }
    #[inline(always)]
    unsafe fn mins<S: Dot>(s: S, o: Octet) -> S::Eight {
        unsafe {
            let bias = o.1.eight(s, 1);
            s.eight_fma(o.1.eight(s, 0), s.eight_splat(128.0), bias)
        }
    }
}

/// Twice the value of each e2m1 code, plus 12.
pub(super) const E2M1_RAISED: [i8; 16] = {
    let mut table = E2M1_DOUBLED;
    let mut i = 0;
    while i < 16 {
        table[i] += 12;
        i += 1;
    }
    table
};

impl Blocks for Mxfp4 {
    const LEN: usize = 32;
    const BITS: usize = 5;
    const BYTES: usize = 16;
    const PLANES: usize = 2;
    const SPREAD: bool = true;
    const OFFSET: u8 = 12;
    coarse!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe { s.lookup(&E2M1_RAISED, s.bit_codes::<4, C>(o.at(0))) }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Eight {
        unsafe { s.eight_mul(o.1.eight(s, 0), by) }
    }
}

impl Blocks for Nvfp4 {
    const LEN: usize = 32;
    const BITS: usize = 5;
    const BYTES: usize = 16;
    const PLANES: usize = 2;
    const OFFSET: u8 = 12;
    fine!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe { s.lookup(&E2M1_RAISED, s.bit_codes::<4, C>(o.at(0))) }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Wide {
        unsafe {
            let p = o.1.planes[0];
            let [low, high] = unrolled!(at in [0, 8] => read_u64(p.add(at)) | 0x8080_8080_8080_8080);
            // The codes are doubled, and the scales come over 256.
            let unit = if has_full_byte(low) || has_full_byte(high) { f32::NAN } else { 128.0 };
            let by = s.eight_mul(by, s.eight_splat(unit));
            s.wide_mul(s.wide_e4m3(p), s.wide_twice(by))
        }
    }
    #[inline(always)]
    fn side_offset(octet: usize, _layout: SideLayout) -> usize {
        16 * octet
    }
}
