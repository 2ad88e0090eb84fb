//! From a plan to phases of tasks: which kernel runs each step, and what has to be prepared for it.

use lazuli_core::fused::GroupRank;
use lazuli_core::plan::{Operand, Plan, Step, StepKind};
use lazuli_core::{DType, Error, Fused, Layout, Op, Result, Shape};
use smallvec::SmallVec;

use super::Machine;
use super::elementwise;
use super::task::ahead::Lots;
use super::task::{Kernel, Loc, Phase, Task, arrange_products};
use crate::kernel::Element;
use crate::kernel::attention::Attention;
use crate::kernel::choice::Choice;
use crate::kernel::copy::StridedCopy;
use crate::kernel::gated::Gated;
use crate::kernel::gather::{Gather, GatherPacked};
use crate::kernel::kv_write::KvWrite;
use crate::kernel::norm::{LayerNorm, RmsNorm};
use crate::kernel::plain::{Plain, PlainOp};
use crate::kernel::quant::TwoSteps;
use crate::kernel::rope::Rope;
use crate::kernel::softmax::Softmax;

/// A plan's tasks and the memory they need besides the arena.
pub(super) struct Draft {
    pub phases: Vec<Phase>,
    /// How attention over leaves is cut, which is the same for the layers of a model: a place for each that differs.
    pub schedules: Vec<(Attention, [Loc; 3])>,
    /// Whether a task asks for weights before they are read.
    pub asks_ahead: bool,
    pub workspace: usize,
    pub worker_scratch: usize,
}

impl Draft {
    /// Adds tasks that come after all others: to the last phase's barrier if they are slight, or as a phase. A task that
    /// packs the rows which the last phase does nothing but make joins that.
    fn add(&mut self, mut tasks: Vec<Task>) {
        /// So many slight tasks are worth a barrier.
        const MANY: usize = 5;
        if let ([pack], Some(Phase { shared, alone })) = (&tasks[..], self.phases.last_mut())
            && let ([made], []) = (&shared[..], &alone[..])
            && let Some(per_row) = pack.made_by(made)
        {
            let (pack, made) = (tasks.remove(0), shared.remove(0));
            shared.push(pack.with(made, per_row));
            return;
        }
        if tasks.len() >= MANY || !tasks.iter().all(Task::is_slight) {
            self.phases.push(Phase { shared: tasks, alone: Vec::new() });
        } else if let Some(last) = self.phases.last_mut() {
            last.alone.extend(tasks);
        } else {
            self.phases.push(Phase { shared: Vec::new(), alone: tasks });
        }
    }
}

/// Chooses kernels for every step.
pub(super) fn compile(machine: &Machine, plan: &Plan) -> Result<Draft> {
    let mut out = Draft {
        phases: Vec::new(),
        schedules: Vec::new(),
        asks_ahead: false,
        workspace: 0,
        worker_scratch: 0,
    };
    let mut ahead = Lots::of(plan).into_iter().peekable();
    out.asks_ahead = ahead.peek().is_some();
    for steps in &plan.waves {
        let mut wave = Wave {
            machine,
            plan,
            schedules: &mut out.schedules,
            stages: Default::default(),
            workspace: 0,
            scratch: 0,
            packed: Vec::new(),
            packed_steps: Vec::new(),
            shared: super::experts::Shared::default(),
            ahead: None,
        };
        for number in steps.clone() {
            wave.ahead = ahead.next_if(|(first, _)| *first == number).map(|(_, lots)| lots);
            wave.step(&plan.steps[number])?;
        }
        let Wave { stages, workspace, scratch, .. } = wave;
        stages.into_iter().filter(|tasks| !tasks.is_empty()).for_each(|tasks| out.add(tasks));
        out.workspace = out.workspace.max(workspace);
        out.worker_scratch = out.worker_scratch.max(scratch);
    }
    arrange_products(&mut out.phases);
    Ok(out)
}

/// The phases of one wave, in order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    /// Strided or converted operands made dense.
    Dense,
    /// Activations packed for matrix products.
    Pack,
    /// The steps themselves.
    Main,
    /// Second halves: partial results joined.
    Join,
}

