//! Matrix products with quantised weights: `y[m, n] = sum over k of x[m, k] * w[n, k]`.
//!
//! Weights stay as the file has them. The activations are quantised once ([`Activations`]) and shared by every
//! product with them. With few rows of activations (decode) the kernels go through the weights' own blocks; with
//! more (prefill) they pack a panel of rows into the worker's scratch and multiply it with all of the activations.
//! Exact products with weights decoded to `f32` are not made here.

mod acts;
mod blocks;
mod decode;
mod ends;
mod float8;
mod formats;
mod gemm;
mod grids;
mod halves;
mod k_quants;
mod low_bits;
#[cfg(target_arch = "x86_64")]
mod matrix;
mod nibbles;
mod pairs;
mod panel;
mod planar;
mod sides;
mod steps;
mod superblock;
mod tables;
#[cfg(test)]
mod tests;

pub use acts::Activations;
pub use steps::TwoSteps;

use super::stream::{self, Ahead};
use crate::simd::{Isa, Level, stamp_dot, stamp_permute};
use acts::{Forms, TILE};
use blocks::{Blocks, GROUP};
use float8::Float8;
use formats::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use gemm::Kind;
use grids::{Iq1M, Iq1S, Iq2S, Iq2Xs, Iq2Xxs, Iq3S, Iq3Xxs};
use lazuli_quant::Format;
use low_bits::{Q2K, Q3K, Tq1_0, Tq2_0};
use panel::{Panel, Source};
use planar::{Affine, Affine8, Mxfp4, Nvfp4};
use sides::{SideLayout, SidePlanes, SideType, Sides};
use std::ops::Range;
use tables::{GgufMxfp4, GgufNvfp4, Iq4Nl, Iq4Xs};

/// The product with one weight tensor, as a plan keeps it: format, shape and kernels are settled.
#[derive(Debug, Clone, Copy)]
pub struct QuantMatmul {
    level: Level,
    n: usize,
    k: usize,
    /// Bytes of a row of each plane.
    row_bytes: [usize; 3],
    /// Weight rows that share a row of scales.
    tile: usize,
    layout: SideLayout,
    threads: usize,
    /// Whether workers wait for each other when it is done, so that its last units should be small.
    last: bool,
    /// Whether neighbouring rows may be read beside each other where they share a page.
    neighbours: bool,
    /// The units for few rows.
    few: Cut,
    kernels: Kernels,
}

/// How rows are cut into units: some large ones, and small ones from what they leave.
#[derive(Debug, Clone, Copy)]
struct Cut {
    large: usize,
    larges: usize,
    small: usize,
}

impl Cut {
    /// The first row of a unit.
    fn start(&self, unit: usize) -> usize {
        unit.min(self.larges) * self.large + unit.saturating_sub(self.larges) * self.small
    }

    /// How many units `rows` rows make.
    fn units(&self, rows: usize) -> usize {
        self.larges + rows.saturating_sub(self.larges * self.large).div_ceil(self.small)
    }
}

/// The planes of a weight tensor, or of its rows from some row on: see [`QuantMatmul::weights`].
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    /// Codes, scales, biases; empty where the format has no such plane.
    planes: [&'a [u8]; 3],
    /// Rows that share the first row of scales and come before the first of these.
    skip: usize,
}

impl Weights<'_> {
    /// The first byte of the first row's codes.
    pub fn start(&self) -> *const u8 {
        self.planes[0].as_ptr()
    }
}

/// Everything that a call of [`QuantMatmul::run`] works on.
#[derive(Debug, Clone, Copy)]
pub struct QuantMatmulArgs<'a> {
    /// The weights, as [`QuantMatmul::weights`] gave them.
    pub weights: Weights<'a>,
    /// The layout of `acts`.
    pub shape: Activations,
    /// The activations that [`Activations::quantise`] wrote.
    pub acts: *const u8,
    /// The output `[m, n]`.
    pub out: *mut f32,
    /// Values between two rows of the output, at least `n`.
    pub out_stride: usize,
}

