//! [`Task`]: a kernel bound to operands, cut into chunks; and [`Memory`], where operands lie in one run.
#![allow(unsafe_code)]

pub(super) mod ahead;
pub(super) mod experts;
pub(super) mod latent;

use std::ops::Range;
use std::sync::OnceLock;

use lazuli_core::plan::{Operand, Place, Plan};
use lazuli_core::{Bindings, Buffer, Error, Result};
use lazuli_quant::Format;
use smallvec::SmallVec;

use crate::kernel::attention::{self, Arrays, Attention, Batch, Schedule};
use crate::kernel::choice::Choice;
use crate::kernel::copy::StridedCopy;
use crate::kernel::elementwise::Elementwise;
use crate::kernel::experts::{Assignment, Ids};
use crate::kernel::gated::Gated;
use crate::kernel::gather::{Gather, GatherPacked};
use crate::kernel::kv_write::KvWrite;
use crate::kernel::matmul_float::{MatmulFloat, PackedRows, StridedMatmul, Weights};
use crate::kernel::norm::{LayerNorm, RmsNorm};
use crate::kernel::plain::Plain;
use crate::kernel::quant::{Activations, QuantMatmul, QuantMatmulArgs, TwoSteps};
use crate::kernel::rope::Rope;
use crate::kernel::softmax::Softmax;
use crate::kernel::stream;
use crate::kernel::{Element, IndexError};
use crate::pool::Worker;

use super::compile::ELEMENTS;

/// Where an operand lies: resolved to a pointer once per task and run.
#[derive(Debug, Clone, Copy, PartialEq)]
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

/// Work between two barriers.
pub(super) struct Phase {
    /// Tasks without an order among them, for all workers to share.
    pub shared: Vec<Task>,
    /// What the last worker to finish these does in order, while the others wait: a barrier for each would take longer.
    pub alone: Vec<Task>,
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
    /// Activations rounded to int8 groups, once for every product that reads them.
    Pack {
        kernel: Activations,
        stride: usize,
    },
    /// Rows of activations made by another task, `per_row` of its units each, and packed while they are in the cache.
    MadeRows {
        made: Box<Task>,
        per_row: usize,
        kernel: Activations,
        stride: usize,
    },
    /// Activations and what rounding them leaves over, to be packed together.
    SplitSteps {
        kernel: TwoSteps,
        stride: usize,
    },
    /// The products of both added up, rows of `cols`.
    JoinSteps {
        kernel: TwoSteps,
        cols: usize,
    },
    /// Packed weights times packed activations; `next` are the weights that are read after these.
    MatmulPacked {
        kernel: QuantMatmul,
        acts: Activations,
        next: Option<NextWeights>,
        share: Share,
    },
    Choice(Choice),
    /// Slots sorted by expert.
    Assign {
        assignment: Assignment,
        layout: Ids,
    },
    /// Weights asked for before they are read.
    Ahead(ahead::AheadTask),
    /// Rows put in the order of an assignment.
    ExpertRows(experts::Rows),
    /// Those times their experts' weights.
    Experts(experts::ExpertTask),
    /// Attention that expands latent rows.
    AttendLatents(latent::LatentTask),
    /// First phase of attention.
    Attend(AttentionTask),
    /// Second phase: partitions of long contexts are joined.
    Join(AttentionTask),
}

/// How workers share a product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Share {
    /// Whoever is free takes a unit.
    Taken,
    /// Each has a fixed part: what makes one late here is evened out by a product that follows before the barrier.
    Fixed,
    /// Each has a first unit, and takes others.
    OwnThenTaken,
}

/// The packed weights of a later task.
#[derive(Debug, Clone, Copy)]
pub(super) struct NextWeights {
    weights: Loc,
    kernel: QuantMatmul,
    /// Rows of activations.
    rows: usize,
}

impl NextWeights {
    /// Where a worker is likely to begin: workers arrive about together, so each takes one of the first units.
    fn start(&self, memory: &Memory<'_>, worker: usize) -> *const u8 {
        let (planes, before) = memory.packed(self.weights);
        let unit = worker.min(self.kernel.units(self.rows).saturating_sub(1));
        let skip =
            before / self.kernel.cols() * self.kernel.row_bytes() + self.kernel.unit_start(self.rows, unit);
        planes.first().map_or(std::ptr::null(), |plane| plane.as_ptr().wrapping_add(skip))
    }
}

