//! [`Activations`]: the quantised form of `x` that every product with it shares, whatever the weights' formats.
//!
//! Each 32 values along a row become 32 signed bytes and one `f32` scale, `x = scale * code` with codes in
//! `-127..=127`, beside their sum for weights with a min. Few rows are laid out row by row for kernels that walk weight
//! rows; there the scales of 256 values are whole multiples, up to 255, of one unit, so that kernels can scale in integers.
//! Many rows are laid out in tiles of [`TILE`], whose codes are interleaved by fours for the panel kernels, and all tiles
//! at one [`DEPTH`] stand before those at the next: kernels go through them in that order, and the processor's own
//! prefetcher follows. Panels with integer scales and mins take other codes, with one scale for [`SPAN`] values, which
//! groups of 32 may halve a few times, so that these are added up as integers; there a four of the first 32 of each 64
//! values stands beside that of the second, as both are scaled together.

use super::blocks::{GROUP, OCTET, unrolled};
#[cfg(target_arch = "x86_64")]
use super::matrix;
use super::steps::TwoSteps;
use crate::simd::{Dot, Level, stamp_dot};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Rows up to which the row-by-row layout and the decode kernels are used.
pub(super) const FEW: usize = 4;
/// Rows of activations that a panel kernel takes together.
pub(super) const TILE: usize = 4;
/// Rows from which on products are left to [`super::matrix`] where there are tiles.
pub(super) const MATRIX_FROM: usize = 33;
/// Values of a row that one unit of quantising covers in the row-by-row layout.
const UNIT: usize = 4 * OCTET;
/// Values of two groups, which lie interleaved in a tile and whose integer dot products are scaled together.
pub(super) const PAIR: usize = 2 * GROUP;
/// Values of a row that the panel kernels go through for all tiles before the next: their panel stays in the L1 cache.
pub(super) const DEPTH: usize = 2 * OCTET;
/// Values of a tile's row that have one scale where the panel's scales are integers.
pub(super) const SPAN: usize = OCTET / 2;
/// Bits of the weights' codes there.
pub(super) const CENTRED_BITS: u32 = 4;
/// 256 values whose largest magnitude is below this are taken as zero: reciprocals could overflow.
const TINY: f32 = 1e-30;
/// The largest multiple of a unit: with a signed byte as the weights' own scale it still fits 16 bits.
const MULTIPLES: f32 = 255.0;

/// The shape of quantised activations `[m, k]`: where things lie in a buffer of [`Activations::bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activations {
    pub(super) level: Level,
    pub(super) m: usize,
    pub(super) k: usize,
    /// What is written; all forms have their places.
    pub(super) forms: Forms,
}

/// The forms of codes that a kernel reads, or several do. To write others would cost more than to round: memory that
/// another worker has just read is slow to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forms(u8);

