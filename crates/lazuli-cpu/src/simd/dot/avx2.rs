//! Integer dot products with AVX2, with AVX-VNNI's `vpdpbusd` where there is one: two registers for 64 bytes.
#![allow(clippy::undocumented_unsafe_blocks)]
// SAFETY (of every block here): the token exists only where `Simd::assume` was promised the instructions, and
// pointers are vouched for by the callers of the trait's unsafe methods.

use super::Dot;
use crate::simd::Avx2;
use std::arch::x86_64::*;

/// `u8 x i8` products summed by fours onto `acc`. Without VNNI the pairwise 16-bit sums must not saturate.
#[inline(always)]
unsafe fn dpbusd<const DOT: bool>(acc: __m256i, u: __m256i, s: __m256i) -> __m256i {
    unsafe {
        if DOT {
            _mm256_dpbusd_avx_epi32(acc, u, s)
        } else {
            let pairs = _mm256_maddubs_epi16(u, s);
            _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
}

/// `i8 x i8` without VNNI: the sign of `w` moves to `a`, which is never -128; |w| <= 128 does not saturate.
#[inline(always)]
unsafe fn dot_by_sign(acc: __m256i, w: __m256i, a: __m256i) -> __m256i {
    unsafe { dpbusd::<false>(acc, _mm256_abs_epi8(w), _mm256_sign_epi8(a, w)) }
}

#[inline(always)]
unsafe fn and(x: __m256i, mask: u8) -> __m256i {
    unsafe { _mm256_and_si256(x, _mm256_set1_epi8(mask as i8)) }
}

/// The low nibbles of 16 bytes, then their high nibbles.
#[inline(always)]
unsafe fn nibbles_of(x: __m128i) -> __m256i {
    unsafe { and(_mm256_inserti128_si256::<1>(_mm256_castsi128_si256(x), _mm_srli_epi16::<4>(x)), 15) }
}

/// `value` in each byte whose bit is set.
#[inline(always)]
unsafe fn spread(bits: u32, value: u8) -> __m256i {
    unsafe {
        let byte = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
        let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
        let x = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits as i32), byte), bit);
        and(_mm256_cmpeq_epi8(x, bit), value)
    }
}

#[inline(always)]
unsafe fn scaled(acc: __m256, sums: __m256i, scales: __m256, pick: __m256i) -> __m256 {
    unsafe { _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_permutevar8x32_ps(scales, pick), acc) }
}

/// `acc + sums * factors[pick]` for sums and factors that fit 16 bits, the factors zero above them.
#[inline(always)]
unsafe fn add_scaled<const DOT: bool>(
    acc: __m256i,
    sums: __m256i,
    factors: __m256i,
    pick: __m256i,
) -> __m256i {
    unsafe {
        let factors = _mm256_permutevar8x32_epi32(factors, pick);
        if DOT {
            _mm256_dpwssd_avx_epi32(acc, sums, factors)
        } else {
            _mm256_add_epi32(acc, _mm256_madd_epi16(sums, factors))
        }
    }
}

impl<const DOT: bool> Dot for Avx2<DOT> {
    type Bytes = [__m256i; 2];
    type Sums = [__m256i; 2];
    type Wide = [__m256; 2];
    type Eight = __m256;
    type Codes = __m256i;
    type Factors = [__m256i; 2];

    #[inline(always)]
    unsafe fn bytes(self, p: *const u8) -> Self::Bytes {
        unsafe { self.bytes_pair(p, p.add(32)) }
    }
    #[inline(always)]
    unsafe fn bytes_pair(self, p: *const u8, q: *const u8) -> Self::Bytes {
        unsafe { [_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(q.cast())] }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8, x: Self::Bytes) {
        unsafe {
            _mm256_storeu_si256(p.cast(), x[0]);
            _mm256_storeu_si256(p.add(32).cast(), x[1]);
        }
    }
    #[inline(always)]
    unsafe fn nibbles(self, p: *const u8) -> Self::Bytes {
        unsafe {
            let x = _mm256_loadu_si256(p.cast());
            [and(x, 15), and(_mm256_srli_epi16::<4>(x), 15)]
        }
    }
    #[inline(always)]
    unsafe fn nibbles_pair(self, p: *const u8, q: *const u8) -> Self::Bytes {
        unsafe { [nibbles_of(_mm_loadu_si128(p.cast())), nibbles_of(_mm_loadu_si128(q.cast()))] }
    }
    #[inline(always)]
    fn low_nibbles(self, x: Self::Bytes) -> Self::Bytes {
        unsafe { [and(x[0], 15), and(x[1], 15)] }
    }
    #[inline(always)]
    fn high_nibbles(self, x: Self::Bytes) -> Self::Bytes {
        unsafe { [and(_mm256_srli_epi16::<4>(x[0]), 15), and(_mm256_srli_epi16::<4>(x[1]), 15)] }
    }
    #[inline(always)]
    fn shl_mask<const A: i32, const B: i32>(self, x: Self::Bytes, mask: u8) -> Self::Bytes {
        unsafe { [and(_mm256_slli_epi16::<A>(x[0]), mask), and(_mm256_slli_epi16::<B>(x[1]), mask)] }
    }
    #[inline(always)]
    fn shr_mask<const A: i32, const B: i32>(self, x: Self::Bytes, mask: u8) -> Self::Bytes {
        unsafe { [and(_mm256_srli_epi16::<A>(x[0]), mask), and(_mm256_srli_epi16::<B>(x[1]), mask)] }
    }
    #[inline(always)]
    fn spread_bits(self, bits: u64, value: u8) -> Self::Bytes {
        unsafe { [spread(bits as u32, value), spread((bits >> 32) as u32, value)] }
    }
    #[inline(always)]
    fn or_bytes(self, x: Self::Bytes, y: Self::Bytes) -> Self::Bytes {
        unsafe { [_mm256_or_si256(x[0], y[0]), _mm256_or_si256(x[1], y[1])] }
    }
    #[inline(always)]
    fn add_byte(self, x: Self::Bytes, y: i8) -> Self::Bytes {
        unsafe {
            let y = _mm256_set1_epi8(y);
            [_mm256_add_epi8(x[0], y), _mm256_add_epi8(x[1], y)]
        }
    }

