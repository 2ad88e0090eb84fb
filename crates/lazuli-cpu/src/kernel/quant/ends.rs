//! Nibbles with one row of activations: four rows of weights, one after the other, and then their ends together.
//!
//! A row of 576 weights is two octets and a quarter, and by itself the quarter would cost as much as an octet. The ends of
//! four rows are copied next to each other and are octets again, with activations that repeat as they do. Each row's sum is
//! made of the same additions wherever among the four it stands.

use super::acts::{HALF, Row, halved_at};
use super::blocks::{GROUP, OCTET, Octet};
use super::decode::{Job, ROWS, prefetch_weights};
use super::nibbles::{Nibbles, half};
use crate::simd::Dot;
use std::ops::Range;

/// Blocks of an octet.
const BLOCKS: usize = OCTET / GROUP;
/// Octets that four rows' ends make at most.
const MOST: usize = ROWS * (BLOCKS - 1) / BLOCKS + 1;
/// Bytes that are copied at once.
const PIECE: usize = 64;
/// The largest block, in bytes.
const BLOCK_ROOM: usize = 24;

/// The ends of four rows of weights, what they are multiplied with, and what comes of it.
#[repr(C, align(64))]
struct Ends {
    weights: [u8; MOST * BLOCKS * BLOCK_ROOM + PIECE],
    /// As in [`Row`].
    halved: [u8; MOST * OCTET],
    scales: [f32; MOST * BLOCKS],
    sums: [f32; MOST * BLOCKS],
    /// For each block its products and its min's.
    products: [f32; (MOST + 1) * BLOCKS],
    /// Blocks of one end.
    blocks: usize,
}

impl Ends {
    /// Ends of `blocks` blocks, multiplied with those of a row of activations that `whole` octets come before in.
    #[inline(always)]
    unsafe fn new<S: Dot>(row: Row, whole: usize, blocks: usize) -> Self {
        // SAFETY: all of it are numbers.
        let mut ends = Self { blocks, ..unsafe { std::mem::zeroed() } };
        for block in 0..blocks {
            let from = BLOCKS * whole + block;
            for end in 0..ROWS {
                let to = end * blocks + block;
                // SAFETY: the caller's row has the octet that it ends in.
                unsafe {
                    for second in 0..2 {
                        let from = row.halved.add(OCTET * whole + halved_at::<S>(block, second));
                        let to = to / BLOCKS * OCTET + halved_at::<S>(to % BLOCKS, second);
                        from.copy_to_nonoverlapping(ends.halved.as_mut_ptr().add(to), HALF);
                    }
                    ends.scales[to] = *row.scales.add(from);
                    ends.sums[to] = *row.sums.add(from);
                }
            }
        }
        ends
    }

    /// Octets of four ends.
    fn octets(&self) -> usize {
        (ROWS * self.blocks).div_ceil(BLOCKS)
    }

    /// Copies the bytes `end` of four rows one after the other. Whole pieces are copied where `pieces` says that
    /// they can be read, and what they have too much is the next end's.
    #[inline(always)]
    unsafe fn copy(&mut self, rows: [*const u8; ROWS], end: Range<usize>, pieces: bool) {
        let (to, bytes) = (self.weights.as_mut_ptr(), end.len());
        // SAFETY: the caller's bytes; there is room for four ends and a piece.
        unsafe {
            if !pieces {
                return copy_exactly(rows, end, to);
            }
            for r in 0..ROWS {
                for at in (0..bytes).step_by(PIECE) {
                    let piece = rows[r].add(end.start + at).cast::<[u8; PIECE]>().read();
                    to.add(r * bytes + at).cast::<[u8; PIECE]>().write(piece);
                }
            }
        }
    }

    /// The activations.
    fn row(&self, row: Row) -> Row {
        Row { halved: self.halved.as_ptr(), scales: self.scales.as_ptr(), sums: self.sums.as_ptr(), ..row }
    }
}

/// Copies the ends of rows where nothing may be read after the last.
#[cold]
unsafe fn copy_exactly(rows: [*const u8; ROWS], end: Range<usize>, to: *mut u8) {
    for (r, row) in rows.into_iter().enumerate() {
        // SAFETY: the caller's.
        unsafe { row.add(end.start).copy_to_nonoverlapping(to.add(r * end.len()), end.len()) };
    }
}

