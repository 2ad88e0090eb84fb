//! The block formats of GGUF whose codes index grids of vectors, as [`Blocks`]: layouts after GGML's quantised types.
//!
//! A lookup gives eight or four weights at once, and is a load of its own: what these formats cost is loads, and not
//! bytes of weights. Signs are applied to 64 weights together, or to the activations that they meet.
#![allow(clippy::undocumented_unsafe_blocks)]
// SAFETY (of every block here): callers give whole blocks, and every offset below lies within one.

use super::blocks::{Blocks, OCTET, Octet, coarse, fine, read_u16, read_u32, read_u64, unrolled};
use super::tables::spread_nibbles;
use crate::simd::{Dot, Fours, Isa, apart, even_signs};
use lazuli_quant::blocks::{iq1_m, iq1_s, iq2_s, iq2_xs, iq2_xxs, iq3_s, iq3_xxs};
use lazuli_quant::grids;

/// Vectors of 8 magnitudes and 7 sign bits each; a scale for each 32.
pub(super) struct Iq2Xxs;
/// The same with a larger grid and a scale for each 16.
pub(super) struct Iq2Xs;
/// The same with a still larger grid and 8 sign bits.
pub(super) struct Iq2S;
/// Vectors of 4 magnitudes, 7 sign bits for 8 weights; a scale for each 32.
pub(super) struct Iq3Xxs;
/// The same with a larger grid and 8 sign bits.
pub(super) struct Iq3S;
/// Vectors of 8 values out of -1, 0, 1, moved by an eighth; a scale and a direction for each 32.
pub(super) struct Iq1S;
/// The same with a direction for each 8 and a scale for each 16.
pub(super) struct Iq1M;

/// The vectors of a grid of two bits an element, a byte for each element.
const fn eights<const N: usize>(grid: &[u16; N], values: [u8; 4]) -> [u64; N] {
    let mut words = [0; N];
    let mut i = 0;
    while i < 8 * N {
        let value = values[(grid[i / 8] >> (2 * (i % 8)) & 3) as usize];
        words[i / 8] |= (value as u64) << (8 * (i % 8));
        i += 1;
    }
    words
}

/// The magnitudes of IQ2.
const IQ2_VALUES: [u8; 4] = [8, 25, 43, 0];
static IQ2_XXS: [u64; 256] = eights(&grids::IQ2_XXS, IQ2_VALUES);
static IQ2_XS: [u64; 512] = eights(&grids::IQ2_XS, IQ2_VALUES);
static IQ2_S: [u64; 1024] = eights(&grids::IQ2_S, IQ2_VALUES);
static IQ3_XXS: Fours = Fours::new(&grids::IQ3_XXS, [4, 12, 20, 28, 36, 44, 52, 62]);
static IQ3_S: Fours = Fours::new(&grids::IQ3_S, [1, 3, 5, 7, 9, 11, 13, 15]);
/// Eight times -1, 0 and 1, plus 8.
static IQ1: [u64; 2048] = eights(&grids::IQ1, [0, 8, 16, 24]);

/// Lookups of eight weights in an octet.
const EIGHTS: usize = OCTET / 8;

/// Whether formats whose octets are expanded write the numbers of vectors first, where these are no bytes, and look each up
/// when it is multiplied: with AVX2, where a load of what several stores have just written waits for them.
const fn by_numbers<S: Dot>() -> bool {
    matches!(S::ISA, Isa::Avx2)
}

/// The numbers of the vectors that make codes `64 C ..`, `EACH` of them. They are read one by one, not taken from the vectors
/// that they were made in, which costs more.
#[inline(always)]
unsafe fn numbers_of<const EACH: usize, const C: usize>(o: Octet) -> *const u16 {
    unsafe { apart(o.1.planes[0]).cast::<u16>().add(EACH * C) }
}

/// Writes 64 numbers of nine bits, the ninth of each in `high`.
#[inline(always)]
unsafe fn ninth_bits(bytes: *const u8, high: u64, to: *mut u16) {
    for eight in 0..8 {
        let high = (high >> (8 * eight)) as u16 & 0xff;
        let mut numbers = [0; 8];
        for (i, times) in [256, 128, 64, 32, 16, 8, 4, 2].into_iter().enumerate() {
            let byte = u16::from(unsafe { *bytes.add(8 * eight + i) });
            numbers[i] = byte | ((high * times) & 256);
        }
        unsafe { to.add(8 * eight).cast::<[u16; 8]>().write(numbers) };
    }
}

