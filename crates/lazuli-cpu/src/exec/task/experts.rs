//! Running products of experts: every worker finds the same units in the assignment, and takes them in turn.

use std::ops::Range;

use lazuli_core::Result;
use lazuli_quant::Format;
use smallvec::SmallVec;

use super::{Loc, Memory, Scratch, decode_error};
use crate::kernel::Element;
use crate::kernel::experts::{Across, Assignment, Group, Groups};
use crate::kernel::matmul_float::{MatmulFloat, PackedRows, Weights};
use crate::kernel::quant::{Activations, QuantMatmul, QuantMatmulArgs};
use crate::pool::Worker;
use crate::simd::Level;

/// Bytes of weights that a unit has at most when few rows are multiplied with them.
const FEW_BYTES: usize = 256 * 1024;
/// Multiply-accumulates that a unit of many rows aims at.
const MANY_MACS: usize = 12_000_000;
/// Up to this many rows a product goes at the speed of memory.
const FEW: usize = 4;
/// Units begin at multiples of this many weight rows: whole panels of every level.
const STEP: usize = 48;
/// Rows that are copied at a time.
const COPIED: usize = 16;
/// Rows of activations that are packed together.
const TILE: usize = 4;

/// A product of rows with the weights of their experts.
pub(in crate::exec) struct ExpertTask {
    pub level: Level,
    pub threads: usize,
    pub assignment: Assignment,
    /// Where the assignment lies.
    pub at: Loc,
    /// Experts of each token.
    pub chosen: usize,
    pub geometry: Geometry,
    pub product: Product,
}

/// How the weights of experts `[n, k]` lie, in elements.
#[derive(Debug, Clone, Copy)]
pub(in crate::exec) struct Geometry {
    pub weights: Loc,
    /// Before the first expert's first element (of a stack: of any expert's).
    pub offset: usize,
    /// From one expert to the next.
    pub step: usize,
    /// From one stored row to the next: rows of `k` along, or of `n` across.
    pub stride: usize,
    pub n: usize,
    pub k: usize,
}

impl Geometry {
    /// The planes that hold an expert's weights, and the stored rows of length `cols` before its first.
    pub fn planes<'m>(
        &self,
        memory: &Memory<'m>,
        expert: usize,
        cols: usize,
    ) -> (SmallVec<[&'m [u8]; 3]>, usize) {
        let (planes, own, stacked) = memory.member(self.weights, expert);
        let elements = if stacked { 0 } else { own + self.offset + expert * self.step };
        (planes, elements / cols.max(1))
    }

    /// Where an expert's float weights start.
    pub fn floats(&self, memory: &Memory<'_>, expert: usize, element: Element) -> *const u8 {
        let Geometry { weights, step, .. } = *self;
        let (planes, _, stacked) = memory.member(weights, expert);
        if stacked {
            planes[0].as_ptr()
        } else {
            memory.at(weights).wrapping_add(expert * step * element.size())
        }
    }
}

/// How rows are multiplied.
pub(in crate::exec) enum Product {
    /// Packed weights times activations in int8; `shared` ones stand in the order of tokens.
    Packed { kernel: QuantMatmul, shared: bool },
    /// Packed weights decoded to f32.
    Decoded(Format),
    /// Float weights.
    Float(Element),
    /// Float weights whose outputs lie side by side.
    Across(Element),
    /// Packed weights whose outputs lie side by side, decoded to f32.
    DecodedAcross(Format),
}

/// Rows of an array put in the order of an assignment, as f32 or packed.
pub(in crate::exec) struct Rows {
    pub assignment: Assignment,
    pub at: Loc,
    pub chosen: usize,
    /// Elements from one token's rows to the next token's, and from one of its rows to the next.
    pub strides: [usize; 2],
    pub k: usize,
    pub kernel: Option<QuantMatmul>,
}

/// Weight rows of a unit for a group of `m` rows, when there are `groups` in all.
pub(in crate::exec) fn unit_rows(task: &ExpertTask, m: usize, groups: usize) -> usize {
    let Geometry { n, k, .. } = task.geometry;
    if matches!(task.product, Product::DecodedAcross(_)) {
        return n;
    }
    let row_bytes = match &task.product {
        Product::Packed { kernel, .. } => kernel.row_bytes(),
        _ => 2 * k,
    };
    let work = if m <= FEW { FEW_BYTES / row_bytes.max(1) } else { MANY_MACS / (m * k).max(1) };
    let share = n.saturating_mul(groups).div_ceil(4 * task.threads);
    work.min(share).next_multiple_of(STEP).clamp(STEP, n.next_multiple_of(STEP)).min(n)
}

