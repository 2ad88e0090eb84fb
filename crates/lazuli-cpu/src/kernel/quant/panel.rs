//! Packing weight rows into the one form that the panel kernels multiply, whatever the format.
//!
//! A panel holds `rows` weight rows (a few native vectors of them) over a run of `k` weights:
//! codes `[k / 4][rows][4]`, signed, plus a [`bias`]; and numbers `[k / 256][count][rows]`: for each row 8
//! scales of 32 weights and 8 mins, or 16 scales of 16 weights, and 16 mins if there are any ([`numbers`]).
//! `w = scale * code + min`.
//!
//! Panels of weights with integer scales have another form: [`super::pairs`]. Blocks of nibbles are packed by [`super::halves`].

use super::blocks::{Blocks, Expanded, OCTET, Octet, Remainder};
use super::decode::prefetch;
use super::sides::{PER_OCTET, SidePlanes, Sides};
use crate::kernel::stream::Ahead;
use crate::simd::{Dot, Level, Stored, stamp};
use std::mem::MaybeUninit;
use std::ops::Range;

/// The most numbers that a row has for 256 weights.
pub(super) const MOST_NUMBERS: usize = 32;

/// Numbers of each row for 256 weights: mins of 16 weights need 16 more than any others.
pub(super) const fn numbers(fine_mins: bool) -> usize {
    if fine_mins { MOST_NUMBERS } else { MOST_NUMBERS / 2 }
}

/// Whether sums of products with codes of `bits` bits are narrow: 32 weights' of 5 bits, 16 of 6, and fit then, as each of
/// two sums has half of them: `16 * 2^4 * 127 < 2^15`.
#[inline(always)]
pub(super) const fn is_narrow<S: Dot>(bits: usize) -> bool {
    S::NARROW && bits < 7
}

/// What is added to signed codes in a panel: with narrow sums the least that makes them positive.
pub(super) const fn bias<S: Dot, F: Blocks>() -> u8 {
    match F::BITS {
        bits if !is_narrow::<S>(bits) => S::PANEL_BIAS,
        _ if F::MINS => 0,
        bits => 1 << (bits - 1),
    }
}

/// No level has more lanes.
pub(super) const LANES: usize = crate::simd::MAX_LANES;

/// A panel's memory.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    /// Codes.
    pub codes: *mut u8,
    /// Scales and mins.
    pub numbers: *mut f32,
}

impl Panel {
    /// Bytes of a panel of `rows` rows of `k` weights, with `numbers` for 256 weights.
    pub fn bytes(rows: usize, k: usize, numbers: usize) -> usize {
        let padded = k.next_multiple_of(OCTET);
        rows * padded + rows * padded / OCTET * numbers * 4
    }

    /// The panel, of `rows` rows with `numbers` for 256 weights, without the first `at` weights of each, a multiple of 256.
    #[inline(always)]
    pub fn after(self, at: usize, rows: usize, numbers: usize) -> Self {
        Self {
            codes: self.codes.wrapping_add(at * rows),
            numbers: self.numbers.wrapping_add(at / OCTET * numbers * rows),
        }
    }

    /// A panel in memory of [`Panel::bytes`].
    ///
    /// # Safety
    /// `at` must be valid for that many bytes, and aligned to 4.
    pub unsafe fn new(at: *mut u8, rows: usize, k: usize) -> Self {
        // SAFETY: the numbers follow the codes.
        Self { codes: at, numbers: unsafe { at.add(rows * k.next_multiple_of(OCTET)) }.cast() }
    }
}

/// Weight rows to pack.
pub(super) struct Source {
    /// The level that packs.
    pub level: Level,
    /// The first of them.
    pub first: *const u8,
    /// Bytes of one.
    pub row_bytes: usize,
    /// The other planes, and the first row's number there.
    pub sides: SidePlanes,
    pub number: usize,
    /// How many there are, at least one; the panel's rows past them repeat the last.
    pub rows: usize,
    /// How many the weights have from the first of these on.
    pub all: usize,
    /// Weights of one.
    pub k: usize,
    /// Those of them that are packed: whole octets, or up to the row's end.
    pub run: Range<usize>,
    /// What will be packed next, and which of its steps is the first vector's first octet.
    pub ahead: Ahead,
    pub step: usize,
}