/// Tells products of packed weights how they are shared, and what the next one reads.
pub(super) fn arrange_products(phases: &mut [Phase]) {
    for phase in phases.iter_mut() {
        let alike = phase.shared.iter().all(|task| matches!(task.kernel, Kernel::MatmulPacked { .. }));
        let last = phase.shared.len().saturating_sub(1);
        for (index, task) in phase.shared.iter_mut().enumerate() {
            if let Kernel::MatmulPacked { kernel, acts, share, .. } = &mut task.kernel {
                if index == last {
                    *kernel = kernel.before_a_barrier();
                    task.units = kernel.units(acts.rows());
                }
                if alike {
                    *share = if index == last { Share::OwnThenTaken } else { Share::Fixed };
                }
            }
        }
    }
    let mut next = None;
    for task in phases.iter_mut().rev().flat_map(|phase| phase.shared.iter_mut().rev()) {
        let weights = task.inputs.get(1).copied();
        if let (Kernel::MatmulPacked { kernel, acts, next: after, .. }, Some(weights)) =
            (&mut task.kernel, weights)
        {
            *after = next;
            next = Some(NextWeights { weights, kernel: *kernel, rows: acts.rows() });
        }
    }
}

/// Attention with what its phases share.
pub(super) struct AttentionTask {
    pub kernel: Attention,
    pub shape: attention::Shape,
    pub q_stride: usize,
    pub sinks: bool,
    /// The place of its schedule, if it is shared.
    pub schedule: Option<usize>,
    /// Partial results between the phases.
    pub shared: Loc,
}

