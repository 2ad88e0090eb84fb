//! Matrix products with quantised weights: `y[m, n] = sum over k of x[m, k] * w[n, k]`.
//!
//! Weights stay as the file has them. The activations are quantised once ([`Activations`]) and shared by every
//! product with them. With few rows of activations (decode) the kernels go through the weights' own blocks; with
//! more (prefill) they pack a panel of rows into the worker's scratch and multiply it with all of the activations.
//! Exact products with weights decoded to `f32` are not made here.

mod acts;
mod blocks;
mod decode;
mod formats;
mod gemm;
mod k_quants;
mod panel;
mod superblock;
#[cfg(test)]
mod tests;

pub use acts::Activations;

use crate::simd::{Isa, Level, stamp_dot};
use acts::TILE;
use blocks::Blocks;
use formats::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use gemm::Kind;
use lazuli_quant::Format;
use panel::{Panel, Source};
use std::ops::Range;

/// The product with one weight tensor, as a plan keeps it: format, shape and kernels are settled.
#[derive(Debug, Clone, Copy)]
pub struct QuantMatmul {
    level: Level,
    n: usize,
    k: usize,
    row_bytes: usize,
    threads: usize,
    kernels: Kernels,
}

/// Everything that a call of [`QuantMatmul::run`] works on.
#[derive(Debug, Clone, Copy)]
pub struct QuantMatmulArgs<'a> {
    /// The weights' plane: `n` rows of blocks, unaligned, straight from the file.
    pub weights: &'a [u8],
    /// The layout of `acts`.
    pub shape: Activations,
    /// The activations that [`Activations::quantise`] wrote.
    pub acts: *const u8,
    /// The output `[m, n]`.
    pub out: *mut f32,
    /// Values between two rows of the output, at least `n`.
    pub out_stride: usize,
    /// What this worker will read next, to prefetch when its rows run out; null if unknown.
    pub next: *const u8,
}

/// The kernels of one format, and what they need to know of it.
#[derive(Debug, Clone, Copy)]
struct Kernels {
    decode: unsafe fn(Level, &decode::Job),
    pack: unsafe fn(Level, Source, usize, Panel),
    kind: Kind,
}

/// Bytes of weights that a unit of decode has at most: about ten microseconds at a core's share of the memory.
const DECODE_UNIT_BYTES: usize = 256 * 1024;
/// Multiply-accumulates that a unit of prefill aims at: tens of microseconds.
const PREFILL_UNIT_MACS: usize = 12_000_000;

impl QuantMatmul {
    /// The product with weights `[n, k]` of `format`; `None` if there is no kernel for the format, or `k` does not
    /// divide into its blocks.
    pub fn new(level: Level, format: Format, n: usize, k: usize) -> Option<Self> {
        let kernels = kernels(format)?;
        let row_bytes = format.plane_bytes(0, 1, k)?;
        n.checked_mul(row_bytes)?;
        Some(Self { level, n, k, row_bytes, threads: 1, kernels })
    }

    /// The same product, its units cut for `threads` workers that take them in turn as they become free.
    pub fn for_threads(self, threads: usize) -> Self {
        Self { threads: threads.max(1), ..self }
    }

    /// The product with `n` of the weight rows, in one unit's worth of pieces.
    pub fn part(self, n: usize) -> Self {
        Self { n, threads: 1, ..self }
    }

    /// Weight rows: values of an output row.
    pub fn rows(&self) -> usize {
        self.n
    }

    /// Values of a weight row.
    pub fn cols(&self) -> usize {
        self.k
    }

    /// The layout of `m` rows of activations for this product; the same for every product with the same `k`.
    pub fn activations(&self, m: usize) -> Activations {
        Activations { level: self.level, m, k: self.k }
    }

    /// Into how many independent units, each a range of weight rows, a product with `m` rows divides.
    pub fn units(&self, m: usize) -> usize {
        self.n.div_ceil(self.unit_rows(m))
    }

    /// Bytes from the first row of the weights to the first of unit `unit` of a product with `m` rows.
    pub fn unit_start(&self, m: usize, unit: usize) -> usize {
        unit * self.unit_rows(m) * self.row_bytes
    }

    /// Bytes of one weight row.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Bytes of scratch that a worker needs to run units with `m` rows; align it to 64.
    pub fn scratch_bytes(&self, m: usize) -> usize {
        if self.activations(m).few() {
            return 0;
        }
        let rows = panel_rows(self.level);
        Panel::bytes(rows, self.k).next_multiple_of(64) + m.next_multiple_of(TILE) * rows * 4
    }

    /// Computes the columns of the output that `units` stand for.
    ///
    /// The bits of the result do not depend on how units are divided among calls.
    ///
    /// # Safety
    /// `args.acts` must hold activations quantised to `args.shape`, which must be this product's
    /// [`QuantMatmul::activations`]; `args.out` must be valid for writing `m` rows of `n` values `out_stride` apart,
    /// and no other thread may touch these units' columns meanwhile.
    ///
    /// # Panics
    /// If `weights` is shorter than `n` rows, or `scratch` than [`QuantMatmul::scratch_bytes`].
    pub unsafe fn run(&self, args: &QuantMatmulArgs<'_>, units: Range<usize>, scratch: &mut [u8]) {
        let m = args.shape.m;
        assert!(args.weights.len() >= self.n * self.row_bytes, "weights are shorter than their shape");
        assert!(args.shape.k == self.k, "the activations have another length");
        let rows = self.rows_of(units, m);
        if m == 0 || rows.is_empty() {
            return;
        }
        let next = self.next_start(args, rows.end, m);
        if args.shape.few() {
            let job = decode::Job {
                weights: args.weights.as_ptr(),
                row_bytes: self.row_bytes,
                shape: args.shape,
                acts: args.acts,
                rows,
                out: args.out,
                stride: args.out_stride,
                next,
            };
            // SAFETY: the weights hold the rows, and the rest is the caller's promise.
            unsafe { (self.kernels.decode)(self.level, &job) }
        } else {
            assert!(scratch.len() >= self.scratch_bytes(m), "scratch is too small");
            // SAFETY: likewise.
            unsafe { self.prefill(args, rows, next, scratch) }
        }
    }