impl Forms {
    /// [`Row::codes`] and [`Tile::codes`], with their scales and sums.
    pub const CODES: Self = Self(1);
    /// [`Row::paired`].
    pub const PAIRED: Self = Self(2);
    /// [`Row::halved`].
    pub const HALVED: Self = Self(4);
    /// [`Row::values`].
    pub const VALUES: Self = Self(8);
    /// [`Tile::spans`], with their scales and sums.
    pub const SPANS: Self = Self(16);
    /// [`Row::parted`].
    pub const PARTED: Self = Self(32);
    const ALL: Self = Self(63);

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// One row's arrays in the row-by-row layout, each padded with zeros to a multiple of 256 values.
#[derive(Clone, Copy)]
pub(super) struct Row {
    /// Codes in natural order.
    pub codes: *const u8,
    /// A scale for each 32 codes.
    pub scales: *const f32,
    /// Scale times sum of each 32 codes.
    pub sums: *const f32,
    /// For each 256 codes, what their scales are multiples of.
    pub units: *const f32,
    /// The multiple for each 32 codes.
    pub multiples: *const i16,
    /// The sum of each 16 codes.
    pub fine_sums: *const i16,
    /// The codes again, groups of 32 in the order 0, 2, 1, 3 within each 128: that of nibbles in 64 bytes of Q4_K.
    pub paired: *const u8,
    /// The codes again, of each 256 the first halves of four groups, then their second halves, and the same of the other four:
    /// the order of nibbles in eight blocks of Q4_0 as [`Dot::bytes_of_four`] takes them.
    pub halved: *const u8,
    /// The same with the even codes of a group in place of its first half, and the odd ones in place of its second: the order of
    /// nibbles where neighbours share a byte.
    pub parted: *const u8,
    /// The values themselves, for weights that are multiplied as floats.
    pub values: *const f32,
}

/// One tile's arrays at one depth: `TILE` numbers, one for each row, for each step along its `k` values.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// `[k / 4][TILE][4]` codes.
    pub codes: *const i8,
    /// `[k / 32][TILE]` scales.
    pub scales: *const f32,
    /// `[k / 32][TILE]` scales times sums.
    pub sums: *const f32,
    /// `[k / 32][TILE]`: where a dot product with codes that something was added to starts ([`Dot::starts_of_runs`]).
    pub starts: *const i32,
    /// `[k / 16][TILE]`: the same for 16 codes each.
    pub fine_starts: *const i32,
    /// Codes with one scale for [`SPAN`] of them, or powers of two less, `[k / 64][8][TILE][2][4]`: value
    /// `64 a + 32 d + 4 b + e` of row `c` at `[a][b][c][d][e]`. These and what belongs to them are for whole octets only.
    pub spans: *const i8,
    /// `[k / SPAN][TILE]` scales of them.
    pub span_scales: *const f32,
    /// `[k / 64][TILE][2]`: how many times 32 of them have half of that scale.
    pub span_shifts: *const i16,
    /// `[k / 64][TILE][2]` sums of 32 of them, in eighths of the scale of all.
    pub span_sums: *const i16,
    /// `[k / 64][TILE][2]`: where dot products of 32 of them with codes of [`CENTRED_BITS`] start, whose centre is then zero.
    pub span_starts: *const i32,
}

impl Activations {
    /// The layout of `m` rows of `k` values; `None` unless `k` is a multiple of 32.
    pub fn new(level: Level, m: usize, k: usize) -> Option<Self> {
        (k % GROUP == 0).then_some(Self { level, m, k, forms: Forms::ALL })
    }

    /// The same, written for the readers of `other` too.
    pub fn and(self, other: Self) -> Self {
        Self { forms: Forms(self.forms.0 | other.forms.0), ..self }
    }

    /// The same, written for any reader.
    pub fn for_all(self) -> Self {
        Self { forms: Forms::ALL, ..self }
    }

    /// Rows.
    pub fn rows(self) -> usize {
        self.m
    }

    /// Values of a row.
    pub fn cols(self) -> usize {
        self.k
    }

    /// Bytes of the buffer, which should be aligned to 64.
    pub fn bytes(self) -> usize {
        if self.few() {
            return self.m * self.row_bytes();
        }
        #[cfg(target_arch = "x86_64")]
        if self.matrix() {
            return matrix::acts_bytes(self.m, self.k);
        }
        let spans = self.k / DEPTH * self.spans_bytes(DEPTH) + self.spans_bytes(self.k % DEPTH);
        self.all_codes_bytes() + self.tiles() * spans
    }

    /// How many independent pieces quantising divides into.
    pub fn units(self) -> usize {
        if self.few() { self.m * self.row_units() } else { self.m.div_ceil(self.unit_rows()) }
    }

    /// The rows of unit `unit` where it stands for whole rows, as it does where they are many.
    pub fn rows_of(self, unit: usize) -> Option<Range<usize>> {
        (!self.few()).then(|| unit * self.unit_rows()..((unit + 1) * self.unit_rows()).min(self.m))
    }

    /// Quantises the part of `x` that `units` stands for: `[m, k]`, rows `stride` values apart.
    ///
    /// Units write disjoint parts of `out`, and each bit of it depends on `x` alone. A value that is not finite makes
    /// the products of its row NaN.
    ///
    /// # Safety
    /// `x` must be valid for reading all its rows, `out` for writing [`Activations::bytes`], 4-byte aligned, and
    /// no other thread may touch the parts of `out` that belong to these units meanwhile.
    pub unsafe fn quantise(self, x: *const f32, stride: usize, units: Range<usize>, out: *mut u8) {
        debug_assert!(units.end <= self.units());
        // SAFETY: the caller's contract is the kernels'.
        unsafe { quantise(self.level, self, x, (stride, 0), units, out) }
    }

