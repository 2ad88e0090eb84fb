//! [`Fours`]: a table of vectors of four bytes, in the forms in which levels look them up.

/// Up to 512 vectors of four bytes.
pub struct Fours {
    words: [u32; 512],
    /// Byte `i` of every vector.
    #[cfg(target_arch = "x86_64")]
    planes: [[u8; 512]; 4],
}

impl Fours {
    /// The table of these vectors, little-endian; the rest are zero.
    pub const fn new<const N: usize>(vectors: [u32; N]) -> Self {
        let mut words = [0; 512];
        let mut i = 0;
        while i < N {
            words[i] = vectors[i];
            i += 1;
        }
        #[cfg(target_arch = "x86_64")]
        {
            let mut planes = [[0; 512]; 4];
            let mut i = 0;
            while i < 4 * N {
                planes[i % 4][i / 4] = (vectors[i / 4] >> (8 * (i % 4))) as u8;
                i += 1;
            }
            Self { words, planes }
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

    /// The same with the byte permutations of AVX-512 VBMI: each reads 64 bytes of a plane of 128.
    ///
    /// # Safety
    /// As for [`Fours::each`]; the processor must have these instructions. With `WIDE` unset, `high` must be zero.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    pub(super) unsafe fn permuted<const WIDE: bool>(&self, indices: *const u8, high: u64, to: *mut u8) {
        use std::arch::x86_64::*;
        // SAFETY: the caller's promise; every load lies within a plane.
        unsafe {
            // Vectors come out interleaved: four of each of four runs of 16 indices. So indices go in that way.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let index = _mm512_permutexvar_epi32(order, _mm512_loadu_si512(indices.cast()));
            let eighth = _mm512_movepi8_mask(index);
            let ninth = _mm512_movepi8_mask(_mm512_permutexvar_epi32(order, _mm512_movm_epi8(high)));
            let half = |plane: *const u8| {
                let at = |i: usize| _mm512_loadu_si512(plane.add(64 * i).cast());
                let low = _mm512_permutex2var_epi8(at(0), index, at(1));
                _mm512_mask_blend_epi8(eighth, low, _mm512_permutex2var_epi8(at(2), index, at(3)))
            };
            let plane = |i: usize| {
                let plane = self.planes[i].as_ptr();
                if WIDE {
                    _mm512_mask_blend_epi8(ninth, half(plane), half(plane.add(256)))
                } else {
                    half(plane)
                }
            };
            let [a, b, c, d] = [plane(0), plane(1), plane(2), plane(3)];
            let (low, low2) = (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d));
            let (high, high2) = (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d));
            _mm512_storeu_si512(to.cast(), _mm512_unpacklo_epi16(low, low2));
            _mm512_storeu_si512(to.add(64).cast(), _mm512_unpackhi_epi16(low, low2));
            _mm512_storeu_si512(to.add(128).cast(), _mm512_unpacklo_epi16(high, high2));
            _mm512_storeu_si512(to.add(192).cast(), _mm512_unpackhi_epi16(high, high2));
        }
    }
}
