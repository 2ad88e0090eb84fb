//! Packing weight rows into the one form that the panel kernels multiply, whatever the format.
//!
//! A panel holds `rows` weight rows (a few native vectors of them) over the whole of `k`:
//! codes `[k / 4][rows][4]`, signed, plus [`Dot::PANEL_BIAS`]; and numbers `[k / 256][16][rows]`: for each row 8
//! scales of 32 weights and 8 mins, or 16 scales of 16 weights. `w = scale * code + min`.

use super::blocks::{Blocks, OCTET, Octet, Remainder};
use crate::simd::Dot;

/// Numbers of each row for 256 weights.
pub(super) const NUMBERS: usize = 16;
/// No level has more lanes.
const LANES: usize = crate::simd::MAX_LANES;

/// A panel's memory.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    /// Codes.
    pub codes: *mut u8,
    /// Scales and mins.
    pub numbers: *mut f32,
}

impl Panel {
    /// Bytes of a panel of `rows` rows of `k` weights.
    pub fn bytes(rows: usize, k: usize) -> usize {
        let padded = k.next_multiple_of(OCTET);
        rows * padded + rows * padded / OCTET * NUMBERS * 4
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

/// A run of weight rows to pack.
#[derive(Clone, Copy)]
pub(super) struct Source {
    /// The first of them.
    pub first: *const u8,
    /// Bytes of one.
    pub row_bytes: usize,
    /// How many there are, at least one; the panel's rows past them repeat the last.
    pub rows: usize,
    /// Weights of one.
    pub k: usize,
}

/// A row's codes and numbers before they are transposed.
#[repr(align(64))]
struct Unpacked {
    codes: [[u8; OCTET]; LANES],
    numbers: [[f32; NUMBERS]; LANES],
}

/// Packs `vectors` native vectors of rows.
///
/// # Safety
/// The source's rows must be readable, and the panel writable at its size for `vectors * LANES` rows.
#[inline(always)]
pub(super) unsafe fn pack<S: Dot, F: Blocks>(s: S, source: Source, vectors: usize, panel: Panel) {
    let mut unpacked = Unpacked { codes: [[0; OCTET]; LANES], numbers: [[0.0; NUMBERS]; LANES] };
    let mut end = Remainder::new();
    for v in 0..vectors {
        for o in 0..source.k.div_ceil(OCTET) {
            let offset = o * F::OCTET_BYTES;
            for lane in 0..S::LANES {
                let row = (v * S::LANES + lane).min(source.rows - 1);
                // SAFETY: the row exists; where its end is not a whole octet it is copied into one.
                unsafe {
                    let mut octet = Octet(source.first.add(row * source.row_bytes + offset));
                    if F::LEN < OCTET && source.k - o * OCTET < OCTET {
                        octet = end.fill(octet.0, source.row_bytes - offset);
                    }
                    unpack::<S, F>(s, octet, &mut unpacked.codes[lane], &mut unpacked.numbers[lane]);
                }
            }
            // SAFETY: the panel has room for `vectors` vectors at each of its steps.
            unsafe { spread(s, &unpacked, vectors, v, o, panel) }
        }
    }
}

/// Unpacks 256 weights of one row.
#[inline(always)]
unsafe fn unpack<S: Dot, F: Blocks>(s: S, o: Octet, codes: &mut [u8; OCTET], numbers: &mut [f32; NUMBERS]) {
    let bias = S::PANEL_BIAS.wrapping_sub(F::OFFSET) as i8;
    // SAFETY: the octet is whole, and the arrays take 256 codes and 16 numbers.
    unsafe {
        let to = codes.as_mut_ptr();
        s.store_bytes(to, s.add_byte(F::codes::<S, 0>(s, o), bias));
        s.store_bytes(to.add(64), s.add_byte(F::codes::<S, 1>(s, o), bias));
        s.store_bytes(to.add(128), s.add_byte(F::codes::<S, 2>(s, o), bias));
        s.store_bytes(to.add(192), s.add_byte(F::codes::<S, 3>(s, o), bias));
        F::store_scales(s, numbers.as_mut_ptr(), F::scales(s, o, s.eight_splat(1.0)));
        if F::MINS {
            s.store_eight(numbers.as_mut_ptr().add(8), F::mins(s, o));
        }
    }
}

/// Transposes one vector of unpacked rows into octet `o` of the panel.
#[inline(always)]
unsafe fn spread<S: Dot>(s: S, unpacked: &Unpacked, vectors: usize, v: usize, o: usize, panel: Panel) {
    let vector = 4 * S::LANES;
    let step = vectors * vector;
    // SAFETY: octet `o` of the panel has 64 steps of codes and 16 of numbers, each of `vectors` vectors.
    unsafe {
        let codes = panel.codes.add(o * OCTET / 4 * step + v * vector);
        for at in (0..OCTET).step_by(vector) {
            let from = unpacked.codes.as_ptr().cast::<u8>().add(at);
            s.transpose(from, OCTET, codes.add(at / 4 * step), step);
        }
        let numbers = panel.numbers.cast::<u8>().add(o * NUMBERS * step + v * vector);
        for at in (0..NUMBERS).step_by(S::LANES) {
            let from = unpacked.numbers.as_ptr().cast::<u8>().add(4 * at);
            s.transpose(from, 4 * NUMBERS, numbers.add(at * step), step);
        }
    }
}
