//! [`Activations`]: the quantised form of `x` that every product with it shares, whatever the weights' formats.
//!
//! Each 32 values along a row become 32 signed bytes and one `f32` scale, `x = scale * code` with codes in
//! `-127..=127`, beside their sum for weights with a min. The scales of 256 values are whole multiples, up to 255, of
//! one unit, so that kernels can scale in integers. Few rows are laid out row by row for kernels that walk weight
//! rows; many rows in tiles of [`TILE`], whose codes are interleaved by fours for the panel kernels, and once more with a
//! four of the first 32 of each 64 values beside that of the second, for kernels that scale both together.

use super::blocks::{GROUP, OCTET};
use crate::simd::{Dot, Level, stamp_dot};
use std::ops::Range;

/// Rows up to which the row-by-row layout and the decode kernels are used.
pub(super) const FEW: usize = 4;
/// Rows of activations that a panel kernel takes together.
pub(super) const TILE: usize = 4;
/// Values of a row that one unit of quantising covers in the row-by-row layout.
const UNIT: usize = 4 * OCTET;
/// Values of two groups, which lie interleaved in a tile and whose integer dot products are scaled together.
pub(super) const PAIR: usize = 2 * GROUP;
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
    /// [`Row::codes`] and [`Tile::codes`].
    pub const CODES: Self = Self(1);
    /// [`Row::paired`] and [`Tile::paired`].
    pub const PAIRED: Self = Self(2);
    /// [`Row::halved`].
    pub const HALVED: Self = Self(4);
    /// [`Row::values`].
    pub const VALUES: Self = Self(8);
    const ALL: Self = Self(15);

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
    /// The codes again, groups of 32 in the order 0, 2, 1, 3 within each 128: that of nibbles in 64 bytes of Q4_K.
    pub paired: *const u8,
    /// The codes again, of each 128 the first halves of the four groups and then the second: the order of nibbles in
    /// four blocks of Q4_0.
    pub halved: *const u8,
    /// The values themselves, for weights that are multiplied as floats.
    pub values: *const f32,
}

