//! [`Task`]: a kernel bound to operands, cut into chunks; and [`Memory`], where operands lie in one run.

use std::ops::Range;

use lazuli_core::plan::{Operand, Place, Plan};
use lazuli_core::{Bindings, Buffer, Error, Result};
use lazuli_quant::Format;
use smallvec::SmallVec;

use crate::kernel::Element;
use crate::kernel::copy::StridedCopy;
use crate::kernel::elementwise::Elementwise;
use crate::kernel::gated::Gated;
use crate::kernel::gather::{Gather, GatherPacked};
use crate::kernel::kv_write::KvWrite;
use crate::kernel::matmul_float::{MatmulFloat, PackedRows, StridedMatmul, Weights};
use crate::kernel::norm::{LayerNorm, RmsNorm};
use crate::kernel::plain::Plain;
use crate::kernel::rope::Rope;
use crate::kernel::softmax::Softmax;

/// Where an operand lies: resolved to a pointer once per task and run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Loc {
    /// `offset` elements of `size` bytes into a value of the plan (and a leaf's own offset on top).
    Value { value: usize, offset: usize, size: usize },
    /// Bytes into the workspace.
    Workspace(usize),
}

impl Loc {
    /// An operand of plain elements.
    pub fn of(operand: &Operand) -> Self {
        let size = operand.dtype.size().unwrap_or(0);
        Self::Value { value: operand.value, offset: operand.layout.offset, size }
    }
}

/// A kernel, its operands and how its work is cut.
pub(super) struct Task {
    pub kernel: Kernel,
    pub inputs: SmallVec<[Loc; 6]>,
    pub output: Loc,
    /// Units of work in all.
    pub units: usize,
    /// Units that one chunk takes.
    pub grain: usize,
}

/// What a task runs.
pub(super) enum Kernel {
    Elementwise(Elementwise),
    Copy(StridedCopy),
    Plain(Plain),
    RmsNorm(RmsNorm),
    LayerNorm(LayerNorm),
    Softmax(Softmax),
    Rope(Rope),
    Gated(Gated),
    Gather(Gather),
    GatherPacked(GatherPacked),
    /// Rows of packed weights, one after the other.
    DecodeRows(GatherPacked),
    KvWrite(KvWrite),
    MatmulFloat {
        kernel: MatmulFloat,
        weight: Element,
        stride: usize,
    },
    MatmulRows {
        kernel: MatmulFloat,
        format: Format,
        rows: usize,
        cols: usize,
    },
    MatmulStrided(StridedMatmul),
}

/// The memory of one run: a pointer per value and plane.
pub(super) struct Memory<'a> {
    values: Vec<Storage<'a>>,
    workspace: &'a Buffer,
}

#[derive(Clone, Copy)]
struct Storage<'a> {
    /// First byte of the value, writable unless it is a mapped leaf.
    start: *mut u8,
    /// The leaf's own offset in elements.
    offset: usize,
    /// A leaf's planes, for packed weights.
    leaf: Option<&'a lazuli_core::View>,
}

// SAFETY: the pointers lead into buffers that the bindings keep alive; which task may write where is the plan's order.
unsafe impl Sync for Memory<'_> {}

impl<'a> Memory<'a> {
    /// Resolves every value of the plan.
    pub fn bind(plan: &Plan, bindings: &'a Bindings, workspace: &'a Buffer) -> Self {
        let storage = |place: Place| match place {
            Place::Leaf(leaf) => {
                let view = &bindings.leaves[leaf];
                let plane = &view.planes[0];
                let start = plane.buffer.as_ptr().wrapping_add(plane.offset).cast_mut();
                Storage { start, offset: view.layout.offset, leaf: Some(view) }
            }
            Place::Arena(offset) => {
                Storage { start: bindings.arena.as_mut_ptr().wrapping_add(offset), offset: 0, leaf: None }
            }
            Place::Output(output) => {
                Storage { start: bindings.outputs[output].as_mut_ptr(), offset: 0, leaf: None }
            }
        };
        Self { values: plan.values.iter().map(|v| storage(v.place)).collect(), workspace }
    }

    /// The first byte of an operand.
    pub fn at(&self, loc: Loc) -> *mut u8 {
        match loc {
            Loc::Value { value, offset, size } => {
                let storage = &self.values[value];
                storage.start.wrapping_add((storage.offset + offset) * size)
            }
            Loc::Workspace(offset) => self.workspace.as_mut_ptr().wrapping_add(offset),
        }
    }

    /// The planes of a packed leaf and how many elements of its storage come before the operand.
    pub fn packed(&self, loc: Loc) -> (SmallVec<[&'a [u8]; 3]>, usize) {
        let Loc::Value { value, offset, .. } = loc else { return (SmallVec::new(), 0) };
        let storage = &self.values[value];
        let planes = storage.leaf.map(|view| view.planes.iter().map(lazuli_core::Plane::bytes).collect());
        (planes.unwrap_or_default(), storage.offset + offset)
    }

    /// A range of the workspace that the caller alone uses.
    pub fn workspace(&self, offset: usize, len: usize) -> Scratch {
        debug_assert!(offset + len <= self.workspace.len(), "the workspace was sized by the compiler");
        Scratch { start: self.workspace.as_mut_ptr().wrapping_add(offset), len }
    }
}

/// A worker's own scratch memory.
#[derive(Clone, Copy)]
pub(super) struct Scratch {
    pub start: *mut u8,
    pub len: usize,
}

impl Task {
    /// How many chunks the task is cut into.
    pub fn chunks(&self) -> usize {
        self.units.div_ceil(self.grain)
    }