/// The kernels of one format, and what they need to know of it.
#[derive(Debug, Clone, Copy)]
struct Kernels {
    decode: unsafe fn(Level, &decode::Job),
    /// What `decode` reads of activations.
    few: Forms,
    /// None where many rows are left to products in `f32`.
    pack: Option<unsafe fn(Level, &Source, usize, Panel)>,
    /// The same for tiles.
    #[cfg(target_arch = "x86_64")]
    matrix: Option<unsafe fn(&Source, *mut u8)>,
    kind: Kind,
    /// Bits of a code.
    bits: usize,
}

/// Bytes of weights that a unit of decode has at most: about ten microseconds at a core's share of the memory.
const DECODE_UNIT_BYTES: usize = 256 * 1024;
/// Bytes of weights that a small unit of decode has at least: about a microsecond.
const SMALL_UNIT_BYTES: usize = 12 * 1024;
/// How many small units a worker gets at most.
const SMALLS: usize = 8;
/// Multiply-accumulates that a unit of prefill aims at: tens of microseconds.
const PREFILL_UNIT_MACS: usize = 12_000_000;

impl QuantMatmul {
    /// The product with weights `[n, k]` of `format`; `None` if there is no kernel for the format, if `k` does not divide into
    /// its blocks and into groups of 32, or if a row has scales for more than 65536 weights in a plane of their own.
    pub fn new(level: Level, format: Format, n: usize, k: usize) -> Option<Self> {
        let kernels = kernels(format)?;
        if k % GROUP != 0 {
            return None;
        }
        let mut row_bytes = [0; 3];
        for (plane, bytes) in row_bytes.iter_mut().enumerate().take(format.planes()) {
            *bytes = format.plane_bytes(plane, 1, k)?;
            n.checked_mul(*bytes)?;
        }
        let (layout, tile) = side_layout(format)?;
        if layout.floats(row_bytes[1]) > sides::ROOM {
            return None;
        }
        let few = Cut { large: 0, larges: 0, small: 0 };
        let neighbours = stream::follows_two();
        let all =
            Self { level, n, k, row_bytes, tile, layout, threads: 1, last: false, neighbours, few, kernels };
        Some(all.cut_anew())
    }

    /// The same product with its units for few rows, which are asked for too often to be counted each time.
    fn cut_anew(self) -> Self {
        Self { few: self.few_cut(), ..self }
    }

    /// The same product, its units cut for `threads` workers that take them in turn as they become free.
    pub fn for_threads(self, threads: usize) -> Self {
        Self { threads: threads.max(1), ..self }.cut_anew()
    }

    /// The same product where workers wait for each other after it: with small units at its end, which even out that one
    /// worker began later or reads more slowly.
    pub fn before_a_barrier(self) -> Self {
        Self { last: true, ..self }.cut_anew()
    }

    /// The product with `n` of the weight rows, in one unit's worth of pieces.
    pub fn part(self, n: usize) -> Self {
        Self { n, threads: 1, last: false, ..self }.cut_anew()
    }

    /// Weight rows: values of an output row.
    pub fn rows(&self) -> usize {
        self.n
    }

    /// Values of a weight row.
    pub fn cols(&self) -> usize {
        self.k
    }

    /// Whether the kernels take `m` rows of activations. With more than a few, weights in eight-bit floats are for
    /// products in `f32`: their codes are no small integers, and rounding them to such shows in the results.
    pub fn takes(&self, m: usize) -> bool {
        self.kernels.pack.is_some() || self.activations(m).few()
    }

    /// The layout of `m` rows of activations for this product: the same for every product with the same `k`, of which each
    /// has its own part written ([`Activations::and`]).
    pub fn activations(&self, m: usize) -> Activations {
        let shape = Activations { level: self.level, m, k: self.k, forms: self.kernels.few };
        if shape.few() { shape } else { Activations { forms: self.kernels.kind.forms(), ..shape } }
    }

    /// Into how many independent units, each a range of weight rows, a product with `m` rows divides.
    pub fn units(&self, m: usize) -> usize {
        self.cut(m).units(self.n)
    }