    /// As [`Activations::quantise`], for unit `unit` of many rows, whose rows alone are at `x`.
    ///
    /// # Safety
    /// As there.
    pub unsafe fn quantise_tile(self, x: *const f32, stride: usize, unit: usize, out: *mut u8) {
        debug_assert!(!self.few() && unit < self.units());
        // SAFETY: likewise.
        unsafe { quantise(self.level, self, x, (stride, unit * self.unit_rows()), unit..unit + 1, out) }
    }

    /// How these rows, an even number of them, come from half as many that are rounded in two steps.
    pub fn two_steps(self) -> TwoSteps {
        debug_assert!(!self.matrix(), "tiles have no second step");
        let way = match self.forms {
            _ if self.few() => Way::Multiples,
            Forms::SPANS => Way::Spans,
            _ => Way::Groups,
        };
        TwoSteps { level: self.level, m: self.m / 2, k: self.k, way }
    }

    /// Whether the row-by-row layout is used.
    pub(super) fn few(self) -> bool {
        self.m <= FEW
    }

    /// Whether these are tiles of [`super::matrix`], of which nothing below is true.
    pub fn matrix(self) -> bool {
        self.level.has_amx() && self.m >= MATRIX_FROM
    }

    /// Rows of a unit where it stands for whole rows.
    fn unit_rows(self) -> usize {
        #[cfg(target_arch = "x86_64")]
        if self.matrix() {
            return matrix::ROWS;
        }
        TILE
    }

    fn padded(self) -> usize {
        self.k.next_multiple_of(OCTET)
    }

    fn row_bytes(self) -> usize {
        self.padded() * (1 + 1 + 1 + 1 + 4)
            + self.padded() / GROUP * (4 + 4 + 2 + 4)
            + self.padded() / OCTET * 4
    }

    fn row_units(self) -> usize {
        self.k.div_ceil(UNIT)
    }

    /// Tiles of many rows.
    pub(super) fn tiles(self) -> usize {
        self.m.div_ceil(TILE)
    }

    /// Bytes of what belongs to [`Tile::codes`] over `k` values of a depth.
    #[inline(always)]
    fn codes_bytes(self, k: usize) -> usize {
        let k = k.next_multiple_of(PAIR);
        (TILE * (k + k / GROUP * (4 + 4 + 4 + 8))).next_multiple_of(64)
    }

    /// The same of [`Tile::spans`].
    #[inline(always)]
    fn spans_bytes(self, k: usize) -> usize {
        let bytes = TILE * (k + k / GROUP * (4 + 2 + 2) + k / SPAN * 4);
        if self.k % OCTET == 0 { bytes.next_multiple_of(64) } else { 0 }
    }

    /// Bytes of all codes in tiles, after which the spans begin.
    #[inline(always)]
    fn all_codes_bytes(self) -> usize {
        self.tiles() * (self.k / DEPTH * self.codes_bytes(DEPTH) + self.codes_bytes(self.k % DEPTH))
    }

    /// Row `m` of a buffer in the row-by-row layout.
    #[inline(always)]
    pub(super) unsafe fn row(self, base: *const u8, m: usize) -> Row {
        // SAFETY: the caller gives a buffer of `bytes()`.
        unsafe {
            let codes = base.add(m * self.row_bytes());
            let paired = codes.add(self.padded());
            let halved = paired.add(self.padded());
            let parted = halved.add(self.padded());
            let values = parted.add(self.padded()).cast::<f32>();
            let scales = values.add(self.padded());
            let sums = scales.add(self.padded() / GROUP);
            let units = sums.add(self.padded() / GROUP);
            let multiples = units.add(self.padded() / OCTET).cast::<i16>();
            let fine_sums = multiples.add(self.padded() / GROUP);
            Row { codes, scales, sums, units, multiples, fine_sums, paired, halved, parted, values }
        }
    }

