//! Many rows of activations: one panel, packed of weight rows for a run of their weights, times tile after tile of activations.

use super::acts::{Activations, DEPTH, Forms, PAIR, SPAN, TILE, Tile};
use super::blocks::{GROUP, OCTET};
use super::panel::{Panel, is_narrow, numbers};
use crate::kernel::stream::Ahead;
use crate::simd::{Dot, Isa};
use std::ops::Range;

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
    /// 8 integer scales of 32 weights, 8 integer mins, and a float that they all are times.
    Integer,
}

impl Kind {
    /// Whether scales are of 16 weights.
    pub const fn fine(self) -> bool {
        matches!(self, Self::Fine | Self::FineWithMins)
    }

    /// What is read of activations.
    pub fn forms(self) -> Forms {
        if self == Self::Integer { Forms::SPANS } else { Forms::CODES }
    }

    /// Numbers of each row for 256 weights.
    pub fn numbers(self) -> usize {
        numbers(self == Self::FineWithMins)
    }
}

/// A panel times all activations.
pub(super) struct Job {
    /// The panel, of as many [`vectors`] as `columns` asks for.
    pub panel: Panel,
    /// The weights of each row that it holds: whole depths, or up to the row's end ([`runs`]).
    pub run: Range<usize>,
    /// Weight rows, and so output columns, that count.
    pub columns: usize,
    /// What its numbers are.
    pub kind: Kind,
    /// Bits of its codes.
    pub bits: usize,
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
    /// What will be packed next, and which of its steps is the first tile.
    pub ahead: Ahead,
    pub step: usize,
}

/// The runs of `k` weights that are packed and multiplied one after the other, so that the first-level cache has a panel
/// when it is multiplied: a depth each, and the last with what is left.
pub(super) fn runs(k: usize) -> impl Iterator<Item = Range<usize>> {
    let count = (k / DEPTH).max(1);
    (0..count).map(move |run| run * DEPTH..if run + 1 < count { (run + 1) * DEPTH } else { k })
}

/// Steps of packing a run of so many weights in `vectors`, and of multiplying it with `tiles`.
pub(super) fn steps(run: usize, vectors: usize, tiles: usize) -> [usize; 2] {
    [run.div_ceil(OCTET) * vectors, run.div_ceil(DEPTH) * tiles]
}

/// The weights of the longest run.
pub(super) fn longest_run(k: usize) -> usize {
    k.min(2 * DEPTH)
}

/// A cache line.
const LINE: usize = 64;
/// Weights of one scale where a group has two.
const HALF: usize = GROUP / 2;

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

/// A depth of `k` weights of one panel for one tile, all sums in registers; meanwhile tile `next` is fetched.
///
/// `STEP` is the weights of one scale; `MINS` says whether mins follow the scales, and `INTEGER` that scales are integers:
/// a depth is whole octets then. `BITS` is those of a code where sums are narrow, and 0 otherwise.
#[inline(always)]
unsafe fn tile<
    S: Dot,
    const V: usize,
    const STEP: usize,
    const MINS: bool,
    const INTEGER: bool,
    const BITS: usize,
>(
    s: S,
    panel: Panel,
    acts: Tile,
    next: Tile,
    k: usize,
    ends: Ends,
) {
    let step = if INTEGER { SPAN } else { GROUP };
    // SAFETY: the caller gives a panel and a tile that reach over `k`, and rows to read and write.
    unsafe {
        let mut sums = [[s.zero(); V]; TILE];
        let mut at = 0;
        while at < k {
            fetch::<S, INTEGER>(s, next, at, step);
            if INTEGER {
                // Written out, so that the sums stay in registers.
                add_span::<S, V, 0, BITS>(s, panel, acts, at, &mut sums);
                if V > 1 {
                    add_span::<S, V, 1, BITS>(s, panel, acts, at, &mut sums);
                }
                if V > 2 {
                    add_span::<S, V, 2, BITS>(s, panel, acts, at, &mut sums);
                }
            } else if STEP == GROUP {
                add_group::<S, V, MINS, BITS>(s, panel, acts, at, &mut sums);
            } else {
                add_fine_group::<S, V, MINS, BITS>(s, panel, acts, at, &mut sums);
            }
            at += step;
        }
        finish(s, sums, ends);
    }
}