    /// Bytes from the first row of the weights to the first of unit `unit` of a product with `m` rows.
    pub fn unit_start(&self, m: usize, unit: usize) -> usize {
        self.cut(m).start(unit) * self.row_bytes[0]
    }

    /// Bytes of one weight row, in the plane of codes.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes[0]
    }

    /// This product's weights: rows `first..first + n` of a tensor whose whole planes are `planes`, unaligned, straight
    /// from the file. For stacked tensors of experts `first` is the expert's first row.
    ///
    /// # Panics
    /// If the planes are fewer than the format's or shorter than their rows.
    pub fn weights<'a>(&self, planes: &[&'a [u8]], first: usize) -> Weights<'a> {
        let mut from = Weights { planes: [&[]; 3], skip: first % self.tile };
        for (plane, &bytes) in self.row_bytes.iter().enumerate().filter(|(_, bytes)| **bytes > 0) {
            let tile = if plane == 0 { 1 } else { self.tile };
            let rows = (first + self.n).div_ceil(tile);
            assert!(planes[plane].len() >= rows * bytes, "weights are shorter than their shape");
            from.planes[plane] = &planes[plane][first / tile * bytes..];
        }
        from
    }

    /// Bytes of scratch that a worker needs to run units with `m` rows; align it to 64.
    pub fn scratch_bytes(&self, m: usize) -> usize {
        if self.activations(m).few() {
            return 0;
        }
        #[cfg(target_arch = "x86_64")]
        if self.activations(m).matrix() {
            return matrix::scratch_bytes(m, self.k);
        }
        let rows = self.panel_rows();
        self.panel_bytes(rows) + m.next_multiple_of(TILE) * rows * 4
    }

    /// Computes the columns of the output that `units` stand for.
    ///
    /// The bits of the result do not depend on how units are divided among calls. `next` is called when the units are
    /// nearly done: what this worker will read next, to be prefetched; null if unknown.
    ///
    /// # Safety
    /// `args.acts` must hold activations quantised to `args.shape`, which must be this product's
    /// [`QuantMatmul::activations`]; `args.out` must be valid for writing `m` rows of `n` values `out_stride` apart,
    /// and no other thread may touch these units' columns meanwhile.
    ///
    /// # Panics
    /// If the activations have another length, there are more rows than [`QuantMatmul::takes`], or `scratch` is shorter
    /// than [`QuantMatmul::scratch_bytes`].
    pub unsafe fn run(
        &self,
        args: &QuantMatmulArgs<'_>,
        units: Range<usize>,
        scratch: &mut [u8],
        next: &mut dyn FnMut() -> *const u8,
    ) {
        let m = args.shape.m;
        assert!(args.shape.k == self.k, "the activations have another length");
        let rows = self.rows_of(units, m);
        if m == 0 || rows.is_empty() {
            return;
        }
        if args.shape.few() {
            let job = |rows: Range<usize>, next: *const u8| decode::Job {
                weights: args.weights.start(),
                row_bytes: self.row_bytes[0],
                sides: self.sides(args),
                shape: args.shape,
                acts: args.acts,
                rows,
                all: self.n,
                neighbours: self.neighbours,
                out: args.out,
                stride: args.out_stride,
                next,
            };
            // Those after them are asked for on the way.
            let first = (rows.len() * self.row_bytes[0]).min(decode::PAGES_AHEAD);
            stream::ask_pages(self.level, self.row(args, rows.start), first);
            // Up to where what comes next is asked for.
            let end = rows
                .end
                .saturating_sub(decode::AHEAD.div_ceil(self.row_bytes[0]).next_multiple_of(decode::ROWS))
                .max(rows.start);
            // SAFETY: the weights hold the rows, and the rest is the caller's promise.
            unsafe {
                if end > rows.start {
                    (self.kernels.decode)(self.level, &job(rows.start..end, self.row(args, end)));
                }
                (self.kernels.decode)(self.level, &job(end..rows.end, next()));
            }
        } else {
            assert!(scratch.len() >= self.scratch_bytes(m), "scratch is too small");
            // SAFETY: likewise.
            unsafe {
                #[cfg(target_arch = "x86_64")]
                if args.shape.matrix() {
                    return self.multiply_tiles(args, rows, scratch, next);
                }
                self.prefill(args, rows, scratch, next);
            }
        }
    }

    /// Packs and multiplies panel after panel, each in one place.
    unsafe fn prefill(
        &self,
        args: &QuantMatmulArgs<'_>,
        rows: Range<usize>,
        scratch: &mut [u8],
        next: &mut dyn FnMut() -> *const u8,
    ) {
        let (width, lanes) = (self.panel_rows(), lanes(self.level));
        let waiting = self.panel_bytes(width);
        let pack = self.kernels.pack.expect("the product takes as many rows of activations");
        for n in rows.clone().step_by(width) {
            let columns = width.min(rows.end - n);
            let next = if n + columns < rows.end { self.row(args, n + columns) } else { next() };
            let vectors = gemm::vectors(self.level.isa(), lanes, self.kernels.kind, columns);
            let steps = |run: Range<usize>| gemm::steps(run.len(), vectors, args.shape.tiles());
            let ahead = Ahead {
                start: next,
                bytes: if next.is_null() { 0 } else { width * self.row_bytes[0] },
                steps: gemm::runs(self.k).map(|run| steps(run).iter().sum::<usize>()).sum(),
            };
            let mut step = 0;
            for run in gemm::runs(self.k) {
                let [packing, multiplying] = steps(run.clone());
                // SAFETY: the scratch holds a panel and then the waiting sums; the weights hold the rows.
                unsafe {
                    let panel = Panel::new(scratch.as_mut_ptr(), vectors * lanes, run.len());
                    let source = Source { ahead, step, ..self.source(args, n, columns, run.clone()) };
                    pack(self.level, &source, vectors, panel);
                    let job = gemm::Job {
                        panel,
                        run,
                        columns,
                        kind: self.kernels.kind,
                        bits: self.kernels.bits,
                        shape: args.shape,
                        acts: args.acts,
                        waiting: scratch.as_mut_ptr().add(waiting).cast(),
                        out: args.out.add(n),
                        stride: args.out_stride,
                        ahead,
                        step: step + packing,
                    };
                    multiply(self.level, &job);
                    step += packing + multiplying;
                }
            }
        }
    }

    /// The same with AMX, some panels at a time.
    #[cfg(target_arch = "x86_64")]
    unsafe fn multiply_tiles(
        &self,
        args: &QuantMatmulArgs<'_>,
        rows: Range<usize>,
        scratch: &mut [u8],
        next: &mut dyn FnMut() -> *const u8,
    ) {
        let width = matrix::PANELS * matrix::PANEL;
        let pack = self.kernels.matrix.expect("the product takes as many rows of activations");
        let waiting = matrix::panels_bytes(self.k);
        for n in rows.clone().step_by(width) {
            let columns = width.min(rows.end - n);
            let panels = columns.div_ceil(matrix::PANEL);
            let next = if n + columns < rows.end { self.row(args, n + columns) } else { next() };
            let mut runs = matrix::runs(self.k).peekable();
            while let Some(run) = runs.next() {
                // SAFETY: the scratch holds panels and then the waiting sums; the weights hold the rows.
                unsafe {
                    for panel in 0..panels {
                        let first = n + panel * matrix::PANEL;
                        let rows = matrix::PANEL.min(n + columns - first);
                        let source = self.source(args, first, rows, run.clone());
                        pack(&source, scratch.as_mut_ptr().add(matrix::panel_at(panel, run.len())));
                    }
                    let bytes = |weights: usize| self.row_bytes[0] * weights / self.k;
                    let (first, weights) = match runs.peek() {
                        Some(after) => (self.row(args, n).wrapping_add(bytes(after.start)), after.len()),
                        None => (next, matrix::runs(self.k).next().map_or(0, |run| run.len())),
                    };
                    matrix::multiply(&matrix::Job {
                        panels: scratch.as_ptr(),
                        run,
                        columns,
                        shape: args.shape,
                        acts: args.acts,
                        waiting: scratch.as_mut_ptr().add(waiting).cast(),
                        out: args.out.add(n),
                        stride: args.out_stride,
                        next: matrix::Next {
                            first,
                            row_bytes: self.row_bytes[0],
                            bytes: bytes(weights),
                            rows: if first.is_null() { 0 } else { columns },
                        },
                    });
                }
            }
        }
    }

    /// Weight rows to pack, `rows` from row `n` on, over one run of their weights.
    fn source(&self, args: &QuantMatmulArgs<'_>, n: usize, rows: usize, run: Range<usize>) -> Source {
        Source {
            level: self.level,
            first: self.row(args, n),
            row_bytes: self.row_bytes[0],
            sides: self.sides(args),
            number: n,
            rows,
            all: self.n - n,
            k: self.k,
            run,
            ahead: Ahead::NONE,
            step: 0,
        }
    }

    /// The units of a product with `m` rows.
    fn cut(&self, m: usize) -> Cut {
        if self.activations(m).few() {
            return self.few;
        }
        #[cfg(target_arch = "x86_64")]
        if self.activations(m).matrix() {
            let rows = rows_of_each(self.n, matrix::UNITS * self.threads, matrix::PANEL);
            let rows = rows.min(matrix::PANELS * matrix::PANEL);
            return Cut { large: rows, larges: 0, small: rows };
        }
        self.even_cut(m * self.n * self.k, PREFILL_UNIT_MACS, self.panel_rows())
    }

    /// How many units there are at least, if `most` work is too much for one: as many for each worker.
    fn even_units(&self, work: usize, most: usize) -> usize {
        work.div_ceil(most * self.threads).max(2) * self.threads
    }

    /// So many units of whole steps of rows.
    fn even_cut(&self, work: usize, most: usize, step: usize) -> Cut {
        let rows = rows_of_each(self.n, self.even_units(work, most), step);
        Cut { large: rows, larges: 0, small: rows }
    }

    /// The units for few rows: large ones first where workers wait for each other in the end.
    fn few_cut(&self) -> Cut {
        let step = decode::ROWS;
        let row_bytes = self.row_bytes.iter().sum::<usize>();
        let work = self.n.saturating_mul(row_bytes);
        let even = self.even_cut(work, DECODE_UNIT_BYTES, step);
        let least = SMALL_UNIT_BYTES.div_ceil(row_bytes).next_multiple_of(step);
        if !(self.last && self.threads > 1) || even.large < 2 * least {
            return even;
        }
        let larges = self.even_units(work, DECODE_UNIT_BYTES) - self.threads;
        let large = (self.n - self.threads * even.large / 2) / larges / step * step;
        let small = least.max(rows_of_each(self.n - larges * large, SMALLS * self.threads, step));
        Cut { large, larges, small }
    }

    /// The first byte of row `n`.
    fn row(&self, args: &QuantMatmulArgs<'_>, n: usize) -> *const u8 {
        args.weights.start().wrapping_add(n * self.row_bytes[0])
    }

    /// The planes of scales and biases.
    fn sides(&self, args: &QuantMatmulArgs<'_>) -> SidePlanes {
        let [_, scales, biases] = args.weights.planes;
        let first = Sides { planes: [scales.as_ptr(), biases.as_ptr()], layout: self.layout };
        let row_bytes = [self.row_bytes[1], self.row_bytes[2]];
        let floats = self.layout.floats(row_bytes[0]);
        SidePlanes { first, row_bytes, tile: self.tile, skip: args.weights.skip, floats }
    }

    /// Weight rows of a full panel.
    fn panel_rows(&self) -> usize {
        lanes(self.level) * gemm::full_panel(self.level.isa(), self.kernels.kind)
    }

    /// Bytes of a panel of `rows` rows, whole cache lines.
    fn panel_bytes(&self, rows: usize) -> usize {
        Panel::bytes(rows, gemm::longest_run(self.k), self.kernels.kind.numbers()).next_multiple_of(64)
    }

    fn rows_of(&self, units: Range<usize>, m: usize) -> Range<usize> {
        let cut = self.cut(m);
        cut.start(units.start).min(self.n)..cut.start(units.end).min(self.n)
    }
}

