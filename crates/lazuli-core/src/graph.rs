//! The part of the graph that an evaluation needs, as data: what the plan cache is keyed by.
//!
//! Tracing prunes (only what the asked-for arrays depend on is visited), lowers fused operations that the
//! backend does not run, and notes which leaves nobody else holds. It computes nothing.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use smallvec::{SmallVec, smallvec};

use crate::{Array, Backend, DType, Layout, Op, Shape};

/// A node of a traced graph; its inputs are indices of earlier nodes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub source: Source,
    pub shape: Shape,
    pub dtype: DType,
}

/// Where a node's value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// An evaluated array, bound at run time. Its offset is data, its strides are structure.
    Leaf { strides: SmallVec<[usize; 4]>, donated: bool },
    /// An operation on earlier nodes.
    Op { op: Op, inputs: SmallVec<[u32; 4]> },
}

/// The structure of an evaluation: equal graphs have equal plans.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Graph {
    pub nodes: Vec<Node>,
    pub outputs: Vec<u32>,
}

/// A graph with the arrays that it was traced from.
pub(crate) struct Trace {
    pub graph: Graph,
    /// The evaluated arrays, in the order of the graph's leaves.
    pub leaves: Vec<Array>,
}

/// Node addresses are already well spread; one multiplication mixes them enough.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    fn write_usize(&mut self, address: usize) {
        let mixed = (address as u64 >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

type ByAddress<T> = HashMap<usize, T, BuildHasherDefault<AddressHasher>>;

impl Graph {
    /// Traces what `outputs` need. Fused operations that `backend` does not run are replaced by their meaning.
    pub fn trace(outputs: &[&Array], backend: &dyn Backend) -> Trace {
        let mut tracer =
            Tracer { backend, seen: ByAddress::default(), graph: Self::default(), leaves: Vec::new() };
        let mut kept = Vec::new();
        for output in outputs {
            let index = tracer.visit(output, &mut kept);
            tracer.graph.outputs.push(index);
        }
        tracer.mark_donations();
        let leaves = tracer.leaves.into_iter().map(|leaf| leaf.array).collect();
        Trace { graph: tracer.graph, leaves }
    }
}

struct Leaf {
    array: Array,
    node: u32,
    /// How many inputs of traced nodes name it.
    edges: usize,
}

struct Tracer<'a> {
    backend: &'a dyn Backend,
    seen: ByAddress<u32>,
    graph: Graph,
    leaves: Vec<Leaf>,
}

/// A node waiting for its inputs: where it stands, what it does, and which address to remember it by.
struct Pending {
    address: usize,
    alias: Option<usize>,
    op: Op,
    inputs: SmallVec<[Array; 4]>,
    next: usize,
    shape: Shape,
    dtype: DType,
}

