//! Attention of a ragged batch over paged keys and values, blocked, with an online softmax (Dao et al., 2022).
//!
//! A tile is a few consecutive tokens of one sequence with all query heads of one KV head; no score outlives it. Two
//! kernels share that frame: `many` holds one query row in each vector lane (prefill) and converts keys and values to
//! `f32` in scratch memory once, 64 positions at a time; `few` lays vectors along the head dimension (decode) and converts
//! them in registers, once for up to six rows. Long contexts of short batches are cut into partitions that are joined in a
//! second phase; how they are cut depends on the shapes alone, so results do not depend on the number of workers.

mod few;
mod finish;
pub(in crate::kernel) mod load;
mod many;
pub(in crate::kernel) mod product;
pub(in crate::kernel) mod schedule;
pub(in crate::kernel) mod soften;

use std::ops::Range;

use super::Element;
use crate::simd::{Isa, Level};
use load::Pool;

pub use schedule::{Batch, Schedule};

/// Keys that are converted and scored at a time.
const KEYS: usize = 64;
/// Rows beyond a tile that its register tiles may compute and nobody reads.
pub(in crate::kernel) const SLACK: usize = 8;
/// Query rows (tokens times heads of a group) of a tile: whole vectors of every level.
pub(in crate::kernel) const ROWS: usize = 48;
/// The most rows of a tile that the kernel of few rows takes, at any level.
const FEW: usize = 32;
/// Fewer keys than this are not worth a partition.
const SMALLEST_PARTITION: usize = 512;
/// How many units a step should have at least, if its context is long enough.
const WANTED_UNITS: usize = 64;

/// The sizes and constants of an attention step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Query tokens in the batch.
    pub tokens: usize,
    /// Query heads.
    pub heads: usize,
    /// KV heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a query and a key.
    pub dim: usize,
    /// Elements of a value.
    pub v_dim: usize,
    /// How keys lie in their pool.
    pub keys: Strides,
    /// How values do, whose rows may be parts of longer ones.
    pub values: Strides,
    /// Pages of the pool.
    pub pages: usize,
    /// Positions in a page.
    pub page_size: usize,
    /// Rows of the page table.
    pub sequences: usize,
    /// Columns of the page table.
    pub pages_per_sequence: usize,
    /// The type of keys and values: F32, F16 or BF16 (others are refused by a panic).
    pub kv: Element,
    /// Factor of the dot products.
    pub scale: f32,
    /// Scores become `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// How many positions back a query sees, itself included.
    pub window: Option<usize>,
}

/// How rows lie in a pool `[pages, kv_heads, page_size, dim]`, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strides {
    /// From one page to the next; a page has no gaps but those after its rows.
    pub page: usize,
    /// From one row to the next.
    pub row: usize,
}

impl Strides {
    /// A pool without gaps.
    pub fn dense(kv_heads: usize, page_size: usize, dim: usize) -> Self {
        Self { page: kv_heads * page_size * dim, row: dim }
    }
}

/// The arrays of an attention step.
#[derive(Debug, Clone, Copy)]
pub struct Arrays {
    /// Queries, f32 `[tokens, heads, dim]`, tokens `q_stride` elements apart.
    pub q: *const f32,
    /// Elements from one token's queries to the next token's.
    pub q_stride: usize,
    /// Keys `[pages, kv_heads, page_size, dim]`, as far apart as the shape says.
    pub keys: *const u8,
    /// Values `[pages, kv_heads, page_size, v_dim]`, the same; perhaps the first parts of the keys.
    pub values: *const u8,
    /// One logit for each head that only the denominator sees, f32 `[heads]`; null for none.
    pub sinks: *const f32,
    /// The result, f32 `[tokens, heads, v_dim]`, contiguous.
    pub out: *mut f32,
}

/// Attention bound to a shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    level: Level,
    shape: Shape,
    /// Query heads that share a KV head.
    group: usize,
    /// Of those, how many go into one tile, and how many tiles cover the group.
    tile_heads: usize,
    head_tiles: usize,
    /// Tokens of a tile.
    tile_tokens: usize,
    /// Keys of a partition, and the most partitions a token's context can have.
    partition: usize,
    partitions: usize,
}