/// Fetches `count` weights' worth of a tile.
#[inline(always)]
fn fetch<S: Dot, const INTEGER: bool>(s: S, tile: Tile, at: usize, count: usize) {
    let codes = if INTEGER { tile.spans } else { tile.codes };
    for line in (0..count * TILE).step_by(LINE) {
        s.prefetch(codes.wrapping_add(at * TILE + line).cast());
    }
    let group = at / GROUP * TILE;
    if INTEGER {
        s.prefetch(tile.span_scales.wrapping_add(at / SPAN * TILE).cast());
        s.prefetch(tile.span_sums.wrapping_add(group).cast());
        s.prefetch(tile.span_shifts.wrapping_add(group).cast());
        s.prefetch(tile.span_starts.wrapping_add(group).cast());
    } else {
        s.prefetch(tile.scales.wrapping_add(group).cast());
    }
}

/// 128 weights of vector `N` of the panel, with four integer scales and mins, times as many values whose scales are one, or
/// powers of two less: all is added up in integers. A dot product of 32 weights fits 16 bits, as codes are centred, and four
/// of them, scaled, with mins and sums of 32 values fit 32: 4 * (8 * 127 * 32 * 4032 + 12280 * 8 * 127 * 32) < 2^31.
#[inline(always)]
unsafe fn add_span<S: Dot, const V: usize, const N: usize, const BITS: usize>(
    s: S,
    panel: Panel,
    acts: Tile,
    at: usize,
    sums: &mut [[S::F; V]; TILE],
) {
    let (lanes, vector) = (S::LANES, 4 * S::LANES);
    // SAFETY: the caller's panel and tile reach over the weights.
    unsafe {
        let numbers = panel.numbers.add((at / OCTET * numbers(false) * V + N) * lanes);
        let mut totals = [s.splat_i32(0); TILE];
        for pair in at / PAIR..at / PAIR + 2 {
            let mut dots = [[s.splat_i32(0); 2]; TILE];
            for m in 0..TILE {
                dots[m] = [s.splat_two(acts.span_starts.add((pair * TILE + m) * 2)); 2];
            }
            let weights = panel.codes.add(((at / 4 + pair % 2 * 8) * V + N) * vector);
            let values = acts.spans.add(pair * PAIR * TILE);
            for four in 0..GROUP / 4 {
                let low = s.codes(weights.add(four * V * vector));
                let high = s.codes(weights.add((four + PAIR / 4) * V * vector));
                for m in 0..TILE {
                    let a = s.codes_splat_two(values.add((four * TILE + m) * 8));
                    dots[m][0] = add_four::<S, BITS>(s, dots[m][0], low, a);
                    dots[m][1] = add_four::<S, BITS>(s, dots[m][1], high, a);
                }
            }
            let factors = s.load_i32(numbers.add(pair % 4 * V * lanes).cast());
            let mins = s.load_i32(numbers.add((8 + pair % 4) * V * lanes).cast());
            for m in 0..TILE {
                totals[m] = s.add_two(totals[m], mins, acts.span_sums.add((pair * TILE + m) * 2));
                let shifts = acts.span_shifts.add((pair * TILE + m) * 2);
                totals[m] = if BITS > 0 {
                    s.add_interleaved_narrow(totals[m], dots[m], factors, shifts)
                } else {
                    s.add_interleaved(totals[m], dots[m], factors, shifts)
                };
            }
        }
        let unit = s.load(numbers.add(4 * V * lanes));
        for m in 0..TILE {
            let scale = s.mul(unit, s.splat(*acts.span_scales.add(at / SPAN * TILE + m)));
            sums[m][N] = s.fma(s.to_f32(totals[m]), scale, sums[m][N]);
        }
    }
}

/// 32 weights with one scale.
#[inline(always)]
unsafe fn add_group<S: Dot, const V: usize, const MINS: bool, const BITS: usize>(
    s: S,
    panel: Panel,
    acts: Tile,
    at: usize,
    sums: &mut [[S::F; V]; TILE],
) {
    let (lanes, group) = (S::LANES, at / GROUP * TILE);
    // SAFETY: the caller's panel and tile reach over the group.
    unsafe {
        let dots = dots::<S, V, GROUP, MINS, BITS>(s, panel, acts, at, acts.starts.add(group));
        let from = panel.numbers.add((at / OCTET * numbers(false) + at % OCTET / GROUP) * V * lanes);
        for m in 0..TILE {
            let scale = s.splat(*acts.scales.add(group + m));
            for v in 0..V {
                let scale = s.mul(s.load(from.add(v * lanes)), scale);
                sums[m][v] = s.fma(s.to_f32(dots[m][v]), scale, sums[m][v]);
            }
            if MINS {
                let sum = s.splat(*acts.sums.add(group + m));
                for v in 0..V {
                    let mins = s.load(from.add((OCTET / GROUP * V + v) * lanes));
                    sums[m][v] = s.fma(mins, sum, sums[m][v]);
                }
            }
        }
    }
}