pub(super) struct Wave<'a> {
    pub machine: &'a Machine,
    pub plan: &'a Plan,
    /// See [`Draft::schedules`].
    pub schedules: &'a mut Vec<(Attention, [Loc; 3])>,
    stages: [Vec<Task>; 4],
    workspace: usize,
    scratch: usize,
    /// Activations that a product of this wave packed, for the next one to share.
    pub packed: Vec<(super::matmul::PackKey, usize)>,
    /// The same for activations rounded in two steps.
    pub packed_steps: Vec<(super::matmul::PackKey, TwoSteps, usize)>,
    /// Likewise what the products of experts prepared.
    pub shared: super::experts::Shared,
    /// What the step in hand makes worth asking for.
    pub ahead: Option<Lots>,
}

/// Elements that a chunk of cheap elementwise work takes at least.
pub(super) const ELEMENTS: usize = 4096;

impl Wave<'_> {
    /// Adds a task of `units`, cut into chunks of at least `least` units, a few for each worker.
    pub fn push(&mut self, stage: Stage, kernel: Kernel, inputs: &[Loc], output: Loc, cut: (usize, usize)) {
        let (units, least) = cut;
        let grain = units.div_ceil(self.machine.threads * 4).max(least).max(1);
        self.stages[stage as usize].push(Task { kernel, inputs: inputs.into(), output, units, grain });
    }

    /// Adds a task whose kernel has cut its units to the size of a chunk.
    pub fn push_units(&mut self, stage: Stage, kernel: Kernel, inputs: &[Loc], output: Loc, units: usize) {
        self.stages[stage as usize].push(Task { kernel, inputs: inputs.into(), output, units, grain: 1 });
    }

    /// The tasks of a stage so far.
    pub fn tasks(&mut self, stage: Stage) -> impl Iterator<Item = &mut Task> {
        self.stages[stage as usize].iter_mut()
    }

    /// Reserves workspace for this wave.
    pub fn reserve(&mut self, bytes: usize) -> usize {
        let at = self.workspace;
        self.workspace = (at + bytes).next_multiple_of(128);
        at
    }

    /// Makes sure that each worker has `bytes` of scratch.
    pub fn need_scratch(&mut self, bytes: usize) {
        self.scratch = self.scratch.max(bytes);
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match &step.kind {
            StepKind::Chain(chain) => self.chain(chain, step),
            StepKind::Op(op) => self.op(op, step)?,
        }
        Ok(())
    }

    fn chain(&mut self, chain: &lazuli_core::plan::Chain, step: &Step) {
        let kernel = elementwise::bind(self.machine.level, chain, step);
        self.need_scratch(kernel.scratch_len() * size_of::<f32>());
        let inputs: SmallVec<[Loc; 6]> = step.inputs.iter().map(Loc::of).collect();
        let units = step.output.shape.elements();
        self.push(
            Stage::Main,
            Kernel::Elementwise(kernel),
            &inputs,
            Loc::of(&step.output),
            (units, ELEMENTS),
        );
    }

    fn op(&mut self, op: &Op, step: &Step) -> Result<()> {
        let out = &step.output;
        match op {
            Op::Copy => self.copy(Stage::Main, &step.inputs[0], out.dtype, Loc::of(out)),
            Op::Cast(_) if step.inputs[0].dtype.is_quantised() => self.decode(&step.inputs[0], out)?,
            Op::Cast(_) => self.plain(PlainOp::Cast, step),
            Op::Full { value, .. } => self.plain(PlainOp::Full(*value), step),
            Op::Iota { .. } => self.plain(PlainOp::Iota, step),
            Op::Unary(unary) => self.plain(PlainOp::Unary(*unary), step),
            Op::Binary(binary) => self.plain(PlainOp::Binary(*binary), step),
            Op::Select => self.plain(PlainOp::Select, step),
            Op::Reduce { kind, axis } => self.reduce(*kind, *axis, step),
            Op::Matmul { rounding } => self.matmul(step, *rounding),
            Op::Gather => self.gather(step),
            Op::ExpertMatmul => self.experts(step),
            Op::TopK { .. } => self.choice((1, 1), GroupRank::Largest, step),
            Op::Concat { axis } => self.concat(*axis, step),
            Op::KvWrite { .. } => self.kv_write(step),
            Op::Fused(Fused::LatentAttention(op)) => self.latent_attention(*op, step)?,
            Op::Fused(fused) => self.fused(fused, step),
            Op::View(_) => return Err(unsupported(step, "views are not steps")),
        }
        Ok(())
    }

    fn fused(&mut self, fused: &Fused, step: &Step) {
        let level = self.machine.level;
        let out = &step.output;
        let (rows, cols) = (out.shape.rows(), out.shape.last_dim());
        let least = ELEMENTS.div_ceil(cols.max(1));
        match fused {
            Fused::Softmax(_) => {
                let x = self.dense_f32(&step.inputs[0]);
                self.push(
                    Stage::Main,
                    Kernel::Softmax(Softmax { level, cols }),
                    &[x],
                    Loc::of(out),
                    (rows, least),
                );
            }
            Fused::RmsNorm(norm) => {
                let (x, weight) = (self.dense_f32(&step.inputs[0]), self.dense(&step.inputs[1]));
                let (eps, offset) = (norm.eps.get(), norm.offset.get());
                let element = element(step.inputs[1].dtype);
                let kernel = RmsNorm { level, cols, x_stride: cols, eps, offset, weight: element };
                self.push(Stage::Main, Kernel::RmsNorm(kernel), &[x, weight], Loc::of(out), (rows, least));
            }
            Fused::LayerNorm(norm) => {
                let x = self.dense_f32(&step.inputs[0]);
                let (weight, bias) = (self.dense_f32(&step.inputs[1]), self.dense_f32(&step.inputs[2]));
                let kernel =
                    LayerNorm { level, cols, x_stride: cols, eps: norm.eps.get(), weight: Element::F32 };
                let inputs = [x, weight, bias];
                self.push(Stage::Main, Kernel::LayerNorm(kernel), &inputs, Loc::of(out), (rows, least));
            }
            Fused::Rope(rope) => {
                let (heads, head_dim) = (out.shape[1], cols);
                let (x, x_stride) = self.rows_of_heads(&step.inputs[0], DType::F32);
                let tables = [self.dense_f32(&step.inputs[1]), self.dense_f32(&step.inputs[2])];
                let rot_dim = 2 * step.inputs[1].shape[1];
                let kernel = Rope { level, style: rope.style, heads, head_dim, rot_dim, x_stride };
                let inputs = [x, tables[0], tables[1]];
                self.push(Stage::Main, Kernel::Rope(kernel), &inputs, Loc::of(out), (rows, least));
            }
            Fused::Gated(gated) => {
                let (gate, up) = (self.dense_f32(&step.inputs[0]), self.dense_f32(&step.inputs[1]));
                let activation = gated.activation;
                let kernel = Gated { level, activation, cols, gate_stride: cols, up_stride: cols };
                let units = out.shape.elements();
                self.push(Stage::Main, Kernel::Gated(kernel), &[gate, up], Loc::of(out), (units, ELEMENTS));
            }
            Fused::ExpertChoice(op) => self.choice((op.groups, op.kept), op.rank, step),
            Fused::PagedAttention(attention) => self.attention(attention, step),
            Fused::LatentAttention(_) => unreachable!("`op` binds it, as it may fail"),
        }
    }

    fn plain(&mut self, op: PlainOp, step: &Step) {
        let inputs = step.inputs.iter().map(|o| (o.dtype, at_start(&o.layout))).collect();
        let (shape, dtype) = (step.output.shape.clone(), step.output.dtype);
        let units = shape.elements();
        let locs: SmallVec<[Loc; 3]> = step.inputs.iter().map(Loc::of).collect();
        let kernel = Kernel::Plain(Plain { op, shape, dtype, inputs });
        self.push(Stage::Main, kernel, &locs, Loc::of(&step.output), (units, ELEMENTS));
    }

    fn reduce(&mut self, kind: lazuli_core::Reduce, axis: usize, step: &Step) {
        let input = &step.inputs[0];
        let mut layout = at_start(&input.layout);
        let (len, stride) = (input.shape[axis], layout.strides.remove(axis));
        let (shape, dtype) = (step.output.shape.clone(), step.output.dtype);
        let units = shape.elements();
        let op = PlainOp::Reduce { kind, len, stride };
        let kernel = Kernel::Plain(Plain { op, shape, dtype, inputs: vec![(input.dtype, layout)] });
        let least = ELEMENTS.div_ceil(len.max(1));
        self.push(Stage::Main, kernel, &[Loc::of(input)], Loc::of(&step.output), (units, least));
    }

    /// Copies an operand, converted to `to`, densely to `output`.
    fn copy(&mut self, stage: Stage, operand: &Operand, to: DType, output: Loc) {
        let target = Layout::contiguous(&operand.shape);
        self.copy_into(stage, operand, (to, &target), output);
    }

    fn copy_into(&mut self, stage: Stage, operand: &Operand, to: (DType, &Layout), output: Loc) {
        let signed = |layout: &Layout| layout.strides.iter().map(|&s| s as isize).collect::<Vec<_>>();
        let from = (element(operand.dtype), signed(&operand.layout));
        let into = (element(to.0), signed(to.1));
        let kernel =
            StridedCopy::new(self.machine.level, &operand.shape, (from.0, &from.1), (into.0, &into.1));
        let units = kernel.units();
        let least = (units * ELEMENTS).div_ceil(operand.shape.elements().max(1));
        self.push(stage, Kernel::Copy(kernel), &[Loc::of(operand)], output, (units, least));
    }

    /// The largest of each row; of the `kept` best of `groups`, if there are groups.
    fn choice(&mut self, (groups, kept): (usize, usize), rank: GroupRank, step: &Step) {
        let (x, out) = (self.dense_f32(&step.inputs[0]), &step.output);
        let (rows, cols) = (out.shape.rows(), step.inputs[0].shape.last_dim());
        let kernel = Choice { cols, count: out.shape.last_dim(), groups, kept, rank };
        let least = ELEMENTS.div_ceil(cols.max(1) * kernel.count.max(1));
        self.push(Stage::Main, Kernel::Choice(kernel), &[x], Loc::of(out), (rows, least));
    }

    fn concat(&mut self, axis: usize, step: &Step) {
        let out = &step.output;
        let whole = Layout::contiguous(&out.shape);
        let size = out.dtype.size().unwrap_or(0);
        let mut start = 0;
        for input in &step.inputs {
            let offset = out.layout.offset + start * whole.strides[axis];
            let place = Loc::Value { value: out.value, offset, size };
            self.copy_into(Stage::Main, input, (out.dtype, &whole), place);
            start += input.shape[axis];
        }
    }

    fn gather(&mut self, step: &Step) {
        let (table, ids, out) = (&step.inputs[0], &step.inputs[1], &step.output);
        let (rows, cols) = (table.shape[0], table.shape[1..].iter().product::<usize>());
        let (units, least) = (ids.shape.elements(), ELEMENTS.div_ceil(cols.max(1)));
        let ids = self.dense(ids);
        if let DType::Quant(format) = table.dtype {
            let kernel = Kernel::GatherPacked(GatherPacked { format, rows, cols });
            self.push(Stage::Main, kernel, &[Loc::of(table), ids], Loc::of(out), (units, least));
        } else {
            let (from, to) = (element(table.dtype), element(out.dtype));
            let kernel = Gather { level: self.machine.level, rows, cols, table: from, out: to };
            let table = self.dense(table);
            self.push(Stage::Main, Kernel::Gather(kernel), &[table, ids], Loc::of(out), (units, least));
        }
    }

    /// Decodes packed weights: rows first, in f32, and then into the order and type that is wanted.
    fn decode(&mut self, input: &Operand, out: &Operand) -> Result<()> {
        let DType::Quant(format) = input.dtype else { return Ok(()) };
        let Some(along) = input.layout.strides.iter().position(|&s| s == 1) else {
            return Err(Error::Decode { dtype: input.dtype, why: "its rows are not contiguous".into() });
        };
        let cols = input.shape[along];
        let rows = (Layout { offset: 0, ..input.layout.clone() }).reach(&input.shape).div_ceil(cols.max(1));
        let direct = out.dtype == DType::F32 && input.is_contiguous();
        let stage = if direct { Stage::Main } else { Stage::Dense };
        let to = if direct { Loc::of(out) } else { Loc::Workspace(self.reserve(rows * cols * 4)) };
        let kernel = Kernel::DecodeRows(GatherPacked { format, rows, cols });
        self.push(stage, kernel, &[Loc::of(input)], to, (rows, ELEMENTS.div_ceil(cols.max(1))));
        if !direct {
            let strides: Vec<isize> = input.layout.strides.iter().map(|&s| s as isize).collect();
            let target: Vec<isize> =
                Layout::contiguous(&out.shape).strides.iter().map(|&s| s as isize).collect();
            let from = (Element::F32, strides.as_slice());
            let copy = StridedCopy::new(self.machine.level, &out.shape, from, (element(out.dtype), &target));
            let units = copy.units();
            self.push(Stage::Main, Kernel::Copy(copy), &[to], Loc::of(out), (units, 1));
        }
        Ok(())
    }

    fn kv_write(&mut self, step: &Step) {
        let (pool, rows, slots, out) = (&step.inputs[0], &step.inputs[1], &step.inputs[2], &step.output);
        let (heads, dim) = (rows.shape[1], rows.shape[2]);
        if pool.value != out.value {
            // Somebody else still holds the pool: the rows go into a copy of it.
            self.copy_into(Stage::Dense, pool, (out.dtype, &out.layout), Loc::of(out));
        }
        let (from, stride) = self.rows_of_heads(rows, rows.dtype);
        let slots_at = self.dense(slots);
        let kernel = KvWrite {
            level: self.machine.level,
            heads,
            dim,
            pages: pool.shape[0],
            page_size: pool.shape[2],
            page: out.layout.strides[0],
            stride,
            rows: element(rows.dtype),
            pool: element(out.dtype),
        };
        let cut = (rows.shape[0], ELEMENTS.div_ceil(heads * dim));
        self.push(Stage::Main, Kernel::KvWrite(kernel), &[from, slots_at], Loc::of(out), cut);
    }

    /// `[tokens, heads, dim]` with dense heads, and the elements from one token to the next.
    pub fn rows_of_heads(&mut self, x: &Operand, dtype: DType) -> (Loc, usize) {
        let (heads, dim) = (x.shape[1], x.shape[2]);
        let dense_heads =
            (x.layout.strides[1] == dim || heads == 1) && (x.layout.strides[2] == 1 || dim == 1);
        if dense_heads && x.dtype == dtype {
            (Loc::of(x), x.layout.strides[0])
        } else {
            (self.converted(x, dtype), heads * dim)
        }
    }

    /// The operand without gaps, in its own type.
    pub fn dense(&mut self, operand: &Operand) -> Loc {
        self.converted(operand, operand.dtype)
    }

    /// The operand without gaps, in f32.
    pub fn dense_f32(&mut self, operand: &Operand) -> Loc {
        self.converted(operand, DType::F32)
    }

    fn converted(&mut self, operand: &Operand, dtype: DType) -> Loc {
        if operand.dtype == dtype && operand.is_contiguous() {
            return Loc::of(operand);
        }
        let bytes = operand.shape.elements() * dtype.size().unwrap_or(0);
        let to = Loc::Workspace(self.reserve(bytes));
        self.copy(Stage::Dense, operand, dtype, to);
        to
    }
}

/// The layout relative to the operand's first element, which its pointer already names.
fn at_start(layout: &Layout) -> Layout {
    Layout { offset: 0, ..layout.clone() }
}

/// The plain number type of a dtype that is not packed.
pub(super) fn element(dtype: DType) -> Element {
    match dtype {
        DType::F32 => Element::F32,
        DType::F16 => Element::F16,
        DType::BF16 => Element::BF16,
        DType::I32 => Element::I32,
        DType::U32 => Element::U32,
        DType::U8 | DType::Bool => Element::U8,
        DType::Quant(_) => unreachable!("packed operands are bound to kernels of their own"),
    }
}

/// An error that names the step.
pub(super) fn unsupported(step: &Step, why: &str) -> Error {
    let shapes: SmallVec<[&Shape; 4]> = step.inputs.iter().map(|o| &o.shape).collect();
    Error::Unsupported { backend: "cpu", op: format!("{} {shapes:?}", step.name()), why: why.into() }
}
