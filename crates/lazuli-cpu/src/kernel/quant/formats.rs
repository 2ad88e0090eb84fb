//! The block formats of GGUF as [`Blocks`]: layouts after the document of GGML's quantised types.
#![allow(clippy::undocumented_unsafe_blocks)]
// SAFETY (of every block here): callers give whole blocks, and every offset below lies within one.

use super::blocks::{Blocks, Octet, coarse, fine, read_u16, read_u32};
use super::pairs::{MINS, Pairs, UNIT};
use super::superblock::Superblock;
use crate::simd::{Dot, apart, six_bits};

/// `d`, then 32 signed bytes.
pub(super) struct Q8_0;
/// `d`, then 32 codes of 4 bits: the low nibbles are the first 16.
pub(super) struct Q4_0;
/// `d`, `m`, then 32 codes of 4 bits.
pub(super) struct Q4_1;
/// `d`, 32 fifth bits, then the low 4 bits of 32 codes.
pub(super) struct Q5_0;
/// `d`, `m`, 32 fifth bits, then the low 4 bits of 32 codes.
pub(super) struct Q5_1;
/// `d`, `dmin`, 8 scales and mins of 6 bits in 12 bytes, then 256 codes of 4 bits in runs of 32 + 32.
pub(super) struct Q4K;
/// As [`Q4K`], with a plane of fifth bits before the nibbles.
pub(super) struct Q5K;
/// Low 4 bits and high 2 bits of 256 codes, 16 scales of 8 bits, then `d`.
pub(super) struct Q6K;

/// Four-bit codes of two neighbouring blocks of 32, `offset` bytes into each.
#[inline(always)]
pub(super) unsafe fn nibbles_of_two<S: Dot, const C: usize>(
    s: S,
    o: Octet,
    bytes: usize,
    offset: usize,
) -> S::Bytes {
    unsafe { s.nibbles_pair(o.at(2 * C * bytes + offset), o.at((2 * C + 1) * bytes + offset)) }
}

/// The fifth bits of two neighbouring blocks of 32, `offset` bytes into each, as 0 or 16.
#[inline(always)]
unsafe fn fifths_of_two<S: Dot, const C: usize>(s: S, o: Octet, bytes: usize, offset: usize) -> S::Bytes {
    unsafe {
        let low = read_u32(o.at(2 * C * bytes + offset));
        let high = read_u32(o.at((2 * C + 1) * bytes + offset));
        s.spread_bits(u64::from(low) | u64::from(high) << 32, 0x10)
    }
}

impl Blocks for Q8_0 {
    const LEN: usize = 32;
    const BYTES: usize = 34;
    const SIGNED: bool = true;
    coarse!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        // The scales are read with vectors that overlap these.
        unsafe {
            let p = apart(o.at(2));
            s.bytes_pair(p.add(2 * C * 34), p.add((2 * C + 1) * 34))
        }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Eight {
        unsafe { s.eight_mul(o.halves::<S, 34, 0>(s), by) }
    }
}

impl Blocks for Q4_0 {
    const LEN: usize = 32;
    const BITS: usize = 4;
    const BYTES: usize = 18;
    const OFFSET: u8 = 8;
    coarse!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe { nibbles_of_two::<S, C>(s, o, 18, 2) }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Eight {
        unsafe { s.eight_mul(o.halves::<S, 18, 0>(s), by) }
    }
}

impl Blocks for Q4_1 {
    const LEN: usize = 32;
    const BITS: usize = 4;
    const BYTES: usize = 20;
    const MINS: bool = true;
    coarse!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe { nibbles_of_two::<S, C>(s, o, 20, 4) }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Eight {
        unsafe { s.eight_mul(o.halves::<S, 20, 0>(s), by) }
    }
    #[inline(always)]
    unsafe fn mins<S: Dot>(s: S, o: Octet) -> S::Eight {
        unsafe { o.halves::<S, 20, 2>(s) }
    }
}

impl Blocks for Q5_0 {
    const LEN: usize = 32;
    const BITS: usize = 5;
    const BYTES: usize = 22;
    const OFFSET: u8 = 16;
    coarse!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe { s.or_bytes(nibbles_of_two::<S, C>(s, o, 22, 6), fifths_of_two::<S, C>(s, o, 22, 2)) }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Eight {
        unsafe { s.eight_mul(o.halves::<S, 22, 0>(s), by) }
    }
}

impl Blocks for Q5_1 {
    const LEN: usize = 32;
    const BITS: usize = 5;
    const BYTES: usize = 24;
    const MINS: bool = true;
    coarse!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe { s.or_bytes(nibbles_of_two::<S, C>(s, o, 24, 8), fifths_of_two::<S, C>(s, o, 24, 4)) }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Eight {
        unsafe { s.eight_mul(o.halves::<S, 24, 0>(s), by) }
    }
    #[inline(always)]
    unsafe fn mins<S: Dot>(s: S, o: Octet) -> S::Eight {
        unsafe { o.halves::<S, 24, 2>(s) }
    }
}

/// What Q4_K and Q5_K share.
macro_rules! six_bit {
    () => {
        const LEN: usize = 256;
        const MINS: bool = true;
        coarse!();
        #[inline(always)]
        unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Eight {
            unsafe {
                let d = s.eight_splat_f16(read_u16(o.at(0)));
                s.eight_mul(s.eight_mul(s.eight_u8(six_bits(o.at(4))[0]), d), by)
            }
        }
        #[inline(always)]
        unsafe fn mins<S: Dot>(s: S, o: Octet) -> S::Eight {
            unsafe {
                // The sign bit turns the factor of what is subtracted around.
                let d = s.eight_splat_f16(read_u16(o.at(2)) ^ 0x8000);
                s.eight_mul(s.eight_u8(six_bits(o.at(4))[1]), d)
            }
        }
    };
}

