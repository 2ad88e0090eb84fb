//! Many rows of activations: one packed panel of weight rows times tile after tile of activations.

use super::acts::{Activations, TILE, Tile};
use super::blocks::{GROUP, OCTET};
use super::panel::{Panel, numbers};
use crate::simd::{Dot, Isa};

/// Weights of each row that are gone through for all tiles before the next: their panel stays in the L1 cache.
const DEPTH: usize = 2 * OCTET;

/// What the numbers of a panel are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// 8 scales of 32 weights.
    Scaled,
    /// 8 scales of 32 weights and 8 mins.
    ScaledWithMins,
    /// 16 scales of 16 weights.
    Fine,
    /// 16 scales of 16 weights and 16 mins.
    FineWithMins,
}

impl Kind {
    /// Numbers of each row for 256 weights.
    pub fn numbers(self) -> usize {
        numbers(self == Self::FineWithMins)
    }
}

/// A panel times all activations.
pub(super) struct Job {
    /// The panel, of as many [`vectors`] as `columns` asks for.
    pub panel: Panel,
    /// Weight rows, and so output columns, that count.
    pub columns: usize,
    /// What its numbers are.
    pub kind: Kind,
    /// The activations' shape.
    pub shape: Activations,
    /// The activations, tiled.
    pub acts: *const u8,
    /// Where sums wait between two depths: `[tiles][TILE]` rows as long as the panel is wide; unused for one depth.
    pub waiting: *mut f32,
    /// The output's first of these columns.
    pub out: *mut f32,
    /// Values between two rows of the output.
    pub stride: usize,
    /// What will be packed next, fetched into the second-level cache meanwhile.
    pub next: *const u8,
    /// Bytes of it.
    pub next_bytes: usize,
}

/// A cache line.
const LINE: usize = 64;

/// `TILE` rows of a result, `V` vectors wide: where sums come from and where they go.
#[derive(Clone, Copy)]
struct Ends {
    /// Rows `from_stride` apart; null for zero.
    from: *const f32,
    from_stride: usize,
    to: *mut f32,
    to_stride: usize,
    /// Rows and columns to write.
    rows: usize,
    columns: usize,
}

/// A depth of one panel for one tile, all sums in registers; meanwhile the same depth of tile `next` is fetched.
///
/// `STEP` is the weights of one scale; `MINS` says whether mins follow the scales.
#[inline(always)]
unsafe fn tile<S: Dot, const V: usize, const STEP: usize, const MINS: bool>(
    s: S,
    panel: Panel,
    acts: Tile,
    next: Tile,
    k: std::ops::Range<usize>,
    ends: Ends,
) {
    let (lanes, vector) = (S::LANES, 4 * S::LANES);
    // SAFETY: the caller gives a panel and a tile that reach over `k`, and rows to read and write.
    unsafe {
        let mut sums = [[s.zero(); V]; TILE];
        for at in k.step_by(STEP) {
            let mut dots = [[s.splat_i32(0); V]; TILE];
            if S::PANEL_BIAS != 0 {
                let starts = if STEP == GROUP { acts.starts } else { acts.fine_starts };
                for (m, dots) in dots.iter_mut().enumerate() {
                    *dots = [s.splat_i32(*starts.add(at / STEP * TILE + m)); V];
                }
            }
            // Tiles lie far apart, and the processor's own prefetcher starts anew in each.
            for line in (0..STEP * TILE).step_by(LINE) {
                s.prefetch(next.codes.wrapping_add(at * TILE + line).cast());
            }
            s.prefetch(next.scales.wrapping_add(at / GROUP * TILE).cast());
            for step in 0..STEP / 4 {
                let four = at / 4 + step;
                let mut w = [s.codes(panel.codes.add(four * V * vector)); V];
                for (v, w) in w.iter_mut().enumerate().skip(1) {
                    *w = s.codes(panel.codes.add((four * V + v) * vector));
                }
                for (m, dots) in dots.iter_mut().enumerate() {
                    let a = s.codes_splat(acts.codes.add((four * TILE + m) * 4));
                    for v in 0..V {
                        dots[v] = s.dot_codes(dots[v], w[v], a);
                    }
                }
            }
            let count = const { numbers(STEP < GROUP && MINS) };
            let number = at / OCTET * count + at % OCTET / STEP;
            let from = panel.numbers.add(number * V * lanes);
            for m in 0..TILE {
                let scale = s.splat(*acts.scales.add(at / GROUP * TILE + m));
                for v in 0..V {
                    let scale = s.mul(s.load(from.add(v * lanes)), scale);
                    sums[m][v] = s.fma(s.to_f32(dots[m][v]), scale, sums[m][v]);
                }
                if MINS {
                    let sum = if STEP == GROUP {
                        *acts.sums.add(at / GROUP * TILE + m)
                    } else {
                        // Of 16 weights the min's negative stands in the panel; a start is the sum times -128.
                        let start = *acts.fine_starts.add(at / STEP * TILE + m) as f32;
                        start * (1.0 / 128.0) * *acts.scales.add(at / GROUP * TILE + m)
                    };
                    let sum = s.splat(sum);
                    let mins = from.add(count / 2 * V * lanes);
                    for (v, to) in sums[m].iter_mut().enumerate() {
                        *to = s.fma(s.load(mins.add(v * lanes)), sum, *to);
                    }
                }
            }
        }
        finish(s, sums, ends);
    }
}

