//! Asking for weights before they are read: those of chosen experts as soon as they are chosen, and of what follows.
//!
//! Of a model that is larger than memory, some weights lie on the disk when they are needed. Which experts a layer uses
//! is known when its router has run, and then all their projections are asked for at once, before the first is
//! multiplied; so are the dense weights up to the next router. What that one will choose cannot be known, and the
//! experts that it chose for the token before are no guess worth making: those were read a moment ago and are in memory.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lazuli_core::plan::{Operand, Place, Plan, Step, StepKind};
use lazuli_core::{DType, Op};

use super::{Loc, Memory};
use crate::kernel::experts::Assignment;
use crate::pool::Worker;

/// The most bytes of experts that are asked for at once: a long prompt uses all of a layer's, and what comes too early
/// would be evicted before it is used.
const MOST_BYTES: usize = 1 << 30;
/// After so many runs that found everything in memory, only every [`SELDOM`]th run looks.
const QUIET: u32 = 2;
/// See [`QUIET`].
const SELDOM: u32 = 16;

/// Rows of weights in a leaf: a whole array, or one for each expert.
#[derive(Debug, Clone, Copy)]
struct Lot {
    weights: Loc,
    dtype: DType,
    /// Elements from one expert to the next.
    step: usize,
    /// Stored rows of an expert, or of all, and their length.
    rows: usize,
    cols: usize,
}

/// What a router's choice makes worth asking for.
#[derive(Debug, Clone, Default)]
pub(in crate::exec) struct Lots {
    /// Projections of which the chosen experts' parts will be read.
    experts: Vec<Lot>,
    /// Weights that are read whole afterwards, up to the next router.
    dense: Vec<Lot>,
}

/// Asks for weights.
pub(in crate::exec) struct AheadTask {
    pub assignment: Assignment,
    /// Where the assignment lies.
    pub at: Loc,
    pub lots: Lots,
}

/// Whether it is worth looking for weights that are not in memory. Where everything is, looking costs a system call for
/// each weight, and soon is done in one run of many.
#[derive(Debug, Default)]
pub(in crate::exec) struct Watch {
    /// Runs that found everything in memory since one did not.
    quiet: AtomicU32,
    found: AtomicBool,
}

impl Watch {
    /// Whether the run that begins should look.
    pub fn is_due(&self) -> bool {
        let quiet = self.quiet.fetch_add(1, Ordering::Relaxed);
        quiet < QUIET || quiet % SELDOM == 0
    }

    /// Called when a run ends.
    pub fn run_ended(&self) {
        if self.found.swap(false, Ordering::Relaxed) {
            self.quiet.store(0, Ordering::Relaxed);
        }
    }
}

impl Lots {
    /// For each step of `plan` that is the first to use a router's choice, by its number: what follows from it.
    pub fn of(plan: &Plan) -> Vec<(usize, Self)> {
        let mut all: Vec<(usize, Self)> = Vec::new();
        let mut last: Option<&Operand> = None;
        for (number, step) in plan.steps.iter().enumerate() {
            let Some(weights) = weights(plan, step) else { continue };
            if let Some(ids) = step.inputs.get(2).filter(|ids| ids.shape[1] < weights.shape[0]) {
                let same = last.is_some_and(|last| (last.value, &last.layout) == (ids.value, &ids.layout));
                if !same {
                    all.push((number, Self::default()));
                }
                last = Some(ids);
                all.last_mut().into_iter().for_each(|(_, lots)| lots.experts.extend(Lot::expert(weights)));
            } else {
                all.last_mut().into_iter().for_each(|(_, lots)| lots.dense.extend(Lot::whole(weights)));
            }
        }
        all
    }
}

/// The weights that a product reads, if they are a leaf.
fn weights<'a>(plan: &Plan, step: &'a Step) -> Option<&'a Operand> {
    let StepKind::Op(Op::Matmul { .. } | Op::ExpertMatmul) = step.kind else { return None };
    let weights = &step.inputs[1];
    matches!(plan.values[weights.value].place, Place::Leaf(_)).then_some(weights)
}

impl Lot {
    fn expert(weights: &Operand) -> Option<Self> {
        Self::new(weights, 1, weights.layout.strides[0])
    }

    fn whole(weights: &Operand) -> Option<Self> {
        Self::new(weights, 0, 0)
    }

    /// The part of `weights` that its axes from `first` on span.
    fn new(weights: &Operand, first: usize, step: usize) -> Option<Self> {
        let (dims, strides) = (&weights.shape[first..], &weights.layout.strides[first..]);
        let cols = dims[strides.iter().position(|&stride| stride == 1)?];
        let span: usize =
            dims.iter().zip(strides).map(|(&dim, &stride)| dim.saturating_sub(1) * stride).sum();
        Some(Self {
            weights: Loc::of(weights),
            dtype: weights.dtype,
            step,
            rows: (span + 1).div_ceil(cols.max(1)),
            cols: cols.max(1),
        })
    }

    fn bytes(&self) -> usize {
        self.dtype.bytes(self.rows, self.cols).unwrap_or(0)
    }

    /// Asks for the rows of expert `index` (0 of a whole array); whether any were not in memory.
    fn fetch(&self, memory: &Memory<'_>, index: usize) -> bool {
        let Some((planes, before)) = memory.stored(self.weights, index, self.step) else { return false };
        let bytes = |plane: usize, rows: usize| match self.dtype {
            DType::Quant(format) => format.plane_bytes(plane, rows, self.cols),
            other => other.bytes(rows, self.cols),
        };
        let mut found = false;
        for (number, plane) in planes.iter().enumerate() {
            let sizes = bytes(number, before / self.cols).zip(bytes(number, self.rows));
            if let Some((before, len)) = sizes {
                let start = plane.offset.saturating_add(before);
                found |= plane.buffer.fetch(start..start.saturating_add(len));
            }
        }
        found
    }
}

impl AheadTask {
    /// Asks for those pieces that `worker` is the first to take, in the order in which they will be read.
    pub fn run(&self, worker: &Worker<'_>, memory: &Memory<'_>) {
        let Some(watch) = memory.watch else { return };
        // SAFETY: the assignment was made in an earlier phase.
        let groups = unsafe { self.assignment.read(memory.at(self.at).cast()) };
        let mut chosen: Vec<usize> = groups.iter().map(|group| group.expert).collect();
        chosen.dedup();
        let each: usize = self.lots.experts.iter().map(Lot::bytes).sum();
        chosen.truncate((MOST_BYTES / each.max(1)).max(1));
        let of_experts = chosen.len() * self.lots.experts.len();
        worker.for_each_chunk(of_experts + self.lots.dense.len(), |piece| {
            let found = if piece < of_experts {
                self.lots.experts[piece / chosen.len()].fetch(memory, chosen[piece % chosen.len()])
            } else {
                self.lots.dense[piece - of_experts].fetch(memory, 0)
            };
            if found {
                watch.found.store(true, Ordering::Relaxed);
            }
        });
    }
}
