//! A head's projections from latent rows, decoded to `f32` in panels that the register tile reads.

use super::super::attention::ROWS;
use super::super::matmul_float::Weights;
use super::super::matmul_float::tile::turn_square;
use crate::simd::{Level, Simd, stamp};

/// What a stored row of a projection belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// An output: the row has `rank` elements.
    Outputs,
    /// An element of latent rows: the row has an element for each output.
    Latents,
}

/// One head's projection of latent rows.
#[derive(Clone, Copy)]
pub struct Up<'a> {
    /// Its rows.
    pub weights: Weights<'a>,
    /// What they are.
    pub stored: Stored,
}

/// How wide the panel of a projection is whose first output is `first`: whole vectors of every level.
#[inline(always)]
pub(super) fn width(first: usize, outputs: usize) -> usize {
    (outputs.next_multiple_of(16) - first).min(ROWS)
}

/// Decodes a projection to panels, one after the other, each `[rank, width]`; columns that do not exist are zero.
/// `decoded` has room for a panel's rows, or for one of all outputs.
pub(super) unsafe fn load(
    level: Level,
    up: &Up<'_>,
    (outputs, rank): (usize, usize),
    panels: *mut f32,
    decoded: *mut f32,
) {
    // SAFETY: the caller's promise: the weights have rows of these sizes, and the memory has room for them.
    unsafe {
        match up.stored {
            Stored::Outputs => {
                for first in (0..outputs).step_by(ROWS) {
                    let width = width(first, outputs);
                    let rows = first..(first + width).min(outputs);
                    up.weights.decode(level, rows.clone(), (0, rank), decoded);
                    turn(level, decoded, rows.len(), rank, panels.add(first * rank), width);
                }
            }
            Stored::Latents => {
                for at in 0..rank {
                    up.weights.decode(level, at..at + 1, (0, outputs), decoded);
                    for first in (0..outputs).step_by(ROWS) {
                        let (width, exist) = (width(first, outputs), (outputs - first).min(ROWS));
                        let to = panels.add(first * rank + at * width);
                        std::ptr::copy_nonoverlapping(decoded.add(first), to, exist);
                        std::ptr::write_bytes(to.add(exist), 0, width - exist);
                    }
                }
            }
        }
    }
}

stamp! {
    /// Turns `cols` consecutive rows of `rank` floats to a panel `[rank, width]`.
    unsafe fn turn(rows: *const f32, cols: usize, rank: usize, panel: *mut f32, width: usize) = turn_rows;
}

#[inline(always)]
unsafe fn turn_rows<S: Simd>(
    _: S,
    rows: *const f32,
    cols: usize,
    rank: usize,
    panel: *mut f32,
    width: usize,
) {
    let squares = if cols == width { rank - rank % 4 } else { 0 };
    // SAFETY: the caller's promise.
    unsafe {
        for at in (0..squares).step_by(4) {
            for col in (0..width).step_by(4) {
                turn_square(rows.add(col * rank + at), rank, panel.add(at * width + col), width);
            }
        }
        for at in squares..rank {
            for col in 0..width {
                *panel.add(at * width + col) = if col < cols { *rows.add(col * rank + at) } else { 0.0 };
            }
        }
    }
}