/// The units of all groups, found one after the other.
struct Units<'a> {
    task: &'a ExpertTask,
    groups: Groups<'a>,
    group: usize,
    /// Units before this group, and bytes of packed rows.
    before: usize,
    bytes: usize,
}

/// One unit: weight rows of one group's expert, and where the group's packed rows start.
struct Unit<'a> {
    group: Group<'a>,
    rows: Range<usize>,
    bytes: usize,
}

impl<'a> Units<'a> {
    fn new(task: &'a ExpertTask, groups: Groups<'a>) -> Self {
        Self { task, groups, group: 0, before: 0, bytes: 0 }
    }

    fn rows(&self, group: &Group<'_>) -> usize {
        unit_rows(self.task, group.slots.len(), self.groups.len())
    }

    fn of(&self, group: &Group<'_>) -> usize {
        self.task.geometry.n.div_ceil(self.rows(group))
    }

    fn total(&self) -> usize {
        self.groups.iter().map(|group| self.of(&group)).sum()
    }

    /// Unit `unit`, which must not be before the last one asked for.
    fn find(&mut self, unit: usize) -> Unit<'a> {
        loop {
            let group = self.groups.get(self.group);
            let count = self.of(&group);
            if unit < self.before + count {
                let (rows, n) = (self.rows(&group), self.task.geometry.n);
                let first = (unit - self.before) * rows;
                return Unit { group, rows: first..(first + rows).min(n), bytes: self.bytes };
            }
            self.before += count;
            self.group += 1;
            if let Product::Packed { kernel, shared: false } = &self.task.product {
                self.bytes += kernel.activations(group.slots.len()).bytes();
            }
        }
    }
}

impl ExpertTask {
    /// Computes those units that `worker` is the first to take.
    pub fn run(
        &self,
        inputs: &[Loc],
        output: Loc,
        worker: &Worker<'_>,
        memory: &Memory<'_>,
        scratch: Scratch,
    ) -> Result<()> {
        // SAFETY: the assignment was made in an earlier phase.
        let groups = unsafe { self.assignment.read(memory.at(self.at).cast()) };
        let (mut units, mut ahead) = (Units::new(self, groups), Units::new(self, groups));
        let (rows, out) = (memory.at(inputs[0]), memory.at(output).cast::<f32>());
        let mut result = Ok(());
        worker.for_each_chunk_ahead(units.total(), false, |unit, next| {
            let next = &mut || next().map_or(std::ptr::null(), |next| self.start(&ahead.find(next), memory));
            // SAFETY: the compiler bound operands of these sizes, and sized the scratch; units write disjoint columns
            // of disjoint rows.
            let done = unsafe { self.unit(&units.find(unit), memory, (rows, out), scratch, next) };
            if let Err(error) = done {
                result = Err(error);
            }
        });
        result
    }

    /// The first byte of weights that a unit reads, if that is worth asking for.
    fn start(&self, unit: &Unit<'_>, memory: &Memory<'_>) -> *const u8 {
        let Product::Packed { kernel, .. } = &self.product else { return std::ptr::null() };
        let (planes, before) = self.geometry.planes(memory, unit.group.expert, self.geometry.k);
        planes[0].as_ptr().wrapping_add((before + unit.rows.start) * kernel.row_bytes())
    }

    /// Computes one unit: straight to its place if the group has one row, else by way of the scratch.
    unsafe fn unit(
        &self,
        unit: &Unit<'_>,
        memory: &Memory<'_>,
        (rows, out): (*const u8, *mut f32),
        scratch: Scratch,
        next: &mut dyn FnMut() -> *const u8,
    ) -> Result<()> {
        let n = self.geometry.n;
        let (slots, count) = (unit.group.slots, unit.rows.len());
        // SAFETY: the caller's promise: the scratch holds the results and then what the kernel needs.
        unsafe {
            let (results, rest) =
                scratch.bytes().split_at_mut((slots.len() * count * 4).next_multiple_of(64));
            let place = |slot: i32| out.add(slot as usize * n + unit.rows.start);
            if let &[slot] = slots {
                return self.multiply(unit, memory, rows, (place(slot), n), rest, next);
            }
            let results = results.as_mut_ptr().cast::<f32>();
            self.multiply(unit, memory, rows, (results, count), rest, next)?;
            for (row, &slot) in slots.iter().enumerate() {
                std::ptr::copy_nonoverlapping(results.add(row * count), place(slot), count);
            }
        }
        Ok(())
    }

