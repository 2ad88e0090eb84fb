//! Joining elementwise operations into chains, so that intermediate values stay in registers.
//!
//! A chain computes in f32: it starts from inputs that convert on load and ends with one conversion on store.
//! Integer arithmetic stays as single operations, so that it is exact.

use smallvec::SmallVec;

use crate::graph::Graph;
use crate::{Binary, DType, Op, Scalar, Unary};

use super::StepKind;

/// The most inputs a chain loads, and the most instructions it holds.
const MAX_INPUTS: usize = 6;
const MAX_INSTRS: usize = 24;

/// A small program over f32 registers, run once per element. Register `i` is input `i`, and after the inputs
/// come the results of the instructions in order; the last one is the output.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Chain {
    /// How many inputs are loaded.
    pub inputs: usize,
    /// What is computed.
    pub instrs: Vec<Instr>,
}

/// One instruction; unused arguments are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instr {
    /// What to do.
    pub op: ChainOp,
    /// Registers it reads.
    pub args: [u8; 3],
}

/// What an instruction does with f32 registers; booleans are 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChainOp {
    /// A number.
    Const(Scalar),
    /// A copy (a lone cast).
    Move,
    /// A function of one register.
    Unary(Unary),
    /// A function of two.
    Binary(Binary),
    /// `args[0] != 0 ? args[1] : args[2]`.
    Select,
}

/// A step before it has memory: inputs and output are graph nodes.
pub(super) struct Draft {
    pub kind: StepKind,
    pub inputs: SmallVec<[u32; 4]>,
    pub output: u32,
}

/// The steps of a graph in topological order.
pub(super) fn draft(graph: &Graph, chains: bool) -> Vec<Draft> {
    let readers = graph.readers();
    let mut absorbed = vec![false; graph.nodes.len()];
    let mut asked = vec![false; graph.nodes.len()];
    for &output in &graph.outputs {
        asked[graph.base(output).0 as usize] = true;
    }
    let mut drafts = Vec::new();
    for index in (0..graph.nodes.len() as u32).rev() {
        let node = &graph.nodes[index as usize];
        let Some((op, inputs)) = node.op() else { continue };
        let needed = !readers[index as usize].is_empty() || asked[index as usize];
        if matches!(op, Op::View(_)) || absorbed[index as usize] || !needed {
            continue;
        }
        if chains && in_float_domain(graph, index) {
            let single = |node: u32| readers[node as usize].len() == 1 && !asked[node as usize];
            let mut builder = Builder { graph, inputs: SmallVec::new(), instrs: 1, absorbed: Vec::new() };
            builder.collect(index, &single);
            for &node in &builder.absorbed {
                absorbed[node as usize] = true;
            }
            drafts.push(builder.finish(index));
        } else {
            drafts.push(Draft { kind: StepKind::Op(op.clone()), inputs: inputs.into(), output: index });
        }
    }
    drafts.reverse();
    drop_unread_constants(graph, drafts)
}

/// Numbers that every reader took into its chain need no step of their own.
fn drop_unread_constants(graph: &Graph, mut drafts: Vec<Draft>) -> Vec<Draft> {
    let mut read = vec![false; graph.nodes.len()];
    let operands = drafts.iter().flat_map(|d| d.inputs.iter()).chain(&graph.outputs);
    operands.for_each(|&node| read[graph.base(node).0 as usize] = true);
    drafts.retain(|d| !matches!(d.kind, StepKind::Op(Op::Full { .. })) || read[d.output as usize]);
    drafts
}

