//! Attention of long runs over pages of latent rows, from which each head's keys and values are expanded in cache.
//!
//! A unit is a run of one sequence's tokens with one head. The head's two projections are decoded to `f32` once; then a
//! block of latent rows at a time is multiplied with them, and the keys and values that this gives meet all queries of
//! the run, `ROWS` in the lanes of vectors, as in `attention::many`. Each query's maximum, sum and result stay in the
//! worker's scratch memory while the blocks pass. Results do not depend on how runs are cut into units.

mod attend;
mod up;

use super::IndexError;
use super::attention::schedule::{Run, runs};
use super::attention::{self, ROWS, SLACK};
use crate::simd::Level;

pub use super::attention::Batch;
pub use up::{Stored, Up};

/// Latent rows that are expanded at a time.
const KEYS: usize = 128;
/// The most tokens of a unit: what is kept of them lies in the second-level cache, or not far from it.
const TOKENS: usize = 512;
/// Fewer tokens than this are not worth a unit that expands all latent rows again.
const FEWEST_TOKENS: usize = 2 * ROWS;

/// The sizes of a step.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Attention over the rows as they are, `kv_heads` 1, `dim` `rank + rope`, and `v_dim` the length of a head's value;
    /// without window and cap.
    pub rows: attention::Shape,
    /// Elements of a query without position; the others are rotated.
    pub nope: usize,
    /// Elements of a row that keys and values are expanded from; the others are the rotated part of every key.
    pub rank: usize,
}

/// The arrays of a step.
#[derive(Debug, Clone, Copy)]
pub struct Arrays {
    /// Queries, f32 `[tokens, heads, nope + rope]`, tokens `q_stride` elements apart.
    pub q: *const f32,
    /// Elements from one token's queries to the next token's.
    pub q_stride: usize,
    /// Latent rows `[pages, 1, page_size, rank + rope]`.
    pub rows: *const u8,
    /// The result, f32 `[tokens, heads, v_dim]`, contiguous.
    pub out: *mut f32,
}

/// The projections of one head.
#[derive(Clone, Copy)]
pub struct Ups<'a> {
    /// Latent rows to the part of keys without position.
    pub key: Up<'a>,
    /// Latent rows to values.
    pub value: Up<'a>,
}

/// Attention over latent rows bound to a shape.
#[derive(Debug, Clone, Copy)]
pub struct Latent {
    level: Level,
    shape: Shape,
    /// The most tokens of a unit here.
    tokens: usize,
}

/// A checked batch, cut into units.
#[derive(Debug)]
pub struct Schedule<'a> {
    batch: Batch<'a>,
    runs: Vec<Run>,
    heads: usize,
}

impl Schedule<'_> {
    /// Units of work.
    pub fn units(&self) -> usize {
        self.runs.len() * self.heads
    }

    /// The run and the head of a unit. Later runs of a prompt see more keys: the longest work goes first.
    fn unit(&self, unit: usize) -> (&Run, usize) {
        (&self.runs[self.runs.len() - 1 - unit / self.heads], self.head(unit))
    }

    /// The head of a unit.
    pub fn head(&self, unit: usize) -> usize {
        unit % self.heads
    }
}

impl Latent {
    /// Attention of this shape, to be shared by `workers`.
    ///
    /// # Panics
    /// If sizes are zero or do not fit one another: a bug in the planner.
    pub fn new(level: Level, shape: Shape, workers: usize) -> Self {
        let rows = &shape.rows;
        let sizes = [rows.heads, rows.v_dim, rows.page_size, shape.rank];
        assert!(sizes.iter().all(|&size| size > 0), "attention without extent: {shape:?}");
        assert!(rows.kv_heads == 1 && shape.rank <= rows.dim, "rows of {} for {shape:?}", rows.dim);
        let pieces = workers.div_ceil(rows.heads).max(rows.tokens.div_ceil(TOKENS)).max(1);
        let tokens = rows.tokens.div_ceil(pieces).next_multiple_of(ROWS).clamp(FEWEST_TOKENS, TOKENS);
        Self { level, shape, tokens: tokens.min(rows.tokens) }
    }

    /// Bytes of scratch memory that each worker needs.
    pub fn worker_scratch_bytes(&self) -> usize {
        self.layout().len * size_of::<f32>()
    }

