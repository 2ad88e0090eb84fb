//! What operations with AVX2 are made of: words of 16 bits picked from vectors and from blocks, shifted, added up; spread bits.
#![allow(clippy::undocumented_unsafe_blocks)]
// SAFETY (of every block here): callers have the instructions, and vouch for pointers.

use std::arch::asm;
use std::arch::x86_64::*;

/// Words of either half of a vector, each four times: two for the lower half and two for the upper.
#[repr(align(32))]
#[allow(dead_code)] // Assembly reads it.
struct Picks([[u8; 32]; 6]);
static PICKS: Picks = {
    let words: [[u8; 4]; 6] =
        [[0, 1, 0, 1], [2, 3, 2, 3], [4, 5, 4, 5], [6, 7, 6, 7], [0, 4, 1, 5], [2, 6, 3, 7]];
    let mut picks = [[0; 32]; 6];
    let mut i = 0;
    while i < 6 * 32 {
        picks[i / 32][i % 32] = 2 * words[i / 32][i % 32 / 8] + (i % 2) as u8;
        i += 1;
    }
    Picks(picks)
};

/// The words that [`PICKS`] has at `N`. Written out: knowing where `x` came from, the compiler would shuffle three times.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn picked<const N: usize>(x: __m256i) -> __m256i {
    let mut out;
    unsafe {
        asm!(
            "vpshufb {out}, {x}, ymmword ptr [rip + {picks} + {at}]",
            out = out(ymm_reg) out,
            x = in(ymm_reg) x,
            picks = sym PICKS,
            at = const 32 * N,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    out
}

/// The numbers of [`crate::simd::six_bits`]: the first eight as words, each times its number in `by`, and the others as floats.
#[inline(always)]
pub(in crate::simd::dot) unsafe fn six_bit_factors(p: *const u8, by: *const i16) -> (__m128i, __m256) {
    unsafe {
        // Words of four numbers: the first of either, between them what the second have in nibbles.
        let x = _mm_loadu_si128(p.cast());
        let low = _mm_srlv_epi32(_mm_shuffle_epi32::<0b10_01_10_00>(x), _mm_setr_epi32(0, 0, 0, 4));
        let low = _mm_and_si128(low, _mm_setr_epi32(0x3f3f_3f3f, 0x0f0f_0f0f, 0x3f3f_3f3f, 0x0f0f_0f0f));
        let tops = _mm_srli_epi16::<2>(_mm_unpacklo_epi32(_mm_setzero_si128(), x));
        let words = _mm256_cvtepu8_epi16(_mm_or_si128(low, _mm_and_si128(tops, _mm_set1_epi8(0x30))));
        let factors = _mm_mullo_epi16(_mm256_castsi256_si128(words), _mm_loadu_si128(by.cast()));
        let others = _mm256_cvtepi16_epi32(_mm256_extracti128_si256::<1>(words));
        (factors, _mm256_cvtepi32_ps(others))
    }
}

/// `value` in each byte whose bit is set.
#[inline(always)]
pub(super) unsafe fn spread(bits: u32, value: u8) -> __m256i {
    unsafe {
        let byte = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
        let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
        let x = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits as i32), byte), bit);
        _mm256_and_si256(_mm256_cmpeq_epi8(x, bit), _mm256_set1_epi8(value as i8))
    }
}

/// The 16 bytes `AT` bytes into the block of `STRIDE` bytes at `p`, and those of the fourth block after it.
#[inline(always)]
pub(super) unsafe fn two_blocks<const STRIDE: usize, const AT: usize>(p: *const u8) -> __m256i {
    unsafe {
        let load = |i: usize| _mm_loadu_si128(p.add(i * STRIDE + AT).cast());
        _mm256_set_m128i(load(4), load(0))
    }
}

/// 16 signed bytes, the first in the low bits, times 8 words, each word for two neighbours.
#[inline(always)]
pub(in crate::simd::dot) unsafe fn bytes_by_words(x: [u64; 2], by: *const i16) -> __m256i {
    unsafe {
        let by =
            _mm256_permute4x64_epi64::<0b01_01_00_00>(_mm256_castsi128_si256(_mm_loadu_si128(by.cast())));
        let x = _mm256_cvtepi8_epi16(_mm_set_epi64x(x[1] as i64, x[0] as i64));
        _mm256_mullo_epi16(x, _mm256_unpacklo_epi16(by, by))
    }
}

/// For no number.
pub(super) const NOWHERE: usize = usize::MAX;

/// For four loads of 32 bytes, each of which begins with a block of `stride` bytes and holds the head of the next in its upper
/// half: which bytes are 16-bit numbers `at` bytes into a block, moved to the load's place among four, and to that place
/// after four others for the second.
pub(super) const fn places(stride: usize, at: [usize; 2]) -> [u8; 128] {
    let mut places = [0x80; 128];
    let mut i = 0;
    while i < 32 {
        let (load, half, number, byte) = (i / 8, i / 4 % 2, i / 2 % 2, i % 2);
        if at[number] != NOWHERE {
            let to = 32 * load + 16 * half + 8 * number + 2 * load + byte;
            places[to] = (half * (stride - 16) + at[number] + byte) as u8;
        }
        i += 1;
    }
    places
}

/// The numbers of eight blocks that [`places`] tells: those of even blocks in the lower half.
#[inline(always)]
pub(super) unsafe fn strided_words<const STRIDE: usize>(p: *const u8, places: &'static [u8; 128]) -> __m256i {
    unsafe {
        let pick = |i: usize| {
            let two = _mm256_loadu_si256(p.add(2 * i * STRIDE).cast());
            _mm256_shuffle_epi8(two, _mm256_loadu_si256(places.as_ptr().add(32 * i).cast()))
        };
        let first = _mm256_or_si256(pick(0), pick(1));
        _mm256_or_si256(first, _mm256_or_si256(pick(2), pick(3)))
    }
}

/// The first numbers of all blocks as floats, and the second.
#[inline(always)]
pub(super) unsafe fn split(x: __m256i) -> [__m256; 2] {
    unsafe {
        let (even, odd) = (_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
        [_mm256_cvtph_ps(_mm_unpacklo_epi16(even, odd)), _mm256_cvtph_ps(_mm_unpackhi_epi16(even, odd))]
    }
}

/// The sums of four vectors' lanes.
#[inline(always)]
pub(in crate::simd::dot) unsafe fn four_sums(x: [__m256; 4]) -> [f32; 4] {
    unsafe {
        let sums = _mm256_hadd_ps(_mm256_hadd_ps(x[0], x[1]), _mm256_hadd_ps(x[2], x[3]));
        let sums = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps::<1>(sums));
        std::mem::transmute::<__m128, [f32; 4]>(sums)
    }
}