    /// Tile `t` of a buffer in the tiled layout, at the depth that begins with value `at` of its rows.
    #[inline(always)]
    pub(super) fn tile(self, base: *const u8, t: usize, at: usize) -> Tile {
        // Wrapping, because prefetches ask for a tile past the last.
        let k = DEPTH.min((self.k - at).next_multiple_of(PAIR));
        let before = at / DEPTH * self.tiles();
        let codes = base.wrapping_add(before * self.codes_bytes(DEPTH) + t * self.codes_bytes(k));
        let (scales, step) = (codes.wrapping_add(TILE * k).cast::<f32>(), TILE * k / GROUP);
        let (sums, starts) = (scales.wrapping_add(step), scales.wrapping_add(2 * step).cast::<i32>());
        let fine_starts = starts.wrapping_add(step);
        let spans = before * self.spans_bytes(DEPTH) + t * self.spans_bytes(k);
        let spans = base.wrapping_add(self.all_codes_bytes() + spans);
        let span_starts = spans.wrapping_add(TILE * k).cast::<i32>();
        let span_sums = span_starts.wrapping_add(step).cast::<i16>();
        let span_shifts = span_sums.wrapping_add(step);
        let span_scales = span_shifts.wrapping_add(step).cast();
        let (codes, spans) = (codes.cast(), spans.cast());
        Tile {
            codes,
            scales,
            sums,
            starts,
            fine_starts,
            spans,
            span_scales,
            span_shifts,
            span_sums,
            span_starts,
        }
    }
}

/// Quarters of 256 values, each of which kernels take as one vector of codes.
pub(super) const QUARTERS: usize = OCTET / PAIR;
/// Half a group.
pub(super) const HALF: usize = GROUP / 2;
/// Groups of 256 values.
const GROUPS: usize = OCTET / GROUP;
/// Spans of 256 values.
const SPANS: usize = OCTET / SPAN;
/// The most times that a group's scale is half of its span's.
const SHIFTS: u32 = 6;

/// How values are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// As [`Multiples`]: the row-by-row layout.
    Multiples,
    /// As [`Rounding::of_groups`]: [`Tile::codes`].
    Groups,
    /// As [`Spans`]: [`Tile::spans`].
    Spans,
}

/// A scale for each 32 of 256 values. One that belongs to a value which is not finite is not finite either.
#[derive(Clone, Copy)]
pub(super) struct Rounding {
    /// The scales.
    pub scales: [f32; GROUPS],
    /// What values are multiplied with.
    inverse: [f32; GROUPS],
}

impl Rounding {
    /// Of values that are all rounded to zero.
    const ZERO: Self = Self { scales: [0.0; GROUPS], inverse: [0.0; GROUPS] };

    /// Of 256 values, in any way.
    #[inline(always)]
    pub unsafe fn of<S: Dot>(s: S, x: *const f32, way: Way) -> Self {
        // SAFETY: the caller vouches for the values.
        unsafe {
            match way {
                Way::Multiples => Multiples::of(s, x).rounding,
                Way::Groups => Self::of_groups(s, x),
                Way::Spans => Spans::of(s, x).rounding,
            }
        }
    }

    /// With scales that have nothing to do with each other.
    #[inline(always)]
    pub unsafe fn of_groups<S: Dot>(s: S, x: *const f32) -> Self {
        // SAFETY: the caller vouches for the values.
        let peaks = unsafe { s.peaks(x) };
        let mut rounding = Self::ZERO;
        for g in 0..GROUPS {
            let peak = f32::from_bits(peaks[g]);
            let none = peak < TINY;
            rounding.scales[g] = if none { 0.0 } else { peak / 127.0 };
            rounding.inverse[g] = if none { 0.0 } else { 127.0 / peak };
        }
        rounding
    }

    /// The codes of the values that these are the scales of.
    #[inline(always)]
    pub unsafe fn codes<S: Dot>(&self, s: S, x: *const f32) -> [S::Bytes; QUARTERS] {
        // SAFETY: the caller vouches for the values.
        unrolled!(c in [0_usize, 1, 2, 3] => unsafe {
            s.rounded(x.add(c * PAIR), [self.inverse[2 * c], self.inverse[2 * c + 1]])
        })
    }
}

/// Scales of 256 values that are whole multiples of one unit.
#[derive(Clone, Copy)]
struct Multiples {
    unit: f32,
    /// How many units each scale is, in floats, as narrow numbers would be put in place one by one and read back too soon.
    times: [f32; GROUPS],
    rounding: Rounding,
}

impl Multiples {
    /// Of 256 values. A multiple is rounded up, so that no code exceeds 127.
    #[inline(always)]
    unsafe fn of<S: Dot>(s: S, x: *const f32) -> Self {
        // SAFETY: the caller vouches for the values.
        let peaks = unsafe { s.peaks(x) };
        let most = f32::from_bits(largest(&peaks));
        let (mut times, mut rounding) = ([0.0; GROUPS], Rounding::ZERO);
        if most < TINY {
            return Self { unit: 0.0, times, rounding };
        }
        let (by, unit) = (MULTIPLES / most, most / (127.0 * MULTIPLES));
        for g in 0..GROUPS {
            times[g] = (f32::from_bits(peaks[g]) * by).ceil().min(MULTIPLES);
            let scale = times[g] * unit;
            rounding.scales[g] = scale;
            rounding.inverse[g] = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        }
        Self { unit, times, rounding }
    }
}

