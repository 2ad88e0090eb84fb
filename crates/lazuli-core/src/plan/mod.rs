//! From a traced graph to a [`Plan`]: which steps run, in which waves, and where every byte goes.
//!
//! `fuse` joins elementwise chains, `schedule` orders steps into waves, `memory` gives values their places and
//! `cache` remembers plans by structure. Plans are data: they can be printed and tested without a backend.

pub(crate) mod cache;
mod fuse;
mod memory;
mod schedule;
mod show;

pub use fuse::{Chain, ChainOp, Instr};
pub use show::PlanSummary;

use std::ops::Range;

use smallvec::SmallVec;

use crate::{DType, Layout, Op, Shape};

/// Ordered steps over places in memory.
#[derive(Debug)]
pub struct Plan {
    /// What is computed, wave by wave.
    pub steps: Vec<Step>,
    /// Ranges of steps that do not depend on each other. A barrier stands between waves.
    pub waves: Vec<Range<usize>>,
    /// Storage that steps read and write.
    pub values: Vec<Value>,
    /// The asked-for arrays, in order: which storage they show.
    pub outputs: Vec<Operand>,
    /// Bytes of memory that values share by lifetime.
    pub arena_bytes: usize,
    /// Bytes of each result that gets memory of its own.
    pub output_bytes: Vec<usize>,
}

/// One thing to compute.
#[derive(Debug, Clone)]
pub struct Step {
    /// What.
    pub kind: StepKind,
    /// From what.
    pub inputs: SmallVec<[Operand; 4]>,
    /// To where.
    pub output: Operand,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StepKind {
    /// An operation as it stands in the graph.
    Op(Op),
    /// Several elementwise operations in one pass.
    Chain(Chain),
}

/// A view of a value: what a step reads or writes.
#[derive(Debug, Clone)]
pub struct Operand {
    /// Index into [`Plan::values`].
    pub value: usize,
    /// Elements along each axis.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
    /// Offset and strides; a leaf's own offset comes on top when it is bound.
    pub layout: Layout,
}

impl Operand {
    /// Bytes of the elements.
    pub fn bytes(&self) -> usize {
        // Packed rows stay rows in a transposed view: the axis along which elements are neighbours.
        let along = self.layout.strides.iter().position(|&stride| stride == 1);
        let cols = along.map_or(self.shape.last_dim(), |axis| self.shape[axis]);
        let rows = self.shape.elements().checked_div(cols).unwrap_or(0);
        self.dtype.bytes(rows, cols).unwrap_or(0)
    }

    /// Whether the elements lie row-major without gaps.
    pub fn is_contiguous(&self) -> bool {
        self.layout.is_contiguous(&self.shape)
    }
}

/// A piece of storage.
#[derive(Debug, Clone)]
pub struct Value {
    /// Its size (leaves: 0, they bring their own memory).
    pub bytes: usize,
    /// Where it lies.
    pub place: Place,
}

/// Where a value lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the memory of the `n`-th leaf.
    Leaf(usize),
    /// At a byte offset in the arena.
    Arena(usize),
    /// In the memory of the `n`-th separately allocated result.
    Output(usize),
}

/// Values in the arena start at multiples of this, so that vector loads are aligned and workers do not share
/// cache lines across values.
pub const ARENA_ALIGNMENT: usize = 128;

impl Plan {
    /// Plans a traced graph. With `chains`, elementwise operations are joined.
    pub(crate) fn new(graph: &crate::graph::Graph, chains: bool) -> Self {
        let draft = fuse::draft(graph, chains);
        let waves = schedule::waves(graph, &draft);
        memory::place(graph, draft, &waves)
    }
}