impl Tracer<'_> {
    /// Visits `root` and everything it needs, without recursion; arrays made by lowering go to `kept` so that
    /// their addresses stay theirs until tracing ends.
    fn visit(&mut self, root: &Array, kept: &mut Vec<Array>) -> u32 {
        let mut stack: Vec<Pending> = Vec::new();
        if let Some(pending) = self.enter(root, kept) {
            stack.push(pending);
        }
        while let Some(top) = stack.last_mut() {
            if let Some(input) = top.inputs.get(top.next).cloned() {
                top.next += 1;
                if let Some(pending) = self.enter(&input, kept) {
                    stack.push(pending);
                }
                continue;
            }
            if let Some(done) = stack.pop() {
                self.leave(done);
            }
        }
        self.seen[&root.id()]
    }

    /// Registers a leaf or a known node at once; returns an operation whose inputs must come first.
    fn enter(&mut self, array: &Array, kept: &mut Vec<Array>) -> Option<Pending> {
        if self.seen.contains_key(&array.id()) {
            return None;
        }
        let lazy = array.locked();
        let Some(lazy) = lazy.as_ref().filter(|_| !array.is_evaluated()) else {
            drop(lazy);
            self.leaf(array);
            return None;
        };
        let (op, inputs) = (lazy.op.clone(), lazy.inputs.clone());
        if let Op::Fused(fused) = &op {
            let refs: SmallVec<[&Array; 8]> = inputs.iter().collect();
            if !self.backend.supports(&op, &refs) {
                let meaning = fused.decompose(&refs);
                kept.push(meaning.clone());
                let pending = self.enter(&meaning, kept);
                if pending.is_none() {
                    let index = self.seen[&meaning.id()];
                    self.seen.insert(array.id(), index);
                }
                return pending.map(|p| Pending { alias: Some(array.id()), ..p });
            }
        }
        let (shape, dtype) = (array.shape().clone(), array.dtype());
        Some(Pending { address: array.id(), alias: None, op, inputs, next: 0, shape, dtype })
    }

    fn leaf(&mut self, array: &Array) {
        let strides = array.layout().strides;
        let node = self.push(Node {
            source: Source::Leaf { strides, donated: false },
            shape: array.shape().clone(),
            dtype: array.dtype(),
        });
        self.seen.insert(array.id(), node);
        self.leaves.push(Leaf { array: array.clone(), node, edges: 0 });
    }

    fn leave(&mut self, done: Pending) {
        // A diamond can put a node on the stack twice; the second time it is known.
        if !self.seen.contains_key(&done.address) {
            let mut inputs: SmallVec<[u32; 4]> =
                done.inputs.iter().map(|input| self.seen[&input.id()]).collect();
            if let Op::View(_) = done.op {
                inputs[0] = self.storage(inputs[0]);
            }
            for (&index, input) in inputs.iter().zip(&done.inputs) {
                if input.is_evaluated() {
                    if let Ok(at) = self.leaves.binary_search_by_key(&index, |leaf| leaf.node) {
                        self.leaves[at].edges += 1;
                    }
                }
            }
            let node =
                Node { source: Source::Op { op: done.op, inputs }, shape: done.shape, dtype: done.dtype };
            let index = self.push(node);
            self.seen.insert(done.address, index);
        }
        if let Some(alias) = done.alias {
            let index = self.seen[&done.address];
            self.seen.insert(alias, index);
        }
    }

    /// What a view of `index` shows. Arrays flatten views of views, but the meaning of a fused operation may
    /// end in a view; one that is not in the order of its storage is copied, so that layouts need no product.
    fn storage(&mut self, index: u32) -> u32 {
        let node = &self.graph.nodes[index as usize];
        let Source::Op { op: Op::View(layout), inputs } = &node.source else { return index };
        if layout.offset == 0 && layout.is_contiguous(&node.shape) {
            return inputs[0];
        }
        let source = Source::Op { op: Op::Copy, inputs: smallvec![index] };
        let copy = Node { source, shape: node.shape.clone(), dtype: node.dtype };
        self.push(copy)
    }

    fn push(&mut self, node: Node) -> u32 {
        self.graph.nodes.push(node);
        self.graph.nodes.len() as u32 - 1
    }

    /// A leaf whose every handle is an input of a traced node (and whose memory nobody else holds) dies with
    /// this evaluation: an operation may take over its memory.
    fn mark_donations(&mut self) {
        for leaf in &self.leaves {
            if leaf.array.is_alone(leaf.edges + 1) {
                if let Source::Leaf { donated, .. } = &mut self.graph.nodes[leaf.node as usize].source {
                    *donated = true;
                }
            }
        }
    }
}

impl Node {
    /// The operation and its inputs; leaves have none.
    pub fn op(&self) -> Option<(&Op, &[u32])> {
        match &self.source {
            Source::Leaf { .. } => None,
            Source::Op { op, inputs } => Some((op, inputs)),
        }
    }

    /// The layout of the node's own storage (views excepted, whose layout is their operation's).
    pub fn own_layout(&self) -> Layout {
        match &self.source {
            Source::Leaf { strides, .. } => Layout { offset: 0, strides: strides.clone() },
            Source::Op { op, .. } => op.layout(&self.shape),
        }
    }

    /// Bytes of storage of the node's own.
    pub fn storage_bytes(&self) -> usize {
        let dense = || self.dtype.bytes(self.shape.rows(), self.shape.last_dim()).unwrap_or(0);
        let spaced = |size| self.own_layout().reach(&self.shape) * size;
        self.dtype.size().map_or_else(dense, spaced)
    }
}

impl Graph {
    /// The node whose storage `index` shows, and the layout in it.
    pub fn base(&self, index: u32) -> (u32, Layout) {
        match &self.nodes[index as usize].source {
            Source::Op { op: Op::View(layout), inputs } => (inputs[0], layout.clone()),
            _ => (index, self.nodes[index as usize].own_layout()),
        }
    }

    /// Whether each leaf dies with the evaluation, in their order.
    pub fn donations(&self) -> Vec<bool> {
        let donated = |node: &Node| match node.source {
            Source::Leaf { donated, .. } => Some(donated),
            Source::Op { .. } => None,
        };
        self.nodes.iter().filter_map(donated).collect()
    }

    /// The constant behind a node, if it is a number spread over a shape.
    pub fn constant(&self, index: u32) -> Option<crate::Scalar> {
        match self.nodes[self.base(index).0 as usize].source {
            Source::Op { op: Op::Full { value, .. }, .. } => Some(value),
            _ => None,
        }
    }

    /// For each node, the nodes that read it, directly or through a view.
    pub fn readers(&self) -> Vec<SmallVec<[u32; 2]>> {
        let mut readers = vec![smallvec![]; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            let Some((op, inputs)) = node.op() else { continue };
            if !matches!(op, Op::View(_)) {
                for &input in inputs {
                    readers[self.base(input).0 as usize].push(index as u32);
                }
            }
        }
        readers
    }
}
