//! Many rows of activations with AMX: weights and activations in bfloat16, multiplied tile by tile.
//!
//! Rounded to eight bits of precision both lose less than activations lose in [`super::gemm`], where a group of 32 shares the scale of
//! its largest, and sums need no scaling: they stay in tiles. Weights are the left factor, so that rows stay as they are
//! unpacked, activations the right one.

use super::acts::Activations;
use super::blocks::{Blocks, GROUP, OCTET, Octet, Remainder};
use super::panel::{MOST_NUMBERS, Source, unpack};
use super::sides::PER_OCTET;
use crate::kernel::stream::{Ahead, ask_each_line};
pub(super) use crate::simd::amx::ROWS;
use crate::simd::amx::{DEPTH, LINE, TILE, Tiles};
use crate::simd::{Avx512, Columns, Panels, Simd, Stored};
use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// The level within these kernels: what has tiles has all this.
type Level = Avx512<true>;
/// Weight rows of a panel: two tiles.
pub(super) const PANEL: usize = 2 * ROWS;
/// Panels that are multiplied with the same activations before the next of these, which the first-level cache has meanwhile.
pub(super) const PANELS: usize = 8;
/// Units for each worker at least, where there are as many panels.
pub(super) const UNITS: usize = 4;
/// Bytes of four tiles of sums.
const SUMS: usize = 4 * TILE;

/// The runs of `k` weights that are packed and multiplied one after the other: as many as two groups of activations have in the
/// first-level cache beside a panel, and the last with what is left.
pub(super) fn runs(k: usize) -> impl Iterator<Item = Range<usize>> {
    let count = (k / OCTET).max(1);
    (0..count).map(move |run| run * OCTET..if run + 1 < count { (run + 1) * OCTET } else { k })
}

/// Groups of 16 rows of activations.
fn groups(m: usize) -> usize {
    m.div_ceil(ROWS)
}

/// Bytes of activations: for each run of weights the tiles of 16 rows after those of the 16 before.
pub(super) fn acts_bytes(m: usize, k: usize) -> usize {
    groups(m) * ROWS * k * size_of::<u16>()
}

/// The tiles of group `group` of such activations over a run.
fn acts_at(shape: Activations, acts: *const u8, run: &Range<usize>, group: usize) -> *const u8 {
    let line = ROWS * size_of::<u16>();
    acts.wrapping_add((run.start * groups(shape.m) + group * run.len()) * line)
}

/// Bytes of a worker's scratch: panels, then sums of all rows of activations.
pub(super) fn scratch_bytes(m: usize, k: usize) -> usize {
    panels_bytes(k) + groups(m).div_ceil(2) * PANELS * SUMS
}

/// Bytes of its panels.
pub(super) fn panels_bytes(k: usize) -> usize {
    panel_at(PANELS, k.min(2 * OCTET))
}

/// Where panel `panel` over `run` weights begins.
pub(super) fn panel_at(panel: usize, run: usize) -> usize {
    panel * PANEL * run * size_of::<u16>()
}

/// Writes 16 rows of `x`, those of `group` that exist, as tiles. What is not finite becomes NaN.
///
/// # Safety
/// The level must have tiles, the rows, `stride` values apart, be readable, and `out` writable.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c")]
pub(super) unsafe fn convert(shape: Activations, x: *const f32, stride: usize, group: usize, out: *mut u8) {
    let exist = (shape.m - group * ROWS).min(ROWS);
    let mut lines = [_mm512_setzero_si512(); ROWS];
    // SAFETY: the caller's; a tile is as long as 32 values of 16 rows.
    unsafe {
        let s = Level::assume();
        for run in runs(shape.k) {
            let mut to = acts_at(shape, out, &run, group).cast_mut();
            for at in run.step_by(DEPTH) {
                for (row, line) in lines.iter_mut().enumerate().take(exist) {
                    let x = x.add(row * stride + at);
                    let [low, high] = [s.load(x), s.load(x.add(Level::LANES))];
                    *line = pack_two(s.fma(low, s.zero(), low), s.fma(high, s.zero(), high));
                }
                s.transpose(lines.as_ptr().cast(), LINE, Stored { to, stride: LINE });
                to = to.add(TILE);
            }
        }
    }
}

/// 32 values in bfloat16.
#[inline(always)]
unsafe fn pack_two(low: __m512, high: __m512) -> __m512i {
    // SAFETY: the caller's level has the instruction; both are 512 bits.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
}