/// The 16 vectors of four weights that have these numbers.
macro_rules! fours_of {
    ($s:ident, $grid:ident, $i:ident => $number:expr) => {
        $s.words(unrolled!(pair in 0..8 => {
            let first = { let $i = 2 * pair; $number };
            let second = { let $i = 2 * pair + 1; $number };
            $grid.two(first, second)
        }))
    };
}

/// Codes `64 C ..` of an octet's that were looked up.
#[inline(always)]
unsafe fn looked_up<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
    unsafe { s.bytes(o.1.planes[0].add(64 * C)) }
}

/// Their signs, where these were written as well.
#[inline(always)]
unsafe fn looked_up_signs<const C: usize>(o: Octet) -> u64 {
    unsafe { o.1.planes[0].add(OCTET + 8 * C).cast::<u64>().read() }
}

/// `2 x + 1` of each byte.
#[inline(always)]
fn odd(x: u64) -> u64 {
    x << 1 | 0x0101_0101_0101_0101
}

/// Eight scales `d * part * x`, times `by`.
#[inline(always)]
unsafe fn eight_scales<S: Dot>(s: S, d: *const u8, part: f32, x: u64, by: S::Eight) -> S::Eight {
    unsafe {
        let d = s.eight_mul(s.eight_splat_f16(read_u16(d)), s.eight_splat(part));
        s.eight_mul(s.eight_mul(s.eight_u8(x), d), by)
    }
}

/// Eight scales `d * part * (2 x + 1)`, times `by`.
#[inline(always)]
unsafe fn top_scales<S: Dot>(s: S, d: *const u8, part: f32, x: S::Eight, by: S::Eight) -> S::Eight {
    unsafe {
        let d = s.eight_splat_f16(read_u16(d));
        let (one, two) = (s.eight_mul(d, s.eight_splat(part)), s.eight_mul(d, s.eight_splat(2.0 * part)));
        s.eight_mul(s.eight_fma(x, two, one), by)
    }
}

/// Sixteen scales `d * part * x` of 16 weights each, times `by`.
#[inline(always)]
fn wide_scales<S: Dot>(s: S, d: u16, part: f32, x: [u64; 2], by: S::Eight) -> S::Wide {
    let d = s.eight_mul(s.eight_splat_f16(d), s.eight_splat(part));
    s.wide_mul(s.wide_bytes(x), s.wide_twice(s.eight_mul(d, by)))
}

impl Blocks for Iq2Xxs {
    const LEN: usize = iq2_xxs::LEN;
    const BYTES: usize = iq2_xxs::BYTES;
    const SIGN_BITS: bool = true;
    coarse!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe {
            let at = o.at(iq2_xxs::QS + 16 * C);
            s.words(unrolled!(i in 0..8 => IQ2_XXS[usize::from(*at.add(8 * (i / 4) + i % 4))]))
        }
    }
    #[inline(always)]
    unsafe fn signs<S: Dot, const C: usize>(o: Octet) -> u64 {
        unsafe {
            let at = o.at(iq2_xxs::QS + 16 * C);
            even_signs(u64::from(read_u32(at.add(4))) | u64::from(read_u32(at.add(12))) << 32)
        }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Eight {
        unsafe { top_scales(s, o.at(iq2_xxs::D), 0.125, s.eight_tops::<2>(o.at(iq2_xxs::QS)), by) }
    }
}

