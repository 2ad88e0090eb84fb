//! Few rows of activations with K-quants of 256 weights and integer scales: everything within a block is integer.
//!
//! The block's own scales times the multiples of the activations' unit (see [`super::acts`]) fit 16 bits, and so do
//! sums of four products. One multiplication scales two vectors of such sums, and one conversion to float serves 256
//! weights, where [`super::decode`] needs one for each 64.

use super::acts::{Forms, Row};
use super::blocks::{GROUP, OCTET, Octet};
use super::decode::{Job, Sum, prefetch_weights};
use crate::simd::{Dot, Isa};

/// Groups of a block with a multiple each.
pub(super) const GROUPS: usize = OCTET / GROUP;

/// A block of 256 weights `d * scale * code - dmin * min` with integer scales, mins and codes.
pub(super) trait Superblock: 'static {
    /// Bytes per block.
    const BYTES: usize;
    /// What is subtracted from a stored code.
    const OFFSET: u8 = 0;
    /// Whether half a block fills all bits of the sums where codes are not centred.
    const HALF_FILLS: bool = false;
    /// Whether codes come in the order of [`Row::paired`]; otherwise in natural order.
    const PAIRED: bool;

    /// 64 codes: the `C`th quarter of the block.
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes;
    /// The integer scales times the activations' multiples, and the integer mins, of neighbouring rows' blocks.
    unsafe fn factors<S: Dot, const R: usize>(
        s: S,
        blocks: [Octet; R],
        multiples: *const i16,
    ) -> [(S::Factors, S::Eight); R];
    /// `acc + sums * factors` for the sums of the two quarters of the `H`th half.
    fn add<S: Dot, const H: usize>(s: S, acc: S::Sums, sums: [S::Sums; 2], factors: S::Factors) -> S::Sums;
    /// Adds what the integers of block `index` come to.
    unsafe fn end<S: Dot, const R: usize, const M: usize>(
        s: S,
        sums: &mut [[Sum<S>; M]; R],
        totals: &[[S::Sums; M]; R],
        factors: &[[(S::Factors, S::Eight); R]; M],
        blocks: [Octet; R],
        acts: &[Row; M],
        index: usize,
    );
    /// After the last block: gives each row the sums that are its own.
    fn part<S: Dot, const R: usize, const M: usize>(_s: S, _sums: &mut [[Sum<S>; M]; R]) {}
    /// `d`, of a format with a scale for each 16 weights.
    unsafe fn scale<S: Dot>(_s: S, _o: Octet) -> f32 {
        0.0
    }
}

/// Whether what is subtracted from codes is made up for by the activations' sums, not in each dot product.
pub(super) const fn by_sums<S: Dot, F: Superblock>() -> bool {
    F::OFFSET > 0 && matches!(S::ISA, Isa::Avx2)
}

/// Adds the products of block `index` of each of `R` rows with `M` rows of activations.
#[inline(always)]
unsafe fn block<S: Dot, F: Superblock, const R: usize, const M: usize>(
    s: S,
    weights: [Octet; R],
    acts: &[Row; M],
    index: usize,
    sums: &mut [[Sum<S>; M]; R],
) {
    // SAFETY: the caller gives whole blocks, and activations for as many weights.
    unsafe {
        let at = index * OCTET;
        let mut totals = [[s.no_sums(); M]; R];
        let mut factors = [F::factors(s, weights, acts[0].multiples.add(GROUPS * index)); M];
        for m in 1..M {
            factors[m] = F::factors(s, weights, acts[m].multiples.add(GROUPS * index));
        }
        let first = quarter::<S, F, R, M, 0>(s, weights, acts, at);
        let second = quarter::<S, F, R, M, 1>(s, weights, acts, at);
        for r in 0..R {
            for m in 0..M {
                let pair = [first[r][m], second[r][m]];
                totals[r][m] = F::add::<S, 0>(s, totals[r][m], pair, factors[m][r].0);
                if const { by_sums::<S, F>() && F::HALF_FILLS } {
                    let by = F::scale(s, weights[r]) * acts[m].units.add(index).read();
                    sums[r][m].0 = s.add_wide(sums[r][m].0, totals[r][m], by);
                    totals[r][m] = s.no_sums();
                }
            }
        }
        let first = quarter::<S, F, R, M, 2>(s, weights, acts, at);
        let second = quarter::<S, F, R, M, 3>(s, weights, acts, at);
        for r in 0..R {
            for m in 0..M {
                let pair = [first[r][m], second[r][m]];
                totals[r][m] = F::add::<S, 1>(s, totals[r][m], pair, factors[m][r].0);
            }
        }
        F::end(s, sums, &totals, &factors, weights, acts, index);
    }
}