/// Scales of 256 values where each 128 have one, which groups of 32 halve a few times.
#[derive(Clone, Copy)]
struct Spans {
    /// Of 128 values each.
    scales: [f32; SPANS],
    /// How many times each 32 values halve it.
    shifts: [u32; GROUPS],
    rounding: Rounding,
}

impl Spans {
    /// Of 256 values.
    #[inline(always)]
    unsafe fn of<S: Dot>(s: S, x: *const f32) -> Self {
        const GROUPS: usize = SPAN / GROUP;
        // SAFETY: the caller vouches for the values.
        let peaks = unsafe { s.peaks(x) };
        let mut spans =
            Self { scales: [0.0; SPANS], shifts: [0; super::acts::GROUPS], rounding: Rounding::ZERO };
        for span in 0..SPANS {
            let groups = span * GROUPS..(span + 1) * GROUPS;
            let most = largest(&peaks[groups.clone()]);
            let peak = f32::from_bits(most);
            if peak < TINY {
                continue;
            }
            spans.scales[span] = peak / 127.0;
            for g in groups {
                // The difference of two numbers' bits, in exponents, is the logarithm of their ratio, rounded down.
                let times = (most - peaks[g]) >> (f32::MANTISSA_DIGITS - 1);
                spans.shifts[g] = if times < SHIFTS { times } else { SHIFTS };
                let half = (1 << spans.shifts[g]) as f32;
                spans.rounding.scales[g] = peak / 127.0 / half;
                spans.rounding.inverse[g] = 127.0 / peak * half;
            }
        }
        spans
    }
}

/// The largest of the bits of magnitudes.
#[inline(always)]
fn largest(peaks: &[u32]) -> u32 {
    let mut most = 0;
    for g in 0..peaks.len() {
        most = if peaks[g] > most { peaks[g] } else { most };
    }
    most
}

/// What a scale, or what scales are multiples of, is written as: NaN if it is not finite, as a value is not then.
#[inline(always)]
fn noted(scale: f32) -> f32 {
    scale + scale * 0.0
}

/// The 256 values at `x`, or as many as there are and zeros, in `room`.
#[inline(always)]
pub(super) unsafe fn whole(x: *const f32, count: usize, room: &mut MaybeUninit<[f32; OCTET]>) -> *const f32 {
    if count == OCTET {
        return x;
    }
    let room = room.write([0.0; OCTET]);
    // SAFETY: the caller vouches for `count` values, fewer than 256.
    unsafe { room.as_mut_ptr().copy_from_nonoverlapping(x, count) };
    room.as_ptr()
}

#[inline(always)]
unsafe fn quantise_generic<S: Dot>(
    s: S,
    shape: Activations,
    x: *const f32,
    (stride, first): (usize, usize),
    units: Range<usize>,
    out: *mut u8,
) {
    for unit in units {
        // SAFETY: the caller's contract, handed on for one unit.
        unsafe {
            if shape.few() {
                let (m, part) = (unit / shape.row_units(), unit % shape.row_units());
                quantise_row(s, shape, x.add(m * stride), shape.row(out, m), part);
            } else {
                let x = x.add((unit * shape.unit_rows() - first) * stride);
                #[cfg(target_arch = "x86_64")]
                if shape.matrix() {
                    matrix::convert(shape, x, stride, unit, out);
                    continue;
                }
                quantise_tile(s, shape, x, stride, out, unit);
            }
        }
    }
}