impl Blocks for Iq2Xs {
    const LEN: usize = iq2_xs::LEN;
    const BYTES: usize = iq2_xs::BYTES;
    const SIGN_BITS: bool = true;
    fine!();
    #[inline(always)]
    fn expanded<S: Dot>() -> bool {
        by_numbers::<S>()
    }
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe {
            if by_numbers::<S>() {
                let numbers = numbers_of::<8, C>(o);
                return s.words(
                    unrolled!(i in 0..8 => *IQ2_XS.get_unchecked(usize::from(numbers.add(i).read()))),
                );
            }
            let code = |i| usize::from(read_u16(o.at(iq2_xs::QS + 16 * C + 2 * i)));
            s.words(unrolled!(i in 0..8 => IQ2_XS[code(i) & 511]))
        }
    }
    #[inline(always)]
    unsafe fn signs<S: Dot, const C: usize>(o: Octet) -> u64 {
        if by_numbers::<S>() {
            return unsafe { looked_up_signs::<C>(o) };
        }
        unsafe {
            // The top 7 bits of each of four codes in 28.
            let four = |x: u64| {
                let sevens = x >> 9 & 0x007f_007f_007f_007f;
                let fourteens = (sevens | sevens >> 9) & 0x0000_3fff_0000_3fff;
                (fourteens | fourteens >> 18) & 0x0fff_ffff
            };
            let at = o.at(iq2_xs::QS + 16 * C);
            even_signs(four(read_u64(at)) | four(read_u64(at.add(8))) << 32)
        }
    }
    #[inline(always)]
    unsafe fn expand<S: Dot, const R: usize>(_s: S, octets: &[Octet; R], to: &[*mut u8; R]) {
        for r in 0..R {
            unsafe {
                let codes = octets[r].at(iq2_xs::QS).cast::<[u16; EIGHTS]>().read_unaligned();
                let (mut numbers, mut signs) = ([0; EIGHTS], [0; EIGHTS]);
                for i in 0..EIGHTS {
                    let code = u16::from_le(codes[i]);
                    // Seven signs; the eighth makes the number of them even.
                    let seven = code >> 9;
                    let parity = seven ^ seven >> 4;
                    let parity = parity ^ parity >> 2;
                    let parity = parity ^ parity >> 1;
                    numbers[i] = code & 511;
                    signs[i] = (seven | parity << 7) as u8;
                }
                to[r].cast::<[u16; EIGHTS]>().write(numbers);
                to[r].add(OCTET).cast::<[u8; EIGHTS]>().write(signs);
            }
        }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Wide {
        unsafe {
            let scales = unrolled!(at in [0, 4] => odd(spread_nibbles(read_u32(o.at(iq2_xs::SCALES + at)))));
            wide_scales(s, read_u16(o.at(iq2_xs::D)), 0.125, scales, by)
        }
    }
}

impl Blocks for Iq2S {
    const LEN: usize = iq2_s::LEN;
    const BYTES: usize = iq2_s::BYTES;
    const SIGN_BITS: bool = true;
    fine!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe {
            let high = usize::from(read_u16(o.at(iq2_s::QH + 2 * C)));
            let low = o.at(iq2_s::QS + 8 * C);
            s.words(unrolled!(i in 0..8 => IQ2_S[usize::from(*low.add(i)) | (high >> (2 * i) & 3) << 8]))
        }
    }
    #[inline(always)]
    unsafe fn signs<S: Dot, const C: usize>(o: Octet) -> u64 {
        unsafe { read_u64(o.at(iq2_s::SIGNS + 8 * C)) }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Wide {
        unsafe {
            let scales = unrolled!(at in [0, 4] => odd(spread_nibbles(read_u32(o.at(iq2_s::SCALES + at)))));
            wide_scales(s, read_u16(o.at(iq2_s::D)), 0.125, scales, by)
        }
    }
}

impl Blocks for Iq3Xxs {
    const LEN: usize = iq3_xxs::LEN;
    const BYTES: usize = iq3_xxs::BYTES;
    const SIGN_BITS: bool = true;
    coarse!();
    #[inline(always)]
    fn expanded<S: Dot>() -> bool {
        true
    }
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe {
            if by_numbers::<S>() {
                let numbers = o.at(iq3_xxs::QS + 16 * C);
                return fours_of!(s, IQ3_XXS, i => u16::from(*numbers.add(i)));
            }
            looked_up::<S, C>(s, o)
        }
    }
    #[inline(always)]
    unsafe fn signs<S: Dot, const C: usize>(o: Octet) -> u64 {
        unsafe { looked_up_signs::<C>(o) }
    }
    #[inline(always)]
    unsafe fn expand<S: Dot, const R: usize>(s: S, octets: &[Octet; R], to: &[*mut u8; R]) {
        unsafe {
            let mut indices = [octets[0].0; R];
            for r in 0..R {
                indices[r] = octets[r].at(iq3_xxs::QS);
                s.expand_even_signs(octets[r].at(iq3_xxs::SCALES), to[r].add(OCTET));
            }
            if !by_numbers::<S>() {
                s.expand_fours::<false, R>(&IQ3_XXS, &indices, &[0; R], to);
            }
        }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Eight {
        unsafe { top_scales(s, o.at(iq3_xxs::D), 0.25, s.eight_tops::<1>(o.at(iq3_xxs::SCALES)), by) }
    }
}

