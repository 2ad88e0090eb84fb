//! Keys and values in their pages: where they lie, converted to `f32` in scratch memory, or asked for ahead of time.

use super::super::Element;
use super::super::element::{BF16, F16, F32, Float};
use super::Job;
use crate::simd::Simd;

/// A cache line.
const LINE: usize = 64;

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
            Pool::Values => (self.arrays.values, shape.v_stride),
        };
        let at = ((page * shape.kv_heads + self.tile.kv_head) * shape.page_size + row) * dim;
        // SAFETY: the schedule checked the pages of all positions that the tile sees.
        (unsafe { base.add(at * shape.kv.size()) }, shape.page_size - row)
    }

    /// The rows of a pool from `position` on, at most `count`, that lie one after the other on a page.
    #[inline(always)]
    pub(super) unsafe fn rows<E: Float>(&self, pool: Pool, position: usize, count: usize) -> Rows<E> {
        // SAFETY: the caller's promise.
        let (first, left) = unsafe { self.pool_row(pool, position) };
        let stride = match pool {
            Pool::Keys => self.attention.shape.dim,
            Pool::Values => self.attention.shape.v_stride,
        };
        Rows { first: first.cast(), stride, count: left.min(count) }
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
        let (dim, stride, padded, row_len, to) = match pool {
            Pool::Keys => (shape.dim, shape.dim, self.layout.k_len, self.layout.k_row, self.layout.keys),
            Pool::Values => {
                (shape.v_dim, shape.v_stride, self.layout.v_len, self.layout.v_row, self.layout.values)
            }
        };
        let mut done = 0;
        while done < count {
            // SAFETY: positions below `start + count` are the tile's; the scratch holds `KEYS` padded rows.
            unsafe {
                let (from, left) = self.pool_row(pool, start + done);
                let rows = left.min(count - done);
                let (from, to) = (from.cast::<E::Bits>(), self.at(to + done * row_len));
                for row in 0..rows {
                    convert::<S, E>(s, from.add(row * stride), to.add(row * row_len), dim, padded);
                }
                done += rows;
            }
        }
    }
}

/// Rows that follow each other on a page.
pub(super) struct Rows<E: Float> {
    /// The first of them.
    pub first: *const E::Bits,
    /// Elements from one to the next.
    pub stride: usize,
    /// How many there are, at least one.
    pub count: usize,
}

impl<E: Float> Rows<E> {
    /// Row `index`, or the last one.
    #[inline(always)]
    pub unsafe fn row(&self, index: usize) -> *const E::Bits {
        // SAFETY: the caller has rows that exist.
        unsafe { self.first.add(index.min(self.count - 1) * self.stride) }
    }
}

/// Rows of a pool that will be wanted soon, asked for line by line while something else is computed.
pub(super) struct Ahead<'a> {
    job: &'a Job<'a>,
    pool: Pool,
    /// The next position that no line below stands for, and where the wanted ones end.
    position: usize,
    end: usize,
    /// The next line, and how many follow it on its page, itself included.
    line: *const u8,
    left: usize,
}

impl<'a> Ahead<'a> {
    /// The rows `start..start + count`, as far as the tile sees them.
    #[inline(always)]
    pub(super) fn new(job: &'a Job<'a>, pool: Pool, start: usize, count: usize) -> Self {
        let end = (start + count).min(job.tile.keys.end);
        Self { job, pool, position: start, end, line: std::ptr::null(), left: 0 }
    }

    /// Asks for the next `count` lines.
    #[inline(always)]
    pub(super) fn ask<S: Simd>(&mut self, s: S, count: usize) {
        for _ in 0..count {
            if self.left == 0 && !self.turn_page() {
                return;
            }
            s.prefetch(self.line);
            self.line = self.line.wrapping_add(LINE);
            self.left -= 1;
        }
    }

    /// Goes on to the lines of the next rows, if any are wanted.
    fn turn_page(&mut self) -> bool {
        if self.position >= self.end {
            return false;
        }
        let shape = &self.job.attention.shape;
        let stride = match self.pool {
            Pool::Keys => shape.dim,
            Pool::Values => shape.v_stride,
        };
        // SAFETY: the position is one of the tile's.
        let (row, left) = unsafe { self.job.pool_row(self.pool, self.position) };
        let rows = left.min(self.end - self.position);
        (self.line, self.left) = (row, (rows * stride * shape.kv.size()).div_ceil(LINE));
        self.position += rows;
        true
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