    /// Checks a batch and cuts it into units; the same result for every worker that does so.
    ///
    /// # Errors
    /// The first sequence, position or page that lies outside of the page table or the pool.
    ///
    /// # Panics
    /// If the arrays do not have the shape's sizes: a bug in the planner.
    pub fn schedule<'a>(&self, batch: Batch<'a>) -> Result<Schedule<'a>, IndexError> {
        let runs = runs(&self.shape.rows, &batch, self.tokens.max(1))?;
        Ok(Schedule { batch, runs, heads: self.shape.rows.heads })
    }

    /// Attends unit `unit` of `0..schedule.units()`, whose head has the projections `ups`.
    ///
    /// # Safety
    /// The arrays and projections must be valid for the shape, the schedule be made by this object; `scratch` must hold
    /// [`Latent::worker_scratch_bytes`] for this worker alone, aligned to 64 bytes. Nobody may write the inputs.
    pub unsafe fn run(
        &self,
        schedule: &Schedule<'_>,
        unit: usize,
        arrays: &Arrays,
        ups: &Ups<'_>,
        scratch: *mut f32,
    ) {
        let (run, head) = schedule.unit(unit);
        let (shape, layout) = (&self.shape, self.layout());
        let job = attend::Job { shape, batch: &schedule.batch, run, head, arrays, scratch, layout };
        // SAFETY: the caller's promise; the schedule checked every index of the run. Rows that are decoded lie for a
        // moment where latent rows will.
        unsafe {
            if run.keys.is_empty() {
                job.clear();
                return;
            }
            let rows = scratch.add(layout.rows);
            up::load(self.level, &ups.key, (shape.nope, shape.rank), scratch.add(layout.key_up), rows);
            up::load(
                self.level,
                &ups.value,
                (shape.rows.v_dim, shape.rank),
                scratch.add(layout.value_up),
                rows,
            );
            attend::run(self.level, &job);
        }
    }

    fn layout(&self) -> Layout {
        let Shape { rows, nope, rank } = &self.shape;
        let wide = |len: usize| len.next_multiple_of(16);
        // One cache line more, as walking down a column must not come back to the same cache set.
        let (row, value) = (wide(rows.dim) + 16, wide(rows.v_dim) + 16);
        let q_dim = nope + rows.dim - rank;
        let key = wide(q_dim).max(wide(*nope)) + 16;
        let mut len = 0;
        let mut take = |size: usize| {
            let at = len;
            len += wide(size);
            at
        };
        // Decoded rows of a projection: a panel's, or one.
        let decoded = (ROWS * rank).max(*nope).max(rows.v_dim);
        Layout {
            q_dim,
            row,
            key,
            value,
            key_up: take(wide(*nope) * rank),
            value_up: take(wide(rows.v_dim) * rank),
            rows: take(((KEYS + SLACK) * row).max(decoded)),
            keys: take((KEYS + SLACK) * key),
            values: take((KEYS + SLACK) * value),
            scores: take((KEYS + SLACK) * ROWS),
            factor: take(ROWS),
            q: take(q_dim * ROWS),
            out: take((rows.v_dim + SLACK) * ROWS),
            kept: take(3 * ROWS),
            panel: 0,
            len,
        }
        .with_panels(self.tokens.div_ceil(ROWS))
    }
}

/// Where things lie in a worker's scratch memory, in floats.
///
/// Projections are panels `[rank, columns]` of at most `ROWS` columns (see `up`), `rows`, `keys` and `values` rows of the
/// lengths `row`, `key` and `value`, `scores` `[keys, queries]`. Each panel of queries has `q [q_dim, queries]`,
/// `out [v_dim, queries]` and the maxima, sums and positions of its queries, `panel` floats from one to the next.
#[derive(Debug, Clone, Copy)]
struct Layout {
    q_dim: usize,
    row: usize,
    key: usize,
    value: usize,
    key_up: usize,
    value_up: usize,
    rows: usize,
    keys: usize,
    values: usize,
    scores: usize,
    factor: usize,
    q: usize,
    out: usize,
    kept: usize,
    panel: usize,
    len: usize,
}

impl Layout {
    /// The layout for so many panels of queries, given that for one.
    fn with_panels(self, panels: usize) -> Self {
        let panel = self.len - self.q;
        Self { panel, len: self.q + panels * panel, ..self }
    }
}

#[cfg(test)]
mod tests;