/// 32 weights with a scale for either half: what the activations' scale is multiplied with is their sum.
#[inline(always)]
unsafe fn add_fine_group<S: Dot, const V: usize, const MINS: bool, const BITS: usize>(
    s: S,
    panel: Panel,
    acts: Tile,
    at: usize,
    sums: &mut [[S::F; V]; TILE],
) {
    let lanes = S::LANES;
    // SAFETY: the caller's panel and tile reach over the group.
    unsafe {
        let mut scaled = [[s.zero(); V]; TILE];
        for half in 0..2 {
            let at = at + half * HALF;
            let starts = acts.fine_starts.add(at / HALF * TILE);
            let dots = dots::<S, V, HALF, MINS, BITS>(s, panel, acts, at, starts);
            let from = panel.numbers.add((at / OCTET * numbers(MINS) + at % OCTET / HALF) * V * lanes);
            for m in 0..TILE {
                for v in 0..V {
                    let (dot, scale) = (s.to_f32(dots[m][v]), s.load(from.add(v * lanes)));
                    scaled[m][v] =
                        if half == 0 { s.mul(dot, scale) } else { s.fma(dot, scale, scaled[m][v]) };
                }
                if MINS {
                    // The min's negative stands in the panel.
                    let sum = s.splat(S::negative_sum(*starts.add(m)) as f32);
                    for v in 0..V {
                        let mins = s.load(from.add((OCTET / HALF * V + v) * lanes));
                        scaled[m][v] = s.fma(mins, sum, scaled[m][v]);
                    }
                }
            }
        }
        for m in 0..TILE {
            let scale = s.splat(*acts.scales.add(at / GROUP * TILE + m));
            for v in 0..V {
                sums[m][v] = s.fma(scaled[m][v], scale, sums[m][v]);
            }
        }
    }
}

/// Four products of each lane, in 16 bits if codes have `BITS`.
#[inline(always)]
fn add_four<S: Dot, const BITS: usize>(s: S, acc: S::I, w: S::Codes, a: S::Codes) -> S::I {
    if BITS > 0 { s.add_narrow(acc, w, a) } else { s.dot_codes(acc, w, a) }
}

/// Integer products of `STEP` weights of all rows with those of the tile.
#[inline(always)]
unsafe fn dots<S: Dot, const V: usize, const STEP: usize, const MINS: bool, const BITS: usize>(
    s: S,
    panel: Panel,
    acts: Tile,
    at: usize,
    starts: *const i32,
) -> [[S::I; V]; TILE] {
    let vector = 4 * S::LANES;
    // Codes that no start centres give products twice as large.
    let run = if BITS > 0 && MINS { (128 >> BITS).min(STEP / 4) } else { STEP / 4 };
    let mut dots = [[s.splat_i32(0); V]; TILE];
    // SAFETY: the caller's panel and tile reach over the weights.
    unsafe {
        let (weights, values) = (panel.codes.add(at * V * S::LANES), acts.codes.add(at * TILE));
        for start in (0..STEP / 4).step_by(run) {
            let mut sums = [[s.splat_i32(0); V]; TILE];
            for m in 0..TILE {
                if BITS > 0 && !MINS {
                    sums[m] = [s.narrow_start::<BITS>(s.splat_i32(*starts.add(m))); V];
                } else if BITS == 0 && S::PANEL_BIAS != 0 {
                    sums[m] = [s.splat_i32(*starts.add(m)); V];
                }
            }
            for four in start..start + run {
                let mut w = [s.codes(weights.add(four * V * vector)); V];
                for v in 1..V {
                    w[v] = s.codes(weights.add((four * V + v) * vector));
                }
                for m in 0..TILE {
                    let a = s.codes_splat(values.add((four * TILE + m) * 4));
                    for v in 0..V {
                        sums[m][v] = add_four::<S, BITS>(s, sums[m][v], w[v], a);
                    }
                }
            }
            for m in 0..TILE {
                for v in 0..V {
                    dots[m][v] = if BITS > 0 { s.widen(dots[m][v], sums[m][v]) } else { sums[m][v] };
                }
            }
        }
    }
    dots
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
unsafe fn depths<
    S: Dot,
    const V: usize,
    const STEP: usize,
    const MINS: bool,
    const INTEGER: bool,
    const BITS: usize,
>(
    s: S,
    job: &Job,
) {
    let (k, m) = (job.shape.k, job.shape.m);
    let (width, tiles) = (V * S::LANES, job.shape.tiles());
    let mut step = job.step;
    for at in job.run.clone().step_by(DEPTH) {
        let end = (at + DEPTH).min(k);
        let panel = job.panel.after(at - job.run.start, width, job.kind.numbers());
        for t in 0..tiles {
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
                let acts = job.shape.tile(job.acts, t, at);
                let next = job.shape.tile(job.acts, t + 1, at);
                job.ahead.ask(s, step);
                step += 1;
                if end == k {
                    // Rows of the output are far apart, and a store that waits for its line holds up those behind it.
                    let rows = (t + 1) * TILE..((t + 2) * TILE).min(m);
                    for row in rows {
                        for column in (0..width).step_by(LINE / 4) {
                            s.prefetch_write(job.out.wrapping_add(row * job.stride + column).cast());
                        }
                    }
                }
                tile::<S, V, STEP, MINS, INTEGER, BITS>(s, panel, acts, next, end - at, ends);
            }
        }
    }
}

