//! Integer dot products with AVX2, with AVX-VNNI's `vpdpbusd` where there is one: two registers for 64 bytes.
#![allow(clippy::undocumented_unsafe_blocks)]
// SAFETY (of every block here): the token exists only where `Simd::assume` was promised the instructions, and
// pointers are vouched for by the callers of the trait's unsafe methods.

pub(in crate::simd) mod words;

use super::bits::BitTables;
use super::{Dot, FIRST_LANES};
use crate::simd::{Avx2, apart};
use std::arch::x86_64::*;
use words::{
    NOWHERE, bytes_by_words, four_sums, picked, places, six_bit_factors, split, spread, strided_words,
    two_blocks,
};

/// `u8 x i8` products summed by fours onto `acc`. Without VNNI the pairwise 16-bit sums must not saturate.
#[inline(always)]
pub(in crate::simd) unsafe fn dpbusd<const DOT: bool>(acc: __m256i, u: __m256i, s: __m256i) -> __m256i {
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
pub(in crate::simd) unsafe fn dot_by_sign(acc: __m256i, w: __m256i, a: __m256i) -> __m256i {
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

#[inline(always)]
unsafe fn scaled(acc: __m256, sums: __m256i, scales: __m256, pick: __m256i) -> __m256 {
    unsafe { _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_permutevar8x32_ps(scales, pick), acc) }
}

/// `acc + sums * factors` for sums that fit 16 bits: two vectors of them become one, four lanes of the first and then
/// four of the second in each half, and the factors, eight in either half, are picked in that order, as [`picked`] has them.
#[inline(always)]
unsafe fn add_scaled<const DOT: bool, const PICK: usize>(
    acc: __m256i,
    [x, y]: [__m256i; 2],
    factors: __m256i,
) -> __m256i {
    unsafe {
        let factors = picked::<PICK>(factors);
        let sums = _mm256_packs_epi32(x, y);
        if DOT {
            _mm256_dpwssd_avx_epi32(acc, sums, factors)
        } else {
            _mm256_add_epi32(acc, _mm256_madd_epi16(sums, factors))
        }
    }
}

/// Two lanes of a bit stream, from the lane `FIRST` on, as bytes.
#[inline(always)]
unsafe fn stream_half<const B: usize, const C: usize, const FIRST: usize>(p: *const u8) -> __m256i {
    unsafe {
        let start = |lane| p.add(const { BitTables::<B, C>::STARTS }[lane]);
        let x = _mm256_loadu2_m128i(start(FIRST + 1).cast(), start(FIRST).cast());
        let table = |t: &'static [u8; 64]| _mm256_loadu_si256(t.as_ptr().add(16 * FIRST).cast());
        let factor = |t: &'static [u16; 32]| _mm256_loadu_si256(t.as_ptr().add(8 * FIRST).cast());
        let even = _mm256_shuffle_epi8(x, table(&const { BitTables::<B, C>::EVEN }));
        let odd = _mm256_shuffle_epi8(x, table(&const { BitTables::<B, C>::ODD }));
        let even = _mm256_mullo_epi16(even, factor(&const { BitTables::<B, C>::EVEN_FACTORS }));
        let odd = _mm256_mullo_epi16(odd, factor(&const { BitTables::<B, C>::ODD_FACTORS }));
        let high = _mm256_and_si256(odd, _mm256_set1_epi16(0xff00_u16 as i16));
        and(_mm256_or_si256(_mm256_srli_epi16::<8>(even), high), BitTables::<B, C>::MASK)
    }
}

/// 16 bytes of two nibbles, the low one first, as 32 bytes.
#[inline(always)]
unsafe fn nibble_stream(p: *const u8) -> __m256i {
    unsafe {
        let x = _mm256_cvtepu8_epi16(_mm_loadu_si128(p.cast()));
        and(_mm256_or_si256(x, _mm256_slli_epi16::<4>(x)), 15)
    }
}

/// 8 bytes of four pairs of bits as 32 bytes.
#[inline(always)]
unsafe fn pair_stream(p: *const u8) -> __m256i {
    unsafe {
        let x = _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast()));
        let x = _mm256_or_si256(x, _mm256_slli_epi32::<6>(x));
        and(_mm256_or_si256(x, _mm256_slli_epi32::<12>(x)), 3)
    }
}

