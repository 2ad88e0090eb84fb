//! Products with the weights of chosen experts: which kernel, and what is put in order before it.

use lazuli_core::plan::{Operand, Step};
use lazuli_core::{DType, Layout};

use super::Precision;
use super::compile::{Stage, Wave, element};
use super::matmul::PackKey;
use super::task::ahead::AheadTask;
use super::task::experts::{ExpertTask, Geometry, Product, Rows, unit_rows};
use super::task::{Kernel, Loc};
use crate::kernel::experts::{Assignment, Ids};
use crate::kernel::matmul_float::{MatmulFloat, PackedRows};
use crate::kernel::quant::QuantMatmul;

/// The most rows that are multiplied with one expert's weights at a time.
const MOST: usize = 512;
/// The same where weights lie across: their results are kept near while all weights pass.
const MOST_ACROSS: usize = 64;
/// Up to this many tokens share their packed rows with other products of the wave.
const SHARED: usize = 4;
/// Rows of packed weights that lie across which are decoded at a time.
const ACROSS_ROWS: usize = 64;

/// What the products of a wave have in common: assignments made and rows put in order.
#[derive(Default)]
pub(super) struct Shared {
    assignments: Vec<((PackKey, Assignment), usize)>,
    rows: Vec<((PackKey, usize, bool), usize)>,
}

