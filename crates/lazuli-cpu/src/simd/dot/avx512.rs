//! Integer dot products with AVX-512, with VNNI's `vpdpbusd` where there is one.
#![allow(clippy::undocumented_unsafe_blocks)]
// SAFETY (of every block here): the token exists only where `Simd::assume` was promised the instructions, and
// pointers are vouched for by the callers of the trait's unsafe methods.

pub(in crate::simd) mod words;

use super::avx2::words::{bytes_by_words, four_sums, six_bit_factors};
use super::vectors::{four_even_signs, permuted_even_signs};
use super::{Dot, Fours};
use crate::simd::Avx512;
use std::arch::x86_64::*;
use words::{
    add_scaled, first_load, head_words, lane_words, larger, magnitudes, six_bits_of_two, stream,
    strided_words,
};

/// `u8 x i8` products summed by fours onto `acc`. Without VNNI the pairwise 16-bit sums must not saturate.
#[inline(always)]
pub(in crate::simd) unsafe fn dpbusd<const DOT: bool>(acc: __m512i, u: __m512i, s: __m512i) -> __m512i {
    unsafe {
        if DOT {
            _mm512_dpbusd_epi32(acc, u, s)
        } else {
            let pairs = _mm512_maddubs_epi16(u, s);
            _mm512_add_epi32(acc, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
        }
    }
}

/// `i8 x i8` without VNNI: the sign of `w` moves to `a`, which is never -128; |w| <= 128 does not saturate.
#[inline(always)]
pub(in crate::simd) unsafe fn dot_by_sign(acc: __m512i, w: __m512i, a: __m512i) -> __m512i {
    unsafe {
        let signed = _mm512_mask_sub_epi8(a, _mm512_movepi8_mask(w), _mm512_setzero_si512(), a);
        dpbusd::<false>(acc, _mm512_abs_epi8(w), signed)
    }
}

/// Both halves the same 32 bytes.
#[inline(always)]
unsafe fn join(low: __m256i, high: __m256i) -> __m512i {
    unsafe { _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high) }
}

/// 16-bit shift counts: `a` in the low half, `b` in the high one.
#[inline(always)]
unsafe fn counts(a: i32, b: i32) -> __m512i {
    unsafe { join(_mm256_set1_epi16(a as i16), _mm256_set1_epi16(b as i16)) }
}

impl<const DOT: bool> Dot for Avx512<DOT> {
    type Bytes = __m512i;
    type Sums = __m512i;
    type Wide = __m512;
    type Eight = __m256;
    type Picks = __m256;
    type Factors = __m512i;