/// What octet `index` of a row adds to its sums: the dot products of its blocks, what they are scaled with, its mins and the
/// sums that these are multiplied with.
#[inline(always)]
unsafe fn octet<S: Dot, F: Nibbles>(s: S, weights: Octet, acts: Row, index: usize) -> [S::Eight; 4] {
    // SAFETY: the caller gives whole octets of both.
    unsafe {
        // First the dot products: loads that overlap with those of the factors would be split by the compiler.
        let [[first]] = half::<S, F, 1, 1, 0>(s, [weights], &[acts], index * OCTET);
        let [[second]] = half::<S, F, 1, 1, 1>(s, [weights], &[acts], index * OCTET);
        let [scale, min] = F::factors(s, weights);
        let scale = s.eight_mul(scale, s.eight(acts.scales.add(index * BLOCKS)));
        [s.eight_blocks([first, second]), scale, min, s.eight(acts.sums.add(index * BLOCKS))]
    }
}

/// Multiplies the job's rows with its one row of activations.
///
/// # Safety
/// As for [`super::decode::decode`].
#[inline(always)]
pub(super) unsafe fn walk<S: Dot, F: Nibbles>(s: S, job: &Job) {
    let (whole, blocks) = (job.shape.k / OCTET, job.shape.k % OCTET / GROUP);
    // SAFETY: the job's rows exist, whole rows of its shape.
    unsafe {
        let row = job.shape.row(job.acts, 0);
        let mut ends = Ends::new::<S>(row, whole, blocks);
        let none = s.eight_splat(0.0);
        for n in job.rows.clone().step_by(ROWS) {
            let starts = job.starts::<ROWS>(n);
            job.ask_pages(s, n, ROWS);
            let mut stream = starts[0].wrapping_add(job.ahead(n, ROWS));
            // Well before they are read: a load of what several stores have just written waits for them.
            if blocks > 0 {
                let pieces = job.holds(n, ROWS * job.row_bytes + PIECE);
                ends.copy(starts, whole * F::OCTET_BYTES..job.row_bytes, pieces);
            }
            let mut sums = [none; ROWS];
            for r in 0..ROWS {
                let (mut weights, mut dots, mut mins) = (Octet::of(starts[r]), none, none);
                for index in 0..whole {
                    prefetch_weights(s, stream, F::OCTET_BYTES);
                    stream = stream.wrapping_add(F::OCTET_BYTES);
                    let [products, scale, min, group_sums] = octet::<S, F>(s, weights, row, index);
                    dots = s.eight_fma(products, scale, dots);
                    mins = s.eight_fma(min, group_sums, mins);
                    weights = Octet::of(weights.0.add(F::OCTET_BYTES));
                }
                // Once more as a product, which is exact.
                sums[r] = s.eight_fma(dots, s.eight_splat(1.0), mins);
            }
            for index in 0..ends.octets() {
                prefetch_weights(s, stream, F::OCTET_BYTES);
                stream = stream.wrapping_add(F::OCTET_BYTES);
                let weights = Octet::of(ends.weights.as_ptr().add(index * F::OCTET_BYTES));
                let [products, scale, min, group_sums] = octet::<S, F>(s, weights, ends.row(row), index);
                let products = s.eight_fma(products, scale, s.eight_mul(min, group_sums));
                s.store_eight(ends.products.as_mut_ptr().add(index * BLOCKS), products);
            }
            if blocks > 0 {
                for r in 0..ROWS {
                    let end = s.eight_first(blocks, s.eight(ends.products.as_ptr().add(r * blocks)));
                    sums[r] = s.eight_fma(end, s.eight_splat(1.0), sums[r]);
                }
            }
            let sums = s.eight_sums(sums);
            if n + ROWS <= job.rows.end {
                job.out.add(n).cast::<[f32; ROWS]>().write(sums);
            } else {
                sums.as_ptr().copy_to_nonoverlapping(job.out.add(n), job.rows.end - n);
            }
        }
    }
}
