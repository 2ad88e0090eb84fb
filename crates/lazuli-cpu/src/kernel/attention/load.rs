//! Keys and values in their pages: where they lie, converted to `f32` in scratch memory, or asked for ahead of time.

use super::super::element::{BF16, F16, F32, Float};
use super::super::{Element, stream};
use super::{Job, KEYS, Strides};
use crate::simd::Simd;

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
    pub strides: Strides,
    /// F32, F16 or BF16 (others are refused by a panic).
    pub element: Element,
}

impl PagedRows<'_> {
    /// The row of `position`, and how many positions follow it on the same page, itself included.
    #[inline(always)]
    unsafe fn row(&self, position: usize) -> (*const u8, usize) {
        let (page, row) = (position / self.page_size, position % self.page_size);
        let at = self.pages[page] as usize * self.strides.page + row * self.strides.row;
        // SAFETY: the caller's promise: the position's page exists.
        (unsafe { self.start.add(at * self.element.size()) }, self.page_size - row)
    }

    /// The rows from `position` on, at most `count`, that lie one after the other on a page.
    #[inline(always)]
    unsafe fn run<E: Float>(&self, position: usize, count: usize) -> Rows<E> {
        // SAFETY: the caller's promise.
        let (first, left) = unsafe { self.row(position) };
        Rows { first: first.cast(), stride: self.strides.row, count: left.min(count) }
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
                    convert::<S, E>(s, from.add(row * self.strides.row), to.add(row * to_row), dim, padded);
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
        let (base, strides) = match pool {
            Pool::Keys => (self.arrays.keys, shape.keys),
            Pool::Values => (self.arrays.values, shape.values),
        };
        let head = self.tile.kv_head * shape.page_size * strides.row;
        PagedRows {
            // Within the first page of the pool.
            start: base.wrapping_add(head * shape.kv.size()),
            pages: &self.schedule.batch.page_table[sequence * shape.pages_per_sequence..],
            page_size: shape.page_size,
            strides,
            element: shape.kv,
        }
    }

    /// The rows of a pool from `position` on, at most `count`, that lie one after the other on a page.
    #[inline(always)]
    pub(super) unsafe fn rows<E: Float>(&self, pool: Pool, position: usize, count: usize) -> Rows<E> {
        // SAFETY: the schedule checked the pages of all positions that the tile sees.
        unsafe { self.rows_of(pool).run(position, count) }
    }

    /// Asks for where the pages of memory lie that the tile will read.
    pub(super) unsafe fn ask_pages(&self, pool: Pool) {
        let (rows, keys) = (self.rows_of(pool), &self.tile.keys);
        let mut position = keys.start;
        while position < keys.end {
            // SAFETY: the positions are the tile's.
            let (first, left) = unsafe { rows.row(position) };
            let count = left.min(keys.end - position);
            stream::ask_pages(self.attention.level, first, count * rows.strides.row * rows.element.size());
            position += count;
        }
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

/// Up to [`KEYS`] rows of a pool that will be wanted soon, to be asked for while something else is computed. Where they lie
/// is found beforehand: in loops that need all registers, a call to turn a page would cost more than what it asks for.
pub(super) struct Ahead {
    first: *const u8,
    /// Bytes from one row to the next.
    stride: usize,
    /// The last row that is wanted.
    last: usize,
    /// The first row on the second page, and how much further that lies. Pages are seldom shorter than [`KEYS`]; where they
    /// are, some rows are not asked for.
    turn: usize,
    jump: isize,
}

impl Ahead {
    /// The rows from `start` on, as far as the tile sees them; if it sees none, one that is there already.
    #[inline(always)]
    pub(super) fn new(job: &Job<'_>, pool: Pool, start: usize) -> Self {
        let (pages, end) = (job.rows_of(pool), job.tile.keys.end);
        let start = start.min(end - 1);
        let (wanted, stride) = (KEYS.min(end - start), pages.strides.row * pages.element.size());
        // SAFETY: the positions are the tile's, which sees at least one.
        let (first, turn) = unsafe { pages.row(start) };
        let jump = if turn < wanted {
            // SAFETY: as above.
            let (second, _) = unsafe { pages.row(start + turn) };
            (second as isize).wrapping_sub(first.wrapping_add(turn * stride) as isize)
        } else {
            0
        };
        Self { first, stride, last: wanted - 1, turn, jump }
    }

    /// Row `index`, or the last one.
    #[inline(always)]
    pub(super) fn row(&self, index: usize) -> *const u8 {
        let index = index.min(self.last);
        let row = self.first.wrapping_add(index * self.stride);
        if index < self.turn { row } else { row.wrapping_offset(self.jump) }
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