    #[inline(always)]
    unsafe fn bytes(self, p: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn bytes_pair(self, p: *const u8, q: *const u8) -> __m512i {
        unsafe { join(_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(q.cast())) }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8, x: __m512i) {
        unsafe { _mm512_storeu_si512(p.cast(), x) }
    }
    #[inline(always)]
    unsafe fn nibbles(self, p: *const u8) -> __m512i {
        unsafe {
            let both = _mm512_broadcast_i64x4(_mm256_loadu_si256(p.cast()));
            _mm512_and_si512(_mm512_srlv_epi16(both, counts(0, 4)), _mm512_set1_epi8(15))
        }
    }
    #[inline(always)]
    unsafe fn nibbles_of_eights(self, p: *const u8) -> __m512i {
        unsafe {
            let x = _mm512_castsi256_si512(_mm256_loadu_si256(p.cast()));
            let twice = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3), x);
            let shift = _mm512_setr_epi64(0, 4, 0, 4, 0, 4, 0, 4);
            _mm512_and_si512(_mm512_srlv_epi64(twice, shift), _mm512_set1_epi8(15))
        }
    }
    #[inline(always)]
    unsafe fn nibbles_pair(self, p: *const u8, q: *const u8) -> __m512i {
        unsafe {
            let p = _mm256_broadcastsi128_si256(_mm_loadu_si128(p.cast()));
            let q = _mm256_broadcastsi128_si256(_mm_loadu_si128(q.cast()));
            let shift = _mm512_set_epi64(
                0x0004_0004_0004_0004,
                0x0004_0004_0004_0004,
                0,
                0,
                0x0004_0004_0004_0004,
                0x0004_0004_0004_0004,
                0,
                0,
            );
            _mm512_and_si512(_mm512_srlv_epi16(join(p, q), shift), _mm512_set1_epi8(15))
        }
    }
    #[inline(always)]
    unsafe fn bytes_of_four<const STRIDE: usize, const AT: usize, const H: usize>(
        self,
        p: *const u8,
    ) -> __m512i {
        const { assert!(STRIDE == AT + 16 && STRIDE <= 24, "blocks of another size") };
        unsafe {
            let p = p.add(4 * H * STRIDE);
            if STRIDE == 16 {
                return _mm512_loadu_si512(p.cast());
            }
            if STRIDE % 2 == 1 {
                // Wide loads at odd addresses are all split between lines; these few are.
                let block = |i: usize| _mm_loadu_si128(p.add(i * STRIDE + AT).cast());
                let x = _mm512_castsi128_si512(block(0));
                let x = _mm512_mask_broadcast_i32x4(x, 0x00f0, block(1));
                let x = _mm512_mask_broadcast_i32x4(x, 0x0f00, block(2));
                return _mm512_mask_broadcast_i32x4(x, 0xf000, block(3));
            }
            // The last block's bytes are in place when the load ends with them; the others are brought there.
            let last = _mm512_loadu_si512(p.add(4 * STRIDE - 64).cast());
            // The load that scales come from, too, where it reaches to the third block's end.
            let start = const { first_load(STRIDE, AT) };
            let pick = const { lane_words(STRIDE / 2, (AT - first_load(STRIDE, AT)) / 2) };
            let pick = _mm512_loadu_si512(pick.as_ptr().cast());
            let first = _mm512_loadu_si512(p.add(start).cast());
            _mm512_mask_permutexvar_epi16(last, 0x00ff_ffff, pick, first)
        }
    }
    #[inline(always)]
    unsafe fn bits_of_four<const STRIDE: usize, const AT: usize, const H: usize>(
        self,
        p: *const u8,
        value: u8,
    ) -> [__m512i; 2] {
        unsafe {
            let p = p.add(4 * H * STRIDE);
            let number = |i: usize| p.add(i * STRIDE + AT).cast::<i32>().read_unaligned();
            let x = _mm512_set1_epi32(number(0));
            let x = _mm512_mask_set1_epi32(x, 0x00f0, number(1));
            let x = _mm512_mask_set1_epi32(x, 0x0f00, number(2));
            let x = _mm512_mask_set1_epi32(x, 0xf000, number(3));
            let eight = _mm512_set1_epi64(0x8040_2010_0804_0201_u64 as i64);
            let spread = |byte: i64| {
                let pair = _mm_set_epi64x((byte + 1) * 0x0101_0101_0101_0101, byte * 0x0101_0101_0101_0101);
                let bytes = _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(pair));
                _mm512_maskz_set1_epi8(_mm512_test_epi8_mask(bytes, eight), value as i8)
            };
            [spread(0), spread(2)]
        }
    }
    #[inline(always)]
    fn low_nibbles(self, x: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(x, _mm512_set1_epi8(15)) }
    }
    #[inline(always)]
    fn high_nibbles(self, x: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(_mm512_srli_epi16::<4>(x), _mm512_set1_epi8(15)) }
    }
    #[inline(always)]
    fn shl_mask<const A: i32, const B: i32>(self, x: __m512i, mask: u8) -> __m512i {
        unsafe { _mm512_and_si512(_mm512_sllv_epi16(x, counts(A, B)), _mm512_set1_epi8(mask as i8)) }
    }
    #[inline(always)]
    fn shr_mask<const A: i32, const B: i32>(self, x: __m512i, mask: u8) -> __m512i {
        unsafe { _mm512_and_si512(_mm512_srlv_epi16(x, counts(A, B)), _mm512_set1_epi8(mask as i8)) }
    }
    #[inline(always)]
    fn spread_bits(self, bits: u64, value: u8) -> __m512i {
        unsafe { _mm512_maskz_set1_epi8(bits, value as i8) }
    }
    #[inline(always)]
    unsafe fn bit_codes<const B: usize, const C: usize>(self, p: *const u8) -> __m512i {
        unsafe {
            match B {
                2 => {
                    let x = _mm512_cvtepu8_epi32(_mm_loadu_si128(p.add(16 * C).cast()));
                    let x = _mm512_or_si512(x, _mm512_slli_epi32::<6>(x));
                    let x = _mm512_or_si512(x, _mm512_slli_epi32::<12>(x));
                    _mm512_and_si512(x, _mm512_set1_epi8(3))
                }
                4 => {
                    let x = _mm512_cvtepu8_epi16(_mm256_loadu_si256(p.add(32 * C).cast()));
                    let x = _mm512_or_si512(x, _mm512_slli_epi16::<4>(x));
                    _mm512_and_si512(x, _mm512_set1_epi8(15))
                }
                _ => stream::<B>(p.add(8 * B * C)),
            }
        }
    }
    #[inline(always)]
    fn lookup(self, table: &[i8; 16], x: __m512i) -> __m512i {
        unsafe {
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            _mm512_shuffle_epi8(table, x)
        }
    }
    #[inline(always)]
    fn trits(self, x: __m512i, powers: &[u16; 32]) -> __m512i {
        unsafe {
            let powers = _mm512_loadu_si512(powers.as_ptr().cast());
            let low = |x| _mm512_and_si512(x, _mm512_set1_epi16(0xff));
            let thrice = |x| {
                let x = low(_mm512_mullo_epi16(x, powers));
                _mm512_add_epi16(_mm512_add_epi16(x, x), x)
            };
            let even = _mm512_srli_epi16::<8>(thrice(low(x)));
            let odd = thrice(_mm512_srli_epi16::<8>(x));
            _mm512_mask_blend_epi8(0xaaaa_aaaa_aaaa_aaaa, even, odd)
        }
    }
    #[inline(always)]
    unsafe fn expand_fours<const WIDE: bool, const R: usize>(
        self,
        table: &Fours,
        indices: &[*const u8; R],
        high: &[u64; R],
        to: &[*mut u8; R],
    ) {
        unsafe {
            // A level does not tell these instructions apart: processors have had the others without them.
            if std::arch::is_x86_feature_detected!("avx512vbmi") {
                table.permuted::<WIDE, R>(indices, high, to);
            } else {
                for r in 0..R {
                    table.each(indices[r], high[r], to[r]);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn expand_even_signs(self, from: *const u8, to: *mut u8) {
        unsafe {
            if std::arch::is_x86_feature_detected!("avx512vbmi") {
                permuted_even_signs(from, to);
            } else {
                four_even_signs(from, to);
            }
        }
    }
    #[inline(always)]
    unsafe fn rounded(self, x: *const f32, by: [f32; 2]) -> __m512i {
        unsafe {
            let [first, second] = [_mm512_set1_ps(by[0]), _mm512_set1_ps(by[1])];
            let a = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), first));
            let b = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x.add(16)), first));
            let c = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x.add(32)), second));
            let d = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x.add(48)), second));
            let bytes = _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
            // Each 128 bits hold a four of each vector.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_permutexvar_epi32(order, bytes)
        }
    }
    #[inline(always)]
    unsafe fn store_woven<const PAIRED: bool>(self, rows: [__m512i; 4], to: *mut u8) {
        unsafe {
            let [a, b, c, d] = rows;
            // Fours of columns `4 i + j` of all rows in 128 bits `i` of vector `j`, or pairs of fours of two rows.
            let x = if PAIRED {
                let order = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
                let [a, b] = [_mm512_permutexvar_epi32(order, a), _mm512_permutexvar_epi32(order, b)];
                let [c, d] = [_mm512_permutexvar_epi32(order, c), _mm512_permutexvar_epi32(order, d)];
                [
                    _mm512_unpacklo_epi64(a, b),
                    _mm512_unpacklo_epi64(c, d),
                    _mm512_unpackhi_epi64(a, b),
                    _mm512_unpackhi_epi64(c, d),
                ]
            } else {
                let [low, high] = [_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b)];
                let [low_of_two, high_of_two] = [_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d)];
                [
                    _mm512_unpacklo_epi64(low, low_of_two),
                    _mm512_unpackhi_epi64(low, low_of_two),
                    _mm512_unpacklo_epi64(high, high_of_two),
                    _mm512_unpackhi_epi64(high, high_of_two),
                ]
            };
            // The 128 bits `i` of all four become vector `i`.
            let even = _mm512_shuffle_i32x4::<0b10_00_10_00>(x[0], x[1]);
            let odd = _mm512_shuffle_i32x4::<0b11_01_11_01>(x[0], x[1]);
            let even_of_two = _mm512_shuffle_i32x4::<0b10_00_10_00>(x[2], x[3]);
            let odd_of_two = _mm512_shuffle_i32x4::<0b11_01_11_01>(x[2], x[3]);
            let out = [
                _mm512_shuffle_i32x4::<0b10_00_10_00>(even, even_of_two),
                _mm512_shuffle_i32x4::<0b10_00_10_00>(odd, odd_of_two),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(even, even_of_two),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(odd, odd_of_two),
            ];
            for i in 0..4 {
                _mm512_storeu_si512(to.add(64 * i).cast(), out[i]);
            }
        }
    }
    #[inline(always)]
    unsafe fn peaks(self, x: *const f32) -> [u32; 8] {
        unsafe {
            let mut runs = [_mm512_setzero_si512(); 8];
            for run in 0..8 {
                runs[run] = _mm512_max_epu32(magnitudes(x.add(32 * run)), magnitudes(x.add(32 * run + 16)));
            }
            // Two runs to a vector, then four, then all eight.
            let mut twos = [runs[0]; 4];
            for i in 0..4 {
                twos[i] = larger::<0b01_00_01_00, 0b11_10_11_10>(runs[2 * i], runs[2 * i + 1]);
            }
            let a = larger::<0b10_00_10_00, 0b11_01_11_01>(twos[0], twos[1]);
            let b = larger::<0b10_00_10_00, 0b11_01_11_01>(twos[2], twos[3]);
            let all = _mm512_max_epu32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let all = _mm512_max_epu32(all, _mm512_shuffle_epi32::<0b01_00_11_10>(all));
            // Each 128 bits begin with one of the first four runs and one of the others.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
            let mut peaks = [0; 8];
            let ordered = _mm512_castsi512_si256(_mm512_permutexvar_epi32(order, all));
            _mm256_storeu_si256(peaks.as_mut_ptr().cast(), ordered);
            peaks
        }
    }
    #[inline(always)]
    unsafe fn peak(self, x: *const f32, count: usize) -> u32 {
        unsafe {
            let mut peak = _mm512_setzero_si512();
            for at in (0..count).step_by(16) {
                peak = _mm512_max_epu32(peak, magnitudes(x.add(at)));
            }
            _mm512_reduce_max_epu32(peak)
        }
    }
    #[inline(always)]
    fn words(self, x: [u64; 8]) -> __m512i {
        unsafe {
            let [a, b, c, d] = [x[0] as i64, x[1] as i64, x[2] as i64, x[3] as i64];
            let [e, f, g, h] = [x[4] as i64, x[5] as i64, x[6] as i64, x[7] as i64];
            _mm512_setr_epi64(a, b, c, d, e, f, g, h)
        }
    }
    #[inline(always)]
    fn negate_where(self, bits: u64, x: __m512i) -> __m512i {
        unsafe { _mm512_mask_sub_epi8(x, bits, _mm512_setzero_si512(), x) }
    }
    #[inline(always)]
    fn or_bytes(self, x: __m512i, y: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(x, y) }
    }
    #[inline(always)]
    fn add_byte(self, x: __m512i, y: i8) -> __m512i {
        unsafe { _mm512_add_epi8(x, _mm512_set1_epi8(y)) }
    }

    #[inline(always)]
    fn no_sums(self) -> __m512i {
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    fn offset_sums(self, offset: u8, a: __m512i) -> __m512i {
        unsafe {
            let zero = _mm512_setzero_si512();
            _mm512_sub_epi32(zero, dpbusd::<DOT>(zero, _mm512_set1_epi8(offset as i8), a))
        }
    }
    #[inline(always)]
    fn dot_unsigned(self, start: __m512i, w: __m512i, a: __m512i) -> __m512i {
        unsafe { dpbusd::<DOT>(start, w, a) }
    }
    #[inline(always)]
    fn sums_of_runs(self, x: __m512i) -> [i32; 4] {
        unsafe {
            let fours = dpbusd::<DOT>(_mm512_setzero_si512(), _mm512_set1_epi8(1), x);
            let twice = _mm512_add_epi32(fours, _mm512_shuffle_epi32::<0b10_11_00_01>(fours));
            let all = _mm512_add_epi32(twice, _mm512_shuffle_epi32::<0b01_00_11_10>(twice));
            let firsts = _mm512_castsi512_si128(_mm512_maskz_compress_epi32(0x1111, all));
            let mut out = [0; 4];
            _mm_storeu_si128(out.as_mut_ptr().cast(), firsts);
            out
        }
    }
    #[inline(always)]
    fn signed_start(self, a: __m512i) -> __m512i {
        unsafe {
            let zero = _mm512_setzero_si512();
            if DOT { _mm512_sub_epi32(zero, dpbusd::<true>(zero, _mm512_set1_epi8(-128), a)) } else { zero }
        }
    }
    #[inline(always)]
    fn dot_signed(self, start: __m512i, w: __m512i, a: __m512i) -> __m512i {
        unsafe {
            if DOT {
                dpbusd::<true>(start, _mm512_xor_si512(w, _mm512_set1_epi8(-128)), a)
            } else {
                dot_by_sign(start, w, a)
            }
        }
    }

    #[inline(always)]
    fn wide_zero(self) -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn picks(self, _room: *mut f32, scales: __m256) -> __m256 {
        scales
    }
    #[inline(always)]
    unsafe fn fold_pairs<const C: usize>(self, acc: __m512, sums: __m512i, scales: __m256) -> __m512 {
        unsafe {
            let (a, b) = (2 * C as i32, 2 * C as i32 + 1);
            let pick = join(_mm256_set1_epi32(a), _mm256_set1_epi32(b));
            let scales = _mm512_permutexvar_ps(pick, _mm512_castps256_ps512(scales));
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), scales, acc)
        }
    }
    #[inline(always)]
    fn fold_quads<const C: usize>(self, acc: __m512, sums: __m512i, scales: __m512) -> __m512 {
        unsafe {
            let quad = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
            let pick = _mm512_add_epi32(quad, _mm512_set1_epi32(4 * C as i32));
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_permutexvar_ps(pick, scales), acc)
        }
    }
    #[inline(always)]
    fn eight_blocks(self, sums: [__m512i; 2]) -> __m256 {
        unsafe {
            // Four sums of each block become two, then one: of each 128 bits twice a block of the first, then of the second.
            let both = _mm512_packs_epi32(sums[0], sums[1]);
            let twos = _mm512_madd_epi16(both, _mm512_set1_epi16(1));
            let ones = _mm512_add_epi32(twos, _mm512_shuffle_epi32::<0b10_11_00_01>(twos));
            let pick = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
            _mm256_cvtepi32_ps(_mm512_castsi512_si256(_mm512_permutexvar_epi32(pick, ones)))
        }
    }
    #[inline(always)]
    fn sum_of(self, x: __m512, y: __m256) -> f32 {
        unsafe {
            let x = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            self.eight_sum(_mm256_add_ps(x, y))
        }
    }
    #[inline(always)]
    fn wide_low(self, x: __m256) -> __m512 {
        unsafe { _mm512_castps256_ps512(x) }
    }
    #[inline(always)]
    unsafe fn wide_scales(self, p: *const u8, by: __m256) -> __m512 {
        unsafe {
            let twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
            let by = _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(by));
            _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))), by)
        }
    }
    #[inline(always)]
    unsafe fn wide(self, p: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn wide_e4m3(self, p: *const u8) -> __m512 {
        unsafe {
            // Sign and magnitude move to their places at once; the sign's copy between them goes.
            let x = _mm256_slli_epi16::<7>(_mm256_cvtepi8_epi16(_mm_loadu_si128(p.cast())));
            _mm512_cvtph_ps(_mm256_and_si256(x, _mm256_set1_epi16(0xbfff_u16 as i16)))
        }
    }
    #[inline(always)]
    fn has_e4m3_nan(self, x: __m512i) -> bool {
        unsafe {
            let nan = _mm512_set1_epi8(0x7f);
            _mm512_testn_epi8_mask(_mm512_xor_si512(x, nan), nan) != 0
        }
    }
    #[inline(always)]
    fn wide_bytes(self, x: [u64; 2]) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_set_epi64x(x[1] as i64, x[0] as i64))) }
    }
    #[inline(always)]
    fn wide_twice(self, x: __m256) -> __m512 {
        unsafe {
            let twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
            _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(x))
        }
    }
    #[inline(always)]
    fn wide_mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn wide_fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn fold_floats<const C: usize>(self, acc: __m512, x: [__m512; 2], scales: __m256) -> __m512 {
        unsafe {
            let scales = _mm512_castps256_ps512(scales);
            let pick = |lane: usize| _mm512_permutexvar_ps(_mm512_set1_epi32(lane as i32), scales);
            _mm512_fmadd_ps(x[1], pick(2 * C + 1), _mm512_fmadd_ps(x[0], pick(2 * C), acc))
        }
    }
    #[inline(always)]
    unsafe fn store_wide(self, p: *mut f32, x: __m512) {
        unsafe { _mm512_storeu_ps(p, x) }
    }

    #[inline(always)]
    unsafe fn factors_six_bits<const R: usize>(
        self,
        p: [*const u8; R],
        by: *const i16,
    ) -> [(__m512i, __m256); R] {
        unsafe {
            let mut all = [(_mm512_setzero_si512(), _mm256_setzero_ps()); R];
            if R == 2 {
                let (bytes, zero) = (six_bits_of_two([p[0].add(4), p[1].add(4)]), _mm256_setzero_si256());
                let by = _mm256_broadcastsi128_si256(_mm_loadu_si128(by.cast()));
                let factors = _mm256_mullo_epi16(_mm256_unpacklo_epi8(bytes, zero), by);
                let mins = _mm256_unpackhi_epi8(bytes, zero);
                let low = _mm256_cvtepi32_ps(_mm256_unpacklo_epi16(mins, zero));
                let high = _mm256_cvtepi32_ps(_mm256_unpackhi_epi16(mins, zero));
                all[0] = (_mm512_castsi256_si512(factors), low);
                all[1] = (_mm512_castsi128_si512(_mm256_extracti128_si256::<1>(factors)), high);
                return all;
            }
            for r in 0..R {
                let (factors, mins) = six_bit_factors(p[r].add(4), by);
                all[r] = (_mm512_castsi128_si512(factors), mins);
            }
            all
        }
    }
    #[inline(always)]
    unsafe fn add_six_bits<const R: usize, const M: usize>(
        self,
        m: usize,
        acc: &mut [[(__m512, __m256); M]; R],
        totals: &[[__m512i; M]; R],
        factors: &[(__m512i, __m256); R],
        p: [*const u8; R],
        (unit, sums): (f32, *const f32),
    ) {
        unsafe {
            if R == 2 {
                let bits = |i: usize| p[i].cast::<i32>().read_unaligned();
                let scales = _mm_cvtph_ps(_mm_setr_epi32(bits(0), bits(1), 0, 0));
                let by = _mm_mul_ps(scales, _mm_set1_ps(unit));
                let first = _mm512_broadcastss_ps(by);
                let second = _mm512_permutexvar_ps(_mm512_set1_epi32(2), _mm512_castps128_ps512(by));
                acc[0][m].0 = _mm512_fmadd_ps(_mm512_cvtepi32_ps(totals[0][m]), first, acc[0][m].0);
                acc[1][m].0 = _mm512_fmadd_ps(_mm512_cvtepi32_ps(totals[1][m]), second, acc[1][m].0);
                let pick = _mm256_setr_epi32(1, 1, 1, 1, 3, 3, 3, 3);
                let dmins = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(scales), pick);
                let four = |i| _mm256_broadcast_f32x4(_mm_loadu_ps(sums.add(i)));
                let both = _mm256_fmadd_ps(factors[1].1, four(4), _mm256_mul_ps(factors[0].1, four(0)));
                acc[0][m].1 = _mm256_fnmadd_ps(both, dmins, acc[0][m].1);
                return;
            }
            for r in 0..R {
                let [d, dmin] = self.two_f16(p[r].cast::<u32>().read_unaligned());
                let (wide, eight) = &mut acc[r][m];
                *wide = self.add_wide(*wide, totals[r][m], d * unit);
                // In the order in which the mins of two rows are summed up.
                let high = _mm256_extractf128_ps::<1>(factors[r].1);
                let low = _mm_mul_ps(_mm256_castps256_ps128(factors[r].1), _mm_loadu_ps(sums));
                let both = _mm_fmadd_ps(high, _mm_loadu_ps(sums.add(4)), low);
                let four = _mm256_castps256_ps128(*eight);
                *eight = _mm256_zextps128_ps256(_mm_fnmadd_ps(both, _mm_set1_ps(dmin), four));
            }
        }
    }
    #[inline(always)]
    fn part_six_bits<const R: usize, const M: usize>(self, acc: &mut [[(__m512, __m256); M]; R]) {
        if R == 2 {
            for m in 0..M {
                unsafe {
                    let both = acc[0][m].1;
                    acc[0][m].1 = _mm256_zextps128_ps256(_mm256_castps256_ps128(both));
                    acc[1][m].1 = _mm256_zextps128_ps256(_mm256_extractf128_ps::<1>(both));
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn factors_i8(self, x: [u64; 2], by: *const i16) -> __m512i {
        unsafe { _mm512_zextsi256_si512(bytes_by_words(x, by)) }
    }
    #[inline(always)]
    unsafe fn add_factors_i8(
        self,
        acc: __m512,
        x: [u64; 2],
        [factors, sums]: [*const i16; 2],
        by: f32,
    ) -> __m512 {
        unsafe {
            let products = _mm256_madd_epi16(bytes_by_words(x, factors), _mm256_loadu_si256(sums.cast()));
            let products = _mm512_zextps256_ps512(_mm256_cvtepi32_ps(products));
            _mm512_fmadd_ps(products, _mm512_set1_ps(by), acc)
        }
    }
    #[inline(always)]
    fn add_pairs<const H: usize>(self, acc: __m512i, sums: [__m512i; 2], factors: __m512i) -> __m512i {
        let (low, high) = ([4 * H, 4 * H + 1], [4 * H + 2, 4 * H + 3]);
        unsafe { add_scaled::<DOT>(acc, sums, factors, [low, low, high, high]) }
    }
    #[inline(always)]
    fn add_quads<const H: usize>(self, acc: __m512i, sums: [__m512i; 2], factors: __m512i) -> __m512i {
        let at = 8 * H;
        let pick = [[at, at + 4], [at + 1, at + 5], [at + 2, at + 6], [at + 3, at + 7]];
        unsafe { add_scaled::<DOT>(acc, sums, factors, pick) }
    }
    #[inline(always)]
    fn add_wide(self, acc: __m512, sums: __m512i, by: f32) -> __m512 {
        unsafe { _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_set1_ps(by), acc) }
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
    unsafe fn eight_halves<const STRIDE: usize, const AT: usize>(self, p: *const u8) -> __m256 {
        const { assert!(STRIDE >= 18 && STRIDE <= 34 && AT < 4, "blocks of another size") };
        // The loads end where the last block does, or before.
        let load = |i: usize| unsafe {
            let p = p.add(i * STRIDE);
            if STRIDE > 20 && STRIDE < 32 {
                _mm512_castsi256_si512(_mm256_loadu_si256(p.cast()))
            } else {
                _mm512_loadu_si512(p.cast())
            }
        };
        unsafe {
            if STRIDE <= 20 {
                let pick = _mm512_loadu_si512(const { strided_words(4, STRIDE, AT) }.as_ptr().cast());
                let eight = _mm512_permutex2var_epi16(load(0), pick, load(4));
                return _mm256_cvtph_ps(_mm512_castsi512_si128(eight));
            }
            let pick = _mm512_loadu_si512(const { strided_words(2, STRIDE, AT) }.as_ptr().cast());
            let low = _mm512_permutex2var_epi16(load(0), pick, load(2));
            let high = _mm512_permutex2var_epi16(load(4), pick, load(6));
            let (low, high) = (_mm512_castsi512_si128(low), _mm512_castsi512_si128(high));
            _mm256_cvtph_ps(_mm_unpacklo_epi64(low, high))
        }
    }
    #[inline(always)]
    unsafe fn part_heads<const STRIDE: usize>(self, p: *const u8, halves: *mut f32, words: *mut u32) {
        const { assert!(STRIDE >= 22 && STRIDE <= 24, "three heads are in 64 bytes, and no fourth") };
        unsafe {
            let load = |at: usize| _mm512_loadu_si512(p.add(at).cast());
            let pick = |words: &[u16; 32]| _mm512_loadu_si512(words.as_ptr().cast());
            // Of blocks 0 to 2 and 3 to 5, then what is missing from the end.
            let six = _mm512_permutex2var_epi16(
                load(0),
                pick(&const { head_words(STRIDE, false) }),
                load(3 * STRIDE),
            );
            let all = pick(&const { head_words(STRIDE, true) });
            let all = _mm512_permutex2var_epi16(six, all, load(8 * STRIDE - 64));
            _mm256_storeu_si256(words.cast(), _mm512_castsi512_si256(all));
            _mm256_storeu_ps(halves, _mm256_cvtph_ps(_mm512_extracti32x4_epi32::<2>(all)));
        }
    }
    #[inline(always)]
    fn eight_bf16(self, low: u64, high: u64) -> __m256 {
        unsafe {
            let x = _mm256_cvtepu16_epi32(_mm_set_epi64x(high as i64, low as i64));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(x))
        }
    }
    #[inline(always)]
    fn eight_low(self, low: u64, high: u64) -> __m256 {
        unsafe { _mm256_castps128_ps256(_mm_castsi128_ps(_mm_set_epi64x(high as i64, low as i64))) }
    }
    #[inline(always)]
    fn eight_repeat<const N: usize>(self, x: __m256) -> __m256 {
        unsafe {
            let lane = |i: usize| (i / N) as i32;
            let pick =
                _mm256_setr_epi32(lane(0), lane(1), lane(2), lane(3), lane(4), lane(5), lane(6), lane(7));
            _mm256_permutevar8x32_ps(x, pick)
        }
    }
    #[inline(always)]
    unsafe fn eight_tops<const STEP: usize>(self, p: *const u8) -> __m256 {
        unsafe {
            if STEP == 1 {
                return _mm256_cvtepi32_ps(_mm256_srli_epi32::<28>(_mm256_loadu_si256(p.cast())));
            }
            let tops = _mm512_srli_epi64::<60>(_mm512_loadu_si512(p.cast()));
            _mm256_cvtepi32_ps(_mm512_cvtepi64_epi32(tops))
        }
    }
    #[inline(always)]
    fn eight_half_e8m0(self, x: u64) -> __m256 {
        unsafe {
            let x = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(x as i64));
            let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(x, _mm256_set1_epi32(1)));
            // The two smallest are subnormal; no comparison, as that would become masks of bytes.
            let one = _mm256_min_epi32(x, _mm256_set1_epi32(1));
            let small = _mm256_sllv_epi32(_mm256_set1_epi32(0x20_0000), one);
            _mm256_castsi256_ps(_mm256_max_epi32(normal, small))
        }
    }
    #[inline(always)]
    unsafe fn store_half_e8m0(self, from: *const u8, to: *mut f32) {
        unsafe {
            let x = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
            let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(x, _mm512_set1_epi32(1)));
            let two = _mm512_set1_epi32(2);
            let small = _mm512_cmplt_epu32_mask(x, two);
            let halves = _mm512_mask_sllv_epi32(normal, small, _mm512_set1_epi32(0x20_0000), x);
            let nan = _mm512_cmpeq_epi32_mask(x, _mm512_set1_epi32(0xff));
            let halves = _mm512_mask_mov_epi32(halves, nan, _mm512_set1_epi32(0x7fc0_0000));
            _mm512_storeu_si512(to.cast(), halves);
        }
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
    fn eight_first(self, count: usize, x: __m256) -> __m256 {
        unsafe { _mm256_maskz_mov_ps(((1u32 << count) - 1) as u8, x) }
    }
    #[inline(always)]
    fn eight_sum(self, x: __m256) -> f32 {
        unsafe {
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
        }
    }
    #[inline(always)]
    fn eight_sums(self, x: [__m256; 4]) -> [f32; 4] {
        unsafe { four_sums(x) }
    }
}