impl Blocks for Iq3S {
    const LEN: usize = iq3_s::LEN;
    const BYTES: usize = iq3_s::BYTES;
    const SIGN_BITS: bool = true;
    coarse!();
    #[inline(always)]
    fn expanded<S: Dot>() -> bool {
        true
    }
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe {
            if by_numbers::<S>() {
                let numbers = numbers_of::<16, C>(o);
                return fours_of!(s, IQ3_S, i => numbers.add(i).read());
            }
            looked_up::<S, C>(s, o)
        }
    }
    #[inline(always)]
    unsafe fn signs<S: Dot, const C: usize>(o: Octet) -> u64 {
        unsafe { read_u64(o.at(iq3_s::SIGNS + 8 * C)) }
    }
    #[inline(always)]
    unsafe fn expand<S: Dot, const R: usize>(s: S, octets: &[Octet; R], to: &[*mut u8; R]) {
        unsafe {
            let (mut indices, mut high) = ([octets[0].0; R], [0; R]);
            for r in 0..R {
                indices[r] = octets[r].at(iq3_s::QS);
                high[r] = read_u64(octets[r].at(iq3_s::QH));
            }
            if by_numbers::<S>() {
                for r in 0..R {
                    ninth_bits(indices[r], high[r], to[r].cast());
                }
                return;
            }
            s.expand_fours::<true, R>(&IQ3_S, &indices, &high, to);
        }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Eight {
        unsafe {
            let scales = odd(spread_nibbles(read_u32(o.at(iq3_s::SCALES))));
            eight_scales(s, o.at(iq3_s::D), 1.0, scales, by)
        }
    }
}

/// Two for each byte of those four vectors of [`IQ1`] whose bit in the index is clear: raised by two eighths codes are values in
/// eighths plus 9.
static RAISES: [[u8; 32]; 16] = {
    let mut raises = [[0; 32]; 16];
    let mut i = 0;
    while i < 16 * 32 {
        let (four, at) = (i / 32, i % 32);
        if four >> (at / 8) & 1 == 0 {
            raises[four][at] = 2;
        }
        i += 1;
    }
    raises
};

/// `words`, the vectors of 64 weights, with what raises the first four and the other four of them.
#[inline(always)]
unsafe fn raised<S: Dot>(s: S, words: [u64; 8], down: [usize; 2]) -> S::Bytes {
    unsafe {
        let raises = s.bytes_pair(RAISES[down[0] & 15].as_ptr(), RAISES[down[1] & 15].as_ptr());
        s.or_bytes(s.words(words), raises)
    }
}

impl Blocks for Iq1S {
    const LEN: usize = iq1_s::LEN;
    const BITS: usize = 5;
    const BYTES: usize = iq1_s::BYTES;
    const OFFSET: u8 = 9;
    coarse!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe {
            let low = o.at(iq1_s::QS + 8 * C);
            let heads = unrolled!(at in [0, 2] => usize::from(read_u16(o.at(iq1_s::QH + 4 * C + at))));
            let words = unrolled!(i in 0..8 => {
                let head = heads[i / 4];
                IQ1[usize::from(*low.add(i)) | (head >> (3 * (i % 4)) & 7) << 8]
            });
            // One direction for four vectors.
            raised(s, words, unrolled!(i in [0, 1] => (heads[i] >> 15) * 15))
        }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Eight {
        unsafe {
            let mut scales = 0;
            for i in 0..8 {
                scales |= u64::from(*o.at(iq1_s::QH + 2 * i + 1) >> 4 & 7) << (8 * i);
            }
            eight_scales(s, o.at(iq1_s::D), 0.125, odd(scales), by)
        }
    }
}

impl Blocks for Iq1M {
    const LEN: usize = iq1_m::LEN;
    const BITS: usize = 5;
    const BYTES: usize = iq1_m::BYTES;
    const OFFSET: u8 = 9;
    fine!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe {
            let low = o.at(iq1_m::QS + 8 * C);
            let heads = read_u32(o.at(iq1_m::QH + 4 * C)) as usize;
            let words = unrolled!(i in 0..8 => {
                IQ1[usize::from(*low.add(i)) | (heads >> (4 * i) & 7) << 8]
            });
            // Every fourth bit: the product brings four of them together, and no two others in one place.
            let directions = heads >> 3 & 0x1111_1111;
            let four = |bits: usize| (bits * 0x1248) >> 12;
            raised(s, words, [four(directions & 0xffff), four(directions >> 16)])
        }
    }
    #[inline(always)]
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> S::Wide {
        unsafe {
            let words = unrolled!(at in [0, 2, 4, 6] => read_u16(o.at(iq1_m::SCALES + at)));
            let d = words[0] >> 12 | words[1] >> 12 << 4 | words[2] >> 12 << 8 | words[3] >> 12 << 12;
            let four = |word: u16| {
                let word = u64::from(word);
                word & 7 | (word >> 3 & 7) << 8 | (word >> 6 & 7) << 16 | (word >> 9 & 7) << 24
            };
            let eight = |i: usize| odd(four(words[i]) | four(words[i + 1]) << 32);
            wide_scales(s, d, 0.125, [eight(0), eight(2)], by)
        }
    }
}
