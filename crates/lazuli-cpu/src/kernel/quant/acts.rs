//! [`Activations`]: the quantised form of `x` that every product with it shares, whatever the weights' formats.
//!
//! Each 32 values along a row become 32 signed bytes and one `f32` scale, `x = scale * code` with codes in
//! `-127..=127`, beside their sum for weights with a min. Few rows are laid out row by row for kernels that walk
//! weight rows; many rows in tiles of [`TILE`], whose codes are interleaved by fours for the panel kernels.

use super::blocks::{GROUP, OCTET};
use crate::simd::{Dot, Level, stamp_dot};
use std::ops::Range;

/// Rows up to which the row-by-row layout and the decode kernels are used.
pub(super) const FEW: usize = 4;
/// Rows of activations that a panel kernel takes together.
pub(super) const TILE: usize = 4;
/// Values of a row that one unit of quantising covers in the row-by-row layout.
const UNIT: usize = 4 * OCTET;
/// A group whose largest magnitude is below this is taken as zero: its reciprocal could overflow.
const TINY: f32 = 1e-30;

/// The shape of quantised activations `[m, k]`: where things lie in a buffer of [`Activations::bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activations {
    pub(super) level: Level,
    pub(super) m: usize,
    pub(super) k: usize,
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
}

/// One tile's arrays: `TILE` numbers, one for each row, for each step along `k`.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// `[k / 4][TILE][4]` codes.
    pub codes: *const i8,
    /// `[k / 32][TILE]` scales.
    pub scales: *const f32,
    /// `[k / 32][TILE]` scales times sums.
    pub sums: *const f32,
    /// `[k / 32][TILE]`: -128 times the sum, where a dot product with codes biased by 128 starts.
    pub starts: *const i32,
    /// `[k / 16][TILE]`: the same for 16 codes each.
    pub fine_starts: *const i32,
}

impl Activations {
    /// The layout of `m` rows of `k` values; `None` unless `k` is a multiple of 32.
    pub fn new(level: Level, m: usize, k: usize) -> Option<Self> {
        (k % GROUP == 0).then_some(Self { level, m, k })
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
        self.padded() + self.padded() / GROUP * 8
    }

    fn row_units(self) -> usize {
        self.k.div_ceil(UNIT)
    }

    fn tile_bytes(self) -> usize {
        (TILE * (self.k + self.k / GROUP * (4 + 4 + 4 + 8))).next_multiple_of(64)
    }

    /// Row `m` of a buffer in the row-by-row layout.
    #[inline(always)]
    pub(super) unsafe fn row(self, base: *const u8, m: usize) -> Row {
        // SAFETY: the caller gives a buffer of `bytes()`.
        unsafe {
            let codes = base.add(m * self.row_bytes());
            let scales = codes.add(self.padded()).cast::<f32>();
            Row { codes, scales, sums: scales.add(self.padded() / GROUP) }
        }
    }

    /// Tile `t` of a buffer in the tiled layout.
    #[inline(always)]
    pub(super) fn tile(self, base: *const u8, t: usize) -> Tile {
        // Wrapping, because prefetches ask for a tile past the last.
        let codes = base.wrapping_add(t * self.tile_bytes());
        let (scales, step) = (codes.wrapping_add(TILE * self.k).cast::<f32>(), TILE * self.k / GROUP);
        let (sums, starts) = (scales.wrapping_add(step), scales.wrapping_add(2 * step).cast::<i32>());
        Tile { codes: codes.cast(), scales, sums, starts, fine_starts: starts.wrapping_add(step) }
    }
}

/// Quantises 32 values: writes the codes and gives the scale and the sums of either half. The scale is NaN if a
/// value is not finite: no maximum shows a NaN, and its code would be an ordinary one.
#[inline(always)]
unsafe fn group<S: Dot>(s: S, x: *const f32, codes: *mut i8) -> (f32, [i32; 2]) {
    // SAFETY: the caller vouches for 32 values and 32 bytes.
    unsafe {
        let mut largest = s.zero();
        for i in (0..GROUP).step_by(S::LANES) {
            largest = s.max(s.abs(s.load(x.add(i))), largest);
        }
        let largest = s.reduce_max(largest);
        let (scale, inverse) = if largest < TINY { (0.0, 0.0) } else { (largest / 127.0, 127.0 / largest) };
        let inverse = s.splat(inverse);
        let mut sums = [0.0f32; 2];
        for (half, sum) in sums.iter_mut().enumerate() {
            let mut total = s.splat_i32(0);
            let mut poison = s.zero();
            for i in (16 * half..16 * half + 16).step_by(S::LANES) {
                let value = s.load(x.add(i));
                let code = s.to_i32(s.mul(value, inverse));
                s.store_i8(codes.add(i), code);
                total = s.add_i32(total, code);
                poison = s.fma(value, s.zero(), poison);
            }
            *sum = s.reduce_sum(s.add(s.to_f32(total), poison));
        }
        // Zero, unless a value was infinite or NaN.
        let poison = (sums[0] + sums[1]) * 0.0;
        (scale + poison, sums.map(|sum| sum as i32))
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
    for at in (part * UNIT..end).step_by(GROUP) {
        let g = at / GROUP;
        // SAFETY: `at` lies within the padded row, and within `x` where it is read.
        unsafe {
            let codes = row.codes.add(at).cast_mut().cast::<i8>();
            let (scale, sum) = if at < shape.k {
                let (scale, [low, high]) = group(s, x.add(at), codes);
                (scale, low + high)
            } else {
                codes.write_bytes(0, GROUP);
                (0.0, 0)
            };
            row.scales.add(g).cast_mut().write(scale);
            row.sums.add(g).cast_mut().write(scale * sum as f32);
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
    let mut codes = [0i8; GROUP];
    for r in 0..TILE {
        let m = t * TILE + r;
        for g in 0..shape.k / GROUP {
            // SAFETY: rows below `m` are readable, and every index lies within the tile's arrays.
            unsafe {
                let (scale, [low, high]) = if m < shape.m {
                    group(s, x.add(m * stride + g * GROUP), codes.as_mut_ptr())
                } else {
                    codes = [0; GROUP];
                    (0.0, [0; 2])
                };
                let to = tile.codes.cast_mut().cast::<[i8; 4]>().add(g * GROUP / 4 * TILE + r);
                for (i, four) in codes.chunks_exact(4).enumerate() {
                    to.add(i * TILE).write([four[0], four[1], four[2], four[3]]);
                }
                let at = g * TILE + r;
                tile.scales.add(at).cast_mut().write(scale);
                tile.sums.add(at).cast_mut().write(scale * (low + high) as f32);
                tile.starts.add(at).cast_mut().write(-128 * (low + high));
                tile.fine_starts.add(2 * g * TILE + r).cast_mut().write(-128 * low);
                tile.fine_starts.add((2 * g + 1) * TILE + r).cast_mut().write(-128 * high);
            }
        }
    }
}

stamp_dot! {
    unsafe fn quantise(shape: Activations, x: *const f32, stride: usize, units: Range<usize>, out: *mut u8)
        = quantise_generic;
}