/// Rows of each of `units` units of `rows` rows, whole steps.
fn rows_of_each(rows: usize, units: usize, step: usize) -> usize {
    rows.div_ceil(units).next_multiple_of(step).max(step)
}

/// Lanes of the level's vectors.
fn lanes(level: Level) -> usize {
    match level.isa() {
        Isa::Avx512 => 16,
        Isa::Avx2 => 8,
        Isa::Neon | Isa::Scalar => 4,
    }
}

stamp_dot! {
    unsafe fn multiply(job: &gemm::Job) = gemm::multiply;
}

/// How a format's scales lie in their planes, and how many rows share a row of them; `None` if no kernel reads them so.
fn side_layout(format: Format) -> Option<(SideLayout, usize)> {
    let shared = |weights: u16| {
        let groups = usize::from(weights) / GROUP;
        (usize::from(weights) % GROUP == 0 && groups.is_power_of_two()).then(|| groups.trailing_zeros())
    };
    Some(match format {
        Format::Affine { group, scale, .. } => (SideLayout { scale: scale.into(), shift: shared(group)? }, 1),
        Format::Fp8Block { rows, cols } => {
            (SideLayout { scale: SideType::F32, shift: shared(cols)? }, usize::from(rows))
        }
        Format::Mxfp4 | Format::Mxfp8 => (SideLayout::EXPONENTS, 1),
        _ => (SideLayout::EACH, 1),
    })
}