    #[inline(always)]
    fn no_sums(self) -> Self::Sums {
        unsafe { [_mm256_setzero_si256(); 2] }
    }
    #[inline(always)]
    fn offset_sums(self, offset: u8, a: Self::Bytes) -> Self::Sums {
        unsafe {
            let (zero, offset) = (_mm256_setzero_si256(), _mm256_set1_epi8(offset as i8));
            let negative = |a| _mm256_sub_epi32(zero, dpbusd::<DOT>(zero, offset, a));
            [negative(a[0]), negative(a[1])]
        }
    }
    #[inline(always)]
    fn dot_unsigned(self, start: Self::Sums, w: Self::Bytes, a: Self::Bytes) -> Self::Sums {
        unsafe { [dpbusd::<DOT>(start[0], w[0], a[0]), dpbusd::<DOT>(start[1], w[1], a[1])] }
    }
    #[inline(always)]
    fn signed_start(self, a: Self::Bytes) -> Self::Sums {
        unsafe {
            let (zero, offset) = (_mm256_setzero_si256(), _mm256_set1_epi8(-128));
            let negative = |a| _mm256_sub_epi32(zero, dpbusd::<true>(zero, offset, a));
            if DOT { [negative(a[0]), negative(a[1])] } else { [zero; 2] }
        }
    }
    #[inline(always)]
    fn dot_signed(self, start: Self::Sums, w: Self::Bytes, a: Self::Bytes) -> Self::Sums {
        unsafe {
            if DOT {
                let flip = _mm256_set1_epi8(-128);
                let unsigned = [_mm256_xor_si256(w[0], flip), _mm256_xor_si256(w[1], flip)];
                self.dot_unsigned(start, unsigned, a)
            } else {
                [dot_by_sign(start[0], w[0], a[0]), dot_by_sign(start[1], w[1], a[1])]
            }
        }
    }

