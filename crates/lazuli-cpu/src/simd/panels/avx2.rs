//! Panels with AVX2.
#![allow(clippy::undocumented_unsafe_blocks)]
// SAFETY (of every block here): the token exists only where `Simd::assume` was promised the instructions, and
// pointers are vouched for by the callers of the trait's unsafe methods.

use super::{BITS_OF_FOURS, BYTES_OF_FOURS, Columns, Panels};
use crate::simd::Avx2;
use crate::simd::dot::avx2::{dot_by_sign, dpbusd};
use std::arch::asm;
use std::arch::x86_64::*;

/// Pairs of factors shifted right, the first of each by the first number at `shifts`, the second by the other.
#[inline(always)]
unsafe fn shifted(factors: __m256i, shifts: *const i16) -> __m256i {
    unsafe {
        // The upper half of a product with a power of two; twice the factors, as 2^16 is no signed number.
        let [m, n] = shifts.cast::<[i16; 2]>().read_unaligned();
        let by = _mm256_set1_epi32((0x8000_u32 >> m | 0x8000_u32 >> n << 16) as i32);
        _mm256_mulhi_epu16(_mm256_add_epi16(factors, factors), by)
    }
}

/// `sums + w0 a0 + w1 a1` of each two bytes, in 16 bits. Written out, as the compiler would put such sums into an order that
/// takes more registers than there are.
#[inline]
#[target_feature(enable = "avx2")]
fn add_twos(mut sums: __m256i, w: __m256i, a: __m256i) -> __m256i {
    unsafe {
        asm!(
            "vpmaddubsw {twos}, {w}, {a}",
            "vpaddw {sums}, {sums}, {twos}",
            w = in(ymm_reg) w,
            a = in(ymm_reg) a,
            sums = inout(ymm_reg) sums,
            twos = out(ymm_reg) _,
            options(nomem, nostack, preserves_flags)
        );
    }
    sums
}

impl<const DOT: bool> Panels for Avx2<DOT> {
    type Codes = __m256i;