impl Blocks for Q4K {
    const BITS: usize = 4;
    const BYTES: usize = 144;
    const INTEGER: bool = true;
    six_bit!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe { <Self as Superblock>::codes::<S, C>(s, o) }
    }
}

impl Pairs for Q4K {
    const NIBBLES: usize = 16;
    #[inline(always)]
    unsafe fn integers<S: Dot>(s: S, heads: [S::I; 4], to: *mut f32, step: usize) {
        unsafe {
            let (one, zero) = (s.splat(1.0), s.zero());
            let [d, dmin] = [s.half_words(heads[0]), s.half_words(s.bits::<16>(heads[0], 0xffff))];
            // A 64th of `d`, so that scales are exact. Where `dmin` is that much larger, they are rounded to what mins fit with:
            // 63 * (8 |d| + |dmin|) <= 1535 * 64 units.
            let least = s.mul(s.abs(dmin), s.splat(63.0 / 1031.0));
            let unit = s.copysign(s.mul(s.max(s.abs(d), least), s.splat(1.0 / 64.0)), d);
            let inverse = s.select(s.eq(unit, zero), zero, s.div(one, unit));
            // Mins are of eight units: the centre of codes is 8.
            let by = [s.mul(d, inverse), s.mul(s.mul(dmin, inverse), s.splat(-0.125))];
            let (sixes, fours, twos) = (0x3f3f_3f3f, 0x0f0f_0f0f, 0x3030_3030);
            let low = [s.bits::<0>(heads[1], sixes), s.bits::<0>(heads[2], sixes)];
            let high = [
                s.add_i32(s.bits::<0>(heads[3], fours), s.bits::<2>(heads[1], twos)),
                s.add_i32(s.bits::<4>(heads[3], fours), s.bits::<2>(heads[2], twos)),
            ];
            pair_of_six_bits::<S, 0, 8>(s, low, by, to, step);
            pair_of_six_bits::<S, 16, 24>(s, low, by, to.add(step), step);
            pair_of_six_bits::<S, 0, 8>(s, high, by, to.add(2 * step), step);
            pair_of_six_bits::<S, 16, 24>(s, high, by, to.add(3 * step), step);
            // What is not finite shows in the one float.
            s.store(to.add(UNIT * step), s.fma(s.add(d, dmin), zero, unit));
        }
    }
}

/// Two groups' scales and mins, from bits `A` and `B` of either on, in 16 bits each: scales are multiplied with `by[0]`, mins
/// with `by[1]`, and the group's scale is added to them.
#[inline(always)]
unsafe fn pair_of_six_bits<S: Dot, const A: u32, const B: u32>(
    s: S,
    [scales, mins]: [S::I; 2],
    by: [S::F; 2],
    to: *mut f32,
    step: usize,
) {
    unsafe {
        let first = s.mul(s.to_f32(s.bits::<A>(scales, 0xff)), by[0]);
        let second = s.mul(s.to_f32(s.bits::<B>(scales, 0xff)), by[0]);
        s.store_i32(to.cast(), s.join_words(s.to_i32(first), s.to_i32(second)));
        let first = s.fma(s.to_f32(s.bits::<A>(mins, 0xff)), by[1], first);
        let second = s.fma(s.to_f32(s.bits::<B>(mins, 0xff)), by[1], second);
        s.store_i32(to.add(MINS * step).cast(), s.join_words(s.to_i32(first), s.to_i32(second)));
    }
}

impl Blocks for Q5K {
    const BITS: usize = 5;
    const BYTES: usize = 176;
    six_bit!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe {
            let low = s.nibbles(o.at(48 + 32 * C));
            // Bit j of a byte is the fifth bit of run j's code: bring bits 2C and 2C + 1 to bit 4.
            let bits = s.bytes_pair(o.at(16), o.at(16));
            let fifth = match C {
                0 => s.shl_mask::<4, 3>(bits, 0x10),
                1 => s.shl_mask::<2, 1>(bits, 0x10),
                2 => s.shr_mask::<0, 1>(bits, 0x10),
                _ => s.shr_mask::<2, 3>(bits, 0x10),
            };
            s.or_bytes(low, fifth)
        }
    }
}

impl Blocks for Q6K {
    const LEN: usize = 256;
    const BITS: usize = 6;
    const BYTES: usize = 210;
    const OFFSET: u8 = 32;
    fine!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe {
            // Each half of 128: 64 bytes hold codes 0..64 in low nibbles and 64..128 in high ones; 32 bytes hold
            // the top pairs of bits of codes l, l + 32, l + 64 and l + 96.
            let low = s.bytes(o.at(64 * (C / 2)));
            let top = o.at(128 + 32 * (C / 2));
            let bits = s.bytes_pair(top, top);
            if C % 2 == 0 {
                s.or_bytes(s.low_nibbles(low), s.shl_mask::<4, 2>(bits, 0x30))
            } else {
                s.or_bytes(s.high_nibbles(low), s.shr_mask::<0, 2>(bits, 0x30))
            }
        }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Wide {
        unsafe { s.wide_scales(o.at(192), s.eight_mul(s.eight_splat_f16(read_u16(o.at(208))), by)) }
    }
}