    #[inline(always)]
    fn wide_zero(self) -> Self::Wide {
        unsafe { [_mm256_setzero_ps(); 2] }
    }
    #[inline(always)]
    fn fold_pairs<const C: usize>(self, acc: Self::Wide, sums: Self::Sums, scales: __m256) -> Self::Wide {
        unsafe {
            let (a, b) = (_mm256_set1_epi32(2 * C as i32), _mm256_set1_epi32(2 * C as i32 + 1));
            [scaled(acc[0], sums[0], scales, a), scaled(acc[1], sums[1], scales, b)]
        }
    }
    #[inline(always)]
    fn fold_quads<const C: usize>(self, acc: Self::Wide, sums: Self::Sums, scales: Self::Wide) -> Self::Wide {
        unsafe {
            let (scales, at) = (scales[C / 2], 4 * (C as i32 % 2));
            let a = _mm256_setr_epi32(at, at, at, at, at + 1, at + 1, at + 1, at + 1);
            let b = _mm256_setr_epi32(at + 2, at + 2, at + 2, at + 2, at + 3, at + 3, at + 3, at + 3);
            [scaled(acc[0], sums[0], scales, a), scaled(acc[1], sums[1], scales, b)]
        }
    }
    #[inline(always)]
    fn wide_sum(self, x: Self::Wide) -> f32 {
        unsafe { self.eight_sum(_mm256_add_ps(x[0], x[1])) }
    }
    #[inline(always)]
    unsafe fn wide_scales(self, p: *const u8, by: __m256) -> Self::Wide {
        unsafe {
            let low = _mm256_permutevar8x32_ps(by, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
            let high = _mm256_permutevar8x32_ps(by, _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7));
            let x = _mm_loadu_si128(p.cast());
            let first = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x));
            let second = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128::<8>(x)));
            [_mm256_mul_ps(first, low), _mm256_mul_ps(second, high)]
        }
    }
    #[inline(always)]
    unsafe fn store_wide(self, p: *mut f32, x: Self::Wide) {
        unsafe {
            _mm256_storeu_ps(p, x[0]);
            _mm256_storeu_ps(p.add(8), x[1]);
        }
    }

    #[inline(always)]
    unsafe fn factors_u8(self, x: u64, by: *const i16) -> Self::Factors {
        unsafe {
            let x = _mm_cvtepu8_epi16(_mm_cvtsi64_si128(x as i64));
            let factors = _mm_mullo_epi16(x, _mm_loadu_si128(by.cast()));
            [_mm256_cvtepu16_epi32(factors), _mm256_setzero_si256()]
        }
    }
    #[inline(always)]
    unsafe fn factors_i8(self, p: *const u8, by: *const i16) -> Self::Factors {
        unsafe {
            let by = _mm_loadu_si128(by.cast());
            let x = _mm256_cvtepi8_epi16(_mm_loadu_si128(p.cast()));
            let low = _mm_mullo_epi16(_mm256_castsi256_si128(x), _mm_unpacklo_epi16(by, by));
            let high = _mm_mullo_epi16(_mm256_extracti128_si256::<1>(x), _mm_unpackhi_epi16(by, by));
            [_mm256_cvtepu16_epi32(low), _mm256_cvtepu16_epi32(high)]
        }
    }
    #[inline(always)]
    fn add_pairs<const A: usize, const B: usize>(
        self,
        acc: Self::Sums,
        sums: Self::Sums,
        factors: Self::Factors,
    ) -> Self::Sums {
        unsafe {
            let (a, b) = (_mm256_set1_epi32(A as i32 % 8), _mm256_set1_epi32(B as i32 % 8));
            [
                add_scaled::<DOT>(acc[0], sums[0], factors[A / 8], a),
                add_scaled::<DOT>(acc[1], sums[1], factors[B / 8], b),
            ]
        }
    }
    #[inline(always)]
    fn add_quads<const C: usize>(
        self,
        acc: Self::Sums,
        sums: Self::Sums,
        factors: Self::Factors,
    ) -> Self::Sums {
        unsafe {
            let (factors, at) = (factors[C / 2], 4 * (C as i32 % 2));
            let a = _mm256_setr_epi32(at, at, at, at, at + 1, at + 1, at + 1, at + 1);
            let b = _mm256_setr_epi32(at + 2, at + 2, at + 2, at + 2, at + 3, at + 3, at + 3, at + 3);
            [add_scaled::<DOT>(acc[0], sums[0], factors, a), add_scaled::<DOT>(acc[1], sums[1], factors, b)]
        }
    }
    #[inline(always)]
    fn add_wide(self, acc: Self::Wide, sums: Self::Sums, by: f32) -> Self::Wide {
        unsafe {
            let by = _mm256_set1_ps(by);
            [
                _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[0]), by, acc[0]),
                _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[1]), by, acc[1]),
            ]
        }
    }
    #[inline(always)]
    fn two_f16(self, bits: u32) -> [f32; 2] {
        unsafe {
            let x = _mm_cvtph_ps(_mm_cvtsi32_si128(bits as i32));
            [_mm_cvtss_f32(x), _mm_cvtss_f32(_mm_movehdup_ps(x))]
        }
    }

    #[inline(always)]
    unsafe fn eight(self, p: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store_eight(self, p: *mut f32, x: __m256) {
        unsafe { _mm256_storeu_ps(p, x) }
    }
    #[inline(always)]
    fn eight_splat(self, x: f32) -> __m256 {
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    fn eight_splat_f16(self, bits: u16) -> __m256 {
        unsafe { _mm256_cvtph_ps(_mm_set1_epi16(bits as i16)) }
    }
    #[inline(always)]
    fn eight_f16(self, low: u64, high: u64) -> __m256 {
        unsafe { _mm256_cvtph_ps(_mm_set_epi64x(high as i64, low as i64)) }
    }
    #[inline(always)]
    fn eight_u8(self, x: u64) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(x as i64))) }
    }
    #[inline(always)]
    fn eight_mul(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn eight_fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn eight_sum(self, x: __m256) -> f32 {
        unsafe {
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
        }
    }

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
    fn dot_codes(self, acc: __m256i, w: __m256i, a: __m256i) -> __m256i {
        unsafe { if DOT { dpbusd::<true>(acc, w, a) } else { dot_by_sign(acc, w, a) } }
    }
    #[inline(always)]
    unsafe fn transpose(self, src: *const u8, src_stride: usize, dst: *mut u8, dst_stride: usize) {
        unsafe {
            let mut r = [_mm256_setzero_si256(); 8];
            for (i, row) in r.iter_mut().enumerate() {
                *row = _mm256_loadu_si256(src.add(i * src_stride).cast());
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
                _mm256_storeu_si256(dst.add(c * dst_stride).cast(), low);
                _mm256_storeu_si256(dst.add((c + 4) * dst_stride).cast(), high);
            }
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