    /// Runs one chunk.
    pub fn run(&self, chunk: usize, memory: &Memory<'_>, scratch: Scratch) -> Result<()> {
        let units = chunk * self.grain..((chunk + 1) * self.grain).min(self.units);
        let input = |i: usize| memory.at(self.inputs[i]).cast_const();
        let floats = |i: usize| input(i).cast::<f32>();
        let out = memory.at(self.output);
        // SAFETY: the compiler bound each kernel to operands of the sizes that it was made for; the plan orders tasks
        // so that nobody writes what another task of the phase touches; chunks cover disjoint units.
        unsafe {
            match &self.kernel {
                Kernel::Elementwise(k) => {
                    let inputs: SmallVec<[*const u8; 8]> = (0..self.inputs.len()).map(input).collect();
                    k.run(units, &inputs, &[out]);
                }
                Kernel::Copy(k) => k.run(units, input(0), out),
                Kernel::Plain(k) => {
                    let inputs: SmallVec<[*const u8; 3]> = (0..self.inputs.len()).map(input).collect();
                    k.run(units, &inputs, out);
                }
                Kernel::RmsNorm(k) => k.run(units, floats(0), input(1), out.cast()),
                Kernel::LayerNorm(k) => k.run(units, floats(0), input(1), input(2), out.cast()),
                Kernel::Softmax(k) => k.run(units, floats(0), out.cast()),
                Kernel::Rope(k) => k.run(units, floats(0), floats(1), floats(2), out.cast()),
                Kernel::Gated(k) => k.run(units, floats(0), floats(1), out.cast()),
                Kernel::Gather(k) => {
                    k.run(units, input(0), self.indices(memory, 1), out).map_err(index_error("gather"))?;
                }
                Kernel::GatherPacked(k) => {
                    let ids = self.indices(memory, 1);
                    self.decode_rows(k, units, memory, |unit| ids[unit].into())?;
                }
                Kernel::DecodeRows(k) => self.decode_rows(k, units, memory, |unit| unit as i64)?,
                Kernel::MatmulFloat { kernel, weight, stride } => {
                    let weights = Weights::Float { element: *weight, data: input(1), stride: *stride };
                    kernel.run(units, floats(0), weights, out.cast(), scratch.start.cast());
                }
                Kernel::MatmulRows { kernel, format, rows, cols } => {
                    let (planes, before) = memory.packed(self.inputs[1]);
                    let first = before / cols;
                    let all = PackedRows::new(*format, &planes, first + rows, *cols)
                        .map_err(|e| decode_error(*format, &e))?;
                    let source = all.from_row(first);
                    kernel.run(units, floats(0), Weights::Rows(&source), out.cast(), scratch.start.cast());
                }
                Kernel::MatmulStrided(k) => {
                    k.run(units, floats(0), floats(1), out.cast(), scratch.start.cast());
                }
                Kernel::KvWrite(k) => {
                    let slots = self.indices(memory, 1);
                    k.run(units, input(0), slots, out).map_err(index_error("kv_write"))?;
                }
            }
        }
        Ok(())
    }

    /// An i32 input as a slice: there is one index for each unit.
    unsafe fn indices<'m>(&self, memory: &'m Memory<'_>, input: usize) -> &'m [i32] {
        // SAFETY: the compiler made the operand dense i32 with one element for each unit.
        unsafe { std::slice::from_raw_parts(memory.at(self.inputs[input]).cast(), self.units) }
    }

    /// Decodes row `id(unit)` of a packed operand to row `unit` of the output.
    unsafe fn decode_rows(
        &self,
        kernel: &GatherPacked,
        units: Range<usize>,
        memory: &Memory<'_>,
        id: impl Fn(usize) -> i64,
    ) -> Result<()> {
        let (planes, before) = memory.packed(self.inputs[0]);
        let first_row = before / kernel.cols;
        let table = GatherPacked { rows: first_row + kernel.rows, ..*kernel };
        for unit in units {
            let index = id(unit);
            let row = usize::try_from(index).ok().filter(|&row| row < kernel.rows);
            let row = row.ok_or(Error::Index { op: "gather", index, len: kernel.rows })?;
            // SAFETY: the output has `cols` floats for each unit, and this chunk alone writes these.
            let out = unsafe {
                let start = memory.at(self.output).cast::<f32>().add(unit * kernel.cols);
                std::slice::from_raw_parts_mut(start, kernel.cols)
            };
            let failed = |e: lazuli_quant::QuantError| decode_error(kernel.format, &e);
            table.row(&planes, (first_row + row) as i32, out).map_err(failed)?;
        }
        Ok(())
    }
}

fn decode_error(format: Format, error: &lazuli_quant::QuantError) -> Error {
    Error::Decode { dtype: lazuli_core::DType::Quant(format), why: error.to_string() }
}

fn index_error(op: &'static str) -> impl Fn(crate::kernel::IndexError) -> Error {
    move |error| Error::Index { op, index: error.found, len: error.bound }
}
