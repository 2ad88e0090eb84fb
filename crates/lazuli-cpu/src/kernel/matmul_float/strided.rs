//! Batched products of strided `f32` arrays: the general case, used where no weight matrix is involved.

use std::ops::Range;

use super::{DEPTH, PANEL, rows_of_a_unit, tile};
use crate::simd::Level;

/// `c[b] = a[b] . b[b]`: `[m, k] x [k, n]` for each batch, with any strides (in elements); `c` is dense `[batch, m, n]`.
#[derive(Debug, Clone)]
pub struct StridedMatmul {
    level: Level,
    m: usize,
    n: usize,
    k: usize,
    /// Row and `k` strides of the left side.
    a: [isize; 2],
    /// `k` and column strides of the right side.
    b: [isize; 2],
    /// Where each batch begins in the left and the right side.
    batches: Vec<(isize, isize)>,
    block: usize,
}

impl StridedMatmul {
    /// A product of these sizes. `a` are the left side's strides along `m` and `k`, `b` the right side's along `k` and
    /// `n`; `batches` holds the offsets of each batch on both sides. `workers` as for [`super::MatmulFloat::new`].
    pub fn new(
        level: Level,
        [m, n, k]: [usize; 3],
        a: [isize; 2],
        b: [isize; 2],
        batches: Vec<(isize, isize)>,
        workers: usize,
    ) -> Self {
        let block = rows_of_a_unit(m, n.div_ceil(PANEL) * batches.len(), workers);
        Self { level, m, n, k, a, b, batches, block }
    }

    /// How many independent units the work has.
    pub fn units(&self) -> usize {
        self.batches.len() * self.n.div_ceil(PANEL) * self.m.div_ceil(self.block)
    }

    /// Bytes of scratch memory that each worker needs.
    pub fn scratch_bytes(&self) -> usize {
        (2 * PANEL + tile::tile_rows(self.level)) * DEPTH.min(self.k) * size_of::<f32>()
    }

    /// Computes the units `units`.
    ///
    /// # Safety
    /// `a` and `b` must be valid for every element that the strides reach, `c` for `[batch, m, n]`, `scratch` for
    /// [`StridedMatmul::scratch_bytes`]; nobody else may write the inputs, use the scratch, or touch the outputs of these
    /// units.
    pub unsafe fn run(
        &self,
        units: Range<usize>,
        a: *const f32,
        b: *const f32,
        c: *mut f32,
        scratch: *mut f32,
    ) {
        let (panels, blocks) = (self.n.div_ceil(PANEL), self.m.div_ceil(self.block));
        for unit in units {
            let (batch, rest) = (unit / (panels * blocks), unit % (panels * blocks));
            let (first, row) = (rest / blocks * PANEL, rest % blocks * self.block);
            let rows = self.block.min(self.m - row);
            let (a_start, b_start) = self.batches[batch];
            // SAFETY: the caller's promise.
            unsafe {
                let a = a.offset(a_start + row as isize * self.a[0]);
                let b = b.offset(b_start + first as isize * self.b[1]);
                let c = c.add((batch * self.m + row) * self.n + first);
                self.unit(rows, PANEL.min(self.n - first), a, b, c, scratch);
            }
        }
    }

    unsafe fn unit(
        &self,
        rows: usize,
        cols: usize,
        a: *const f32,
        b: *const f32,
        c: *mut f32,
        scratch: *mut f32,
    ) {
        // SAFETY: the caller's promise; the scratch holds two panels and a tile of rows.
        unsafe {
            if self.k == 0 {
                for row in 0..rows {
                    std::ptr::write_bytes(c.add(row * self.n), 0, cols);
                }
            }
            for start in (0..self.k).step_by(DEPTH) {
                let depth = DEPTH.min(self.k - start);
                let dense = scratch.add(PANEL * DEPTH.min(self.k));
                let from = b.offset(start as isize * self.b[0]);
                tile::dense_rows(from, (cols, self.b[1]), (depth, self.b[0]), dense);
                tile::turn(self.level, dense, cols, depth, scratch);
                let a = a.offset(start as isize * self.a[1]);
                self.tiles((rows, cols, depth), a, c, scratch, start > 0);
            }
        }
    }

    /// The rows of a unit times its panel; where `k` is not dense on the left, one tile's rows are made so at a time.
    unsafe fn tiles(
        &self,
        (rows, cols, depth): (usize, usize, usize),
        a: *const f32,
        c: *mut f32,
        scratch: *mut f32,
        add: bool,
    ) {
        let dense = self.a[1] == 1 && self.a[0] >= 0;
        let height = if dense { rows } else { tile::tile_rows(self.level) };
        for row in (0..rows).step_by(height.max(1)) {
            let count = height.min(rows - row);
            // SAFETY: the caller's promise.
            unsafe {
                let mut job = tile::Job {
                    x: a.offset(row as isize * self.a[0]),
                    x_stride: self.a[0].unsigned_abs(),
                    rows: count,
                    panel: scratch,
                    depth,
                    y: c.add(row * self.n),
                    y_stride: self.n,
                    cols,
                    add,
                };
                if !dense {
                    let to = scratch.add(2 * PANEL * DEPTH.min(self.k));
                    tile::dense_rows(job.x, (count, self.a[0]), (depth, self.a[1]), to);
                    (job.x, job.x_stride) = (to, depth);
                }
                tile::run(self.level, &job);
            }
        }
    }
}
