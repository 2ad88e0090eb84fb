//! The K-quants of GGUF with 256 weights as [`Superblock`]s: layouts after the document of GGML's quantised types.
#![allow(clippy::undocumented_unsafe_blocks)]
// SAFETY (of every block here): callers give whole blocks, and every offset below lies within one.

use super::acts::{HALF, Row};
use super::blocks::{Blocks, OCTET, Octet, read_u16, read_u64, unrolled};
use super::decode::Sum;
use super::formats::{Q4K, Q5K, Q6K};
use super::low_bits::{Q2K, Q3K, q2_k_mins, q2_k_scales, q3_k_scales};
use super::superblock::{GROUPS, Superblock, by_sums};
use crate::simd::Dot;
use lazuli_quant::blocks::{q2_k, q3_k};

/// The blocks' starts.
#[inline(always)]
fn starts<const R: usize>(blocks: [Octet; R]) -> [*const u8; R] {
    let mut starts = [blocks[0].0; R];
    for r in 1..R {
        starts[r] = blocks[r].0;
    }
    starts
}

/// What Q4_K and Q5_K share: quarters of the block in the paired order of groups.
macro_rules! six_bit {
    () => {
        const PAIRED: bool = true;
        #[inline(always)]
        unsafe fn factors<S: Dot, const R: usize>(
            s: S,
            blocks: [Octet; R],
            multiples: *const i16,
        ) -> [(S::Factors, S::Eight); R] {
            unsafe { s.factors_six_bits(starts(blocks), multiples) }
        }
        #[inline(always)]
        fn add<S: Dot, const H: usize>(
            s: S,
            acc: S::Sums,
            sums: [S::Sums; 2],
            factors: S::Factors,
        ) -> S::Sums {
            s.add_pairs::<H>(acc, sums, factors)
        }
        #[inline(always)]
        unsafe fn end<S: Dot, const R: usize, const M: usize>(
            s: S,
            sums: &mut [[Sum<S>; M]; R],
            totals: &[[S::Sums; M]; R],
            factors: &[[(S::Factors, S::Eight); R]; M],
            blocks: [Octet; R],
            acts: &[Row; M],
            index: usize,
        ) {
            for m in 0..M {
                unsafe {
                    let by = (acts[m].units.add(index).read(), acts[m].sums.add(GROUPS * index));
                    s.add_six_bits(m, sums, totals, &factors[m], starts(blocks), by);
                }
            }
        }
        #[inline(always)]
        fn part<S: Dot, const R: usize, const M: usize>(s: S, sums: &mut [[Sum<S>; M]; R]) {
            s.part_six_bits(sums);
        }
    };
}

impl Superblock for Q4K {
    const BYTES: usize = 144;
    six_bit!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe {
            let x = s.bytes(o.at(16 + 64 * (C / 2)));
            if C % 2 == 0 { s.low_nibbles(x) } else { s.high_nibbles(x) }
        }
    }
}

impl Superblock for Q5K {
    const BYTES: usize = 176;
    six_bit!();
    #[inline(always)]
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
        unsafe {
            let x = s.bytes(o.at(48 + 64 * (C / 2)));
            // Bit j of a byte is the fifth bit of group j's code: bring this quarter's two to bit 4.
            let bits = s.bytes_pair(o.at(16), o.at(16));
            match C {
                0 => s.or_bytes(s.low_nibbles(x), s.shl_mask::<4, 2>(bits, 0x10)),
                1 => s.or_bytes(s.high_nibbles(x), s.shl_mask::<3, 1>(bits, 0x10)),
                2 => s.or_bytes(s.low_nibbles(x), s.shr_mask::<0, 2>(bits, 0x10)),
                _ => s.or_bytes(s.high_nibbles(x), s.shr_mask::<1, 3>(bits, 0x10)),
            }
        }
    }
}

