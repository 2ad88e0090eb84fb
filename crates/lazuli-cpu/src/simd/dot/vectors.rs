//! [`Fours`]: a table of vectors of four codes, in the forms in which levels look them up; and the signs beside them; scales of six bits.

/// 64 sign bits from two times 28, the low ones of each half of `packed`: each eighth makes the number of eight even.
#[inline(always)]
pub fn even_signs(packed: u64) -> u64 {
    // 28 bits to two times 14, and those to two times 7, each at the start of its share.
    let fourteens = (packed & 0x0000_3fff_0000_3fff) | (packed & 0x0fff_c000_0fff_c000) << 2;
    let sevens = (fourteens & 0x007f_007f_007f_007f) | (fourteens & 0x3f80_3f80_3f80_3f80) << 1;
    // What comes in from the next byte does not reach the lowest bit.
    let parity = sevens ^ sevens >> 4;
    let parity = parity ^ parity >> 2;
    let parity = parity ^ parity >> 1;
    sevens | (parity & 0x0101_0101_0101_0101) << 7
}

/// The 6-bit scales and mins of Q4_K and Q5_K, eight each, one to a byte: the first four of either stand whole in the first
/// two words, the other four are split between the last word's nibbles and the top bits of the first two.
///
/// # Safety
/// `p` must be valid for reading 12 bytes.
#[inline(always)]
pub unsafe fn six_bits(p: *const u8) -> [u64; 2] {
    // SAFETY: the caller's promise.
    let (first, last) =
        unsafe { (p.cast::<u64>().read_unaligned(), p.add(8).cast::<u32>().read_unaligned()) };
    let (first, last) = (u64::from_le(first), u64::from(u32::from_le(last)));
    let low = first & 0x3f3f_3f3f_3f3f_3f3f;
    let nibbles = (last | last << 28) & 0x0f0f_0f0f_0f0f_0f0f;
    let high = (first >> 2 & 0x3030_3030_3030_3030) | nibbles;
    [(low & 0xffff_ffff) | high << 32, low >> 32 | (high & !0xffff_ffff)]
}

/// [`even_signs`] of four little-endian numbers, in a loop that compilers make one of vectors.
///
/// # Safety
/// `from` must be valid for reading 32 bytes, `to` for writing as many.
#[inline(always)]
pub(super) unsafe fn four_even_signs(from: *const u8, to: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        let packed = from.cast::<[u64; 4]>().read_unaligned();
        let mut signs = [0; 4];
        for i in 0..4 {
            signs[i] = even_signs(u64::from_le(packed[i])).to_le();
        }
        to.cast::<[u64; 4]>().write_unaligned(signs);
    }
}

/// The same with the instructions of [`Fours::permuted`].
///
/// # Safety
/// `from` must be valid for reading 32 bytes, `to` for writing as many; the processor must have these instructions.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
pub(super) unsafe fn permuted_even_signs(from: *const u8, to: *mut u8) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's promise.
    unsafe {
        // Seven bits from bits 0, 7, 14 and 21 of each half.
        let cut = _mm256_set1_epi64x(0x352e_2720_150e_0700);
        let sevens = _mm256_multishift_epi64_epi8(cut, _mm256_loadu_si256(from.cast()));
        let sevens = _mm256_and_si256(sevens, _mm256_set1_epi8(0x7f));
        // The top bit where the number of bits of a nibble is odd.
        let odd = _mm256_set1_epi64x(0x8000_0080_0080_8000_u64 as i64);
        let odd = _mm256_unpacklo_epi64(odd, _mm256_xor_si256(odd, _mm256_set1_epi8(-128)));
        let nibble = _mm256_set1_epi8(15);
        let low = _mm256_shuffle_epi8(odd, _mm256_and_si256(sevens, nibble));
        let high = _mm256_shuffle_epi8(odd, _mm256_and_si256(_mm256_srli_epi16::<4>(sevens), nibble));
        // sevens | (low ^ high)
        _mm256_storeu_si256(to.cast(), _mm256_ternarylogic_epi64::<0xf6>(sevens, low, high));
    }
}

/// Up to 512 vectors of four codes of three bits, and the byte that each code stands for. No vector of a table lies on
/// two cache lines.
#[repr(align(64))]
pub struct Fours {
    /// The vectors as bytes.
    words: [u32; 512],
    /// The codes themselves: the first two of every vector, and the last two, six bits in a byte.
    #[cfg(target_arch = "x86_64")]
    pairs: [[u8; 512]; 2],
    #[cfg(target_arch = "x86_64")]
    values: [u8; 8],
}