/// One unit of work: a tile of queries with one KV head and one partition of the context.
#[derive(Debug, Clone)]
struct Tile {
    tokens: Range<usize>,
    kv_head: usize,
    /// The first query head, and how many.
    head: usize,
    heads: usize,
    /// Keys that some query of the tile sees in this partition.
    keys: Range<usize>,
    /// The lowest and the highest position of the tile's tokens.
    positions: (usize, usize),
}

impl Tile {
    #[inline(always)]
    fn rows(&self) -> usize {
        self.tokens.len() * self.heads
    }

    /// The token and query head of a row.
    fn row(&self, row: usize) -> (usize, usize) {
        (self.tokens.start + row / self.heads, self.head + row % self.heads)
    }
}

impl Attention {
    /// Attention of this shape.
    ///
    /// # Panics
    /// If a size is zero or the KV heads do not divide the query heads: a bug in the planner.
    pub fn new(level: Level, shape: Shape) -> Self {
        let sizes = [shape.heads, shape.kv_heads, shape.dim, shape.v_dim, shape.page_size];
        assert!(sizes.iter().all(|&size| size > 0), "attention without extent: {shape:?}");
        assert!(shape.heads % shape.kv_heads == 0, "{} heads over {}", shape.heads, shape.kv_heads);
        let group = shape.heads / shape.kv_heads;
        let head_tiles = group.div_ceil(ROWS);
        let tile_heads = group.div_ceil(head_tiles);
        let tile_tokens = ROWS / tile_heads;
        let tiles = shape.tokens.div_ceil(tile_tokens).max(1) * shape.kv_heads * head_tiles;
        let context = (shape.pages_per_sequence * shape.page_size).max(1);
        let pieces = (WANTED_UNITS / tiles).max(1);
        let partition = context.div_ceil(pieces).next_multiple_of(KEYS).max(SMALLEST_PARTITION);
        let partition = if pieces == 1 { context } else { partition };
        let partitions = context.div_ceil(partition);
        Self { level, shape, group, tile_heads, head_tiles, tile_tokens, partition, partitions }
    }

    /// Bytes of scratch memory that each worker needs.
    pub fn worker_scratch_bytes(&self) -> usize {
        self.layout().len * size_of::<f32>()
    }

    /// Bytes of scratch memory that all workers share from the first phase to the second.
    pub fn shared_scratch_bytes(&self) -> usize {
        if self.partitions == 1 {
            return 0;
        }
        self.shape.tokens * self.shape.heads * self.partitions * self.partial_len() * size_of::<f32>()
    }

