//! Fused chains of elementwise operations: a small register program run over blocks that stay in the first cache.
//!
//! Owns the program's form ([`Program`]) and its execution on ranges of the output. Which operations are fused into
//! one program is the planner's decision.

mod blocks;
mod program;

pub use program::{Access, Input, Instr, Operation, Output, Program};

use std::ops::Range;

use super::Element;
use crate::simd::Level;

/// Elements that a program handles at a time: 16 registers of them fill a 32 KiB cache.
pub(super) const BLOCK: usize = 512;

/// A program bound to a shape: the output is `[rows, cols]`, contiguous, in each of the program's output types.
#[derive(Debug, Clone)]
pub struct Elementwise {
    level: Level,
    program: Program,
    rows: usize,
    cols: usize,
}

impl Elementwise {
    /// Binds `program` to an output of `[rows, cols]` (leading axes folded into `rows`).
    ///
    /// # Panics
    /// If the program names registers that do not exist or writes to an input or constant: a bug in the planner.
    pub fn new(level: Level, program: Program, rows: usize, cols: usize) -> Self {
        program.check();
        Self { level, program, rows, cols }
    }

    /// Elements of the output.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether the output has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements of scratch that [`Elementwise::run`] needs.
    pub fn scratch_len(&self) -> usize {
        self.program.registers() * BLOCK
    }

    /// Computes the output elements `elements`. There is one pointer for each of the program's inputs and outputs.
    /// Ranges may be cut anywhere; multiples of 512 are fastest. An output may share memory with an input of
    /// [`Access::Dense`] and of the same element size.
    ///
    /// # Safety
    /// Each input must be valid for the elements that its access reads for this range, each output for this range, all
    /// aligned for their types; nobody else may write the inputs or touch this range of the outputs. `scratch` must be
    /// valid for [`Elementwise::scratch_len`] elements, and the caller's own.
    ///
    /// # Panics
    /// If the number of pointers is not the program's.
    pub unsafe fn run(
        &self,
        elements: Range<usize>,
        inputs: &[*const u8],
        outputs: &[*mut u8],
        scratch: *mut f32,
    ) {
        assert_eq!(inputs.len(), self.program.inputs.len(), "one pointer for each input of the program");
        assert_eq!(outputs.len(), self.program.outputs.len(), "one pointer for each output of the program");
        // SAFETY: the caller's promise; the program was checked when this was made.
        unsafe { blocks::run(self.level, &self.program, self.cols, elements, inputs, outputs, scratch) };
    }
}

#[cfg(test)]
mod tests;