/// The widths of codes that formats with each kind of numbers have.
#[inline(always)]
unsafe fn kinds<S: Dot, const V: usize>(s: S, job: &Job) {
    let bits = if is_narrow::<S>(job.bits) { job.bits } else { 0 };
    // SAFETY: the caller's job.
    unsafe {
        match (job.kind, bits) {
            (Kind::Scaled, 4) if S::NARROW => depths::<S, V, 32, false, false, 4>(s, job),
            (Kind::Scaled, 5) if S::NARROW => depths::<S, V, 32, false, false, 5>(s, job),
            (Kind::Scaled, 0) => depths::<S, V, 32, false, false, 0>(s, job),
            (Kind::ScaledWithMins, 4) if S::NARROW => depths::<S, V, 32, true, false, 4>(s, job),
            (Kind::ScaledWithMins, 5) if S::NARROW => depths::<S, V, 32, true, false, 5>(s, job),
            (Kind::ScaledWithMins, 6) if S::NARROW => depths::<S, V, 32, true, false, 6>(s, job),
            (Kind::ScaledWithMins, 0) => depths::<S, V, 32, true, false, 0>(s, job),
            (Kind::Fine, 4) if S::NARROW => depths::<S, V, 16, false, false, 4>(s, job),
            (Kind::Fine, 5) if S::NARROW => depths::<S, V, 16, false, false, 5>(s, job),
            (Kind::Fine, 6) if S::NARROW => depths::<S, V, 16, false, false, 6>(s, job),
            (Kind::Fine, 0) => depths::<S, V, 16, false, false, 0>(s, job),
            (Kind::FineWithMins, 4) if S::NARROW => depths::<S, V, 16, true, false, 4>(s, job),
            (Kind::FineWithMins, 0) => depths::<S, V, 16, true, false, 0>(s, job),
            (Kind::Integer, 4) if S::NARROW => depths::<S, V, 32, true, true, 4>(s, job),
            (Kind::Integer, 0) => depths::<S, V, 32, true, true, 0>(s, job),
            (kind, bits) => unreachable!("no format has {kind:?} numbers and codes of {bits} bits"),
        }
    }
}

/// Vectors of weight rows in a full panel: as many as leave a tile's sums in registers, and the codes of a depth in
/// the L1 cache. Two scales of a group keep sums of their own.
pub(super) const fn full_panel(isa: Isa, kind: Kind) -> usize {
    match isa {
        Isa::Neon if !kind.fine() => 3,
        Isa::Avx512 | Isa::Avx2 | Isa::Neon => 2,
        Isa::Scalar => 1,
    }
}

/// Vectors of a panel that takes `columns` rows, at most a full one: either one, or all.
pub(super) const fn vectors(isa: Isa, lanes: usize, kind: Kind, columns: usize) -> usize {
    if columns <= lanes { 1 } else { full_panel(isa, kind) }
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
        match vectors(S::ISA, S::LANES, job.kind, job.columns) {
            3 if matches!(S::ISA, Isa::Neon) => kinds::<S, 3>(s, job),
            2 if !matches!(S::ISA, Isa::Scalar) => kinds::<S, 2>(s, job),
            _ => kinds::<S, 1>(s, job),
        }
    }
}
