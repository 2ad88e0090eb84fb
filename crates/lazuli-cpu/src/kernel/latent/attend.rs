//! One run and head: blocks of latent rows are expanded, and all queries of the run attend to each.

use super::super::attention::load::PagedRows;
use super::super::attention::product::{Numbers, product};
use super::super::attention::schedule::Run;
use super::super::attention::soften::{Scored, soften};
use super::super::attention::{Batch, MASKED, ROWS};
use super::up::width;
use super::{Arrays, KEYS, Layout, Shape};
use crate::simd::{Simd, stamp};

/// One unit and all it needs.
pub(super) struct Job<'a> {
    pub shape: &'a Shape,
    pub batch: &'a Batch<'a>,
    pub run: &'a Run,
    pub head: usize,
    pub arrays: &'a Arrays,
    pub scratch: *mut f32,
    pub layout: Layout,
}

/// Some queries of the run, and where their numbers lie.
struct Panel {
    /// The first token, and how many.
    token: usize,
    tokens: usize,
    /// The tokens rounded up to whole vectors.
    rows: usize,
    /// The lowest and the highest position.
    low: usize,
    high: usize,
    q: *mut f32,
    out: *mut f32,
}

impl Job<'_> {
    /// A place in the scratch memory.
    #[inline(always)]
    unsafe fn at(&self, offset: usize) -> *mut f32 {
        // SAFETY: the caller passes an offset of the layout, and the scratch holds it all.
        unsafe { self.scratch.add(offset) }
    }

    /// Where the head's result for a token goes.
    #[inline(always)]
    unsafe fn result(&self, token: usize) -> *mut f32 {
        let rows = &self.shape.rows;
        // SAFETY: the caller passes a token of the run.
        unsafe { self.arrays.out.add((token * rows.heads + self.head) * rows.v_dim) }
    }

    /// Padding tokens attend to nothing: their result is zero.
    pub(super) unsafe fn clear(&self) {
        for token in self.run.tokens.clone() {
            // SAFETY: the caller's promise: the tokens are the batch's.
            unsafe { std::ptr::write_bytes(self.result(token), 0, self.shape.rows.v_dim) };
        }
    }

    fn panels(&self) -> usize {
        self.run.tokens.len().div_ceil(ROWS)
    }

    #[inline(always)]
    unsafe fn panel(&self, index: usize, lanes: usize) -> Panel {
        let token = self.run.tokens.start + index * ROWS;
        let tokens = ROWS.min(self.run.tokens.end - token);
        let (mut low, mut high) = (usize::MAX, 0);
        for &position in &self.batch.position[token..token + tokens] {
            (low, high) = (low.min(position as usize), high.max(position as usize));
        }
        let at = index * self.layout.panel;
        // SAFETY: the layout has room for all panels of the run.
        let (q, out) = unsafe { (self.at(self.layout.q + at), self.at(self.layout.out + at)) };
        Panel { token, tokens, rows: tokens.next_multiple_of(lanes), low, high, q, out }
    }

    /// What the softmax keeps of a panel's queries.
    #[inline(always)]
    unsafe fn scored(&self, index: usize, rows: usize) -> Scored {
        // SAFETY: as for `panel`.
        unsafe {
            let kept = self.at(self.layout.kept + index * self.layout.panel);
            Scored {
                scores: self.at(self.layout.scores),
                rows,
                position: kept.add(2 * ROWS),
                max: kept,
                sum: kept.add(ROWS),
                factor: self.at(self.layout.factor),
                softcap: None,
                window: None,
            }
        }
    }
}