impl Fours {
    /// The table of these vectors, three bits a code with the first in the low bits; the rest are zero.
    pub const fn new<const N: usize>(grid: &[u16; N], values: [u8; 8]) -> Self {
        let mut words = [0; 512];
        let mut i = 0;
        while i < 4 * N {
            let value = values[(grid[i / 4] >> (3 * (i % 4)) & 7) as usize];
            words[i / 4] |= (value as u32) << (8 * (i % 4));
            i += 1;
        }
        #[cfg(target_arch = "x86_64")]
        {
            let mut pairs = [[0; 512]; 2];
            let mut i = 0;
            while i < 2 * N {
                pairs[i % 2][i / 2] = (grid[i / 2] >> (6 * (i % 2)) & 63) as u8;
                i += 1;
            }
            Self { words, pairs, values }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self { words }
    }

    /// Writes the vectors of 64 indices; bit `i` of `high` is the ninth of index `i`.
    ///
    /// # Safety
    /// `indices` must be valid for reading 64 bytes, `to` for writing 256.
    #[inline(always)]
    pub(super) unsafe fn each(&self, indices: *const u8, high: u64, to: *mut u8) {
        for i in 0..64 {
            // SAFETY: the caller's promise; an index of nine bits lies within the table.
            unsafe {
                let index = usize::from(*indices.add(i)) | ((high >> i & 1) as usize) << 8;
                to.cast::<u32>().add(i).write_unaligned(self.words[index].to_le());
            }
        }
    }

    /// The two vectors of these numbers.
    ///
    /// # Safety
    /// Numbers must be below 512.
    #[inline(always)]
    pub unsafe fn two(&self, first: u16, second: u16) -> u64 {
        // SAFETY: the caller's promise.
        let word = |number: u16| unsafe { u64::from(*self.words.get_unchecked(usize::from(number))) };
        word(first) | word(second) << 32
    }

    /// The same for `R` rows with the byte permutations of AVX-512 VBMI. One looks up 64 indices in 128 bytes, and a
    /// byte holds two codes, so that half as many do; the codes are then cut out and looked up in turn.
    ///
    /// # Safety
    /// As for [`Fours::each`]; the processor must have these instructions. With `WIDE` unset, `high` must be zero.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    pub(super) unsafe fn permuted<const WIDE: bool, const R: usize>(
        &self,
        indices: &[*const u8; R],
        high: &[u64; R],
        to: &[*mut u8; R],
    ) {
        use std::arch::x86_64::*;
        // SAFETY: the caller's promise; every load lies within a table.
        unsafe {
            let zero = _mm512_setzero_si512();
            let (mut index, mut eighth, mut pairs) = ([zero; R], [0; R], [[zero; 2]; R]);
            for r in 0..R {
                index[r] = _mm512_loadu_si512(indices[r].cast());
                eighth[r] = _mm512_movepi8_mask(index[r]);
            }
            for half in 0..2 {
                let table = self.pairs[half].as_ptr();
                let load = |i: usize| _mm512_loadu_si512(table.add(64 * i).cast());
                for r in 0..R {
                    let low = _mm512_permutex2var_epi8(load(0), index[r], load(1));
                    let top = _mm512_permutex2var_epi8(load(2), index[r], load(3));
                    pairs[r][half] = _mm512_mask_blend_epi8(eighth[r], low, top);
                    if WIDE {
                        let low = _mm512_permutex2var_epi8(load(4), index[r], load(5));
                        let top = _mm512_permutex2var_epi8(load(6), index[r], load(7));
                        let ninth = _mm512_mask_blend_epi8(eighth[r], low, top);
                        pairs[r][half] = _mm512_mask_blend_epi8(high[r], pairs[r][half], ninth);
                    }
                }
            }
            // The eight bytes of two vectors are cut out of the four bytes of their pairs.
            let pick = |i: i64| (2 * i) | (2 * i + 64) << 8 | (2 * i + 1) << 16 | (2 * i + 65) << 24;
            let mut at =
                _mm512_setr_epi64(pick(0), pick(1), pick(2), pick(3), pick(4), pick(5), pick(6), pick(7));
            let cut = _mm512_set1_epi64(0x1b18_1310_0b08_0300);
            let values = _mm512_broadcast_i32x4(_mm_set1_epi64x(i64::from_le_bytes(self.values)));
            for i in 0..4 {
                for r in 0..R {
                    let [first, last] = pairs[r];
                    let codes = _mm512_multishift_epi64_epi8(cut, _mm512_permutex2var_epi8(first, at, last));
                    let codes = _mm512_and_si512(codes, _mm512_set1_epi8(7));
                    _mm512_storeu_si512(to[r].add(64 * i).cast(), _mm512_shuffle_epi8(values, codes));
                }
                at = _mm512_add_epi64(at, _mm512_set1_epi64(0x1010_1010));
            }
        }
    }
}

/// Whether one of the eight bytes is `0xff`.
#[inline(always)]
pub fn has_full_byte(x: u64) -> bool {
    // A zero byte of the complement is the only one that borrows while its own top bit is clear.
    ((!x).wrapping_sub(0x0101_0101_0101_0101) & x & 0x8080_8080_8080_8080) != 0
}

/// Makes NaN of those of eight e8m0 scales whose byte is `0xff`.
#[cold]
pub(super) fn note_nan(x: u64, scales: &mut [f32; 8]) {
    for (scale, byte) in scales.iter_mut().zip(x.to_le_bytes()) {
        *scale = if byte == 0xff { f32::NAN } else { *scale };
    }
}