/// Packs the rows of a source into a panel, `[k / 32][2][16 rows][32]`; rows past the source's last repeat it.
///
/// # Safety
/// The level must have tiles, the source's rows be readable, and `panel` writable for a panel over the source's run.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c")]
pub(super) unsafe fn pack<F: Blocks>(source: &Source, panel: *mut u8) {
    // SAFETY: the caller's level.
    let s = unsafe { Level::assume() };
    let (mut codes, mut numbers) = ([MaybeUninit::uninit(); OCTET], [0.0; MOST_NUMBERS]);
    let (mut end, mut floats) = (Remainder::new(), [[0.0; PER_OCTET]; 2]);
    let first = source.run.start / OCTET;
    for o in first..source.run.end.div_ceil(OCTET) {
        let chunks = source.chunks(o);
        let groups = (source.run.end - o * OCTET).min(OCTET) / GROUP;
        for row in 0..PANEL {
            // SAFETY: the caller's source and panel; where a row's end is not a whole octet it is copied into one.
            unsafe {
                let octet = source.octet_at::<F>(row.min(source.rows - 1), o, &mut end);
                let sides = if F::SPREAD { octet.1.spread(s, F::PLANES - 1, &mut floats) } else { octet.1 };
                unpack::<_, F>(s, Octet(octet.0, sides), (chunks, 0), &mut codes, &mut numbers);
                let to = panel.add((o - first) * (OCTET / DEPTH) * 2 * TILE);
                let to = to.add(row / ROWS * TILE + row % ROWS * LINE);
                store_row::<F>(codes.as_ptr().cast(), &numbers, groups, to);
            }
        }
    }
}

/// Rows' bytes over the run that will be packed next, asked for little by little.
#[derive(Clone, Copy)]
pub(super) struct Next {
    /// The first of the first row's: any address will do.
    pub first: *const u8,
    /// Bytes from one row to the next.
    pub row_bytes: usize,
    /// Bytes of each that will be read.
    pub bytes: usize,
    pub rows: usize,
}

impl Next {
    /// Asks for the share of step `step` of so many, as far as the second-level cache.
    #[inline(always)]
    fn ask(self, s: Level, step: usize, steps: usize) {
        for row in self.rows * step / steps..self.rows * (step + 1) / steps {
            let start = self.first.wrapping_add(row * self.row_bytes);
            // The last line that they are in, which a step of whole lines may miss.
            s.prefetch_l2(start.wrapping_add(self.bytes - 1));
            ask_each_line(s, start, self.bytes);
        }
    }
}

/// Where group `g` of 32 codes stands among 256 that were unpacked.
const fn place<F: Blocks>(g: usize) -> usize {
    if F::INTEGER { g / 4 * 4 + g % 2 * 2 + g % 4 / 2 } else { g }
}

/// Stores so many groups of 32 weights of a row, each in a tile of its own.
#[inline(always)]
unsafe fn store_row<F: Blocks>(codes: *const i8, numbers: &[f32; MOST_NUMBERS], groups: usize, to: *mut u8) {
    // SAFETY: the caller's codes and tiles.
    unsafe {
        if groups == OCTET / GROUP {
            // A number that the compiler knows, so that it knows all places as well.
            for g in 0..OCTET / GROUP {
                store_group::<F>(codes, numbers, g, to);
            }
            return;
        }
        for g in 0..groups {
            store_group::<F>(codes, numbers, g, to);
        }
    }
}

/// Stores group `g` of 32 weights of a row.
#[inline(always)]
unsafe fn store_group<F: Blocks>(codes: *const i8, numbers: &[f32; MOST_NUMBERS], g: usize, to: *mut u8) {
    const HALF: usize = GROUP / 2;
    // SAFETY: the caller's codes and tiles.
    unsafe {
        let from = codes.add(place::<F>(g) * GROUP);
        let mut halves = [_mm512_setzero_ps(); 2];
        for (h, half) in halves.iter_mut().enumerate() {
            let code = _mm512_cvtepi8_epi32(_mm_loadu_si128(from.add(h * HALF).cast()));
            let at = if F::FINE { 2 * g + h } else { g };
            let (code, scale) = (_mm512_cvtepi32_ps(code), _mm512_set1_ps(numbers[at]));
            *half = match (F::MINS, F::FINE) {
                (false, _) => _mm512_mul_ps(code, scale),
                (true, false) => _mm512_fmadd_ps(code, scale, _mm512_set1_ps(numbers[OCTET / GROUP + at])),
                // The min's negative stands there.
                (true, true) => _mm512_fmsub_ps(code, scale, _mm512_set1_ps(numbers[OCTET / HALF + at])),
            };
        }
        _mm512_storeu_si512(to.add(g * 2 * TILE).cast(), pack_two(halves[0], halves[1]));
    }
}

/// Panels times all activations, over one run of weights.
pub(super) struct Job {
    /// The panels, one after the other.
    pub panels: *const u8,
    pub run: Range<usize>,
    /// Weight rows, and so output columns, that count.
    pub columns: usize,
    /// The activations' shape.
    pub shape: Activations,
    /// The activations.
    pub acts: *const u8,
    /// Where sums wait between two runs.
    pub waiting: *mut f32,
    /// The output's first of these columns.
    pub out: *mut f32,
    /// Values between two rows of the output.
    pub stride: usize,
    /// What will be packed next.
    pub next: Next,
}