/// One tile's arrays: `TILE` numbers, one for each row, for each step along `k`.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// `[k / 4][TILE][4]` codes.
    pub codes: *const i8,
    /// The codes again, `[k / 64][8][TILE][2][4]`: value `64 a + 32 d + 4 b + e` of row `c` at `[a][b][c][d][e]`. For whole
    /// octets only.
    pub paired: *const i8,
    /// `[k / 32][TILE]` scales.
    pub scales: *const f32,
    /// `[k / 32][TILE]` scales times sums.
    pub sums: *const f32,
    /// `[k / 32][TILE]`: -128 times the sum, where a dot product with codes biased by 128 starts.
    pub starts: *const i32,
    /// The starts again, `[k / 64][TILE][2]`.
    pub paired_starts: *const i32,
    /// `[k / 16][TILE]`: the same for 16 codes each.
    pub fine_starts: *const i32,
    /// `[k / 64][TILE][2]`: what multiple of its unit a scale is.
    pub multiples: *const i16,
    /// `[k / 256][TILE]` units.
    pub units: *const f32,
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
        if self.few() { self.m * self.row_bytes() } else { self.m.div_ceil(TILE) * self.tile_bytes() }
    }

    /// How many independent pieces quantising divides into.
    pub fn units(self) -> usize {
        if self.few() { self.m * self.row_units() } else { self.m.div_ceil(TILE) }
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
        unsafe { quantise(self.level, self, x, stride, units, out) }
    }

    /// Whether the row-by-row layout is used.
    pub(super) fn few(self) -> bool {
        self.m <= FEW
    }

    fn padded(self) -> usize {
        self.k.next_multiple_of(OCTET)
    }

    fn row_bytes(self) -> usize {
        self.padded() * (1 + 1 + 1 + 4) + self.padded() / GROUP * (4 + 4 + 2) + self.padded() / OCTET * 4
    }

    fn row_units(self) -> usize {
        self.k.div_ceil(UNIT)
    }

    fn tile_bytes(self) -> usize {
        let k = self.k.next_multiple_of(PAIR);
        (TILE * (k + k + k / GROUP * (4 + 4 + 4 + 4 + 8 + 2) + k.div_ceil(OCTET) * 4)).next_multiple_of(64)
    }

    /// Row `m` of a buffer in the row-by-row layout.
    #[inline(always)]
    pub(super) unsafe fn row(self, base: *const u8, m: usize) -> Row {
        // SAFETY: the caller gives a buffer of `bytes()`.
        unsafe {
            let codes = base.add(m * self.row_bytes());
            let paired = codes.add(self.padded());
            let halved = paired.add(self.padded());
            let values = halved.add(self.padded()).cast::<f32>();
            let scales = values.add(self.padded());
            let sums = scales.add(self.padded() / GROUP);
            let units = sums.add(self.padded() / GROUP);
            let multiples = units.add(self.padded() / OCTET).cast();
            Row { codes, scales, sums, units, multiples, paired, halved, values }
        }
    }

    /// Tile `t` of a buffer in the tiled layout.
    #[inline(always)]
    pub(super) fn tile(self, base: *const u8, t: usize) -> Tile {
        // Wrapping, because prefetches ask for a tile past the last.
        let k = self.k.next_multiple_of(PAIR);
        let codes = base.wrapping_add(t * self.tile_bytes());
        let paired = codes.wrapping_add(TILE * k);
        let (scales, step) = (paired.wrapping_add(TILE * k).cast::<f32>(), TILE * k / GROUP);
        let (sums, starts) = (scales.wrapping_add(step), scales.wrapping_add(2 * step).cast::<i32>());
        let (paired_starts, fine_starts) = (starts.wrapping_add(step), starts.wrapping_add(2 * step));
        let units = fine_starts.wrapping_add(2 * step).cast::<f32>();
        let multiples = units.wrapping_add(TILE * k.div_ceil(OCTET)).cast();
        let (codes, paired) = (codes.cast(), paired.cast());
        Tile { codes, paired, scales, sums, starts, paired_starts, fine_starts, multiples, units }
    }
}

/// The scales of up to 256 values.
#[derive(Clone, Copy)]
pub(super) struct Scales {
    unit: f32,
    /// Whole numbers; in floats, as narrow numbers would be put in place one by one and read back too soon.
    multiples: [f32; OCTET / GROUP],
}

impl Scales {
    /// Of `groups` groups of 32 values. A multiple is rounded up, so that no code exceeds 127.
    #[inline(always)]
    pub unsafe fn of<S: Dot>(s: S, x: *const f32, groups: usize) -> Self {
        let mut largest = [0f32; OCTET / GROUP];
        let mut most = 0f32;
        for g in 0..groups {
            let mut peak = s.zero();
            for i in 0..GROUP / S::LANES {
                // SAFETY: the caller vouches for the groups.
                peak = s.max(s.abs(unsafe { s.load(x.add(g * GROUP + i * S::LANES)) }), peak);
            }
            largest[g] = s.reduce_max(peak);
            most = most.max(largest[g]);
        }
        if most < TINY {
            return Self { unit: 0.0, multiples: [0.0; OCTET / GROUP] };
        }
        let by = MULTIPLES / most;
        // An infinite value makes NaN here, which `min` takes as the other; `group` lets it show in the scale.
        let mut multiples = [0.0; OCTET / GROUP];
        for g in 0..OCTET / GROUP {
            multiples[g] = (largest[g] * by).ceil().min(MULTIPLES);
        }
        Self { unit: most / (127.0 * MULTIPLES), multiples }
    }

    /// The scale of group `g`.
    #[inline(always)]
    pub fn scale(&self, g: usize) -> f32 {
        self.multiples[g] * self.unit
    }

