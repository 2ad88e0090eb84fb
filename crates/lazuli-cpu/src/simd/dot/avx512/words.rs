//! What operations with AVX-512 are made of: words of 16 bits picked from vectors and from blocks, scaled, added up; codes of
//! a few bits; magnitudes of floats.
#![allow(clippy::undocumented_unsafe_blocks)]
// SAFETY (of every block here): callers have the instructions, and vouch for pointers.

use crate::simd::dot::bits::BitTables;
use std::arch::asm;
use std::arch::x86_64::*;

/// The bits of 16 values without their signs.
#[inline(always)]
pub(super) unsafe fn magnitudes(x: *const f32) -> __m512i {
    unsafe { _mm512_and_si512(_mm512_loadu_si512(x.cast()), _mm512_set1_epi32(i32::MAX)) }
}

/// The larger numbers of two choices of 128 bits from both vectors.
#[inline(always)]
pub(super) unsafe fn larger<const ONE: i32, const OTHER: i32>(a: __m512i, b: __m512i) -> __m512i {
    unsafe { _mm512_max_epu32(_mm512_shuffle_i32x4::<ONE>(a, b), _mm512_shuffle_i32x4::<OTHER>(a, b)) }
}

/// `i16 x i16` products summed by twos onto `acc`.
#[inline(always)]
pub(in crate::simd) unsafe fn dpwssd<const DOT: bool>(acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
    unsafe { if DOT { vpdpwssd(acc, a, b) } else { _mm512_add_epi32(acc, _mm512_madd_epi16(a, b)) } }
}

/// [`dpwssd`] by VNNI. Written out: the compiler would multiply, and then add.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn vpdpwssd(mut acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
    unsafe {
        asm!(
            "vpdpwssd {acc}, {a}, {b}",
            acc = inout(zmm_reg) acc,
            a = in(zmm_reg) a,
            b = in(zmm_reg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// `acc + sums * factors` for sums that fit 16 bits: two vectors of them become one, four lanes of the first and then
/// four of the second in each quarter, and the factors are picked in that order.
#[inline(always)]
pub(super) unsafe fn add_scaled<const DOT: bool>(
    acc: __m512i,
    [x, y]: [__m512i; 2],
    factors: __m512i,
    pick: [[usize; 2]; 4],
) -> __m512i {
    unsafe {
        let four = |i: usize| i as i64 * 0x0001_0001_0001_0001;
        let [[a, b], [c, d], [e, f], [g, h]] = pick;
        let pick = _mm512_setr_epi64(four(a), four(b), four(c), four(d), four(e), four(f), four(g), four(h));
        let factors = _mm512_permutexvar_epi16(pick, factors);
        let sums = _mm512_packs_epi32(x, y);
        dpwssd::<DOT>(acc, sums, factors)
    }
}

/// The numbers of [`crate::simd::six_bits`] of two blocks, one to a byte: 16 of the first block, then those of the other.
#[inline(always)]
pub(super) unsafe fn six_bits_of_two([p, q]: [*const u8; 2]) -> __m256i {
    unsafe {
        // Words of four numbers: the first of either, between them what the second have in nibbles.
        let x = _mm256_set_m128i(_mm_loadu_si128(q.cast()), _mm_loadu_si128(p.cast()));
        let low = _mm256_srlv_epi32(
            _mm256_shuffle_epi32::<0b10_01_10_00>(x),
            _mm256_setr_epi32(0, 0, 0, 4, 0, 0, 0, 4),
        );
        let masks = _mm_setr_epi32(0x3f3f_3f3f, 0x0f0f_0f0f, 0x3f3f_3f3f, 0x0f0f_0f0f);
        let low = _mm256_and_si256(low, _mm256_broadcastsi128_si256(masks));
        let tops = _mm256_srli_epi16::<2>(_mm256_unpacklo_epi32(_mm256_setzero_si256(), x));
        _mm256_or_si256(low, _mm256_and_si256(tops, _mm256_set1_epi8(0x30)))
    }
}

/// The 16-bit words of each lane where lanes are `b` words apart, from word `at` on: of 16 codes of `b` bits, for one.
pub(super) const fn lane_words(b: usize, at: usize) -> [u16; 32] {
    let mut words = [0; 32];
    let mut i = 0;
    while i < 32 {
        words[i] = (i / 8 * b + i % 8 + at) as u16;
        i += 1;
    }
    words
}

/// Where 64 bytes begin that hold the 16 at `at` of each of three blocks of `stride`: with the blocks if that reaches.
pub(super) const fn first_load(stride: usize, at: usize) -> usize {
    if at + 2 * stride + 16 <= 64 { 0 } else { at }
}

/// The 16-bit words `at` bytes into `count` blocks of `stride` bytes, of each of two vectors.
pub(super) const fn strided_words(count: usize, stride: usize, at: usize) -> [u16; 32] {
    let mut words = [0; 32];
    let mut i = 0;
    while i < 2 * count {
        words[i] = (i / count * 32 + i % count * (stride / 2) + at / 2) as u16;
        i += 1;
    }
    words
}

/// Of eight blocks of `stride` bytes the dwords 2 bytes into each, then the words that blocks begin with: of the first three in
/// one vector and the next three in another or, where those are in their places, with what `REST` adds from the last 64 bytes.
pub(super) const fn head_words(stride: usize, rest: bool) -> [u16; 32] {
    let mut words = [0; 32];
    let mut block = 0;
    while block < 8 {
        let mut word = 0;
        while word < 3 {
            let place = if word == 0 { 16 + block } else { 2 * block + word - 1 };
            words[place] = if block >= 6 {
                (32 + (block * stride + 64 - 8 * stride) / 2 + word) as u16
            } else if rest {
                place as u16
            } else {
                (block / 3 * 32 + block % 3 * stride / 2 + word) as u16
            };
            word += 1;
        }
        block += 1;
    }
    words
}

/// 64 codes of `B` bits that start at `p`.
#[inline(always)]
pub(super) unsafe fn stream<const B: usize>(p: *const u8) -> __m512i {
    unsafe {
        let table = |t: &'static [u8; 64]| _mm512_loadu_si512(t.as_ptr().cast());
        let table16 = |t: &'static [u16; 32]| _mm512_loadu_si512(t.as_ptr().cast());
        let x = _mm512_maskz_loadu_epi8((1 << (8 * B)) - 1, p.cast());
        let x = _mm512_permutexvar_epi16(table16(&const { lane_words(B, 0) }), x);
        let even = _mm512_shuffle_epi8(x, table(&const { BitTables::<B, 0>::EVEN }));
        let odd = _mm512_shuffle_epi8(x, table(&const { BitTables::<B, 0>::ODD }));
        let even = _mm512_mullo_epi16(even, table16(&const { BitTables::<B, 0>::EVEN_FACTORS }));
        let odd = _mm512_mullo_epi16(odd, table16(&const { BitTables::<B, 0>::ODD_FACTORS }));
        let low = _mm512_srli_epi16::<8>(even);
        let both = _mm512_mask_blend_epi8(0xaaaa_aaaa_aaaa_aaaa, low, odd);
        _mm512_and_si512(both, _mm512_set1_epi8(BitTables::<B, 0>::MASK as i8))
    }
}