/// The memory of one run: a pointer per value and plane.
pub(super) struct Memory<'a> {
    values: Vec<Storage<'a>>,
    workspace: &'a Buffer,
    /// Where this run notes that weights were not in memory, if it should look for such.
    watch: Option<&'a ahead::Watch>,
    /// Schedules of attention, made by whoever needs one first.
    schedules: Vec<OnceLock<std::result::Result<Schedule<'a>, IndexError>>>,
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
    pub fn bind(
        plan: &Plan,
        bindings: &'a Bindings,
        workspace: &'a Buffer,
        watch: Option<&'a ahead::Watch>,
        schedules: usize,
    ) -> Self {
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
        let values = plan.values.iter().map(|v| storage(v.place)).collect();
        Self { values, workspace, watch, schedules: (0..schedules).map(|_| OnceLock::new()).collect() }
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

    /// The planes of an operand, or of member `index` if it is a stack (the last says so), and the elements of a
    /// leaf's storage before it.
    fn member(&self, loc: Loc, index: usize) -> (SmallVec<[&'a [u8]; 3]>, usize, bool) {
        let Loc::Value { value, .. } = loc else { return (SmallVec::new(), 0, false) };
        let storage = &self.values[value];
        let Some(view) = storage.leaf else { return (SmallVec::new(), 0, false) };
        let planes = view.member(index).iter().map(lazuli_core::Plane::bytes).collect();
        (planes, storage.offset, view.stack.is_some())
    }

    /// The planes of a leaf that hold part `index` of an operand whose parts are `step` elements apart, or member
    /// `index` if it is a stack; and the elements of their storage before that part.
    fn stored(&self, loc: Loc, index: usize, step: usize) -> Option<(&'a [lazuli_core::Plane], usize)> {
        let Loc::Value { value, offset, .. } = loc else { return None };
        let storage = &self.values[value];
        let view = storage.leaf?;
        let before = if view.stack.is_some() { 0 } else { storage.offset + offset + index * step };
        Some((view.member(index), before))
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
    start: *mut u8,
    len: usize,
}

impl Scratch {
    /// All of it.
    ///
    /// # Safety
    /// The caller must be the worker whose scratch this is, and hold no other slice of it.
    unsafe fn bytes<'a>(self) -> &'a mut [u8] {
        // SAFETY: the range is the worker's own part of the workspace, as `Memory::workspace` was asked for it.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl Task {
    /// Whether it takes about as long as a barrier: one chunk of a kernel that reads no weights to speak of.
    pub fn is_slight(&self) -> bool {
        match &self.kernel {
            Kernel::MatmulFloat { .. }
            | Kernel::MatmulRows { .. }
            | Kernel::MatmulStrided(_)
            | Kernel::MatmulPacked { .. }
            | Kernel::Experts(_)
            | Kernel::ExpertRows(_)
            | Kernel::AttendLatents(_)
            | Kernel::Attend(_)
            | Kernel::MadeRows { .. }
            | Kernel::Ahead(_) => false,
            Kernel::Pack { kernel, .. } => kernel.rows() * kernel.cols() <= ELEMENTS,
            Kernel::Join(k) => k.shape.tokens * k.shape.heads * k.shape.v_dim <= ELEMENTS,
            _ => self.units <= self.grain,
        }
    }

    /// How many units of `made` make a row of those that this task packs, if it packs many and `made` makes them. What
    /// `made` reads must not lie in the workspace: that of a wave is that of the one before, and packing writes there.
    pub fn made_by(&self, made: &Self) -> Option<usize> {
        let Kernel::Pack { kernel, stride } = &self.kernel else { return None };
        let (cols, per_row) = match &made.kernel {
            Kernel::RmsNorm(RmsNorm { cols, .. }) | Kernel::LayerNorm(LayerNorm { cols, .. }) => (*cols, 1),
            Kernel::Gated(Gated { cols, .. }) => (*cols, *cols),
            _ => return None,
        };
        let same = self.inputs[0] == made.output && *stride == cols;
        let apart = made.inputs.iter().all(|input| matches!(input, Loc::Value { .. }));
        kernel.rows_of(0).filter(|_| same && apart).map(|_| per_row)
    }

    /// This task, which packs what `made` makes by `per_row` units a row, with that in it.
    pub fn with(self, made: Self, per_row: usize) -> Self {
        let Kernel::Pack { kernel, stride } = self.kernel else {
            unreachable!("only tasks that pack are made by others")
        };
        Self { kernel: Kernel::MadeRows { made: Box::new(made), per_row, kernel, stride }, ..self }
    }

    /// Asks for weights, which nobody has used since the last run.
    pub fn ask(&self, memory: &Memory<'_>) {
        if let Kernel::RmsNorm(norm) = &self.kernel {
            stream::ask(norm.level, memory.at(self.inputs[1]), norm.cols * norm.weight.size());
        }
    }

    /// Runs those chunks of the task that `worker` is the first to take. Every worker calls this for every task.
    pub fn run(&self, worker: &Worker<'_>, memory: &Memory<'_>, scratch: Scratch) -> Result<()> {
        if let Kernel::Attend(k) | Kernel::Join(k) = &self.kernel {
            return self.attend(k, worker, memory, scratch);
        }
        if let Kernel::MatmulPacked { kernel, acts, next, share } = &self.kernel {
            self.multiply(kernel, *acts, (*share, next.as_ref()), worker, memory, scratch);
            return Ok(());
        }
        match &self.kernel {
            Kernel::ExpertRows(k) => {
                k.run(self.inputs[0], self.output, worker, memory, scratch);
                return Ok(());
            }
            Kernel::Experts(k) => return k.run(&self.inputs, self.output, worker, memory, scratch),
            Kernel::AttendLatents(k) => return k.run(&self.inputs, self.output, worker, memory, scratch),
            Kernel::Ahead(k) => {
                k.run(worker, memory);
                return Ok(());
            }
            _ => {}
        }
        let mut result = Ok(());
        worker.for_each_chunk(self.units.div_ceil(self.grain), |chunk| {
            if let Err(error) = self.chunk(chunk, memory, scratch) {
                result = Err(error);
            }
        });
        result
    }

    fn chunk(&self, chunk: usize, memory: &Memory<'_>, scratch: Scratch) -> Result<()> {
        self.run_units(chunk * self.grain..((chunk + 1) * self.grain).min(self.units), memory, scratch)
    }

    fn run_units(&self, units: Range<usize>, memory: &Memory<'_>, scratch: Scratch) -> Result<()> {
        let input = |i: usize| memory.at(self.inputs[i]).cast_const();
        let floats = |i: usize| input(i).cast::<f32>();
        let out = memory.at(self.output);
        // SAFETY: the compiler bound each kernel to operands of the sizes that it was made for; the plan orders tasks
        // so that nobody writes what another task of the phase touches; chunks cover disjoint units.
        unsafe {
            match &self.kernel {
                Kernel::Elementwise(k) => {
                    let inputs: SmallVec<[*const u8; 8]> = (0..self.inputs.len()).map(input).collect();
                    k.run(units, &inputs, &[out], scratch.start.cast());
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
                Kernel::Pack { kernel, stride } => kernel.quantise(floats(0), *stride, units, out),
                Kernel::MadeRows { made, per_row, kernel, stride } => {
                    for unit in units {
                        let rows = kernel.rows_of(unit).unwrap_or(0..0);
                        made.run_units(rows.start * per_row..rows.end * per_row, memory, scratch)?;
                        kernel.quantise(floats(0), *stride, unit..unit + 1, out);
                    }
                }
                Kernel::SplitSteps { kernel, stride } => kernel.split(units, floats(0), *stride, out.cast()),
                Kernel::JoinSteps { kernel, cols } => kernel.join(units, *cols, floats(0), out.cast()),
                Kernel::Choice(k) => k.run(units, floats(0), out.cast()),
                Kernel::Assign { assignment, layout } => {
                    assignment
                        .make(*layout, input(0).cast(), out.cast())
                        .map_err(index_error("expert_matmul"))?;
                }
                Kernel::MatmulPacked { .. }
                | Kernel::Attend(_)
                | Kernel::Join(_)
                | Kernel::Ahead(_)
                | Kernel::ExpertRows(_)
                | Kernel::AttendLatents(_)
                | Kernel::Experts(_) => {
                    unreachable!("`run` hands these out itself")
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

    /// Packed weights times packed activations. The stream of weights does not end with a chunk: it runs on into the
    /// worker's next chunk, and from the last one into the weights that the plan reads next.
    fn multiply(
        &self,
        kernel: &QuantMatmul,
        acts: Activations,
        (share, after): (Share, Option<&NextWeights>),
        worker: &Worker<'_>,
        memory: &Memory<'_>,
        scratch: Scratch,
    ) {
        let (planes, before) = memory.packed(self.inputs[1]);
        let weights = kernel.weights(&planes, before / acts.cols());
        let start = |unit: usize| weights.start().wrapping_add(kernel.unit_start(acts.rows(), unit));
        let beyond = after.map_or(std::ptr::null(), |next| next.start(memory, worker.index));
        let run = |units: Range<usize>, next: &mut dyn FnMut() -> *const u8| {
            let args = QuantMatmulArgs {
                weights,
                shape: acts,
                acts: memory.at(self.inputs[0]),
                out: memory.at(self.output).cast(),
                out_stride: kernel.rows(),
            };
            // SAFETY: the compiler bound operands of the kernel's sizes; units are disjoint and the scratch is the
            // worker's own.
            unsafe { kernel.run(&args, units, scratch.bytes(), next) };
        };
        if share == Share::Fixed {
            run(worker.part(self.units), &mut || beyond);
            return;
        }
        worker.for_each_chunk_ahead(self.units, share == Share::OwnThenTaken, |unit, next| {
            run(unit..unit + 1, &mut || next().map_or(beyond, start));
        });
    }

    /// Either phase of attention: its units depend on the batch, and every worker finds the same ones.
    fn attend(
        &self,
        k: &AttentionTask,
        worker: &Worker<'_>,
        memory: &Memory<'_>,
        scratch: Scratch,
    ) -> Result<()> {
        let at = |i: usize| memory.at(self.inputs[i]).cast_const();
        let made;
        let make = || k.kernel.schedule(batch(memory, &self.inputs[3..6], &k.shape));
        let schedule = if let Some(place) = k.schedule {
            memory.schedules[place].get_or_init(make)
        } else {
            made = make();
            &made
        };
        let schedule = schedule.as_ref().map_err(|&error| index_error("paged_attention")(error))?;
        let arrays = Arrays {
            q: at(0).cast(),
            q_stride: k.q_stride,
            keys: at(1),
            values: at(2),
            sinks: if k.sinks { at(6).cast() } else { std::ptr::null() },
            out: memory.at(self.output).cast(),
        };
        let shared = memory.at(k.shared).cast::<f32>();
        // SAFETY: as in `chunk`; the schedule's units are disjoint, and the plan has a barrier between the phases.
        unsafe {
            if matches!(self.kernel, Kernel::Attend(_)) {
                worker.for_each_chunk(schedule.units(), |unit| {
                    k.kernel.run(schedule, unit..unit + 1, &arrays, scratch.start.cast(), shared);
                });
            } else {
                worker.for_each_chunk(schedule.joins(), |row| {
                    k.kernel.join(schedule, row..row + 1, &arrays, shared);
                });
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

/// What page table, sequences and positions say of an attention step's tokens.
fn batch<'a>(memory: &Memory<'a>, inputs: &[Loc], shape: &attention::Shape) -> Batch<'a> {
    // SAFETY: the compiler made these operands dense i32 of the shape's sizes.
    let integers =
        |i: usize, len: usize| unsafe { std::slice::from_raw_parts(memory.at(inputs[i]).cast::<i32>(), len) };
    Batch {
        page_table: integers(0, shape.sequences * shape.pages_per_sequence),
        sequence: integers(1, shape.tokens),
        position: integers(2, shape.tokens),
    }
}

fn decode_error(format: Format, error: &lazuli_quant::QuantError) -> Error {
    Error::Decode { dtype: lazuli_core::DType::Quant(format), why: error.to_string() }
}

fn index_error(op: &'static str) -> impl Fn(crate::kernel::IndexError) -> Error {
    move |error| Error::Index { op, index: error.found, len: error.bound }
}