/// Whether a node can be computed in f32 registers without changing its value.
fn in_float_domain(graph: &Graph, index: u32) -> bool {
    let node = &graph.nodes[index as usize];
    let Some((op, inputs)) = node.op() else { return false };
    let dtype = |i: usize| graph.nodes[inputs[i] as usize].dtype;
    let real = |d: DType| d.is_float() || d == DType::Bool;
    match op {
        Op::Unary(_) | Op::Binary(_) | Op::Select => {
            real(node.dtype)
                && (0..inputs.len()).all(|i| real(dtype(i)) || graph.constant(inputs[i]).is_some())
        }
        Op::Cast(to) => {
            let loads = real(dtype(0)) || matches!(dtype(0), DType::I32 | DType::U8);
            loads && (real(*to) || (*to == DType::I32 && dtype(0).is_float()))
        }
        _ => false,
    }
}

struct Builder<'a> {
    graph: &'a Graph,
    /// Nodes that the chain loads.
    inputs: SmallVec<[u32; 4]>,
    /// How many instructions the chain will have.
    instrs: usize,
    /// Nodes that the chain computes besides its last.
    absorbed: Vec<u32>,
}

impl Builder<'_> {
    /// Decides which producers of `index` join the chain; the others become its inputs.
    fn collect(&mut self, index: u32, single: &dyn Fn(u32) -> bool) {
        let Some((_, inputs)) = self.graph.nodes[index as usize].op() else { return };
        for &input in inputs {
            let node = &self.graph.nodes[input as usize];
            if self.graph.constant(input).is_some() {
                self.instrs += 1;
                continue;
            }
            // A rounded intermediate would have to be rounded in the register too; those end the chain.
            let exact = matches!(node.dtype, DType::F32 | DType::Bool);
            let room = self.inputs.len() + 3 <= MAX_INPUTS && self.instrs + 4 <= MAX_INSTRS;
            if exact && room && single(input) && in_float_domain(self.graph, input) {
                self.instrs += 1;
                self.absorbed.push(input);
                self.collect(input, single);
            } else if !self.inputs.contains(&input) {
                self.inputs.push(input);
            }
        }
    }

    fn finish(self, root: u32) -> Draft {
        let mut emitter = Emitter { builder: &self, instrs: Vec::new() };
        emitter.emit(root);
        let chain = Chain { inputs: self.inputs.len(), instrs: emitter.instrs };
        Draft { kind: StepKind::Chain(chain), inputs: self.inputs, output: root }
    }
}

struct Emitter<'a> {
    builder: &'a Builder<'a>,
    instrs: Vec<Instr>,
}

impl Emitter<'_> {
    /// Adds the instructions that compute `index`; returns the register of the result.
    fn emit(&mut self, index: u32) -> u8 {
        let graph = self.builder.graph;
        let Some((op, inputs)) = graph.nodes[index as usize].op() else { return 0 };
        let mut args = [0; 3];
        for (arg, &input) in args.iter_mut().zip(inputs) {
            *arg = self.operand(input);
        }
        match op {
            Op::Unary(unary) => self.push(ChainOp::Unary(*unary), args),
            Op::Binary(binary) => self.push(ChainOp::Binary(*binary), args),
            Op::Select => self.push(ChainOp::Select, args),
            Op::Cast(DType::Bool) => {
                let zero = self.push(ChainOp::Const(0.0.into()), [0; 3]);
                self.push(ChainOp::Binary(Binary::Ne), [args[0], zero, 0])
            }
            // Conversions happen on load and store, so a cast inside a chain is the register itself.
            _ if self.instrs.is_empty() || args[0] < self.builder.inputs.len() as u8 => {
                self.push(ChainOp::Move, args)
            }
            _ => args[0],
        }
    }

    fn operand(&mut self, input: u32) -> u8 {
        if let Some(value) = self.builder.graph.constant(input) {
            return self.push(ChainOp::Const(value), [0; 3]);
        }
        match self.builder.inputs.iter().position(|&i| i == input) {
            Some(register) if !self.builder.absorbed.contains(&input) => register as u8,
            _ => self.emit(input),
        }
    }

    fn push(&mut self, op: ChainOp, args: [u8; 3]) -> u8 {
        self.instrs.push(Instr { op, args });
        (self.builder.inputs.len() + self.instrs.len() - 1) as u8
    }
}