/// The sums of four products each of a quarter of a block.
#[inline(always)]
unsafe fn quarter<S: Dot, F: Superblock, const R: usize, const M: usize, const C: usize>(
    s: S,
    weights: [Octet; R],
    acts: &[Row; M],
    at: usize,
) -> [[S::Sums; M]; R] {
    let mut sums = [[s.no_sums(); M]; R];
    // SAFETY: as for `block`.
    unsafe {
        let mut a = [s.bytes(acts[0].codes.add(at + 64 * C)); M];
        let mut start = [s.no_sums(); M];
        for m in 0..M {
            let codes = if F::PAIRED { acts[m].paired } else { acts[m].codes };
            a[m] = s.bytes(codes.add(at + 64 * C));
            if F::OFFSET > 0 && !const { by_sums::<S, F>() } {
                start[m] = s.offset_sums(F::OFFSET, a[m]);
            }
        }
        for r in 0..R {
            let w = F::codes::<S, C>(s, weights[r]);
            for m in 0..M {
                sums[r][m] = s.dot_unsigned(start[m], w, a[m]);
            }
        }
    }
    sums
}

/// `R` neighbouring weight rows from row `n` on, times `M` rows of activations from row `token` on; past the last row
/// of either it is repeated, and not written again. `ahead` is how far what is prefetched meanwhile lies ahead.
#[inline(always)]
unsafe fn rows<S: Dot, F: Superblock, const R: usize, const M: usize>(
    s: S,
    job: &Job,
    n: usize,
    token: usize,
    ahead: usize,
) {
    // SAFETY: the job's rows exist, whole rows of `k` weights.
    unsafe {
        let acts = job.activations::<M>(token);
        let starts = job.starts::<R>(n);
        let mut row = [Octet::of(starts[0]); R];
        for r in 1..R {
            row[r] = Octet::of(starts[r]);
        }
        let mut sums = [[(s.wide_zero(), s.eight_splat(0.0)); M]; R];
        // One linear stream: the hardware follows two neighbouring ones less well.
        let mut stream = starts[0].wrapping_add(ahead);
        for index in 0..job.shape.k / OCTET {
            if token == 0 {
                prefetch_weights(s, stream, R * F::BYTES);
                stream = stream.wrapping_add(R * F::BYTES);
            }
            block::<S, F, R, M>(s, row, &acts, index, &mut sums);
            for row in &mut row {
                *row = Octet::of(row.0.add(F::BYTES));
            }
        }
        F::part(s, &mut sums);
        job.write(s, (n, token), &sums);
    }
}

#[inline(always)]
unsafe fn walk<S: Dot, F: Superblock, const R: usize, const M: usize>(s: S, job: &Job) {
    for n in job.rows.clone().step_by(R) {
        job.ask_pages(s, n, R);
        let ahead = job.ahead(n, R);
        for token in (0..job.shape.m).step_by(M) {
            // SAFETY: the caller's job, handed on row by row.
            unsafe { rows::<S, F, R, M>(s, job, n, token, ahead) }
        }
    }
}

/// What is read of activations.
pub(super) const fn forms<F: Superblock>() -> Forms {
    if F::PAIRED { Forms::PAIRED } else { Forms::CODES }
}

/// Multiplies the job's rows, of blocks of 256.
///
/// # Safety
/// As for [`super::decode::decode`].
#[inline(always)]
pub(super) unsafe fn decode<S: Dot, F: Superblock>(s: S, job: &Job) {
    // SAFETY: the caller's.
    unsafe {
        match job.at_a_time::<S>(1, 2, 1) {
            (1, 1) => walk::<S, F, 1, 1>(s, job),
            (2, 1) => walk::<S, F, 2, 1>(s, job),
            // Two of `FEW` rows as well: with four there are more pointers than registers, which costs what sharing weights gives.
            _ => walk::<S, F, 1, 2>(s, job),
        }
    }
}
