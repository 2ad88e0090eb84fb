//! The block formats of GGUF with two and three bits as [`Blocks`]: layouts after GGML's quantised types.
#![allow(clippy::undocumented_unsafe_blocks)]
// SAFETY (of every block here): callers give whole blocks, and every offset below lies within one.

use super::blocks::{Blocks, Octet, coarse, fine, read_u16, read_u32, read_u64, unrolled};
use crate::simd::Dot;
use lazuli_quant::blocks::{q2_k, q3_k, tq1_0, tq2_0};

/// A scale and a min of 4 bits for each 16, 256 codes of 2 bits, then `d` and `dmin`.
pub(super) struct Q2K;
/// A plane of third bits, 256 codes of 2 bits, 16 scales of 6 bits, then `d`.
pub(super) struct Q3K;
/// 256 digits to base 3, five in a byte, then `d`.
pub(super) struct Tq1_0;
/// 256 codes of 2 bits, then `d`.
pub(super) struct Tq2_0;

/// The two bits of codes `64 C ..`, where each half of 256 has 32 bytes: bits `2 j ..` of byte `l` are code `32 j + l`'s.
#[inline(always)]
unsafe fn pairs_of_bits<S: Dot, const C: usize>(s: S, p: *const u8) -> S::Bytes {
    unsafe {
        let p = p.add(32 * (C / 2));
        let both = s.bytes_pair(p, p);
        if C % 2 == 0 { s.shr_mask::<0, 2>(both, 3) } else { s.shr_mask::<4, 6>(both, 3) }
    }
}

/// Low nibbles of eight bytes.
const NIBBLES: u64 = 0x0f0f_0f0f_0f0f_0f0f;

/// The 16 scales of a block of Q2_K, one to a byte.
#[inline(always)]
pub(super) unsafe fn q2_k_scales(o: Octet) -> [u64; 2] {
    unsafe { unrolled!(at in [0, 8] => read_u64(o.at(q2_k::SCALES + at)) & NIBBLES) }
}

/// Its 16 mins.
#[inline(always)]
pub(super) unsafe fn q2_k_mins(o: Octet) -> [u64; 2] {
    unsafe { unrolled!(at in [0, 8] => read_u64(o.at(q2_k::SCALES + at)) >> 4 & NIBBLES) }
}

impl Blocks for Q2K {
    const LEN: usize = q2_k::LEN;
    const BITS: usize = 4;
    const BYTES: usize = q2_k::BYTES;
    const MINS: bool = true;
    fine!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe { pairs_of_bits::<S, C>(s, o.at(q2_k::QS)) }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Wide {
        unsafe {
            let by = s.eight_mul(s.eight_splat_f16(read_u16(o.at(q2_k::D))), by);
            s.wide_mul(s.wide_bytes(q2_k_scales(o)), s.wide_twice(by))
        }
    }
    #[inline(always)]
    unsafe fn fine_mins<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Wide {
        unsafe {
            let by = s.eight_mul(s.eight_splat_f16(read_u16(o.at(q2_k::DMIN))), by);
            s.wide_mul(s.wide_bytes(q2_k_mins(o)), s.wide_twice(by))
        }
    }
}

/// The top bit of each of eight bytes.
const TOP: u64 = 0x8080_8080_8080_8080;

/// The 16 signed scales of Q3_K, one to a byte: the low nibbles of 8 bytes, then their high nibbles, each with two
/// bits of the last four bytes on top, less 32.
#[inline(always)]
pub(super) unsafe fn q3_k_scales(p: *const u8) -> [u64; 2] {
    unsafe {
        let (low, top) = (read_u64(p), read_u32(p.add(8)));
        let tops = |shift: u32| u64::from(top >> shift & 0x0303_0303) << 4;
        let first = low & NIBBLES | tops(0) | tops(2) << 32;
        let second = low >> 4 & NIBBLES | tops(4) | tops(6) << 32;
        // A set top bit keeps each byte from borrowing from the next.
        unrolled!(x in [first, second] => ((x | TOP) - 0x2020_2020_2020_2020) ^ TOP)
    }
}

impl Blocks for Q3K {
    const LEN: usize = q3_k::LEN;
    const BITS: usize = 4;
    const BYTES: usize = q3_k::BYTES;
    const OFFSET: u8 = 4;
    fine!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe {
            // Bit j of a byte is the third bit of run j's code: bring bits 2C and 2C + 1 to bit 2.
            let bits = s.bytes_pair(o.at(q3_k::HMASK), o.at(q3_k::HMASK));
            let third = match C {
                0 => s.shl_mask::<2, 1>(bits, 4),
                1 => s.shr_mask::<0, 1>(bits, 4),
                2 => s.shr_mask::<2, 3>(bits, 4),
                _ => s.shr_mask::<4, 5>(bits, 4),
            };
            s.or_bytes(pairs_of_bits::<S, C>(s, o.at(q3_k::QS)), third)
        }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Wide {
        unsafe {
            let by = s.eight_mul(s.eight_splat_f16(read_u16(o.at(q3_k::D))), by);
            s.wide_mul(s.wide_bytes(q3_k_scales(o.at(q3_k::SCALES))), s.wide_twice(by))
        }
    }
}

impl Blocks for Tq2_0 {
    const LEN: usize = tq2_0::LEN;
    const BITS: usize = 4;
    const BYTES: usize = tq2_0::BYTES;
    const OFFSET: u8 = 1;
    coarse!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe { pairs_of_bits::<S, C>(s, o.at(tq2_0::QS)) }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Eight {
        unsafe { s.eight_mul(s.eight_splat_f16(read_u16(o.at(tq2_0::D))), by) }
    }
}

/// What brings the digits of each quarter of codes to the top of their bytes: powers of 3, one for two codes.
static DIGITS: [[u16; 32]; 4] = {
    let powers = [1, 3, 9, 27, 81];
    let mut digits = [[0; 32]; 4];
    let mut code = 0;
    while code < 256 {
        let digit = match code {
            0..160 => code / 32,
            160..240 => (code - 160) / 16,
            _ => (code - 240) / 4,
        };
        digits[code / 64][code % 64 / 2] = powers[digit];
        code += 2;
    }
    digits
};

impl Blocks for Tq1_0 {
    const LEN: usize = tq1_0::LEN;
    const BITS: usize = 4;
    const BYTES: usize = tq1_0::BYTES;
    const OFFSET: u8 = 1;
    coarse!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe {
            let wide = o.at(tq1_0::QS);
            let [a, b] = unrolled!(at in [32, 40] => read_u64(o.at(tq1_0::QS + at)));
            let packed = match C {
                0 | 1 => s.bytes_pair(wide, wide),
                2 => {
                    let [w, x, y, z] = unrolled!(at in [0, 8, 16, 24] => read_u64(wide.add(at)));
                    s.words([w, x, y, z, a, b, a, b])
                }
                _ => {
                    let last = u64::from(read_u32(o.at(tq1_0::QH))) * 0x1_0000_0001;
                    s.words([a, b, a, b, a, b, last, last])
                }
            };
            s.trits(packed, &DIGITS[C])
        }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Eight {
        unsafe { s.eight_mul(s.eight_splat_f16(read_u16(o.at(tq1_0::D))), by) }
    }
}