    /// Packs and multiplies panel after panel.
    unsafe fn prefill(
        &self,
        args: &QuantMatmulArgs<'_>,
        rows: Range<usize>,
        after: *const u8,
        scratch: &mut [u8],
    ) {
        let (width, lanes) = (panel_rows(self.level), lanes(self.level));
        let waiting = Panel::bytes(width, self.k).next_multiple_of(64);
        for n in rows.clone().step_by(width) {
            let columns = width.min(rows.end - n);
            let next = if n + columns < rows.end { self.row(args, n + columns) } else { after };
            let vectors = gemm::vectors(self.level.isa(), lanes, columns);
            // SAFETY: the scratch holds a whole panel and then the waiting sums; the weights hold the rows.
            unsafe {
                let source =
                    Source { first: self.row(args, n), row_bytes: self.row_bytes, rows: columns, k: self.k };
                let panel = Panel::new(scratch.as_mut_ptr(), vectors * lanes, self.k);
                (self.kernels.pack)(self.level, source, vectors, panel);
                let job = gemm::Job {
                    panel,
                    columns,
                    kind: self.kernels.kind,
                    shape: args.shape,
                    acts: args.acts,
                    waiting: scratch.as_mut_ptr().add(waiting).cast(),
                    out: args.out.add(n),
                    stride: args.out_stride,
                    next,
                    next_bytes: if next.is_null() { 0 } else { width * self.row_bytes },
                };
                multiply(self.level, &job);
            }
        }
    }

    /// Weight rows of a unit: whole panels for many rows, pairs for few, and as many units for each worker.
    fn unit_rows(&self, m: usize) -> usize {
        let few = self.activations(m).few();
        let step = if few { 2 } else { panel_rows(self.level) };
        let (work, most) = if few {
            (self.n * self.row_bytes, DECODE_UNIT_BYTES)
        } else {
            (m * self.n * self.k, PREFILL_UNIT_MACS)
        };
        let units = work.div_ceil(most * self.threads).max(2) * self.threads;
        self.n.div_ceil(units).next_multiple_of(step).max(step)
    }

    /// What the caller will go on with after rows that end at `end`: if all workers keep pace, the unit that follows
    /// those the others have in hand.
    fn next_start(&self, args: &QuantMatmulArgs<'_>, end: usize, m: usize) -> *const u8 {
        let row = end + (self.threads - 1) * self.unit_rows(m);
        if row < self.n { self.row(args, row) } else { args.next }
    }

    /// The first byte of row `n`.
    fn row(&self, args: &QuantMatmulArgs<'_>, n: usize) -> *const u8 {
        args.weights.as_ptr().wrapping_add(n * self.row_bytes)
    }

    fn rows_of(&self, units: Range<usize>, m: usize) -> Range<usize> {
        let rows = self.unit_rows(m);
        (units.start * rows).min(self.n)..(units.end * rows).min(self.n)
    }
}

/// Lanes of the level's vectors.
fn lanes(level: Level) -> usize {
    match level.isa() {
        Isa::Avx512 => 16,
        Isa::Avx2 => 8,
        Isa::Neon | Isa::Scalar => 4,
    }
}

/// Weight rows of a panel.
fn panel_rows(level: Level) -> usize {
    lanes(level) * gemm::full_panel(level.isa())
}

stamp_dot! {
    unsafe fn multiply(job: &gemm::Job) = gemm::multiply;
}

/// The kernels of each format, and which driver decodes with it, compiled for every level.
macro_rules! formats {
    ($($format:ident $driver:ident $decode:ident $pack:ident,)+) => {
        stamp_dot! {
            $(unsafe fn $decode(job: &decode::Job) = $driver::decode::<_, $format>;)+
            $(unsafe fn $pack(source: Source, vectors: usize, panel: Panel) = panel::pack::<_, $format>;)+
        }
        fn kernels(format: Format) -> Option<Kernels> {
            Some(match format {
                $(Format::$format => Kernels { decode: $decode, pack: $pack, kind: kind::<$format>() },)+
                _ => return None,
            })
        }
    };
}

formats! {
    Q8_0 decode decode_q8_0 pack_q8_0,
    Q4_0 decode decode_q4_0 pack_q4_0,
    Q4_1 decode decode_q4_1 pack_q4_1,
    Q5_0 decode decode_q5_0 pack_q5_0,
    Q5_1 decode decode_q5_1 pack_q5_1,
    Q4K superblock decode_q4_k pack_q4_k,
    Q5K superblock decode_q5_k pack_q5_k,
    Q6K superblock decode_q6_k pack_q6_k,
}

fn kind<F: Blocks>() -> Kind {
    match (F::FINE, F::MINS) {
        (true, _) => Kind::Fine,
        (false, true) => Kind::ScaledWithMins,
        (false, false) => Kind::Scaled,
    }
}