    /// Quantises group `g` of the values to `codes`. `poison` stays zero unless a value is not finite: no maximum shows a
    /// NaN, and its code would be an ordinary one.
    #[inline(always)]
    pub unsafe fn group<S: Dot>(&self, s: S, x: *const f32, g: usize, codes: *mut i8, poison: &mut S::F) {
        let scale = self.scale(g);
        let inverse = s.splat(if scale > 0.0 { 1.0 / scale } else { 0.0 });
        for i in 0..GROUP / S::LANES {
            // SAFETY: the caller vouches for 32 values and 32 bytes.
            unsafe {
                let value = s.load(x.add(g * GROUP + i * S::LANES));
                s.store_i8(codes.add(i * S::LANES), s.to_i32(s.mul(value, inverse)));
                *poison = s.fma(value, s.zero(), *poison);
            }
        }
    }
}

/// Quantises up to 256 values, `groups` of 32, and pads the codes with zeros: their scales, the sums of each 16 codes, and
/// zero, or NaN if a value is not finite.
#[inline(always)]
unsafe fn octet<S: Dot>(
    s: S,
    x: *const f32,
    groups: usize,
    codes: *mut i8,
) -> (Scales, [[i32; 2]; OCTET / GROUP], f32) {
    let mut sums = [[0; 2]; OCTET / GROUP];
    // SAFETY: the caller gives as many groups, and room for 256 codes.
    unsafe {
        let scales = Scales::of(s, x, groups);
        let mut poison = s.zero();
        for g in 0..groups {
            scales.group(s, x, g, codes.add(g * GROUP), &mut poison);
        }
        codes.add(groups * GROUP).write_bytes(0, OCTET - groups * GROUP);
        for pair in 0..OCTET / PAIR {
            let [a, b, c, d] = s.sums_of_runs(s.bytes(codes.cast_const().cast::<u8>().add(pair * PAIR)));
            (sums[2 * pair], sums[2 * pair + 1]) = ([a, b], [c, d]);
        }
        (scales, sums, s.reduce_sum(poison))
    }
}

#[inline(always)]
unsafe fn quantise_generic<S: Dot>(
    s: S,
    shape: Activations,
    x: *const f32,
    stride: usize,
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
                quantise_tile(s, shape, x, stride, shape.tile(out, unit), unit);
            }
        }
    }
}

/// Quantises part `part` of one row, and pads the row with zeros after its last group.
#[inline(always)]
unsafe fn quantise_row<S: Dot>(s: S, shape: Activations, x: *const f32, row: Row, part: usize) {
    let end = ((part + 1) * UNIT).min(shape.padded());
    for at in (part * UNIT..end).step_by(OCTET) {
        // SAFETY: `at` lies within the padded row, and groups within `x` where they are read.
        unsafe {
            let groups = (OCTET / GROUP).min((shape.k - at) / GROUP);
            let mut codes = [0i8; OCTET];
            let (scales, sums, poison) = octet(s, x.add(at), groups, codes.as_mut_ptr());
            if shape.forms.has(Forms::VALUES) {
                let values = row.values.add(at).cast_mut();
                x.add(at).copy_to_nonoverlapping(values, groups * GROUP);
                values.add(groups * GROUP).write_bytes(0, OCTET - groups * GROUP);
            }
            // What is not finite shows in every number that products are multiplied with.
            row.units.add(at / OCTET).cast_mut().write(scales.unit + poison);
            for g in 0..OCTET / GROUP {
                let (scale, slot) = (scales.scale(g) + poison, at / GROUP + g);
                row.scales.add(slot).cast_mut().write(scale);
                row.sums.add(slot).cast_mut().write(scale * (sums[g][0] + sums[g][1]) as f32);
                row.multiples.add(slot).cast_mut().write(scales.multiples[g] as i16);
            }
            let codes = codes.as_ptr().cast::<u8>();
            if shape.forms.has(Forms::CODES) {
                codes.copy_to_nonoverlapping(row.codes.add(at).cast_mut(), OCTET);
            }
            if shape.forms.has(Forms::PAIRED) {
                for g in 0..OCTET / GROUP {
                    let to = row.paired.add(at + ((g & !3) + [0, 2, 1, 3][g % 4]) * GROUP).cast_mut();
                    codes.add(g * GROUP).copy_to_nonoverlapping(to, GROUP);
                }
            }
            if shape.forms.has(Forms::HALVED) {
                const HALF: usize = GROUP / 2;
                for half in 0..OCTET / HALF {
                    let (g, second) = (half / 2, half % 2);
                    let to = row.halved.add(at + (g / 4 * 8 + 4 * second + g % 4) * HALF).cast_mut();
                    codes.add(half * HALF).copy_to_nonoverlapping(to, HALF);
                }
            }
        }
    }
}