impl Source {
    /// Octet `o` of row `number`, in `end` if it ends with the row and what follows cannot be read; asks for the next one.
    #[inline(always)]
    pub unsafe fn octet<S: Dot, F: Blocks>(
        &self,
        s: S,
        number: usize,
        o: usize,
        end: &mut Remainder,
    ) -> Octet {
        // No prefetcher of the processor's follows as many rows as there are lanes.
        let row = self.first.wrapping_add(number * self.row_bytes);
        prefetch(s, row.wrapping_add((o + 1) * F::OCTET_BYTES), F::OCTET_BYTES);
        // SAFETY: the caller's.
        unsafe { self.octet_at::<F>(number, o, end) }
    }

    /// The same without asking for another.
    #[inline(always)]
    pub unsafe fn octet_at<F: Blocks>(&self, number: usize, o: usize, end: &mut Remainder) -> Octet {
        // SAFETY: the caller's row and octet exist.
        unsafe {
            let sides = if F::PLANES > 1 { self.sides.row(self.number + number) } else { Sides::NONE };
            let row = Octet(self.first.add(number * self.row_bytes), sides);
            let whole = self.k - o * OCTET >= OCTET;
            let holds =
                self.k % CHUNK == 0 && (o + 1) * F::OCTET_BYTES <= (self.all - number) * self.row_bytes;
            if F::LEN < OCTET && !whole && (F::PLANES > 1 || !holds) {
                end.fill::<F>(row, o, self.row_bytes, self.sides.row_bytes)
            } else {
                Octet(row.0.add(o * F::OCTET_BYTES), row.1.at::<F>(o))
            }
        }
    }

    /// How many times 64 weights of octet `o` there are, the last perhaps not whole.
    #[inline(always)]
    pub fn chunks(&self, o: usize) -> usize {
        (self.k - o * OCTET).min(OCTET).div_ceil(CHUNK)
    }
}

/// Weights that are unpacked together.
const CHUNK: usize = OCTET / 4;

/// A row's codes and numbers before they are transposed.
#[repr(align(64))]
struct Unpacked {
    codes: [[MaybeUninit<u8>; OCTET]; LANES],
    numbers: [[f32; MOST_NUMBERS]; LANES],
}

/// Packs `vectors` native vectors of rows.
///
/// # Safety
/// The source's rows must be readable, and the panel writable at its size for `vectors * LANES` rows.
#[inline(always)]
pub(super) unsafe fn pack<S: Dot, F: Blocks>(s: S, source: &Source, vectors: usize, panel: Panel) {
    // All codes are written before they are read, and not all numbers.
    let codes = [[const { MaybeUninit::uninit() }; OCTET]; LANES];
    let mut unpacked = Unpacked { codes, numbers: [[0.0; MOST_NUMBERS]; LANES] };
    let (mut end, mut floats) = (Remainder::new(), [[0.0; PER_OCTET]; 2]);
    let mut step = source.step;
    for v in 0..vectors {
        let first = source.run.start / OCTET;
        for o in first..source.run.end.div_ceil(OCTET) {
            let chunks = source.chunks(o);
            for lane in 0..S::LANES {
                let number = (v * S::LANES + lane).min(source.rows - 1);
                // SAFETY: the row exists; where its end is not a whole octet it is copied into one.
                unsafe {
                    let octet = source.octet::<S, F>(s, number, o, &mut end);
                    let sides =
                        if F::SPREAD { octet.1.spread(s, F::PLANES - 1, &mut floats) } else { octet.1 };
                    let octet = Octet(octet.0, sides);
                    let (codes, numbers) = (&mut unpacked.codes[lane], &mut unpacked.numbers[lane]);
                    const { assert!(!F::INTEGER, "they have panels of their own") };
                    unpack::<S, F>(s, octet, (chunks, const { bias::<S, F>() }), codes, numbers);
                }
            }
            source.ahead.ask(s, step);
            step += 1;
            // SAFETY: the panel has room for `vectors` vectors at each of its steps.
            unsafe {
                let counts = (chunks, numbers(F::FINE && F::MINS));
                transpose_octet(source.level, &unpacked, counts, (vectors, v, o - first), panel);
            }
        }
    }
}