/// The kernels of each format, and which driver decodes with it and which packs it, compiled for every level.
macro_rules! formats {
    (
        any rows { $($format:pat => $blocks:ty, $driver:ident $decode:ident, $packer:ident $pack:ident;)+ }
        looked up { $($grid_format:pat => $grid_blocks:ty, $grid_decode:ident $grid_pack:ident;)+ }
        few rows { $($few_format:pat => $few_blocks:ty, $few_decode:ident;)+ }
    ) => {
        stamp_dot! {
            $(unsafe fn $decode(job: &decode::Job) = $driver::decode::<_, $blocks>;)+
            $(unsafe fn $few_decode(job: &decode::Job) = decode::decode::<_, $few_blocks>;)+
            $(unsafe fn $pack(source: &Source, vectors: usize, panel: Panel) = $packer::pack::<_, $blocks>;)+
        }
        stamp_permute! {
            $(unsafe fn $grid_decode(job: &decode::Job) = decode::decode::<_, $grid_blocks>;)+
            $(unsafe fn $grid_pack(source: &Source, vectors: usize, panel: Panel) = panel::pack::<_, $grid_blocks>;)+
        }
        fn kernels(format: Format) -> Option<Kernels> {
            Some(match format {
                $($format => Kernels {
                    decode: $decode,
                    few: $driver::forms::<$blocks>(),
                    pack: Some($pack),
                    #[cfg(target_arch = "x86_64")]
                    matrix: Some(matrix::pack::<$blocks>),
                    kind: kind::<$blocks>(),
                    bits: <$blocks as Blocks>::BITS,
                },)+
                $($grid_format => Kernels {
                    decode: $grid_decode,
                    few: decode::forms::<$grid_blocks>(),
                    pack: Some($grid_pack),
                    #[cfg(target_arch = "x86_64")]
                    matrix: Some(matrix::pack::<$grid_blocks>),
                    kind: kind::<$grid_blocks>(),
                    bits: <$grid_blocks as Blocks>::BITS,
                },)+
                $($few_format => Kernels {
                    decode: $few_decode,
                    few: decode::forms::<$few_blocks>(),
                    pack: None,
                    #[cfg(target_arch = "x86_64")]
                    matrix: None,
                    kind: kind::<$few_blocks>(),
                    bits: <$few_blocks as Blocks>::BITS,
                },)+
                _ => return None,
            })
        }
    };
}