stamp! {
    /// Computes a unit whose projections have been loaded.
    pub(super) unsafe fn run(job: &Job<'_>) = run_blocks;
}

#[inline(always)]
unsafe fn run_blocks<S: Simd>(s: S, job: &Job<'_>) {
    let end = job.run.keys.end;
    // SAFETY: the caller's promise; the layout has room for `KEYS` keys plus slack and all panels.
    unsafe {
        for index in 0..job.panels() {
            begin(s, job, index);
        }
        for start in (0..end).step_by(KEYS) {
            let count = KEYS.min(end - start);
            expand(s, job, start, count);
            for index in 0..job.panels() {
                attend(s, job, index, start, count);
            }
        }
        for index in 0..job.panels() {
            store(job, &job.panel(index, S::LANES), &job.scored(index, 0));
        }
    }
}

/// Queries times the scale as `[q_dim, queries]`, and what is kept of them before the first key. Queries that do not exist
/// are zero.
#[inline(always)]
unsafe fn begin<S: Simd>(s: S, job: &Job<'_>, index: usize) {
    let dim = job.layout.q_dim;
    // SAFETY: the caller's promise.
    unsafe {
        let panel = job.panel(index, S::LANES);
        let kept = job.scored(index, panel.rows);
        for row in 0..panel.rows {
            let token = panel.token + row.min(panel.tokens - 1);
            let factor = if row < panel.tokens { job.shape.rows.scale } else { 0.0 };
            let from = job.arrays.q.add(token * job.arrays.q_stride + job.head * dim);
            for d in 0..dim {
                *panel.q.add(d * panel.rows + row) = *from.add(d) * factor;
            }
            *kept.position.add(row) = job.batch.position[token] as f32;
        }
        for r in (0..panel.rows).step_by(S::LANES) {
            s.store(kept.max.add(r), s.splat(MASKED));
            s.store(kept.sum.add(r), s.zero());
        }
        for i in (0..job.shape.rows.v_dim * panel.rows).step_by(S::LANES) {
            s.store(panel.out.add(i), s.zero());
        }
    }
}

/// Keys and values of `count` positions from `start` on.
#[inline(always)]
unsafe fn expand<S: Simd>(s: S, job: &Job<'_>, start: usize, count: usize) {
    let (shape, layout) = (job.shape, &job.layout);
    let (dim, v_dim, rank, nope) = (shape.rows.dim, shape.rows.v_dim, shape.rank, shape.nope);
    let sequence = job.batch.sequence[job.run.tokens.start] as usize;
    let paged = PagedRows {
        start: job.arrays.rows,
        pages: &job.batch.page_table[sequence * shape.rows.pages_per_sequence..],
        page_size: shape.rows.page_size,
        strides: shape.rows.keys,
        element: shape.rows.kv,
    };
    // SAFETY: the schedule checked the pages of all positions that the run sees; the rest is the caller's promise.
    unsafe {
        let (rows, keys) = (job.at(layout.rows), job.at(layout.keys));
        paged.load(s, (start, count), (dim, dim.next_multiple_of(16)), (rows, layout.row));
        let numbers = Numbers { at: rows, row: layout.row, step: 1 };
        for first in (0..nope).step_by(ROWS) {
            let up = (job.at(layout.key_up + first * rank).cast_const(), width(first, nope));
            product(s, &numbers, (count, rank), up, (keys.add(first), layout.key), None);
        }
        for key in 0..count {
            let (from, to) = (rows.add(key * layout.row + rank), keys.add(key * layout.key + nope));
            std::ptr::copy_nonoverlapping(from, to, dim - rank);
        }
        let values = job.at(layout.values);
        for first in (0..v_dim).step_by(ROWS) {
            let up = (job.at(layout.value_up + first * rank).cast_const(), width(first, v_dim));
            product(s, &numbers, (count, rank), up, (values.add(first), layout.value), None);
        }
    }
}

/// A panel of queries with the expanded keys `start..start + count`, as far as one of them sees them.
#[inline(always)]
unsafe fn attend<S: Simd>(s: S, job: &Job<'_>, index: usize, start: usize, count: usize) {
    let layout = &job.layout;
    // SAFETY: the caller's promise.
    unsafe {
        let panel = job.panel(index, S::LANES);
        if start > panel.high {
            return;
        }
        let count = count.min(panel.high + 1 - start);
        let masked = start + count - 1 > panel.low;
        let scored = job.scored(index, panel.rows);
        let scores = (scored.scores, panel.rows);
        let keys = Numbers { at: job.at(layout.keys), row: layout.key, step: 1 };
        product(s, &keys, (count, layout.q_dim), (panel.q, panel.rows), scores, None);
        for r in (0..panel.rows).step_by(S::LANES) {
            soften(s, &scored, (start, count, masked), r);
        }
        let values = Numbers { at: job.at(layout.values), row: 1, step: layout.value };
        let (sizes, out) = ((job.shape.rows.v_dim, count), (panel.out, panel.rows));
        let weights = (scored.scores.cast_const(), panel.rows);
        product(s, &values, sizes, weights, out, Some(scored.factor.cast_const()));
    }
}

/// The results of a panel, normalised.
#[inline(always)]
unsafe fn store(job: &Job<'_>, panel: &Panel, kept: &Scored) {
    for row in 0..panel.tokens {
        // SAFETY: the caller's promise: the panel has been attended, and its tokens' results are this worker's.
        unsafe {
            let (to, factor) = (job.result(panel.token + row), 1.0 / *kept.sum.add(row));
            for d in 0..job.shape.rows.v_dim {
                *to.add(d) = *panel.out.add(d * panel.rows + row) * factor;
            }
        }
    }
}