    const PANEL_BIAS: u8 = if DOT { 128 } else { 0 };
    #[inline(always)]
    unsafe fn codes(self, p: *const u8) -> __m256i {
        unsafe { _mm256_loadu_si256(p.cast()) }
    }
    #[inline(always)]
    unsafe fn codes_splat(self, p: *const i8) -> __m256i {
        unsafe { _mm256_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn codes_splat_two(self, p: *const i8) -> __m256i {
        unsafe { _mm256_set1_epi64x(p.cast::<i64>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn splat_two(self, p: *const i32) -> __m256i {
        unsafe { _mm256_set1_epi64x(p.cast::<i64>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn add_interleaved(
        self,
        acc: __m256i,
        dots: [__m256i; 2],
        factors: __m256i,
        shifts: *const i16,
    ) -> __m256i {
        unsafe {
            let dots = _mm256_packs_epi32(dots[0], dots[1]);
            _mm256_add_epi32(acc, _mm256_madd_epi16(dots, shifted(factors, shifts)))
        }
    }
    #[inline(always)]
    unsafe fn add_two(self, acc: __m256i, factors: __m256i, by: *const i16) -> __m256i {
        unsafe {
            let by = _mm256_set1_epi32(by.cast::<i32>().read_unaligned());
            _mm256_add_epi32(acc, _mm256_madd_epi16(factors, by))
        }
    }
    #[inline(always)]
    fn dot_codes(self, acc: __m256i, w: __m256i, a: __m256i) -> __m256i {
        unsafe { if DOT { dpbusd::<true>(acc, w, a) } else { dot_by_sign(acc, w, a) } }
    }
    const NARROW: bool = !DOT;
    #[inline(always)]
    fn narrow_start<const BITS: usize>(self, start: __m256i) -> __m256i {
        unsafe {
            if DOT {
                return _mm256_sra_epi32(start, _mm_cvtsi32_si128(const { 8 - BITS as i32 }));
            }
            _mm256_sll_epi16(start, _mm_cvtsi32_si128(const { BITS as i32 - 1 }))
        }
    }
    #[inline(always)]
    fn add_narrow(self, acc: __m256i, w: __m256i, a: __m256i) -> __m256i {
        if DOT {
            return self.dot_codes(acc, w, a);
        }
        unsafe { add_twos(acc, w, a) }
    }
    #[inline(always)]
    fn widen(self, acc: __m256i, narrow: __m256i) -> __m256i {
        unsafe {
            let sums = if DOT { narrow } else { _mm256_madd_epi16(narrow, _mm256_set1_epi16(1)) };
            _mm256_add_epi32(acc, sums)
        }
    }
    #[inline(always)]
    unsafe fn add_interleaved_narrow(
        self,
        acc: __m256i,
        narrow: [__m256i; 2],
        factors: __m256i,
        shifts: *const i16,
    ) -> __m256i {
        unsafe {
            if DOT {
                return self.add_interleaved(acc, narrow, factors, shifts);
            }
            let dots = _mm256_hadd_epi16(narrow[0], narrow[1]);
            _mm256_add_epi32(acc, _mm256_madd_epi16(dots, shifted(factors, shifts)))
        }
    }
    #[inline(always)]
    unsafe fn transpose<C: Columns<Self>>(self, from: *const u8, stride: usize, to: C) {
        unsafe {
            let mut r = [_mm256_setzero_si256(); 8];
            for (i, row) in r.iter_mut().enumerate() {
                *row = _mm256_loadu_si256(from.add(i * stride).cast());
            }
            // Dwords within pairs of rows, quadwords within fours, then 128-bit lanes across fours.
            let mut t = r;
            for i in 0..4 {
                t[2 * i] = _mm256_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm256_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
            }
            for i in 0..2 {
                r[4 * i] = _mm256_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
                r[4 * i + 1] = _mm256_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
                r[4 * i + 2] = _mm256_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
                r[4 * i + 3] = _mm256_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
            }
            for c in 0..4 {
                let low = _mm256_permute2x128_si256::<0x20>(r[c], r[4 + c]);
                let high = _mm256_permute2x128_si256::<0x31>(r[c], r[4 + c]);
                to.take(self, c, low);
                to.take(self, c + 4, high);
            }
        }
    }
    #[inline(always)]
    unsafe fn store_codes(self, p: *mut u8, x: __m256i) {
        unsafe { _mm256_storeu_si256(p.cast(), x) }
    }
    #[inline(always)]
    fn part_nibbles(self, x: __m256i) -> [__m256i; 2] {
        unsafe {
            let mask = _mm256_set1_epi8(15);
            [_mm256_and_si256(x, mask), _mm256_and_si256(_mm256_srli_epi16::<4>(x), mask)]
        }
    }
    #[inline(always)]
    fn interleave_lanes(self, x: __m256i, y: __m256i) -> [__m256i; 2] {
        unsafe { [_mm256_unpacklo_epi32(x, y), _mm256_unpackhi_epi32(x, y)] }
    }
    #[inline(always)]
    fn add_to_codes(self, x: __m256i, y: i8) -> __m256i {
        unsafe { _mm256_add_epi8(x, _mm256_set1_epi8(y)) }
    }
    #[inline(always)]
    fn add_fifths(self, x: __m256i, bits: __m256i, four: usize) -> __m256i {
        unsafe {
            let pick = _mm256_broadcastsi128_si256(_mm_loadu_si128(BYTES_OF_FOURS[four].as_ptr().cast()));
            let bit = _mm256_set1_epi32(BITS_OF_FOURS[four % 2]);
            let set = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(bits, pick), bit), bit);
            _mm256_add_epi8(x, _mm256_and_si256(set, _mm256_set1_epi8(16)))
        }
    }
    #[inline(always)]
    fn bits<const SHIFT: u32>(self, x: __m256i, mask: u32) -> __m256i {
        // The shift is a constant, which the intrinsic wants as another type.
        unsafe {
            _mm256_and_si256(
                _mm256_srl_epi32(x, _mm_cvtsi32_si128(SHIFT as i32)),
                _mm256_set1_epi32(mask as i32),
            )
        }
    }
    #[inline(always)]
    fn join_words(self, low: __m256i, high: __m256i) -> __m256i {
        unsafe { _mm256_blend_epi16::<0b1010_1010>(low, _mm256_slli_epi32::<16>(high)) }
    }
    #[inline(always)]
    fn half_words(self, x: __m256i) -> __m256 {
        unsafe {
            let words = _mm256_and_si256(x, _mm256_set1_epi32(0xffff));
            let words = _mm256_permute4x64_epi64::<0b10_00>(_mm256_packus_epi32(words, words));
            _mm256_cvtph_ps(_mm256_castsi256_si128(words))
        }
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut i8, x: __m256i) {
        unsafe {
            let words = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
            _mm_storel_epi64(p.cast(), _mm_packs_epi16(words, words));
        }
    }
}