/// Unpacks so many times 64 of 256 weights of one row: signed codes and what is added to them, and numbers.
#[inline(always)]
pub(super) unsafe fn unpack<S: Dot, F: Blocks>(
    s: S,
    o: Octet,
    (chunks, bias): (usize, u8),
    codes: &mut [MaybeUninit<u8>; OCTET],
    numbers: &mut [f32; MOST_NUMBERS],
) {
    const { assert!(!F::FLOAT, "they have no panels") };
    let (mut o, mut expanded) = (o, [Expanded::new()]);
    if F::expanded::<S>() {
        // SAFETY: the octet is whole.
        unsafe { Expanded::fill::<S, F, 1>(&mut expanded, s, &[o]) };
        [o] = Expanded::beside(&expanded, [o]);
    }
    let bias = bias.wrapping_sub(F::OFFSET) as i8;
    // SAFETY: the octet is whole, and the arrays take 256 codes and 16 numbers.
    unsafe {
        let to = codes.as_mut_ptr().cast::<u8>();
        s.store_bytes(to, s.add_byte(signed::<S, F, 0>(s, o), bias));
        if F::LEN == OCTET || chunks > 1 {
            s.store_bytes(to.add(CHUNK), s.add_byte(signed::<S, F, 1>(s, o), bias));
        }
        if F::LEN == OCTET || chunks > 2 {
            s.store_bytes(to.add(2 * CHUNK), s.add_byte(signed::<S, F, 2>(s, o), bias));
        }
        if F::LEN == OCTET || chunks > 3 {
            s.store_bytes(to.add(3 * CHUNK), s.add_byte(signed::<S, F, 3>(s, o), bias));
        }
        F::store_scales(s, numbers.as_mut_ptr(), F::scales(s, o, s.eight_splat(1.0)));
        if F::MINS && F::FINE {
            s.store_wide(numbers.as_mut_ptr().add(16), F::fine_mins(s, o, s.eight_splat(1.0)));
        } else if F::MINS {
            s.store_eight(numbers.as_mut_ptr().add(8), F::mins(s, o));
        }
    }
}

/// Codes `64 C .. 64 C + 64` with their signs.
#[inline(always)]
unsafe fn signed<S: Dot, F: Blocks, const C: usize>(s: S, o: Octet) -> S::Bytes {
    // SAFETY: the caller's octet.
    unsafe {
        let codes = F::codes::<S, C>(s, o);
        if F::SIGN_BITS { s.negate_where(F::signs::<S, C>(o), codes) } else { codes }
    }
}

stamp! {
    /// Transposes so many chunks and numbers of one vector of unpacked rows into octet `o` of the panel: vector `v` of
    /// `vectors`. The same code for every format, and so compiled once.
    unsafe fn transpose_octet(
        unpacked: &Unpacked,
        counts: (usize, usize),
        at: (usize, usize, usize),
        panel: Panel,
    ) = transpose_octet_generic;
}

#[inline(always)]
unsafe fn transpose_octet_generic<S: Dot>(
    s: S,
    unpacked: &Unpacked,
    (chunks, count): (usize, usize),
    (vectors, v, o): (usize, usize, usize),
    panel: Panel,
) {
    let vector = 4 * S::LANES;
    let step = vectors * vector;
    // SAFETY: octet `o` of the panel has 64 steps of codes and `count` of numbers, each of `vectors` vectors.
    unsafe {
        let codes = panel.codes.add(o * OCTET / 4 * step + v * vector);
        for at in (0..chunks * CHUNK).step_by(vector) {
            let from = unpacked.codes.as_ptr().cast::<u8>().add(at);
            s.transpose(from, OCTET, Stored { to: codes.add(at / 4 * step), stride: step });
        }
        let numbers = panel.numbers.cast::<u8>().add(o * count * step + v * vector);
        for at in (0..count).step_by(S::LANES) {
            let from = unpacked.numbers.as_ptr().cast::<u8>().add(4 * at);
            s.transpose(from, 4 * MOST_NUMBERS, Stored { to: numbers.add(at * step), stride: step });
        }
    }
}