/// Adds what was waiting and writes.
#[inline(always)]
unsafe fn finish<S: Dot, const V: usize>(s: S, mut sums: [[S::F; V]; TILE], ends: Ends) {
    // SAFETY: the caller's rows.
    unsafe {
        for (m, sums) in sums.iter_mut().enumerate() {
            if !ends.from.is_null() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = s.add(*sum, s.load(ends.from.add(m * ends.from_stride + v * S::LANES)));
                }
            }
            if m < ends.rows {
                let to = ends.to.add(m * ends.to_stride);
                for (v, &sum) in sums.iter().enumerate() {
                    let room = ends.columns.saturating_sub(v * S::LANES);
                    if room >= S::LANES {
                        s.store(to.add(v * S::LANES), sum);
                    } else {
                        s.store_partial(to.add(v * S::LANES), room, sum);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn depths<S: Dot, const V: usize, const STEP: usize, const MINS: bool>(s: S, job: &Job) {
    let (k, m) = (job.shape.k, job.shape.m);
    let width = V * S::LANES;
    // Each tile at each depth brings its share of the next panel's bytes nearer.
    let lines_of_next = job.next_bytes.div_ceil(LINE);
    let steps = k.div_ceil(DEPTH) * m.div_ceil(TILE);
    let (mut step, mut line) = (0, 0);
    for at in (0..k).step_by(DEPTH) {
        let end = (at + DEPTH).min(k);
        for t in 0..m.div_ceil(TILE) {
            // SAFETY: tile `t` exists, and the rows of the output that it stands for.
            unsafe {
                let waiting = job.waiting.add(t * TILE * width);
                let mut ends = Ends {
                    from: if at == 0 { std::ptr::null() } else { waiting },
                    from_stride: width,
                    to: waiting,
                    to_stride: width,
                    rows: TILE,
                    columns: width,
                };
                if end == k {
                    ends.to = job.out.add(t * TILE * job.stride);
                    ends.to_stride = job.stride;
                    ends.rows = (m - t * TILE).min(TILE);
                    ends.columns = job.columns;
                }
                let acts = job.shape.tile(job.acts, t);
                let next = job.shape.tile(job.acts, t + 1);
                step += 1;
                while line < lines_of_next * step / steps {
                    s.prefetch_l2(job.next.wrapping_add(line * LINE));
                    line += 1;
                }
                tile::<S, V, STEP, MINS>(s, job.panel, acts, next, at..end, ends);
            }
        }
    }
}

#[inline(always)]
unsafe fn kinds<S: Dot, const V: usize>(s: S, job: &Job) {
    // SAFETY: the caller's job.
    unsafe {
        match job.kind {
            Kind::Scaled => depths::<S, V, 32, false>(s, job),
            Kind::ScaledWithMins => depths::<S, V, 32, true>(s, job),
            Kind::Fine => depths::<S, V, 16, false>(s, job),
            Kind::FineWithMins => depths::<S, V, 16, true>(s, job),
        }
    }
}

/// Vectors of weight rows in a full panel: as many as leave a tile's sums in registers.
pub(super) const fn full_panel(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 | Isa::Neon => 3,
        Isa::Avx2 => 2,
        Isa::Scalar => 1,
    }
}

/// Vectors of a panel that takes `columns` rows, at most a full one: either one, or all.
pub(super) const fn vectors(isa: Isa, lanes: usize, columns: usize) -> usize {
    if columns <= lanes { 1 } else { full_panel(isa) }
}

/// Multiplies the panel with every tile.
///
/// # Safety
/// The panel must have been packed as `kind` says, the activations quantised to the shape, which must be of more
/// than few rows; `waiting` must take its rows and `out` the `columns` of `m` rows.
#[inline(always)]
pub(super) unsafe fn multiply<S: Dot>(s: S, job: &Job) {
    // SAFETY: the caller's.
    unsafe {
        if const { full_panel(S::ISA) == 1 } || job.columns <= S::LANES {
            kinds::<S, 1>(s, job);
        } else if const { full_panel(S::ISA) == 2 } {
            kinds::<S, 2>(s, job);
        } else if const { full_panel(S::ISA) == 3 } {
            kinds::<S, 3>(s, job);
        }
    }
}
