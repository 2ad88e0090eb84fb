//! Matrix products in `f32`: `y = x w^T` with float or decoded weights, and products of strided arrays.
//!
//! Few rows of `x` are a stream over the weights as they lie in memory (`gemv`). Many rows share panels of 48 weight
//! rows, decoded to `f32` and turned so that one output column is one vector lane (`tile`). Whatever decodes to rows
//! of floats can be the weights ([`RowSource`]): this is the exact path of every packed format.

mod gemv;
mod rows;
mod strided;
pub(in crate::kernel) mod tile;

use std::ops::Range;

use super::Element;
use crate::simd::Level;

pub use rows::{PackedRows, RowSource};
pub use strided::StridedMatmul;

/// Columns of a panel: whole vectors of every level's register tile.
const PANEL: usize = 48;
/// Elements of `k` that a panel holds at a time: 96 KiB of the second cache.
const DEPTH: usize = 512;
/// Up to this many rows of `x` the weights are always streamed, as turning a panel would cost more than it saves.
const STREAMED: usize = 12;
/// Up to this many they are if all of `x` stays in the second cache (so many floats).
const STREAMED_NEAR: (usize, usize) = (96, 160 << 10);
/// Weight rows in a unit of the streaming path.
const STREAM_UNIT: usize = 16;

/// `y [m, n] = x [m, k] . w [n, k]^T` in `f32`.
#[derive(Debug, Clone, Copy)]
pub struct MatmulFloat {
    level: Level,
    m: usize,
    n: usize,
    k: usize,
    x_stride: usize,
    y_stride: usize,
    /// Rows of `x` in a unit (panel path).
    block: usize,
}

/// The weights `w [n, k]` of a [`MatmulFloat`], element `k` contiguous.
#[derive(Clone, Copy)]
pub enum Weights<'a> {
    /// F32, F16 or BF16 (others are refused by a panic), rows `stride` elements apart.
    Float {
        /// The type.
        element: Element,
        /// Element `[0, 0]`.
        data: *const u8,
        /// Elements from one row to the next.
        stride: usize,
    },
    /// Rows that are decoded as they are needed.
    Rows(&'a dyn RowSource),
}

impl Weights<'_> {
    /// Decodes `count` elements from `start` on of each of some rows to consecutive rows of `to`; `start` and `count` are
    /// whole granules of packed rows.
    ///
    /// # Safety
    /// The weights must have these rows, and `to` room for them.
    pub(super) unsafe fn decode(
        self,
        level: Level,
        rows: Range<usize>,
        (start, count): (usize, usize),
        to: *mut f32,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Weights::Float { element, data, stride } => {
                    let from = data.add((rows.start * stride + start) * element.size());
                    rows::decode_floats(level, element, (rows.len(), count, stride), from, to);
                }
                Weights::Rows(source) => {
                    for (at, row) in rows.enumerate() {
                        let to = std::slice::from_raw_parts_mut(to.add(at * count), count);
                        source.decode(row, start, to);
                    }
                }
            }
        }
    }
}

impl MatmulFloat {
    /// A product of these sizes; `x_stride` and `y_stride` are the elements from one row of `x` or `y` to the next.
    /// `workers` is how many will share the units: it decides how finely they are cut, and not what they compute.
    pub fn new(
        level: Level,
        [m, n, k]: [usize; 3],
        [x_stride, y_stride]: [usize; 2],
        workers: usize,
    ) -> Self {
        Self { level, m, n, k, x_stride, y_stride, block: rows_of_a_unit(m, n.div_ceil(PANEL), workers) }
    }

    /// How many independent units the work has. Each reads all of `x` or a block of its rows; neighbouring units read
    /// neighbouring weights.
    pub fn units(&self) -> usize {
        if self.streamed() {
            return self.n.div_ceil(STREAM_UNIT);
        }
        self.n.div_ceil(PANEL) * self.m.div_ceil(self.block)
    }

