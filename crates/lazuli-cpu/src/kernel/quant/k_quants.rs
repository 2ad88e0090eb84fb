//! The K-quants of GGUF with 256 weights as [`Superblock`]s: layouts after the document of GGML's quantised types.
#![allow(clippy::undocumented_unsafe_blocks)]
// SAFETY (of every block here): callers give whole blocks, and every offset below lies within one.

use super::blocks::{Octet, read_u16, read_u32};
use super::formats::{Q4K, Q5K, Q6K};
use super::superblock::Superblock;
use crate::simd::Dot;

/// What Q4_K and Q5_K share: quarters of the block in the paired order of groups.
macro_rules! six_bit {
    () => {
        const MINS: bool = true;
        const PAIRED: bool = true;
        #[inline(always)]
        unsafe fn factors<S: Dot>(s: S, o: Octet, multiples: *const i16) -> (S::Factors, S::Eight) {
            unsafe { s.factors_six_bits(o.at(4), multiples) }
        }
        #[inline(always)]
        fn add<S: Dot, const H: usize>(
            s: S,
            acc: S::Sums,
            sums: [S::Sums; 2],
            factors: S::Factors,
        ) -> S::Sums {
            s.add_pairs::<H>(acc, sums, factors)
        }
        #[inline(always)]
        unsafe fn scales<S: Dot>(s: S, o: Octet) -> [f32; 2] {
            unsafe { s.two_f16(read_u32(o.0)) }
        }
    };
}

impl Superblock for Q4K {
    const BYTES: usize = 144;
    six_bit!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe {
            let x = s.bytes(o.at(16 + 64 * (C / 2)));
            if C % 2 == 0 { s.low_nibbles(x) } else { s.high_nibbles(x) }
        }
    }
}

impl Superblock for Q5K {
    const BYTES: usize = 176;
    six_bit!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe {
            let x = s.bytes(o.at(48 + 64 * (C / 2)));
            // Bit j of a byte is the fifth bit of group j's code: bring this quarter's two to bit 4.
            let bits = s.bytes_pair(o.at(16), o.at(16));
            match C {
                0 => s.or_bytes(s.low_nibbles(x), s.shl_mask::<4, 2>(bits, 0x10)),
                1 => s.or_bytes(s.high_nibbles(x), s.shl_mask::<3, 1>(bits, 0x10)),
                2 => s.or_bytes(s.low_nibbles(x), s.shr_mask::<0, 2>(bits, 0x10)),
                _ => s.or_bytes(s.high_nibbles(x), s.shr_mask::<1, 3>(bits, 0x10)),
            }
        }
    }
}

impl Superblock for Q6K {
    const BYTES: usize = 210;
    const OFFSET: u8 = 32;
    const MINS: bool = false;
    const PAIRED: bool = false;
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe { <Self as super::blocks::Blocks>::codes::<S, C>(s, o) }
    }
    #[inline(always)]
    unsafe fn fine_scales(o: Octet) -> *const u8 {
        unsafe { o.at(192) }
    }
    #[inline(always)]
    unsafe fn factors<S: Dot>(s: S, o: Octet, multiples: *const i16) -> (S::Factors, S::Eight) {
        unsafe { (s.factors_i8(Self::fine_scales(o), multiples), s.eight_splat(0.0)) }
    }
    #[inline(always)]
    fn add<S: Dot, const H: usize>(s: S, acc: S::Sums, sums: [S::Sums; 2], factors: S::Factors) -> S::Sums {
        s.add_quads::<H>(acc, sums, factors)
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet) -> [f32; 2] {
        unsafe { s.two_f16(u32::from(read_u16(o.at(208)))) }
    }
}
