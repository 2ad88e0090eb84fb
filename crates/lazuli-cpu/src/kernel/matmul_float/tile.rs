//! The register tile: a few rows of `x` times a turned panel, one output column in each vector lane.

use super::PANEL;
use crate::simd::{Level, Simd, array, stamp};

/// Rows of `x` times one panel.
pub(super) struct Job {
    /// Element `[0, 0]` of the rows.
    pub x: *const f32,
    /// Elements from one row to the next.
    pub x_stride: usize,
    /// How many rows.
    pub rows: usize,
    /// The panel, as [`turn`] makes it.
    pub panel: *const f32,
    /// Elements of `k` in the panel.
    pub depth: usize,
    /// Where the first output goes.
    pub y: *mut f32,
    /// Elements from one row of outputs to the next.
    pub y_stride: usize,
    /// Columns of the panel that exist.
    pub cols: usize,
    /// Whether to add to what is in `y`.
    pub add: bool,
}

/// Columns of the tile at a level of so many lanes: the panel is a row of sub-panels as wide as this.
const fn tile_cols(lanes: usize) -> usize {
    if lanes == 8 { 16 } else { 3 * lanes }
}

stamp! {
    /// Computes a job.
    pub(super) unsafe fn run(job: &Job) = run_tiles;
    /// Turns `rows` (`cols` consecutive rows of `depth` floats) into a panel: for each sub-panel, for each `k`, its columns.
    /// Columns that do not exist become zero.
    pub(super) unsafe fn turn(rows: *const f32, cols: usize, depth: usize, panel: *mut f32) = turn_rows;
}

#[inline(always)]
unsafe fn turn_rows<S: Simd>(_: S, rows: *const f32, cols: usize, depth: usize, panel: *mut f32) {
    let width = const { tile_cols(S::LANES) };
    for first in (0..PANEL).step_by(width) {
        let exist = cols.saturating_sub(first).min(width);
        // SAFETY: the caller's promise: `cols` rows of `depth`, and a panel of `PANEL * depth`.
        unsafe {
            let (rows, panel) = (rows.add(first * depth), panel.add(first * depth));
            let mut k = 0;
            while exist == width && k + 4 <= depth {
                for col in (0..width).step_by(4) {
                    turn_square(rows.add(col * depth + k), depth, panel.add(k * width + col), width);
                }
                k += 4;
            }
            for k in k..depth {
                for col in 0..exist {
                    *panel.add(k * width + col) = *rows.add(col * depth + k);
                }
                for col in exist..width {
                    *panel.add(k * width + col) = 0.0;
                }
            }
        }
    }
}

/// Turns 4 x 4 floats; written so that the compiler makes shuffles of it.
#[inline(always)]
pub(in crate::kernel) unsafe fn turn_square(
    from: *const f32,
    from_stride: usize,
    to: *mut f32,
    to_stride: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let row = |row: usize| from.add(row * from_stride).cast::<[f32; 4]>().read_unaligned();
        let rows = [row(0), row(1), row(2), row(3)];
        for k in 0..4 {
            let column = [rows[0][k], rows[1][k], rows[2][k], rows[3][k]];
            to.add(k * to_stride).cast::<[f32; 4]>().write_unaligned(column);
        }
    }
}

#[inline(always)]
unsafe fn run_tiles<S: Simd>(s: S, job: &Job) {
    // SAFETY: the caller's promise. 16 registers carry 6 x 2 sums, 32 carry 8 x 3.
    unsafe {
        if S::LANES == 8 {
            tiles::<S, 6, 2>(s, job);
        } else {
            tiles::<S, 8, 3>(s, job);
        }
    }
}

#[inline(always)]
unsafe fn tiles<S: Simd, const M: usize, const N: usize>(s: S, job: &Job) {
    let width = N * S::LANES;
    let mut row = 0;
    while row < job.rows {
        let exist = (job.rows - row).min(M);
        for first in (0..job.cols).step_by(width) {
            // SAFETY: the caller's promise.
            unsafe {
                if exist > M / 2 {
                    tile::<S, M, N>(s, job, (row, exist), first);
                } else if M == 6 {
                    tile::<S, 3, N>(s, job, (row, exist), first);
                } else {
                    tile::<S, 4, N>(s, job, (row, exist), first);
                }
            }
        }
        row += exist;
    }
}

/// One tile. Rows that do not exist repeat the last one that does and are not stored.
#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const N: usize>(
    s: S,
    job: &Job,
    (row, exist): (usize, usize),
    first: usize,
) {
    let mut sums = [[s.zero(); N]; M];
    // SAFETY: the caller's promise; the panel has `depth` rows of whole tiles.
    unsafe {
        let x = array!(m in M, job.x, job.x.add((row + m.min(exist - 1)) * job.x_stride));
        let mut panel = job.panel.add(first * job.depth);
        for k in 0..job.depth {
            let w = array!(n in N, s.zero(), s.load(panel.add(n * S::LANES)));
            for m in 0..M {
                let v = s.splat(*x[m].add(k));
                for n in 0..N {
                    sums[m][n] = s.fma(v, w[n], sums[m][n]);
                }
            }
            panel = panel.add(N * S::LANES);
        }
        for (m, sums) in sums.iter().enumerate().take(exist) {
            let y = job.y.add((row + m) * job.y_stride + first);
            for (n, &sum) in sums.iter().enumerate() {
                let count = (job.cols - first).saturating_sub(n * S::LANES).min(S::LANES);
                let y = y.wrapping_add(n * S::LANES);
                if count == S::LANES {
                    let sum = if job.add { s.add(s.load(y), sum) } else { sum };
                    s.store(y, sum);
                } else if count > 0 {
                    let sum = if job.add { s.add(s.load_partial(y, count), sum) } else { sum };
                    s.store_partial(y, count, sum);
                }
            }
        }
    }
}

/// Copies `rows x depth` floats with any strides to dense rows, for a [`Job`] whose `x` is not dense along `k`.
pub(super) unsafe fn dense_rows(
    from: *const f32,
    (rows, row_stride): (usize, isize),
    (depth, k_stride): (usize, isize),
    to: *mut f32,
) {
    for row in 0..rows {
        for k in 0..depth {
            // SAFETY: the caller's promise.
            unsafe {
                *to.add(row * depth + k) = *from.offset(row as isize * row_stride + k as isize * k_stride);
            }
        }
    }
}

/// The level's tile height: how many rows of `x` pay for one pass over a panel.
pub(super) fn tile_rows(level: Level) -> usize {
    if level.isa() == crate::simd::Isa::Avx2 { 6 } else { 8 }
}
