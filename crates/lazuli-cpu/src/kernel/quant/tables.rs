//! The block formats of GGUF whose 4-bit codes index 16 values, as [`Blocks`]: layouts after GGML's quantised types.
#![allow(clippy::undocumented_unsafe_blocks)]
// SAFETY (of every block here): callers give whole blocks, and every offset below lies within one.

use super::blocks::{Blocks, Octet, coarse, fine, read_u16, read_u32, unrolled};
use super::formats::nibbles_of_two;
use super::planar::E2M1_RAISED;
use crate::simd::Dot;
use lazuli_quant::blocks::{IQ4_VALUES, gguf_mxfp4, gguf_nvfp4, iq4_nl, iq4_xs};

/// `d`, then 32 codes of uneven values.
pub(super) struct Iq4Nl;
/// `d`, 8 scales of 6 bits, then 256 codes of uneven values.
pub(super) struct Iq4Xs;
/// An e8m0 scale, then 32 e2m1 floats.
pub(super) struct GgufMxfp4;
/// Four unsigned e4m3 scales, then 64 e2m1 floats.
pub(super) struct GgufNvfp4;

impl Blocks for Iq4Nl {
    const LEN: usize = iq4_nl::LEN;
    const BYTES: usize = iq4_nl::BYTES;
    const SIGNED: bool = true;
    coarse!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe { s.lookup(&IQ4_VALUES, nibbles_of_two::<S, C>(s, o, Self::BYTES, iq4_nl::QS)) }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Eight {
        unsafe { s.eight_mul(o.halves::<S, { iq4_nl::BYTES }, { iq4_nl::D }>(s), by) }
    }
}

/// Eight nibbles, a byte for each.
#[inline(always)]
pub(super) fn spread_nibbles(x: u32) -> u64 {
    let x = u64::from(x);
    let x = (x | x << 16) & 0x0000_ffff_0000_ffff;
    let x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
    (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f
}

/// Eight pairs of bits, a byte for each.
#[inline(always)]
fn spread_pairs(x: u16) -> u64 {
    let x = u64::from(x);
    let x = (x | x << 24) & 0x0000_00ff_0000_00ff;
    let x = (x | x << 12) & 0x000f_000f_000f_000f;
    (x | x << 6) & 0x0303_0303_0303_0303
}

impl Blocks for Iq4Xs {
    const LEN: usize = iq4_xs::LEN;
    const BYTES: usize = iq4_xs::BYTES;
    const SIGNED: bool = true;
    coarse!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe {
            let at = iq4_xs::QS + 32 * C;
            s.lookup(&IQ4_VALUES, s.nibbles_pair(o.at(at), o.at(at + 16)))
        }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Eight {
        unsafe {
            let low = spread_nibbles(read_u32(o.at(iq4_xs::SCALES_L)));
            let high = spread_pairs(read_u16(o.at(iq4_xs::SCALES_H)));
            let d = s.eight_splat_f16(read_u16(o.at(iq4_xs::D)));
            // Exact: `d` has 11 bits and the scale less 32 has 6.
            let zero = s.eight_mul(d, s.eight_splat(-32.0));
            s.eight_mul(s.eight_fma(s.eight_u8(low | high << 4), d, zero), by)
        }
    }
}

impl Blocks for GgufMxfp4 {
    const LEN: usize = gguf_mxfp4::LEN;
    const BITS: usize = 5;
    const BYTES: usize = gguf_mxfp4::BYTES;
    const OFFSET: u8 = 12;
    coarse!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe { s.lookup(&E2M1_RAISED, nibbles_of_two::<S, C>(s, o, Self::BYTES, gguf_mxfp4::QS)) }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Eight {
        unsafe {
            let mut exponents = 0;
            for i in 0..8 {
                exponents |= u64::from(*o.at(i * Self::BYTES + gguf_mxfp4::E)) << (8 * i);
            }
            s.eight_mul(s.eight_half_e8m0(exponents), by)
        }
    }
}

impl Blocks for GgufNvfp4 {
    const LEN: usize = gguf_nvfp4::LEN;
    const BITS: usize = 5;
    const BYTES: usize = gguf_nvfp4::BYTES;
    const OFFSET: u8 = 12;
    fine!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe { s.lookup(&E2M1_RAISED, s.nibbles_of_eights(o.at(C * Self::BYTES + gguf_nvfp4::QS))) }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Wide {
        unsafe {
            let four = |block: usize| u64::from(read_u32(o.at(block * Self::BYTES + gguf_nvfp4::SCALES)));
            let words = unrolled!(block in [0, 2] => unsigned_e4m3(four(block) | four(block + 1) << 32));
            // The codes are doubled, and the scales come over 256.
            s.wide_mul(
                s.wide_e4m3(words.as_ptr().cast()),
                s.wide_twice(s.eight_mul(by, s.eight_splat(128.0))),
            )
        }
    }
}

/// Unsigned e4m3 floats as signed ones: 127 stands for 0, and the top bit of others counts nothing.
#[inline(always)]
fn unsigned_e4m3(x: u64) -> u64 {
    let sevens = 0x7f7f_7f7f_7f7f_7f7f;
    let others = x ^ sevens;
    let others = (((others & sevens) + sevens) | others) >> 7 & 0x0101_0101_0101_0101;
    (x & (others * 127)).to_le()
}
