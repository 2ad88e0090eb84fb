//! Keys and values from their pages to `f32` in scratch memory. Only this file knows their types.

use super::super::Element;
use super::super::element::{BF16, F16, F32, Float};
use super::Job;
use crate::simd::Simd;

/// Which of the two pools.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    Keys,
    Values,
}

impl Job<'_> {
    /// The row of `position` in a pool, and how many positions follow it on the same page, itself included.
    #[inline(always)]
    unsafe fn pool_row(&self, pool: Pool, position: usize) -> (*const u8, usize) {
        let shape = &self.attention.shape;
        let sequence = self.schedule.batch.sequence[self.tile.tokens.start] as usize;
        let (page, row) = (position / shape.page_size, position % shape.page_size);
        let page = self.schedule.batch.page_table[sequence * shape.pages_per_sequence + page] as usize;
        let (base, dim) = match pool {
            Pool::Keys => (self.arrays.keys, shape.dim),
            Pool::Values => (self.arrays.values, shape.v_dim),
        };
        let at = ((page * shape.kv_heads + self.tile.kv_head) * shape.page_size + row) * dim;
        // SAFETY: the schedule checked the pages of all positions that the tile sees.
        (unsafe { base.add(at * shape.kv.size()) }, shape.page_size - row)
    }

    /// Asks for `count` rows of both pools from `start` on, as far as the tile sees them.
    #[inline(always)]
    pub(super) unsafe fn prefetch<S: Simd>(&self, s: S, start: usize, count: usize) {
        let shape = &self.attention.shape;
        for position in start..(start + count).min(self.tile.keys.end) {
            for (pool, dim) in [(Pool::Keys, shape.dim), (Pool::Values, shape.v_dim)] {
                // SAFETY: the position is one of the tile's.
                let row = unsafe { self.pool_row(pool, position).0 };
                for line in (0..dim * shape.kv.size()).step_by(64) {
                    s.prefetch(row.wrapping_add(line));
                }
            }
        }
    }

    /// Converts `count` rows of a pool from position `start` on; the padding of each row becomes zero.
    #[inline(always)]
    pub(super) unsafe fn load<S: Simd>(&self, s: S, pool: Pool, start: usize, count: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.attention.shape.kv {
                Element::F32 => self.load_as::<S, F32>(s, pool, start, count),
                Element::F16 => self.load_as::<S, F16>(s, pool, start, count),
                Element::BF16 => self.load_as::<S, BF16>(s, pool, start, count),
                other => unreachable!("keys and values are F32, F16 or BF16, not {other:?}"),
            }
        }
    }

    #[inline(always)]
    unsafe fn load_as<S: Simd, E: Float>(&self, s: S, pool: Pool, start: usize, count: usize) {
        let shape = &self.attention.shape;
        let (dim, padded, to) = match pool {
            Pool::Keys => (shape.dim, self.layout.k_row, self.layout.keys),
            Pool::Values => (shape.v_dim, self.layout.v_row, self.layout.values),
        };
        let mut done = 0;
        while done < count {
            // SAFETY: positions below `start + count` are the tile's; the scratch holds `KEYS` padded rows.
            unsafe {
                let (from, left) = self.pool_row(pool, start + done);
                let rows = left.min(count - done);
                let (from, to) = (from.cast::<E::Bits>(), self.at(to + done * padded));
                // Rows without padding are one long row.
                let (rows_now, len) = if dim == padded { (1, rows * dim) } else { (rows, dim) };
                for row in 0..rows_now {
                    convert::<S, E>(s, from.add(row * len), to.add(row * padded), len, padded);
                }
                done += rows;
            }
        }
    }
}

#[inline(always)]
unsafe fn convert<S: Simd, E: Float>(s: S, from: *const E::Bits, to: *mut f32, len: usize, padded: usize) {
    let whole = len - len % S::LANES;
    // SAFETY: the caller's promise; padding is a whole number of vectors at every level.
    unsafe {
        for i in (0..whole).step_by(S::LANES) {
            s.store(to.add(i), E::load(s, from.add(i)));
        }
        let mut i = whole;
        if whole < len {
            s.store(to.add(whole), E::load_partial(s, from.add(whole), len - whole));
            i += S::LANES;
        }
        while i < padded {
            s.store(to.add(i), s.zero());
            i += S::LANES;
        }
    }
}