/// Four tiles of sums on their way to the output.
#[repr(align(64))]
struct Sums([f32; SUMS / 4]);

/// Multiplies the panels with every row of activations.
///
/// # Safety
/// The level must have tiles, the panels be packed over the run, the activations [`convert`]ed to the shape; the scratch must be as
/// large as [`scratch_bytes`] says, and `out` take the columns of all rows.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c")]
pub(super) unsafe fn multiply(job: &Job) {
    let groups = groups(job.shape.m);
    let (panels, steps) = (job.columns.div_ceil(PANEL), job.run.len() / DEPTH);
    let acts = |group| acts_at(job.shape, job.acts, &job.run, group);
    let mut sums = Sums([0.0; SUMS / 4]);
    // SAFETY: the caller's level, panels, activations, scratch and output.
    unsafe {
        let s = Level::assume();
        let mut tiles = Tiles::new();
        let pairs = groups.div_ceil(2);
        for pair in 0..pairs {
            let two = 2 * pair + 1 < groups;
            // Written out: `array::map` would be a call, of code without these instructions.
            let right = [acts(2 * pair), acts(2 * pair + 1)];
            // Those of the next two groups that exist.
            let (start, end) = (acts(groups.min(2 * pair + 2)), acts(groups.min(2 * pair + 4)));
            let soon = Ahead { start, bytes: end as usize - start as usize, steps: panels * steps };
            for panel in 0..panels {
                job.next.ask(s, pair * panels + panel, pairs * panels);
                let left = job.panels.add(panel_at(panel, job.run.len()));
                let waiting = job.waiting.add((pair * PANELS + panel) * SUMS / 4);
                if job.run.start == 0 {
                    tiles.zero();
                } else {
                    tiles.load(waiting);
                }
                let (rows, columns) = (job.shape.m - 2 * pair * ROWS, job.columns - panel * PANEL);
                let out = job.out.wrapping_add(2 * pair * ROWS * job.stride + panel * PANEL);
                let out = Outputs { to: out, stride: job.stride, rows, columns };
                for step in 0..steps {
                    soon.ask(s, panel * steps + step);
                    if job.run.end == job.shape.k {
                        out.ask(s, step, steps);
                    }
                    let left = left.add(step * 2 * TILE);
                    let right = [right[0].add(step * TILE), right[1].wrapping_add(step * TILE)];
                    if two {
                        tiles.add_four(left, right);
                    } else {
                        tiles.add_two(left, right[0]);
                    }
                }
                if job.run.end < job.shape.k {
                    tiles.store(waiting);
                    continue;
                }
                tiles.store(sums.0.as_mut_ptr());
                for tile in 0..4 {
                    let (row, column) = (tile % 2 * ROWS, tile / 2 * ROWS);
                    if row < rows && column < columns {
                        let from = sums.0.as_ptr().cast::<u8>().add(tile * TILE);
                        s.transpose(from, LINE, out.from(row, column));
                    }
                }
            }
        }
    }
}

/// Rows of the output that take the columns of a tile of sums.
#[derive(Clone, Copy)]
struct Outputs {
    to: *mut f32,
    stride: usize,
    /// Rows and columns that there are.
    rows: usize,
    columns: usize,
}

impl Outputs {
    /// Those from there on, which exist.
    unsafe fn from(self, row: usize, column: usize) -> Self {
        // SAFETY: the caller's.
        let to = unsafe { self.to.add(row * self.stride + column) };
        Self { to, rows: self.rows - row, columns: self.columns - column, ..self }
    }

    /// Asks for the lines that four tiles of sums go to, little by little: rows are far apart, and a store that waits for its
    /// line holds up those behind it.
    #[inline(always)]
    fn ask(self, s: Level, step: usize, steps: usize) {
        const LINES: usize = PANEL * size_of::<f32>() / LINE;
        let each = (PANEL * LINES).div_ceil(steps);
        for line in step * each..((step + 1) * each).min(PANEL * LINES) {
            let (row, line) = (line / LINES, line % LINES);
            if row < self.rows {
                s.prefetch_write(self.to.wrapping_add(row * self.stride + line * ROWS).cast());
            }
        }
    }
}

impl Columns<Level> for Outputs {
    #[inline(always)]
    unsafe fn take(self, s: Level, j: usize, column: __m512i) {
        if j < self.rows {
            // SAFETY: the caller's row and columns exist.
            unsafe {
                let to = self.to.add(j * self.stride);
                if self.columns >= ROWS {
                    s.store_codes(to.cast(), column);
                } else {
                    s.store_partial(to, self.columns, _mm512_castsi512_ps(column));
                }
            }
        }
    }
}