/// What formats with a scale for each 16 weights share, with `d` in a place of their blocks. Their `scales`, 16 signed bytes, and
/// `subtracted`, as many and what they are multiplied with, are functions beside the trait; of the latter a product with the
/// activations is subtracted `$where`.
macro_rules! sixteens {
    ($bytes:expr, d $d:expr, subtracted where $where:expr) => {
        const BYTES: usize = $bytes;
        const PAIRED: bool = false;
        #[inline(always)]
        unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes {
            unsafe { <Self as Blocks>::codes::<S, C>(s, o) }
        }
        #[inline(always)]
        unsafe fn factors<S: Dot, const R: usize>(
            s: S,
            blocks: [Octet; R],
            multiples: *const i16,
        ) -> [(S::Factors, S::Eight); R] {
            unsafe {
                let mut all = [(s.factors_i8(Self::scales(blocks[0]), multiples), s.eight_splat(0.0)); R];
                for r in 1..R {
                    all[r].0 = s.factors_i8(Self::scales(blocks[r]), multiples);
                }
                all
            }
        }
        #[inline(always)]
        fn add<S: Dot, const H: usize>(
            s: S,
            acc: S::Sums,
            sums: [S::Sums; 2],
            factors: S::Factors,
        ) -> S::Sums {
            s.add_quads::<H>(acc, sums, factors)
        }
        #[inline(always)]
        unsafe fn end<S: Dot, const R: usize, const M: usize>(
            s: S,
            sums: &mut [[Sum<S>; M]; R],
            totals: &[[S::Sums; M]; R],
            _factors: &[[(S::Factors, S::Eight); R]; M],
            blocks: [Octet; R],
            acts: &[Row; M],
            index: usize,
        ) {
            const RUNS: usize = OCTET / HALF;
            for r in 0..R {
                for m in 0..M {
                    unsafe {
                        let (wide, _) = &mut sums[r][m];
                        let unit = acts[m].units.add(index).read();
                        *wide = s.add_wide(*wide, totals[r][m], Self::scale(s, blocks[r]) * unit);
                        if const { $where } {
                            let (multiples, fine) = (acts[m].multiples, acts[m].fine_sums);
                            let numbers = [multiples.add(GROUPS * index), fine.add(RUNS * index)];
                            let (bytes, by) = Self::subtracted(s, blocks[r]);
                            *wide = s.add_factors_i8(*wide, bytes, numbers, -(by * unit));
                        }
                    }
                }
            }
        }
        #[inline(always)]
        unsafe fn scale<S: Dot>(s: S, o: Octet) -> f32 {
            unsafe { half(s, o.at($d)) }
        }
    };
}

/// The half-precision number at `p`.
#[inline(always)]
unsafe fn half<S: Dot>(s: S, p: *const u8) -> f32 {
    unsafe { s.two_f16(u32::from(read_u16(p)))[0] }
}

/// What is subtracted from codes, times `d`.
#[inline(always)]
unsafe fn centre<S: Dot, F: Superblock>(s: S, o: Octet) -> f32 {
    unsafe { f32::from(F::OFFSET) * F::scale(s, o) }
}

impl Q6K {
    #[inline(always)]
    unsafe fn scales(o: Octet) -> [u64; 2] {
        unsafe { unrolled!(at in [192, 200] => read_u64(o.at(at))) }
    }
    #[inline(always)]
    unsafe fn subtracted<S: Dot>(s: S, o: Octet) -> ([u64; 2], f32) {
        unsafe { (Self::scales(o), centre::<S, Self>(s, o)) }
    }
}

impl Superblock for Q6K {
    const OFFSET: u8 = 32;
    const HALF_FILLS: bool = true;
    sixteens!(210, d 208, subtracted where by_sums::<S, Self>());
}

impl Q3K {
    #[inline(always)]
    unsafe fn scales(o: Octet) -> [u64; 2] {
        unsafe { q3_k_scales(o.at(q3_k::SCALES)) }
    }
    #[inline(always)]
    unsafe fn subtracted<S: Dot>(s: S, o: Octet) -> ([u64; 2], f32) {
        unsafe { (Self::scales(o), centre::<S, Self>(s, o)) }
    }
}

impl Superblock for Q3K {
    const OFFSET: u8 = 4;
    sixteens!(q3_k::BYTES, d q3_k::D, subtracted where by_sums::<S, Self>());
}

impl Q2K {
    #[inline(always)]
    unsafe fn scales(o: Octet) -> [u64; 2] {
        unsafe { q2_k_scales(o) }
    }
    /// The mins, and `dmin`.
    #[inline(always)]
    unsafe fn subtracted<S: Dot>(s: S, o: Octet) -> ([u64; 2], f32) {
        unsafe { (q2_k_mins(o), half(s, o.at(q2_k::DMIN))) }
    }
}

impl Superblock for Q2K {
    sixteens!(q2_k::BYTES, d q2_k::D, subtracted where true);
}
