//! Packing weights whose scales are integers: dwords of packed codes are transposed before their nibbles are parted, and
//! the numbers of a vector of rows are computed together.
//!
//! Such a panel holds codes as they are stored, whose centre is 8, and for each 256 weights `unit * (scale * (code - 8) + 8 min)`
//! these numbers: four pairs of scales, the first in the low 16 bits, `unit`, and from [`MINS`] on as many pairs of mins; scales
//! lie in `0..=4032`, mins in `-12280..=12280`. A vector of codes has fours of two neighbouring groups of 32 for half of its
//! rows: codes are `[k / 128][halves][2][8][rows / 2][groups][4]` for each vector of rows, where the first half of the rows
//! has two of each four, as [`Panels::add_interleaved`](crate::simd::Panels::add_interleaved) asks.

use super::blocks::{Blocks, OCTET};
use super::panel::{LANES, Panel, Source, numbers};
use crate::simd::{Columns, Dot, Panels, Stored};
use std::mem::MaybeUninit;

/// Which number of 256 weights is their unit.
pub(super) const UNIT: usize = 4;
/// Which is the first pair of mins.
pub(super) const MINS: usize = 8;
/// Bytes that a block begins with.
const HEAD: usize = 16;
/// The most bytes of a block.
const BLOCK: usize = 144;

/// Blocks of 256 weights with scales and mins in their first 16 bytes, and nibbles of neighbouring groups of 32 in the
/// same 32 bytes.
pub(super) trait Pairs: Blocks {
    /// Where the nibbles begin.
    const NIBBLES: usize;
    /// Writes the numbers of a block of each of [`Simd::LANES`](crate::simd::Simd::LANES) rows, `step` values apart:
    /// `heads[j]` has the dwords `j` of all blocks.
    unsafe fn integers<S: Dot>(s: S, heads: [S::I; 4], to: *mut f32, step: usize);
}

/// Columns of which each byte holds a code of two groups.
#[derive(Clone, Copy)]
struct Parted {
    /// Where fours of the first half of the rows go, each at the start of a row of its own.
    to: *mut u8,
    /// Bytes from one to the next.
    stride: usize,
    /// And from there to those of the other half.
    other: usize,
}

impl<S: Panels> Columns<S> for Parted {
    #[inline(always)]
    unsafe fn take(self, s: S, j: usize, column: S::Codes) {
        let [low, high] = s.part_nibbles(column);
        let [first, other] = s.interleave_lanes(low, high);
        // SAFETY: the caller's promise.
        unsafe {
            let to = self.to.add(j * self.stride);
            s.store_codes(to, first);
            s.store_codes(to.add(self.other), other);
        }
    }
}

/// Packs `vectors` native vectors of rows.
///
/// # Safety
/// As for [`super::panel::pack`].
#[inline(always)]
pub(super) unsafe fn pack<S: Dot, F: Pairs>(s: S, source: &Source, vectors: usize, panel: Panel) {
    const { assert!(F::PLANES == 1 && F::LEN == OCTET && F::BYTES <= BLOCK && F::NIBBLES + OCTET / 2 <= F::BYTES) };
    let mut room = [[const { MaybeUninit::<u8>::uninit() }; BLOCK]; LANES];
    let vector = 4 * S::LANES;
    let step = vectors * vector;
    let octets = source.run.start / OCTET..source.run.end / OCTET;
    let mut ahead = source.step;
    for v in 0..vectors {
        let (first, last) = (v * S::LANES, source.rows - 1);
        for o in octets.clone() {
            // SAFETY: the source has the rows, and the panel room for `vectors` vectors at each of its steps.
            unsafe {
                let blocks = source.first.add(o * F::BYTES);
                let start = |lane: usize| blocks.wrapping_add((first + lane).min(last) * source.row_bytes);
                let (mut from, mut stride) = (start(0), source.row_bytes);
                if first + S::LANES > source.rows {
                    for lane in 0..S::LANES {
                        start(lane).copy_to_nonoverlapping(room[lane].as_mut_ptr().cast(), F::BYTES);
                    }
                    (from, stride) = (room.as_ptr().cast(), BLOCK);
                }
                let o = o - octets.start;
                let mut to = panel.codes.add(o * OCTET / 4 * step + v * vector);
                for half in 0..2 {
                    let nibbles = from.add(F::NIBBLES + half * OCTET / 4);
                    for at in (0..OCTET / 4).step_by(vector) {
                        let other = OCTET / 16 * step;
                        s.transpose(
                            nibbles.add(at),
                            stride,
                            Parted { to: to.add(at / 4 * step), stride: step, other },
                        );
                    }
                    to = to.add(OCTET / 8 * step);
                }
                // Whole vectors are transposed, of which only the first dwords count.
                let mut heads = [[0u8; 4 * LANES]; LANES];
                for at in (0..HEAD).step_by(vector) {
                    let to = heads[at / 4].as_mut_ptr();
                    s.transpose(from.add(at), stride, Stored { to, stride: 4 * LANES });
                }
                let head = |j: usize| heads[j].as_ptr().cast();
                let heads =
                    [s.load_i32(head(0)), s.load_i32(head(1)), s.load_i32(head(2)), s.load_i32(head(3))];
                source.ahead.ask(s, ahead);
                ahead += 1;
                let to = panel.numbers.add((o * numbers(false) * vectors + v) * S::LANES);
                F::integers(s, heads, to, vectors * S::LANES);
            }
        }
    }
}
