//! Packing blocks of 32 nibbles for the panels of [`super::panel`]: dwords of packed codes are transposed before their
//! nibbles are parted, which moves half as many.
//!
//! A block's low nibbles are its first 16 codes, the high ones its others, so that a dword of 16 bytes holds two fours of
//! codes. Fifth bits stand as 32 to a block: they are transposed among the numbers, and added to fours.

use super::blocks::{GROUP, OCTET, Octet, Remainder};
use super::formats::{Q4_0, Q4_1, Q5_0};
use super::nibbles::Nibbles;
use super::panel::{LANES, Panel, Source, bias, numbers};
use crate::simd::{Columns, Dot, Stored};
use std::mem::MaybeUninit;

/// Blocks of an octet.
const BLOCKS: usize = OCTET / GROUP;
/// Numbers of a row for 256 weights: scales, then mins or fifth bits.
const NUMBERS: usize = numbers(false);

/// Such blocks.
pub(super) trait Halved: Nibbles {
    /// Whether fifth bits stand between a block's scale and its nibbles.
    const FIFTHS: bool = false;
    /// Stores scales and fifth bits of blocks that have both.
    #[inline(always)]
    unsafe fn part_heads<S: Dot>(_s: S, _o: Octet, _scales: *mut f32, _fifths: *mut u32) {}
}

impl Halved for Q4_0 {}

impl Halved for Q4_1 {}

impl Halved for Q5_0 {
    const FIFTHS: bool = true;
    #[inline(always)]
    unsafe fn part_heads<S: Dot>(s: S, o: Octet, scales: *mut f32, fifths: *mut u32) {
        // SAFETY: the caller gives eight whole blocks, and the room.
        unsafe { s.part_heads::<22>(o.at(0), scales, fifths) }
    }
}

/// Packed codes and numbers of rows before they are transposed.
#[repr(align(64))]
struct Room {
    packed: [[MaybeUninit<u8>; OCTET / 2]; LANES],
    numbers: [[f32; NUMBERS]; LANES],
}

/// Columns of which each byte holds two codes of a block, parted and stored as fours of signed codes.
#[derive(Clone, Copy)]
struct Halves<const FIFTHS: bool> {
    /// The octet's codes.
    to: *mut u8,
    /// Fifth bits of its first block.
    fifths: *const u8,
    /// Bytes between the numbers, and the fours, of the octet.
    step: usize,
    /// Which of the octet's columns is the first.
    first: usize,
    /// What is added to a code.
    raise: i8,
}

impl<S: Dot, const FIFTHS: bool> Columns<S> for Halves<FIFTHS> {
    #[inline(always)]
    unsafe fn take(self, s: S, j: usize, column: S::Codes) {
        let place = (self.first + j) / 4;
        let (block, four) = (const { blocks::<S>() }[place], j % 4);
        let mut halves = s.part_nibbles(column);
        // SAFETY: the caller's promise, and a number for each block.
        unsafe {
            if FIFTHS {
                let bits = s.codes(self.fifths.add(block * self.step));
                halves = [s.add_fifths(halves[0], bits, four), s.add_fifths(halves[1], bits, four + 4)];
            }
            let to = self.to.add((block * GROUP / 4 + four) * self.step);
            s.store_codes(to, s.add_to_codes(halves[0], self.raise));
            s.store_codes(to.add(4 * self.step), s.add_to_codes(halves[1], self.raise));
        }
    }
}

/// Which block stands at each of [`Dot::PLACES`].
const fn blocks<S: Dot>() -> [usize; BLOCKS] {
    let mut blocks = [0; BLOCKS];
    let mut block = 0;
    while block < BLOCKS {
        blocks[S::PLACES[block]] = block;
        block += 1;
    }
    blocks
}

/// Packs `vectors` native vectors of rows.
///
/// # Safety
/// As for [`super::panel::pack`].
#[inline(always)]
pub(super) unsafe fn pack<S: Dot, F: Halved>(s: S, source: &Source, vectors: usize, panel: Panel) {
    const { assert!(F::PLANES == 1 && F::LEN == GROUP && !(F::MINS && F::FIFTHS)) };
    let mut room = Room {
        packed: [[const { MaybeUninit::uninit() }; OCTET / 2]; LANES],
        numbers: [[0.0; NUMBERS]; LANES],
    };
    let mut end = Remainder::new();
    let vector = 4 * S::LANES;
    let step = vectors * vector;
    let first = source.run.start / OCTET;
    let mut ahead = source.step;
    for v in 0..vectors {
        for o in first..source.run.end.div_ceil(OCTET) {
            // One half where no more is left and its blocks are those of one vector, or both.
            let both = source.chunks(o) > 2 || vector < OCTET / 4;
            // SAFETY: the source has the rows, and the panel room for `vectors` vectors at each of its steps.
            unsafe {
                for lane in 0..S::LANES {
                    let number = (v * S::LANES + lane).min(source.rows - 1);
                    let octet = source.octet::<S, F>(s, number, o, &mut end);
                    let packed = room.packed[lane].as_mut_ptr().cast();
                    s.store_bytes(packed, F::packed::<S, 0>(s, octet));
                    if both {
                        s.store_bytes(packed.add(OCTET / 4), F::packed::<S, 1>(s, octet));
                    }
                    let numbers = room.numbers[lane].as_mut_ptr();
                    if F::FIFTHS {
                        F::part_heads(s, octet, numbers, numbers.add(BLOCKS).cast());
                    } else {
                        F::store_scales(s, numbers, F::scales(s, octet, s.eight_splat(1.0)));
                    }
                    if F::MINS {
                        s.store_eight(numbers.add(BLOCKS), F::mins(s, octet));
                    }
                }
                source.ahead.ask(s, ahead);
                ahead += 1;
                let o = o - first;
                let numbers = panel.numbers.cast::<u8>().add(o * NUMBERS * step + v * vector);
                for at in (0..NUMBERS).step_by(S::LANES) {
                    let from = room.numbers.as_ptr().cast::<u8>().add(4 * at);
                    s.transpose(from, 4 * NUMBERS, Stored { to: numbers.add(at * step), stride: step });
                }
                let to = panel.codes.add(o * OCTET / 4 * step + v * vector);
                let fifths = numbers.add(BLOCKS * step);
                let raise = const { bias::<S, F>() }.wrapping_sub(F::OFFSET) as i8;
                for at in (0..if both { OCTET / 2 } else { OCTET / 4 }).step_by(vector) {
                    let from = room.packed.as_ptr().cast::<u8>().add(at);
                    if F::FIFTHS {
                        let to = Halves::<true> { to, fifths, step, first: at / 4, raise };
                        s.transpose(from, OCTET / 2, to);
                    } else {
                        let to = Halves::<false> { to, fifths, step, first: at / 4, raise };
                        s.transpose(from, OCTET / 2, to);
                    }
                }
            }
        }
    }
}