impl Wave<'_> {
    /// `x [tokens, k]` or `[tokens, chosen, k]` times `weights [experts, n, k]`, as `ids [tokens, chosen]` say.
    pub fn experts(&mut self, step: &Step) {
        let (x, weights, ids) = (&step.inputs[0], &step.inputs[1], &step.inputs[2]);
        let slots = ids.shape.elements();
        if slots == 0 || weights.shape[1] == 0 {
            return;
        }
        let (geometry, across) = self.geometry(weights);
        let k = geometry.k;
        let kernel = match (weights.dtype, self.machine.precision) {
            (DType::Quant(format), Precision::Fast) if !across => {
                let kernel = QuantMatmul::new(self.machine.level.without_amx(), format, geometry.n, k);
                // No expert is given more rows than there are tokens.
                kernel.filter(|kernel| kernel.takes(x.shape[0]))
            }
            _ => None,
        };
        let shared = kernel.is_some() && x.shape.rank() == 2 && x.shape[0] <= SHARED;
        let most = if across {
            MOST_ACROSS
        } else if shared {
            SHARED
        } else {
            MOST
        };
        let assignment = Assignment { slots, experts: weights.shape[0], most };
        let at = self.assignment(ids, assignment);
        if let Some(lots) = self.ahead.take() {
            let at = Loc::Workspace(at);
            let task = Kernel::Ahead(AheadTask { assignment, at, lots });
            self.push_units(Stage::Pack, task, &[], at, 1);
        }
        let (product, rows) = if let Some(kernel) = kernel {
            let product = Product::Packed { kernel, shared };
            let rows = if shared {
                self.packed_rows(x, kernel.activations(x.shape[0]))
            } else {
                self.rows_in_order((x, ids), (assignment, at), Some(kernel))
            };
            (product, rows)
        } else {
            let product = match (weights.dtype, across) {
                (DType::Quant(format), false) => Product::Decoded(format),
                (DType::Quant(format), true) => Product::DecodedAcross(format),
                (other, false) => Product::Float(element(other)),
                (other, true) => Product::Across(element(other)),
            };
            (product, self.rows_in_order((x, ids), (assignment, at), None))
        };
        let (level, threads) = (self.machine.level, self.machine.threads);
        let rows_loc = Loc::Workspace(rows);
        let task = ExpertTask {
            level,
            threads,
            assignment,
            at: Loc::Workspace(at),
            chosen: ids.shape[1],
            geometry,
            product,
        };
        self.need_scratch(scratch_bytes(&task));
        let inputs = [rows_loc, geometry.weights];
        self.push_units(Stage::Main, Kernel::Experts(task), &inputs, Loc::of(&step.output), 1);
    }

    /// How the experts' weights lie, and whether outputs lie side by side rather than inputs.
    pub fn geometry(&mut self, weights: &Operand) -> (Geometry, bool) {
        let (n, k) = (weights.shape[1], weights.shape[2]);
        let strides = &weights.layout.strides;
        let at = |weights, offset, step, stride| Geometry { weights, offset, step, stride, n, k };
        let (loc, offset) = (Loc::of(weights), weights.layout.offset);
        if strides[2] == 1 || k == 1 {
            (at(loc, offset, strides[0], strides[1]), false)
        } else if strides[1] == 1 || n == 1 {
            (at(loc, offset, strides[0], strides[2]), true)
        } else {
            let dense = Layout::contiguous(&weights.shape);
            (at(self.dense(weights), 0, dense.strides[0], dense.strides[1]), false)
        }
    }

    /// Sorts the slots by expert, once for all products of the wave with these ids.
    fn assignment(&mut self, ids: &Operand, assignment: Assignment) -> usize {
        let key = (PackKey::of(ids), assignment);
        if let Some((_, at)) = self.shared.assignments.iter().find(|(other, _)| *other == key) {
            return *at;
        }
        let at = self.reserve(assignment.bytes());
        let layout = Ids { chosen: ids.shape[1], strides: [ids.layout.strides[0], ids.layout.strides[1]] };
        let kernel = Kernel::Assign { assignment, layout };
        self.push_units(Stage::Dense, kernel, &[Loc::of(ids)], Loc::Workspace(at), 1);
        self.shared.assignments.push((key, at));
        at
    }

    /// Puts the rows of all slots in the order of the assignment: packed for `kernel`, or as they are.
    fn rows_in_order(
        &mut self,
        (x, ids): (&Operand, &Operand),
        (assignment, assigned): (Assignment, usize),
        kernel: Option<QuantMatmul>,
    ) -> usize {
        let key = (PackKey::of(x), assigned, kernel.is_some());
        if let Some((_, at)) = self.shared.rows.iter().find(|(other, _)| *other == key) {
            return *at;
        }
        let (chosen, k, slots) = (ids.shape[1], x.shape.last_dim(), assignment.slots);
        let plain = x.dtype == DType::F32 && (x.layout.strides[x.shape.rank() - 1] == 1 || k == 1);
        let (from, strides) = if plain {
            (Loc::of(x), x.layout.strides.clone())
        } else {
            (self.dense_f32(x), Layout::contiguous(&x.shape).strides)
        };
        let strides = if x.shape.rank() == 2 { [strides[0], 0] } else { [strides[0], strides[1]] };
        let rows = Rows { assignment, at: Loc::Workspace(assigned), chosen, strides, k, kernel };
        self.need_scratch(rows.scratch_bytes());
        let at = self.reserve(rows.bytes(slots));
        self.push_units(Stage::Pack, Kernel::ExpertRows(rows), &[from], Loc::Workspace(at), 1);
        self.shared.rows.push((key, at));
        at
    }
}

/// Scratch of a worker: results of a unit before they go to their places, then what the kernel needs.
fn scratch_bytes(task: &ExpertTask) -> usize {
    let Geometry { n, k, .. } = task.geometry;
    let most = task.assignment.most.min(task.assignment.slots);
    let results = (1..=most).map(|m| m * unit_rows(task, m, usize::MAX)).max().unwrap_or(0);
    let results = (results * size_of::<f32>()).next_multiple_of(64);
    let float = |granule| {
        let of = |m: usize| MatmulFloat::new(task.level, [m, n, k], [k, n], 1).scratch_bytes(granule);
        of(1).max(of(most))
    };
    let kernel = match &task.product {
        Product::Packed { kernel, shared: false } => kernel.scratch_bytes(most),
        Product::Packed { kernel, shared: true } => SHARED * kernel.activations(1).bytes(),
        Product::Float(_) => float(1),
        Product::Decoded(format) => float(PackedRows::granule_of(*format, k)),
        Product::Across(_) => 0,
        Product::DecodedAcross(_) => ACROSS_ROWS.min(k) * n * size_of::<f32>(),
    };
    results + kernel
}
