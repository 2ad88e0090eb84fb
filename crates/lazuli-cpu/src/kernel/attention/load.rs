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

/// One head's rows of a pool, in the order that a sequence's pages give them.
pub(in crate::kernel) struct PagedRows<'a> {
    /// The head's first row on page 0.
    pub start: *const u8,
    /// The pages of the sequence; those of all positions that are read must exist.
    pub pages: &'a [i32],
    pub page_size: usize,
    /// Elements from one page to the next, and from one row to the next.
    pub page: usize,
    pub stride: usize,
    /// F32, F16 or BF16 (others are refused by a panic).
    pub element: Element,
}

impl PagedRows<'_> {
    /// The row of `position`, and how many positions follow it on the same page, itself included.
    #[inline(always)]
    unsafe fn row(&self, position: usize) -> (*const u8, usize) {
        let (page, row) = (position / self.page_size, position % self.page_size);
        let at = self.pages[page] as usize * self.page + row * self.stride;
        // SAFETY: the caller's promise: the position's page exists.
        (unsafe { self.start.add(at * self.element.size()) }, self.page_size - row)
    }

    /// The rows from `position` on, at most `count`, that lie one after the other on a page.
    #[inline(always)]
    unsafe fn run<E: Float>(&self, position: usize, count: usize) -> Rows<E> {
        // SAFETY: the caller's promise.
        let (first, left) = unsafe { self.row(position) };
        Rows { first: first.cast(), stride: self.stride, count: left.min(count) }
    }

    /// Converts the first `dim` elements of `count` rows from position `start` on to rows `to_row` apart; the padding
    /// up to `padded` (whole vectors) becomes zero.
    #[inline(always)]
    pub(in crate::kernel) unsafe fn load<S: Simd>(
        &self,
        s: S,
        (start, count): (usize, usize),
        (dim, padded): (usize, usize),
        (to, to_row): (*mut f32, usize),
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.element {
                Element::F32 => self.load_as::<S, F32>(s, (start, count), (dim, padded), (to, to_row)),
                Element::F16 => self.load_as::<S, F16>(s, (start, count), (dim, padded), (to, to_row)),
                Element::BF16 => self.load_as::<S, BF16>(s, (start, count), (dim, padded), (to, to_row)),
                other => unreachable!("keys and values are F32, F16 or BF16, not {other:?}"),
            }
        }
    }

    #[inline(always)]
    unsafe fn load_as<S: Simd, E: Float>(
        &self,
        s: S,
        (start, count): (usize, usize),
        (dim, padded): (usize, usize),
        (to, to_row): (*mut f32, usize),
    ) {
        let mut done = 0;
        while done < count {
            // SAFETY: the caller's promise: these positions have pages, and there is room for `count` padded rows.
            unsafe {
                let (from, left) = self.row(start + done);
                let rows = left.min(count - done);
                let (from, to) = (from.cast::<E::Bits>(), to.add(done * to_row));
                for row in 0..rows {
                    convert::<S, E>(s, from.add(row * self.stride), to.add(row * to_row), dim, padded);
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

impl Job<'_> {
    /// The rows of the tile's sequence in a pool.
    #[inline(always)]
    fn rows_of(&self, pool: Pool) -> PagedRows<'_> {
        let shape = &self.attention.shape;
        let sequence = self.schedule.batch.sequence[self.tile.tokens.start] as usize;
        let (base, stride) = match pool {
            Pool::Keys => (self.arrays.keys, shape.dim),
            Pool::Values => (self.arrays.values, shape.v_stride),
        };
        let head = self.tile.kv_head * shape.page_size * stride;
        PagedRows {
            // Within the first page of the pool.
            start: base.wrapping_add(head * shape.kv.size()),
            pages: &self.schedule.batch.page_table[sequence * shape.pages_per_sequence..],
            page_size: shape.page_size,
            page: shape.kv_heads * shape.page_size * stride,
            stride,
            element: shape.kv,
        }
    }

    /// The rows of a pool from `position` on, at most `count`, that lie one after the other on a page.
    #[inline(always)]
    pub(super) unsafe fn rows<E: Float>(&self, pool: Pool, position: usize, count: usize) -> Rows<E> {
        // SAFETY: the schedule checked the pages of all positions that the tile sees.
        unsafe { self.rows_of(pool).run(position, count) }
    }

    /// Converts `count` rows of a pool from position `start` on; the padding of each row becomes zero.
    #[inline(always)]
    pub(super) unsafe fn load<S: Simd>(&self, s: S, pool: Pool, start: usize, count: usize) {
        let (shape, layout) = (&self.attention.shape, &self.layout);
        let (lengths, to) = match pool {
            Pool::Keys => ((shape.dim, layout.k_len), (layout.keys, layout.k_row)),
            Pool::Values => ((shape.v_dim, layout.v_len), (layout.values, layout.v_row)),
        };
        // SAFETY: the schedule checked the pages of all positions that the tile sees; the scratch holds `KEYS` padded
        // rows.
        unsafe { self.rows_of(pool).load(s, (start, count), lengths, (self.at(to.0), to.1)) };
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
            s.prefetch_l2(self.line);
            self.line = self.line.wrapping_add(LINE);
            self.left -= 1;
        }
    }

    /// Goes on to the lines of the next rows, if any are wanted.
    fn turn_page(&mut self) -> bool {
        if self.position >= self.end {
            return false;
        }
        let pages = self.job.rows_of(self.pool);
        // SAFETY: the position is one of the tile's.
        let (row, left) = unsafe { pages.row(self.position) };
        let rows = left.min(self.end - self.position);
        (self.line, self.left) = (row, (rows * pages.stride * pages.element.size()).div_ceil(LINE));
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