    /// The unit's weight rows times the group's rows, to rows of `y` that are `stride` apart.
    unsafe fn multiply(
        &self,
        unit: &Unit<'_>,
        memory: &Memory<'_>,
        rows: *const u8,
        (y, y_stride): (*mut f32, usize),
        scratch: &mut [u8],
        next: &mut dyn FnMut() -> *const u8,
    ) -> Result<()> {
        let Geometry { stride, n, k, .. } = self.geometry;
        let Group { expert, start, slots } = unit.group;
        let (m, columns) = (slots.len(), &unit.rows);
        // SAFETY: the caller's promise; rows in order were put there in an earlier phase.
        unsafe {
            let x = rows.cast::<f32>().wrapping_add(start * k);
            let float = || MatmulFloat::new(self.level, [m, columns.len(), k], [k, y_stride], 1);
            let all = Across { m, n: columns.len(), k, x_stride: k, w_stride: stride, y_stride, add: false };
            match &self.product {
                Product::Packed { kernel, shared } => {
                    let shape = kernel.activations(m);
                    let (acts, scratch) = if *shared {
                        self.tokens_rows(shape, slots, rows, scratch)
                    } else {
                        (rows.add(unit.bytes), scratch)
                    };
                    let (planes, before) = self.geometry.planes(memory, expert, k);
                    let part = kernel.part(columns.len());
                    let weights = part.weights(&planes, before + columns.start);
                    let args = QuantMatmulArgs { weights, shape, acts, out: y, out_stride: y_stride };
                    part.run(&args, 0..part.units(m), scratch, next);
                }
                Product::Float(element) => {
                    let size = element.size();
                    let data = self
                        .geometry
                        .floats(memory, expert, *element)
                        .wrapping_add(columns.start * stride * size);
                    let (kernel, weights) = (float(), Weights::Float { element: *element, data, stride });
                    kernel.run(0..kernel.units(), x, weights, y, scratch.as_mut_ptr().cast());
                }
                Product::Decoded(format) => {
                    let (planes, before) = self.geometry.planes(memory, expert, k);
                    let source = PackedRows::new(*format, &planes, before + n, k)
                        .map_err(|e| decode_error(*format, &e))?
                        .from_row(before + columns.start);
                    let kernel = float();
                    let weights = Weights::Rows(&source);
                    kernel.run(0..kernel.units(), x, weights, y, scratch.as_mut_ptr().cast());
                }
                Product::Across(element) => {
                    let data = self
                        .geometry
                        .floats(memory, expert, *element)
                        .wrapping_add(columns.start * element.size());
                    all.run(self.level, x, (*element, data), y);
                }
                Product::DecodedAcross(format) => {
                    let (planes, before) = self.geometry.planes(memory, expert, n);
                    let decoded = std::slice::from_raw_parts_mut(
                        scratch.as_mut_ptr().cast::<f32>(),
                        scratch.len() / size_of::<f32>(),
                    );
                    let piece = (decoded.len() / n).clamp(1, k);
                    for first in (0..k).step_by(piece) {
                        let rows = piece.min(k - first);
                        for (row, to) in decoded.chunks_exact_mut(n).take(rows).enumerate() {
                            let from = before + first + row;
                            format
                                .decode_row(&planes, before + k, n, from, to)
                                .map_err(|e| decode_error(*format, &e))?;
                        }
                        let part = Across { k: rows, w_stride: n, add: first > 0, ..all };
                        part.run(self.level, x.add(first), (Element::F32, decoded.as_ptr().cast()), y);
                    }
                }
            }
        }
        Ok(())
    }

    /// Packed rows of the tokens that `slots` belong to, side by side.
    unsafe fn tokens_rows<'s>(
        &self,
        shape: Activations,
        slots: &[i32],
        rows: *const u8,
        scratch: &'s mut [u8],
    ) -> (*const u8, &'s mut [u8]) {
        let len = shape.bytes() / slots.len();
        // SAFETY: the caller's promise: there is a row for each token, and the scratch has room for the group's.
        unsafe {
            let row = |slot: i32| rows.add(slot as usize / self.chosen * len);
            if let &[slot] = slots {
                return (row(slot), scratch);
            }
            let (copy, rest) = scratch.split_at_mut(shape.bytes());
            for (to, &slot) in copy.chunks_exact_mut(len).zip(slots) {
                std::ptr::copy_nonoverlapping(row(slot), to.as_mut_ptr(), len);
            }
            (copy.as_ptr(), rest)
        }
    }
}