/// Quantises part `part` of one row, and pads the row with zeros after its last group.
#[inline(always)]
unsafe fn quantise_row<S: Dot>(s: S, shape: Activations, x: *const f32, row: Row, part: usize) {
    let end = ((part + 1) * UNIT).min(shape.padded());
    for at in (part * UNIT..end).step_by(OCTET) {
        let mut room = MaybeUninit::uninit();
        // SAFETY: `at` lies within the padded row, and what is read within `x`.
        unsafe {
            let x = whole(x.add(at), OCTET.min(shape.k - at), &mut room);
            let Multiples { unit, times, rounding } = Multiples::of(s, x);
            let quarters = rounding.codes(s, x);
            let (mut sums, mut fine_sums) = ([0; OCTET / GROUP], [0; OCTET / HALF]);
            let mut codes = [0u8; OCTET];
            for c in 0..QUARTERS {
                let runs = s.sums_of_runs(quarters[c]);
                (sums[2 * c], sums[2 * c + 1]) = (runs[0] + runs[1], runs[2] + runs[3]);
                for i in 0..4 {
                    fine_sums[4 * c + i] = runs[i] as i16;
                }
                s.store_bytes(codes.as_mut_ptr().add(c * PAIR), quarters[c]);
            }
            row.units.add(at / OCTET).cast_mut().write(noted(unit));
            for g in 0..OCTET / GROUP {
                let (scale, slot) = (noted(rounding.scales[g]), at / GROUP + g);
                row.scales.add(slot).cast_mut().write(scale);
                row.sums.add(slot).cast_mut().write(scale * sums[g] as f32);
                row.multiples.add(slot).cast_mut().write(times[g] as i16);
            }
            if shape.forms.has(Forms::VALUES) {
                x.copy_to_nonoverlapping(row.values.add(at).cast_mut(), OCTET);
            }
            let codes = codes.as_ptr();
            if shape.forms.has(Forms::CODES) {
                for c in 0..QUARTERS {
                    s.store_bytes(row.codes.add(at + c * PAIR).cast_mut(), quarters[c]);
                }
                row.fine_sums.add(at / HALF).cast_mut().cast::<[i16; OCTET / HALF]>().write(fine_sums);
            }
            if shape.forms.has(Forms::PAIRED) {
                for g in 0..OCTET / GROUP {
                    let to = row.paired.add(at + ((g & !3) + [0, 2, 1, 3][g % 4]) * GROUP).cast_mut();
                    codes.add(g * GROUP).copy_to_nonoverlapping(to, GROUP);
                }
            }
            if shape.forms.has(Forms::HALVED) {
                for half in 0..OCTET / HALF {
                    let (g, second) = (half / 2, half % 2);
                    let to = row.halved.add(at + halved_at::<S>(g, second)).cast_mut();
                    codes.add(half * HALF).copy_to_nonoverlapping(to, HALF);
                }
            }
            if shape.forms.has(Forms::PARTED) {
                for half in 0..OCTET / HALF {
                    let (g, odd) = (half / 2, half % 2);
                    let to = row.parted.add(at + halved_at::<S>(g, odd)).cast_mut();
                    for i in 0..HALF {
                        to.add(i).write(codes.add(g * GROUP + 2 * i + odd).read());
                    }
                }
            }
        }
    }
}

/// Where the first or second half of group `g` of 256 codes begins in [`Row::halved`], and its even or odd ones in [`Row::parted`].
#[inline(always)]
pub(super) fn halved_at<S: Dot>(g: usize, second: usize) -> usize {
    let place = S::PLACES[g];
    (place / 4 * 8 + 4 * second + place % 4) * HALF
}

/// Quantises the rows at `x` as those of tile `t`; rows past the last are zero.
#[inline(always)]
unsafe fn quantise_tile<S: Dot>(
    s: S,
    shape: Activations,
    x: *const f32,
    stride: usize,
    out: *mut u8,
    t: usize,
) {
    let exist = (shape.m - t * TILE).min(TILE);
    for at in (0..shape.k).step_by(OCTET) {
        let (count, within) = (OCTET.min(shape.k - at), at % DEPTH);
        let tile = shape.tile(out, t, at - within);
        // SAFETY: rows below `m` are readable, and every index lies within the tile's arrays.
        unsafe {
            let values = x.add(at);
            if shape.forms.has(Forms::CODES) {
                tile_of_groups(s, values, stride, (exist, count), tile, within);
            }
            if shape.k % OCTET == 0 && shape.forms.has(Forms::SPANS) {
                tile_of_spans(s, values, stride, exist, tile, within);
            }
        }
    }
}