    /// Bytes of scratch memory that each worker needs for weights with this granule (see [`RowSource::granule`];
    /// 1 for float weights).
    pub fn scratch_bytes(&self, granule: usize) -> usize {
        if self.streamed() {
            return gemv::ROWS_AT_ONCE * self.k * size_of::<f32>();
        }
        2 * PANEL * depth(granule, self.k) * size_of::<f32>()
    }

    /// Computes the units `units`.
    ///
    /// # Safety
    /// `x`, the weights and `y` must be valid for the sizes given to `new`, `scratch` for
    /// [`MatmulFloat::scratch_bytes`] and aligned to 4 bytes; nobody else may write `x` or the weights, use the
    /// scratch, or touch the elements of `y` that belong to these units.
    pub unsafe fn run(
        &self,
        units: Range<usize>,
        x: *const f32,
        weights: Weights<'_>,
        y: *mut f32,
        scratch: *mut f32,
    ) {
        if self.k == 0 {
            // SAFETY: the caller's promise.
            unsafe { self.clear(units, y) };
        } else if self.streamed() {
            let rows = units.start * STREAM_UNIT..(units.end * STREAM_UNIT).min(self.n);
            // SAFETY: the caller's promise.
            unsafe { gemv::run(self, rows, x, weights, y, scratch) };
        } else {
            let blocks = self.m.div_ceil(self.block);
            for unit in units {
                let (panel, block) = (unit / blocks, unit % blocks);
                let tokens = block * self.block..((block + 1) * self.block).min(self.m);
                // SAFETY: the caller's promise.
                unsafe { self.panel(panel, tokens, x, weights, y, scratch) };
            }
        }
    }

    /// Whether few enough rows of `x` make the product a stream over the weights.
    fn streamed(&self) -> bool {
        self.m <= STREAMED || (self.m <= STREAMED_NEAR.0 && self.m * self.k <= STREAMED_NEAR.1)
    }

    /// An empty sum is zero.
    unsafe fn clear(&self, units: Range<usize>, y: *mut f32) {
        if units.start != 0 {
            return;
        }
        for row in 0..self.m {
            // SAFETY: the caller's promise. Unit 0 clears for all, as there is nothing else to do.
            unsafe { std::ptr::write_bytes(y.add(row * self.y_stride), 0, self.n) };
        }
    }

    /// One panel of weight rows times a block of tokens.
    unsafe fn panel(
        &self,
        panel: usize,
        tokens: Range<usize>,
        x: *const f32,
        weights: Weights<'_>,
        y: *mut f32,
        scratch: *mut f32,
    ) {
        let first = panel * PANEL;
        let cols = PANEL.min(self.n - first);
        let granule = match weights {
            Weights::Float { .. } => 1,
            Weights::Rows(source) => source.granule(),
        };
        let depth = depth(granule, self.k);
        let mut start = 0;
        while start < self.k {
            let count = depth.min(self.k - start);
            // SAFETY: the scratch holds two panels of `depth`: the turned one first, then room for decoded rows.
            unsafe {
                let rows = scratch.add(PANEL * depth);
                weights.decode(self.level, first..first + cols, (start, count), rows);
                tile::turn(self.level, rows, cols, count, scratch);
                let job = tile::Job {
                    x: x.add(tokens.start * self.x_stride + start),
                    x_stride: self.x_stride,
                    rows: tokens.len(),
                    panel: scratch,
                    depth: count,
                    y: y.add(tokens.start * self.y_stride + first),
                    y_stride: self.y_stride,
                    cols,
                    add: start > 0,
                };
                tile::run(self.level, &job);
            }
            start += count;
        }
    }
}

/// How deep a panel is for weights that decode in pieces of `granule`.
fn depth(granule: usize, k: usize) -> usize {
    let granule = granule.max(1);
    if granule >= DEPTH { granule } else { DEPTH - DEPTH % granule }.min(k)
}

/// Splits the rows of `x` too when the panels alone are too few to share: each block turns its panels again, so blocks
/// stay large.
fn rows_of_a_unit(m: usize, panels: usize, workers: usize) -> usize {
    let wanted = (3 * workers).div_ceil(panels.max(1));
    m.div_ceil(wanted.max(1)).next_multiple_of(24).max(96)
}

#[cfg(test)]
mod tests;