/// Quantises the rows of tile `t`; rows past the last are zero.
#[inline(always)]
unsafe fn quantise_tile<S: Dot>(
    s: S,
    shape: Activations,
    x: *const f32,
    stride: usize,
    tile: Tile,
    t: usize,
) {
    let exist = (shape.m - t * TILE).min(TILE);
    let mut at = 0;
    while at < shape.k {
        let groups = (OCTET / GROUP).min((shape.k - at) / GROUP);
        // Codes are put in order when those of all rows are in memory: a load of bytes that were just stored in other
        // pieces would wait for them.
        let mut codes = [[0i8; OCTET]; TILE];
        // SAFETY: rows below `m` are readable, and every index lies within the tile's arrays.
        unsafe {
            let values = x.add(t * TILE * stride + at);
            for r in 0..exist {
                let (scales, sums, poison) = octet(s, values.add(r * stride), groups, codes[r].as_mut_ptr());
                // What is not finite shows in every number that products are multiplied with.
                tile.units.add(at / OCTET * TILE + r).cast_mut().write(scales.unit + poison);
                for g in 0..groups {
                    let scale = scales.scale(g) + poison;
                    note(tile, r, at / GROUP + g, scale, scales.multiples[g] as i16, sums[g]);
                }
            }
            for r in exist..TILE {
                for g in 0..groups {
                    note(tile, r, at / GROUP + g, 0.0, 0, [0; 2]);
                }
                tile.units.add(at / OCTET * TILE + r).cast_mut().write(0.0);
            }
            if shape.forms.has(Forms::CODES) {
                let to = tile.codes.cast_mut().add(at * TILE);
                for four in 0..groups * GROUP / 4 {
                    for r in 0..TILE {
                        let from = codes[r].as_ptr().add(4 * four);
                        to.add((four * TILE + r) * 4).copy_from_nonoverlapping(from, 4);
                    }
                }
            }
            if groups == OCTET / GROUP && shape.forms.has(Forms::PAIRED) {
                let to = tile.paired.cast_mut().add(at * TILE);
                for four in 0..OCTET / 8 {
                    for r in 0..TILE {
                        let from = codes[r].as_ptr().add(four / 8 * PAIR + four % 8 * 4);
                        let to = to.add((four * TILE + r) * 8);
                        to.copy_from_nonoverlapping(from, 4);
                        to.add(4).copy_from_nonoverlapping(from.add(GROUP), 4);
                    }
                }
            }
        }
        at += OCTET;
    }
}

/// Stores what is to be known of group `g` of row `r` of a tile.
#[inline(always)]
unsafe fn note(tile: Tile, r: usize, g: usize, scale: f32, multiple: i16, [low, high]: [i32; 2]) {
    // SAFETY: the caller gives a row and a group of the tile.
    unsafe {
        let (at, paired) = (g * TILE + r, (g / 2 * TILE + r) * 2 + g % 2);
        tile.scales.add(at).cast_mut().write(scale);
        tile.sums.add(at).cast_mut().write(scale * (low + high) as f32);
        tile.starts.add(at).cast_mut().write(-128 * (low + high));
        tile.paired_starts.add(paired).cast_mut().write(-128 * (low + high));
        tile.multiples.add(paired).cast_mut().write(multiple);
        tile.fine_starts.add(2 * g * TILE + r).cast_mut().write(-128 * low);
        tile.fine_starts.add((2 * g + 1) * TILE + r).cast_mut().write(-128 * high);
    }
}

stamp_dot! {
    unsafe fn quantise(shape: Activations, x: *const f32, stride: usize, units: Range<usize>, out: *mut u8)
        = quantise_generic;
}