impl Rows {
    /// Bytes of all rows in order, however they are distributed.
    pub fn bytes(&self, slots: usize) -> usize {
        let Some(kernel) = &self.kernel else { return slots * self.k * size_of::<f32>() };
        let single = kernel.activations(1).bytes();
        // Five rows fill two tiles: no group takes more for each of its rows.
        let worst = if slots > FEW { kernel.activations(FEW + 1).bytes().div_ceil(FEW + 1) } else { 0 };
        slots * single.max(worst)
    }

    /// Bytes of a worker's scratch: rows that are packed together.
    pub fn scratch_bytes(&self) -> usize {
        if self.kernel.is_some() { TILE * self.k * size_of::<f32>() } else { 0 }
    }

    /// Puts those rows in order that `worker` is the first to take.
    pub fn run(&self, from: Loc, to: Loc, worker: &Worker<'_>, memory: &Memory<'_>, scratch: Scratch) {
        // SAFETY: the assignment was made in an earlier phase.
        let groups = unsafe { self.assignment.read(memory.at(self.at).cast()) };
        if groups.is_empty() {
            // An id was wrong: the order holds nothing, and the other workers find that too.
            return;
        }
        let (from, to) = (memory.at(from).cast_const().cast::<f32>(), memory.at(to));
        if let Some(kernel) = &self.kernel {
            return self.pack(kernel, groups, (from, to), worker, scratch);
        }
        let order = groups.order();
        worker.for_each_chunk(order.len().div_ceil(COPIED), |chunk| {
            let slots = chunk * COPIED..((chunk + 1) * COPIED).min(order.len());
            for (at, &slot) in slots.clone().zip(&order[slots]) {
                // SAFETY: the slot is one of the input's rows, and the output has a row for each.
                unsafe {
                    let to = to.cast::<f32>().add(at * self.k);
                    std::ptr::copy_nonoverlapping(self.row(from, slot), to, self.k);
                }
            }
        });
    }

    unsafe fn row(&self, from: *const f32, slot: i32) -> *const f32 {
        let (token, choice) = (slot as usize / self.chosen, slot as usize % self.chosen);
        // SAFETY: the caller's promise: the slot is one of the assignment's.
        unsafe { from.add(token * self.strides[0] + choice * self.strides[1]) }
    }

    /// Packs rows: of small groups one at a time, of others a tile.
    fn pack(
        &self,
        kernel: &QuantMatmul,
        groups: Groups<'_>,
        (from, to): (*const f32, *mut u8),
        worker: &Worker<'_>,
        scratch: Scratch,
    ) {
        let step = |group: &Group<'_>| if group.slots.len() <= FEW { 1 } else { TILE };
        let pieces = |group: &Group<'_>| group.slots.len().div_ceil(step(group));
        let total = groups.iter().map(|group| pieces(&group)).sum();
        let (mut index, mut before, mut bytes) = (0, 0, 0);
        worker.for_each_chunk(total, |unit| {
            let group = loop {
                let group = groups.get(index);
                if unit < before + pieces(&group) {
                    break group;
                }
                before += pieces(&group);
                bytes += kernel.activations(group.slots.len()).bytes();
                index += 1;
            };
            let (piece, step) = (unit - before, step(&group));
            let slots = &group.slots[piece * step..((piece + 1) * step).min(group.slots.len())];
            // SAFETY: the output has room for all groups' rows as `bytes` says; the scratch for a tile in f32.
            unsafe {
                if step == 1 {
                    let shape = kernel.activations(1).for_all();
                    let to = to.add(bytes + piece * shape.bytes());
                    shape.quantise(self.row(from, slots[0]), self.k, 0..shape.units(), to);
                    return;
                }
                let tile = scratch.bytes().as_mut_ptr().cast::<f32>();
                for row in 0..TILE {
                    let to = tile.add(row * self.k);
                    match slots.get(row) {
                        Some(&slot) => std::ptr::copy_nonoverlapping(self.row(from, slot), to, self.k),
                        None => to.write_bytes(0, self.k),
                    }
                }
                let shape = kernel.activations(group.slots.len()).for_all();
                shape.quantise_tile(tile, self.k, piece, to.add(bytes));
            }
        });
    }
}