    /// Checks a batch and cuts it into units; the same result for every worker that does so.
    ///
    /// # Errors
    /// The first sequence, position or page that lies outside of the page table or the pool.
    ///
    /// # Panics
    /// If the arrays do not have the shape's sizes: a bug in the planner.
    pub fn schedule<'a>(&self, batch: Batch<'a>) -> Result<Schedule<'a>, super::IndexError> {
        Schedule::new(self, batch)
    }

    /// First phase: attends the units `units` of `0..schedule.units()`.
    ///
    /// # Safety
    /// The arrays must be valid for the shape, the schedule be made by this object; `scratch` must hold
    /// [`Attention::worker_scratch_bytes`] for this worker alone, `shared` [`Attention::shared_scratch_bytes`], both
    /// aligned to 64 bytes. Nobody may write the inputs.
    pub unsafe fn run(
        &self,
        schedule: &Schedule<'_>,
        units: Range<usize>,
        arrays: &Arrays,
        scratch: *mut f32,
        shared: *mut f32,
    ) {
        for unit in units {
            // SAFETY: the caller's promise; the schedule checked every index that a tile uses.
            unsafe {
                let Some((tile, partial)) = schedule.unit(self, unit) else {
                    finish::clear(self, schedule, unit, arrays.out);
                    continue;
                };
                let job =
                    Job { attention: self, schedule, tile: &tile, arrays, scratch, layout: self.layout() };
                if self.few_rows(&tile) {
                    job.ask_pages(Pool::Keys);
                    job.ask_pages(Pool::Values);
                    few::attend(self.level, &job);
                } else {
                    many::attend(self.level, &job);
                }
                finish::store(&job, partial, shared);
            }
        }
    }

    /// Second phase, after all units of the first: joins the partitions of the rows `rows` of
    /// `0..schedule.joins()`.
    ///
    /// # Safety
    /// As for [`Attention::run`], and every unit of the first phase must have been run.
    pub unsafe fn join(
        &self,
        schedule: &Schedule<'_>,
        rows: Range<usize>,
        arrays: &Arrays,
        shared: *const f32,
    ) {
        for row in rows {
            // SAFETY: the caller's promise.
            unsafe { finish::join(self, schedule, row, arrays, shared) };
        }
    }

    /// Whether a tile has so few rows that to convert keys and values again for every few of them takes less time than to
    /// bring them, converted, to scratch memory and back. Measured with AVX-512 and AVX2.
    fn few_rows(&self, tile: &Tile) -> bool {
        tile.rows() <= if self.level.isa() == Isa::Avx512 { FEW } else { 12 }
    }

    fn lanes(&self) -> usize {
        match self.level.isa() {
            Isa::Avx512 => 16,
            Isa::Avx2 => 8,
            Isa::Scalar | Isa::Neon => 4,
        }
    }

    /// What the first phase keeps of one row of one partition: maximum, sum, accumulator.
    fn partial_len(&self) -> usize {
        2 + self.shape.v_dim
    }

    fn layout(&self) -> Layout {
        let (k_len, v_len) = (self.shape.dim.next_multiple_of(16), self.shape.v_dim.next_multiple_of(16));
        // One cache line more, as walking down a column must not come back to the same cache set.
        let (k_row, v_row) = (k_len + 16, v_len + 16);
        let mut len = 0;
        let mut take = |size: usize| {
            let at = len;
            len += size.next_multiple_of(16);
            at
        };
        Layout {
            k_len,
            k_row,
            v_len,
            v_row,
            q: take(ROWS * k_row),
            out: take(ROWS * (v_row + SLACK)),
            keys: take((KEYS + SLACK) * k_row),
            values: take((KEYS + SLACK) * v_row),
            scores: take((KEYS + SLACK) * ROWS),
            max: take(ROWS),
            sum: take(ROWS),
            factor: take(ROWS),
            position: take(ROWS),
            len,
        }
    }
}

/// Where things lie in a worker's scratch memory, in floats.
///
/// `many`: `q [dim, rows]`, `out [v_dim, rows]`, `scores [keys, rows]`; `few`: `q [rows, k_row]`, `out [rows, v_row]`,
/// `scores [rows, keys]`. Keys and values are `[keys, k_row]` and `[keys, v_row]` in both.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// `dim` rounded up to whole vectors, and from one row to the next.
    k_len: usize,
    k_row: usize,
    /// Likewise for `v_dim`.
    v_len: usize,
    v_row: usize,
    q: usize,
    out: usize,
    keys: usize,
    values: usize,
    scores: usize,
    max: usize,
    sum: usize,
    factor: usize,
    position: usize,
    len: usize,
}

/// One unit and all it needs.
struct Job<'a> {
    attention: &'a Attention,
    schedule: &'a Schedule<'a>,
    tile: &'a Tile,
    arrays: &'a Arrays,
    scratch: *mut f32,
    layout: Layout,
}

impl Job<'_> {
    /// A place in the scratch memory.
    #[inline(always)]
    unsafe fn at(&self, offset: usize) -> *mut f32 {
        // SAFETY: the caller passes an offset of the layout, and the scratch holds it all.
        unsafe { self.scratch.add(offset) }
    }

    /// The queries of a row.
    #[inline(always)]
    unsafe fn query(&self, row: usize) -> *const f32 {
        let (token, head) = self.tile.row(row);
        // SAFETY: the caller passes a row of the tile.
        unsafe { self.arrays.q.add(token * self.arrays.q_stride + head * self.attention.shape.dim) }
    }

    /// How many of the next `size` keys to score, and whether some query of the tile must not see some of them.
    #[inline(always)]
    fn block(&self, start: usize, size: usize) -> (usize, bool) {
        let count = size.min(self.tile.keys.end - start);
        let (low, high) = self.tile.positions;
        let future = start + count - 1 > low;
        let past = self.attention.shape.window.is_some_and(|window| start + window <= high);
        (count, future || past)
    }
}

/// What masked scores are: so low that nothing else is lost, and finite so that differences are.
pub(in crate::kernel) const MASKED: f32 = -1e30;

#[cfg(test)]
mod tests;
