//! Panels with AVX-512.
#![allow(clippy::undocumented_unsafe_blocks)]
// SAFETY (of every block here): the token exists only where `Simd::assume` was promised the instructions, and
// pointers are vouched for by the callers of the trait's unsafe methods.

use super::{BITS_OF_FOURS, BYTES_OF_FOURS, Columns, Panels};
use crate::simd::Avx512;
use crate::simd::dot::avx512::words::dpwssd;
use crate::simd::dot::avx512::{dot_by_sign, dpbusd};
use std::arch::x86_64::*;

impl<const DOT: bool> Panels for Avx512<DOT> {
    type Codes = __m512i;

    const PANEL_BIAS: u8 = if DOT { 128 } else { 0 };
    #[inline(always)]
    unsafe fn codes(self, p: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn codes_splat(self, p: *const i8) -> __m512i {
        unsafe { _mm512_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn codes_splat_two(self, p: *const i8) -> __m512i {
        unsafe { _mm512_set1_epi64(p.cast::<i64>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn splat_two(self, p: *const i32) -> __m512i {
        unsafe { _mm512_set1_epi64(p.cast::<i64>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn add_interleaved(
        self,
        acc: __m512i,
        dots: [__m512i; 2],
        factors: __m512i,
        shifts: *const i16,
    ) -> __m512i {
        unsafe {
            let shifts = _mm512_set1_epi32(shifts.cast::<i32>().read_unaligned());
            let factors = _mm512_srlv_epi16(factors, shifts);
            dpwssd::<DOT>(acc, _mm512_packs_epi32(dots[0], dots[1]), factors)
        }
    }
    #[inline(always)]
    unsafe fn add_two(self, acc: __m512i, factors: __m512i, by: *const i16) -> __m512i {
        unsafe { dpwssd::<DOT>(acc, factors, _mm512_set1_epi32(by.cast::<i32>().read_unaligned())) }
    }
    #[inline(always)]
    fn dot_codes(self, acc: __m512i, w: __m512i, a: __m512i) -> __m512i {
        unsafe { if DOT { dpbusd::<true>(acc, w, a) } else { dot_by_sign(acc, w, a) } }
    }
    #[inline(always)]
    unsafe fn transpose<C: Columns<Self>>(self, from: *const u8, stride: usize, to: C) {
        unsafe {
            let mut r = [_mm512_setzero_si512(); 16];
            for (i, row) in r.iter_mut().enumerate() {
                *row = _mm512_loadu_si512(from.add(i * stride).cast());
            }
            // Dwords within pairs of rows, quadwords within fours, then 128-bit lanes across fours.
            let mut t = r;
            for i in 0..8 {
                t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
            }
            for i in 0..4 {
                r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
                r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
                r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
                r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
            }
            for c in 0..4 {
                let a = _mm512_shuffle_i32x4::<0x88>(r[c], r[4 + c]);
                let b = _mm512_shuffle_i32x4::<0x88>(r[8 + c], r[12 + c]);
                let d = _mm512_shuffle_i32x4::<0xdd>(r[c], r[4 + c]);
                let e = _mm512_shuffle_i32x4::<0xdd>(r[8 + c], r[12 + c]);
                let out = [
                    (c, _mm512_shuffle_i32x4::<0x88>(a, b)),
                    (c + 4, _mm512_shuffle_i32x4::<0x88>(d, e)),
                    (c + 8, _mm512_shuffle_i32x4::<0xdd>(a, b)),
                    (c + 12, _mm512_shuffle_i32x4::<0xdd>(d, e)),
                ];
                for (column, x) in out {
                    to.take(self, column, x);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn store_codes(self, p: *mut u8, x: __m512i) {
        unsafe { _mm512_storeu_si512(p.cast(), x) }
    }
    #[inline(always)]
    fn part_nibbles(self, x: __m512i) -> [__m512i; 2] {
        unsafe {
            let mask = _mm512_set1_epi8(15);
            [_mm512_and_si512(x, mask), _mm512_and_si512(_mm512_srli_epi16::<4>(x), mask)]
        }
    }
    #[inline(always)]
    fn interleave_lanes(self, x: __m512i, y: __m512i) -> [__m512i; 2] {
        unsafe { [_mm512_unpacklo_epi32(x, y), _mm512_unpackhi_epi32(x, y)] }
    }
    #[inline(always)]
    fn add_to_codes(self, x: __m512i, y: i8) -> __m512i {
        unsafe { _mm512_add_epi8(x, _mm512_set1_epi8(y)) }
    }
    #[inline(always)]
    fn add_fifths(self, x: __m512i, bits: __m512i, four: usize) -> __m512i {
        unsafe {
            let pick = _mm512_broadcast_i32x4(_mm_loadu_si128(BYTES_OF_FOURS[four].as_ptr().cast()));
            let set = _mm512_test_epi8_mask(
                _mm512_shuffle_epi8(bits, pick),
                _mm512_set1_epi32(BITS_OF_FOURS[four % 2]),
            );
            _mm512_mask_add_epi8(x, set, x, _mm512_set1_epi8(16))
        }
    }
    #[inline(always)]
    fn bits<const SHIFT: u32>(self, x: __m512i, mask: u32) -> __m512i {
        unsafe { _mm512_and_si512(_mm512_srli_epi32::<SHIFT>(x), _mm512_set1_epi32(mask as i32)) }
    }
    #[inline(always)]
    fn join_words(self, low: __m512i, high: __m512i) -> __m512i {
        unsafe { _mm512_mask_blend_epi16(0xaaaa_aaaa, low, _mm512_slli_epi32::<16>(high)) }
    }
    #[inline(always)]
    fn half_words(self, x: __m512i) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm512_cvtepi32_epi16(x)) }
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut i8, x: __m512i) {
        unsafe { _mm_storeu_si128(p.cast(), _mm512_cvtsepi32_epi8(x)) }
    }
}