formats! {
    any rows {
        Format::Q8_0 => Q8_0, decode decode_q8_0, panel pack_q8_0;
        Format::Q4_0 => Q4_0, nibbles decode_q4_0, halves pack_q4_0;
        Format::Q4_1 => Q4_1, nibbles decode_q4_1, halves pack_q4_1;
        Format::Q5_0 => Q5_0, nibbles decode_q5_0, halves pack_q5_0;
        Format::Q5_1 => Q5_1, nibbles decode_q5_1, panel pack_q5_1;
        Format::Q4K => Q4K, superblock decode_q4_k, pairs pack_q4_k;
        Format::Q5K => Q5K, superblock decode_q5_k, panel pack_q5_k;
        Format::Q6K => Q6K, superblock decode_q6_k, panel pack_q6_k;
        Format::Q2K => Q2K, superblock decode_q2_k, panel pack_q2_k;
        Format::Q3K => Q3K, superblock decode_q3_k, panel pack_q3_k;
        Format::Tq1_0 => Tq1_0, decode decode_tq1_0, panel pack_tq1_0;
        Format::Tq2_0 => Tq2_0, decode decode_tq2_0, panel pack_tq2_0;
        Format::Iq4Nl => Iq4Nl, decode decode_iq4_nl, panel pack_iq4_nl;
        Format::Iq4Xs => Iq4Xs, decode decode_iq4_xs, panel pack_iq4_xs;
        Format::GgufMxfp4 => GgufMxfp4, nibbles decode_gguf_mxfp4, panel pack_gguf_mxfp4;
        Format::GgufNvfp4 => GgufNvfp4, decode decode_gguf_nvfp4, panel pack_gguf_nvfp4;
        Format::Iq2S => Iq2S, decode decode_iq2_s, panel pack_iq2_s;
        Format::Iq2Xs => Iq2Xs, decode decode_iq2_xs, panel pack_iq2_xs;
        Format::Iq2Xxs => Iq2Xxs, decode decode_iq2_xxs, panel pack_iq2_xxs;
        Format::Iq1S => Iq1S, decode decode_iq1_s, panel pack_iq1_s;
        Format::Iq1M => Iq1M, decode decode_iq1_m, panel pack_iq1_m;
        Format::Affine { bits: 2, .. } => Affine<2>, decode decode_affine_2, panel pack_affine_2;
        Format::Affine { bits: 3, .. } => Affine<3>, decode decode_affine_3, panel pack_affine_3;
        Format::Affine { bits: 4, .. } => Affine<4>, nibbles decode_affine_4, panel pack_affine_4;
        Format::Affine { bits: 5, .. } => Affine<5>, decode decode_affine_5, panel pack_affine_5;
        Format::Affine { bits: 6, .. } => Affine<6>, decode decode_affine_6, panel pack_affine_6;
        Format::Affine { bits: 8, .. } => Affine8, decode decode_affine_8, panel pack_affine_8;
        Format::Mxfp4 => Mxfp4, nibbles decode_mxfp4, panel pack_mxfp4;
        Format::Nvfp4 => Nvfp4, decode decode_nvfp4, panel pack_nvfp4;
    }
    looked up {
        Format::Iq3S => Iq3S, decode_iq3_s pack_iq3_s;
        Format::Iq3Xxs => Iq3Xxs, decode_iq3_xxs pack_iq3_xxs;
    }
    few rows {
        Format::Mxfp8 => Float8<true>, decode_mxfp8;
        Format::Fp8Block { .. } => Float8<false>, decode_fp8_block;
    }
}

fn kind<F: Blocks>() -> Kind {
    match (F::FINE, F::MINS) {
        _ if F::INTEGER => Kind::Integer,
        (true, false) => Kind::Fine,
        (true, true) => Kind::FineWithMins,
        (false, true) => Kind::ScaledWithMins,
        (false, false) => Kind::Scaled,
    }
}