/// The leading digits to base 3 of 32 bytes times `powers`.
#[inline(always)]
unsafe fn trits(x: __m256i, powers: __m256i) -> __m256i {
    unsafe {
        // In the high byte of a word what a product has too much is lost, and the digit is what comes above the word.
        // A factor that the compiler knows becomes additions with carries.
        static THREES: [i16; 2] = [3, 3 << 8];
        let factor = |i: usize| _mm256_set1_epi16(apart(THREES.as_ptr().add(i).cast()).cast::<i16>().read());
        let even = _mm256_mulhi_epu16(_mm256_mullo_epi16(_mm256_slli_epi16::<8>(x), powers), factor(0));
        let high = |x| _mm256_and_si256(x, _mm256_set1_epi16(0xff00_u16 as i16));
        let odd = high(_mm256_mulhi_epu16(_mm256_mullo_epi16(high(x), powers), factor(1)));
        _mm256_or_si256(even, odd)
    }
}

/// 16 signed bytes as floats.
#[inline(always)]
unsafe fn floats(x: __m128i) -> [__m256; 2] {
    unsafe {
        let high = _mm256_cvtepi8_epi32(_mm_srli_si128::<8>(x));
        [_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x)), _mm256_cvtepi32_ps(high)]
    }
}

impl<const DOT: bool> Dot for Avx2<DOT> {
    type Bytes = [__m256i; 2];
    type Sums = [__m256i; 2];
    type Wide = [__m256; 2];
    type Eight = __m256;
    type Picks = *const f32;
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
    unsafe fn nibbles_of_eights(self, p: *const u8) -> Self::Bytes {
        unsafe {
            let x = _mm256_loadu_si256(p.cast());
            let twice = [_mm256_permute4x64_epi64::<0x50>(x), _mm256_permute4x64_epi64::<0xfa>(x)];
            let shift = _mm256_setr_epi64x(0, 4, 0, 4);
            [and(_mm256_srlv_epi64(twice[0], shift), 15), and(_mm256_srlv_epi64(twice[1], shift), 15)]
        }
    }
    // A block shares a register with the fourth after it, so that sums of eight come out in order.
    const PLACES: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];
    #[inline(always)]
    unsafe fn bytes_of_four<const STRIDE: usize, const AT: usize, const H: usize>(
        self,
        p: *const u8,
    ) -> Self::Bytes {
        unsafe {
            let first = p.add(2 * H * STRIDE);
            [two_blocks::<STRIDE, AT>(first), two_blocks::<STRIDE, AT>(first.add(STRIDE))]
        }
    }
    #[inline(always)]
    unsafe fn bits_of_four<const STRIDE: usize, const AT: usize, const H: usize>(
        self,
        p: *const u8,
        value: u8,
    ) -> [Self::Bytes; 2] {
        const { assert!(AT + 4 <= 16, "numbers lie within the first bytes of blocks") };
        unsafe {
            let first = p.add(2 * H * STRIDE);
            let two = [two_blocks::<STRIDE, 0>(first), two_blocks::<STRIDE, 0>(first.add(STRIDE))];
            let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
            let spread = |x, byte: i64| {
                let byte = byte + AT as i64;
                let pair = _mm_set_epi64x((byte + 1) * 0x0101_0101_0101_0101, byte * 0x0101_0101_0101_0101);
                let x = _mm256_and_si256(_mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(pair)), bit);
                and(_mm256_cmpeq_epi8(x, bit), value)
            };
            [[spread(two[0], 0), spread(two[1], 0)], [spread(two[0], 2), spread(two[1], 2)]]
        }
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
    unsafe fn bit_codes<const B: usize, const C: usize>(self, p: *const u8) -> Self::Bytes {
        unsafe {
            match B {
                2 => [pair_stream(p.add(16 * C)), pair_stream(p.add(16 * C + 8))],
                4 => [nibble_stream(p.add(32 * C)), nibble_stream(p.add(32 * C + 16))],
                _ => [stream_half::<B, C, 0>(p), stream_half::<B, C, 2>(p)],
            }
        }
    }
    #[inline(always)]
    fn lookup(self, table: &[i8; 16], x: Self::Bytes) -> Self::Bytes {
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            [_mm256_shuffle_epi8(table, x[0]), _mm256_shuffle_epi8(table, x[1])]
        }
    }
    #[inline(always)]
    fn trits(self, x: Self::Bytes, powers: &[u16; 32]) -> Self::Bytes {
        unsafe {
            let p = powers.as_ptr();
            let (low, high) = (_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(16).cast()));
            [trits(x[0], low), trits(x[1], high)]
        }
    }
    #[inline(always)]
    fn words(self, x: [u64; 8]) -> Self::Bytes {
        unsafe {
            let four = |i: usize| {
                let x = |j: usize| x[i + j] as i64;
                _mm256_setr_epi64x(x(0), x(1), x(2), x(3))
            };
            [four(0), four(4)]
        }
    }
    #[inline(always)]
    fn negate_where(self, bits: u64, x: Self::Bytes) -> Self::Bytes {
        unsafe {
            // `sign` negates where its second operand is below zero, and needs it different from zero elsewhere.
            let signs = |bits| _mm256_or_si256(spread(bits, 0xff), _mm256_set1_epi8(1));
            [_mm256_sign_epi8(x[0], signs(bits as u32)), _mm256_sign_epi8(x[1], signs((bits >> 32) as u32))]
        }
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
    fn dot_both(self, w: [Self::Bytes; 2], a: [Self::Bytes; 2]) -> Self::Sums {
        if DOT {
            return self.dot_unsigned(self.dot_unsigned(self.no_sums(), w[0], a[0]), w[1], a[1]);
        }
        let both = |i: usize| unsafe {
            let (low, high) =
                (_mm256_maddubs_epi16(w[0][i], a[0][i]), _mm256_maddubs_epi16(w[1][i], a[1][i]));
            _mm256_madd_epi16(_mm256_add_epi16(low, high), _mm256_set1_epi16(1))
        };
        [both(0), both(1)]
    }
    #[inline(always)]
    fn sums_of_runs(self, x: Self::Bytes) -> [i32; 4] {
        unsafe {
            let sums = |x| {
                let fours = dpbusd::<DOT>(_mm256_setzero_si256(), _mm256_set1_epi8(1), x);
                let twice = _mm256_add_epi32(fours, _mm256_shuffle_epi32::<0b10_11_00_01>(fours));
                let all = _mm256_add_epi32(twice, _mm256_shuffle_epi32::<0b01_00_11_10>(twice));
                [_mm256_extract_epi32::<0>(all), _mm256_extract_epi32::<4>(all)]
            };
            let ([a, b], [c, d]) = (sums(x[0]), sums(x[1]));
            [a, b, c, d]
        }
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
    unsafe fn picks(self, room: *mut f32, scales: __m256) -> *const f32 {
        // A number is spread over all lanes while it is loaded; from a register that takes a shuffle or two.
        unsafe {
            _mm256_storeu_ps(room, scales);
            apart(room.cast()).cast()
        }
    }
    #[inline(always)]
    unsafe fn fold_pairs<const C: usize>(
        self,
        acc: Self::Wide,
        sums: Self::Sums,
        scales: *const f32,
    ) -> Self::Wide {
        unsafe {
            let add = |acc, sums, scale| _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), scale, acc);
            [
                add(acc[0], sums[0], _mm256_broadcast_ss(&*scales.add(2 * C))),
                add(acc[1], sums[1], _mm256_broadcast_ss(&*scales.add(2 * C + 1))),
            ]
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
    fn fold_blocks(self, acc: Self::Wide, sums: [Self::Sums; 2], scales: __m256) -> Self::Wide {
        unsafe { [_mm256_fmadd_ps(self.eight_blocks(sums), scales, acc[0]), acc[1]] }
    }
    #[inline(always)]
    fn eight_blocks(self, sums: [Self::Sums; 2]) -> __m256 {
        unsafe {
            // Four sums of each of two blocks become two.
            let twos = |[x, y]: Self::Sums| _mm256_madd_epi16(_mm256_packs_epi32(x, y), _mm256_set1_epi16(1));
            _mm256_cvtepi32_ps(_mm256_hadd_epi32(twos(sums[0]), twos(sums[1])))
        }
    }
    #[inline(always)]
    fn sum_of(self, x: Self::Wide, y: __m256) -> f32 {
        unsafe { self.eight_sum(_mm256_add_ps(_mm256_add_ps(x[0], x[1]), y)) }
    }
    #[inline(always)]
    fn wide_low(self, x: __m256) -> Self::Wide {
        [x, x]
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
    unsafe fn wide(self, p: *const f32) -> Self::Wide {
        unsafe { [_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))] }
    }
    #[inline(always)]
    unsafe fn wide_e4m3(self, p: *const u8) -> Self::Wide {
        unsafe {
            // Sign and magnitude move to their places at once; the sign's copy between them goes.
            let x = _mm256_slli_epi16::<7>(_mm256_cvtepi8_epi16(_mm_loadu_si128(p.cast())));
            let half = _mm256_and_si256(x, _mm256_set1_epi16(0xbfff_u16 as i16));
            let high = _mm256_extracti128_si256::<1>(half);
            [_mm256_cvtph_ps(_mm256_castsi256_si128(half)), _mm256_cvtph_ps(high)]
        }
    }
    #[inline(always)]
    fn has_e4m3_nan(self, x: Self::Bytes) -> bool {
        unsafe {
            let nan = _mm256_set1_epi8(0x7f);
            let [a, b] = [_mm256_cmpeq_epi8(and(x[0], 0x7f), nan), _mm256_cmpeq_epi8(and(x[1], 0x7f), nan)];
            _mm256_movemask_epi8(_mm256_or_si256(a, b)) != 0
        }
    }
    #[inline(always)]
    fn wide_bytes(self, x: [u64; 2]) -> Self::Wide {
        unsafe { floats(_mm_set_epi64x(x[1] as i64, x[0] as i64)) }
    }
    #[inline(always)]
    fn wide_twice(self, x: __m256) -> Self::Wide {
        unsafe {
            let low = _mm256_permutevar8x32_ps(x, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
            [low, _mm256_permutevar8x32_ps(x, _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7))]
        }
    }
    #[inline(always)]
    fn wide_mul(self, a: Self::Wide, b: Self::Wide) -> Self::Wide {
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn wide_fma(self, a: Self::Wide, b: Self::Wide, c: Self::Wide) -> Self::Wide {
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    unsafe fn fold_floats<const C: usize>(
        self,
        acc: Self::Wide,
        x: [Self::Wide; 2],
        scales: *const f32,
    ) -> Self::Wide {
        unsafe {
            let (a, b) =
                (_mm256_broadcast_ss(&*scales.add(2 * C)), _mm256_broadcast_ss(&*scales.add(2 * C + 1)));
            let acc = [_mm256_fmadd_ps(x[0][0], a, acc[0]), _mm256_fmadd_ps(x[0][1], a, acc[1])];
            [_mm256_fmadd_ps(x[1][0], b, acc[0]), _mm256_fmadd_ps(x[1][1], b, acc[1])]
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
    unsafe fn factors_six_bits<const R: usize>(
        self,
        p: [*const u8; R],
        by: *const i16,
    ) -> [(Self::Factors, Self::Eight); R] {
        unsafe {
            let zero = _mm256_setzero_si256();
            let mut all = [([zero; 2], _mm256_setzero_ps()); R];
            for r in 0..R {
                let (factors, mins) = six_bit_factors(p[r].add(4), by);
                all[r] = ([_mm256_broadcastsi128_si256(factors), zero], mins);
            }
            all
        }
    }
    #[inline(always)]
    unsafe fn factors_i8(self, x: [u64; 2], by: *const i16) -> Self::Factors {
        unsafe {
            let x = bytes_by_words(x, by);
            [_mm256_permute2x128_si256::<0x00>(x, x), _mm256_permute2x128_si256::<0x11>(x, x)]
        }
    }
    #[inline(always)]
    unsafe fn add_factors_i8(
        self,
        acc: Self::Wide,
        x: [u64; 2],
        [factors, sums]: [*const i16; 2],
        by: f32,
    ) -> Self::Wide {
        unsafe {
            let products = _mm256_madd_epi16(bytes_by_words(x, factors), _mm256_loadu_si256(sums.cast()));
            [_mm256_fmadd_ps(_mm256_cvtepi32_ps(products), _mm256_set1_ps(by), acc[0]), acc[1]]
        }
    }
    #[inline(always)]
    fn add_pairs<const H: usize>(
        self,
        acc: Self::Sums,
        [x, y]: [Self::Sums; 2],
        factors: Self::Factors,
    ) -> Self::Sums {
        unsafe {
            if H == 0 {
                let low = add_scaled::<DOT, 0>(acc[0], [x[0], y[0]], factors[0]);
                return [low, add_scaled::<DOT, 1>(acc[1], [x[1], y[1]], factors[0])];
            }
            let low = add_scaled::<DOT, 2>(acc[0], [x[0], y[0]], factors[0]);
            [low, add_scaled::<DOT, 3>(acc[1], [x[1], y[1]], factors[0])]
        }
    }
    #[inline(always)]
    fn add_quads<const H: usize>(
        self,
        acc: Self::Sums,
        [x, y]: [Self::Sums; 2],
        factors: Self::Factors,
    ) -> Self::Sums {
        unsafe {
            let low = add_scaled::<DOT, 4>(acc[0], [x[0], y[0]], factors[H]);
            [low, add_scaled::<DOT, 5>(acc[1], [x[1], y[1]], factors[H])]
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
    unsafe fn eight_halves<const STRIDE: usize, const AT: usize>(self, p: *const u8) -> __m256 {
        const { assert!(STRIDE >= 18 && STRIDE <= 34 && AT < 4, "blocks of another size") };
        unsafe {
            if STRIDE > 24 {
                let word = |i: usize| p.add(i * STRIDE + AT).cast::<i16>().read_unaligned();
                let four =
                    |i: usize| _mm_setr_epi16(word(i), word(i + 1), word(i + 2), word(i + 3), 0, 0, 0, 0);
                return _mm256_cvtph_ps(_mm_unpacklo_epi64(four(0), four(4)));
            }
            let [eight, _] = split(strided_words::<STRIDE>(p, &const { places(STRIDE, [AT, NOWHERE]) }));
            eight
        }
    }
    #[inline(always)]
    unsafe fn eight_halves_two<const STRIDE: usize>(self, p: *const u8) -> [__m256; 2] {
        const { assert!(STRIDE >= 18 && STRIDE <= 24, "blocks of another size") };
        unsafe { split(strided_words::<STRIDE>(p, &const { places(STRIDE, [0, 2]) })) }
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
            let low = _mm256_loadu_si256(p.cast());
            let words = if STEP == 1 {
                low
            } else {
                let (low, high) = (_mm256_castsi256_ps(low), _mm256_loadu_ps(p.add(32).cast()));
                let odd = _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(low, high));
                _mm256_permute4x64_epi64::<0b11_01_10_00>(odd)
            };
            _mm256_cvtepi32_ps(_mm256_srli_epi32::<28>(words))
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
        unsafe { _mm256_and_ps(x, _mm256_loadu_ps(FIRST_LANES.as_ptr().add(8 - count.min(8)).cast())) }
    }
    #[inline(always)]
    fn eight_sums(self, x: [__m256; 4]) -> [f32; 4] {
        unsafe { four_sums(x) }
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
    fn starts_of_runs(self, x: Self::Bytes) -> [i32; 4] {
        if DOT {
            let [a, b, c, d] = self.sums_of_runs(x);
            return [-128 * a, -128 * b, -128 * c, -128 * d];
        }
        let starts = |x| unsafe {
            let twos = _mm256_maddubs_epi16(_mm256_set1_epi8(1), x);
            let twice = _mm256_add_epi16(twos, _mm256_shuffle_epi32::<0b10_11_00_01>(twos));
            let all = _mm256_add_epi16(twice, _mm256_shuffle_epi32::<0b01_00_11_10>(twice));
            let all = _mm256_sub_epi16(_mm256_setzero_si256(), all);
            [_mm256_extract_epi32::<0>(all), _mm256_extract_epi32::<4>(all)]
        };
        let ([a, b], [c, d]) = (starts(x[0]), starts(x[1]));
        [a, b, c, d]
    }
}