/// Up to 256 values of a tile's rows, with a scale for each 32: `count` values of `exist` rows are read.
#[inline(always)]
unsafe fn tile_of_groups<S: Dot>(
    s: S,
    values: *const f32,
    stride: usize,
    (exist, count): (usize, usize),
    tile: Tile,
    at: usize,
) {
    let mut quarters = [[s.words([0; 8]); QUARTERS]; TILE];
    // SAFETY: the caller's rows and tile.
    unsafe {
        for r in 0..TILE {
            let mut room = MaybeUninit::uninit();
            let x = whole(values.wrapping_add(r * stride), if r < exist { count } else { 0 }, &mut room);
            let rounding = Rounding::of_groups(s, x);
            quarters[r] = rounding.codes(s, x);
            for c in 0..count.div_ceil(PAIR) {
                let [a, b, d, e] = s.starts_of_runs(quarters[r][c]);
                note::<S>(tile, r, at / GROUP + 2 * c, noted(rounding.scales[2 * c]), [a, b]);
                note::<S>(tile, r, at / GROUP + 2 * c + 1, noted(rounding.scales[2 * c + 1]), [d, e]);
            }
        }
        for c in 0..count.div_ceil(PAIR) {
            let rows = [quarters[0][c], quarters[1][c], quarters[2][c], quarters[3][c]];
            s.store_woven::<false>(rows, tile.codes.cast_mut().cast::<u8>().add((at + c * PAIR) * TILE));
        }
    }
}

/// Stores what is to be known of group `g` of row `r` of a tile, whose halves' products start from `starts`.
#[inline(always)]
unsafe fn note<S: Dot>(tile: Tile, r: usize, g: usize, scale: f32, starts: [i32; 2]) {
    let start = S::joint_start(starts[0], starts[1]);
    // SAFETY: the caller gives a row and a group of the tile.
    unsafe {
        let at = g * TILE + r;
        tile.scales.add(at).cast_mut().write(scale);
        tile.sums.add(at).cast_mut().write(scale * (-S::negative_sum(start)) as f32);
        tile.starts.add(at).cast_mut().write(start);
        tile.fine_starts.add(2 * g * TILE + r).cast_mut().write(starts[0]);
        tile.fine_starts.add((2 * g + 1) * TILE + r).cast_mut().write(starts[1]);
    }
}

/// 256 values of a tile's rows in spans, of which `exist` are read.
#[inline(always)]
unsafe fn tile_of_spans<S: Dot>(
    s: S,
    values: *const f32,
    stride: usize,
    exist: usize,
    tile: Tile,
    at: usize,
) {
    let mut quarters = [[s.words([0; 8]); QUARTERS]; TILE];
    // SAFETY: the caller's rows and tile.
    unsafe {
        for r in 0..TILE {
            let mut room = MaybeUninit::uninit();
            let x = whole(values.wrapping_add(r * stride), if r < exist { OCTET } else { 0 }, &mut room);
            let spans = Spans::of(s, x);
            quarters[r] = spans.rounding.codes(s, x);
            for span in 0..SPANS {
                let slot = (at / SPAN + span) * TILE + r;
                tile.span_scales.add(slot).cast_mut().write(noted(spans.scales[span]));
            }
            for c in 0..QUARTERS {
                let [a, b, d, e] = s.starts_of_runs(quarters[r][c]);
                let starts = [S::joint_start(a, b), S::joint_start(d, e)];
                let slot = ((at / PAIR + c) * TILE + r) * 2;
                for g in 0..2 {
                    let (shift, sum) = (spans.shifts[2 * c + g], -S::negative_sum(starts[g]));
                    let eighths = (8 * sum + (1 << shift >> 1)) >> shift;
                    tile.span_shifts.add(slot + g).cast_mut().write(shift as i16);
                    tile.span_sums.add(slot + g).cast_mut().write(eighths as i16);
                    let start = S::raised_start(starts[g], CENTRED_BITS);
                    tile.span_starts.add(slot + g).cast_mut().write(start);
                }
            }
        }
        for c in 0..QUARTERS {
            let rows = [quarters[0][c], quarters[1][c], quarters[2][c], quarters[3][c]];
            s.store_woven::<true>(rows, tile.spans.cast_mut().cast::<u8>().add((at + c * PAIR) * TILE));
        }
    }
}

stamp_dot! {
    /// Quantises `units` of rows `stride` values apart, the first of `x` being row `first`.
    unsafe fn quantise(
        shape: Activations,
        x: *const f32,
        stride_and_first: (usize, usize),
        units: Range<usize>,
        out: *mut u8,
    ) = quantise_generic;
}
