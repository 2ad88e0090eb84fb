//! Binding a plan's elementwise chain to the kernel that runs it: registers, constants, access patterns.

use lazuli_core::plan::{Chain, ChainOp, Operand, Step};
use lazuli_core::{Binary, Layout, Shape, Unary};

use super::compile::element;
use crate::kernel::elementwise::{Access, Elementwise, Input, Instr, Operation, Output, Program};
use crate::simd::Level;

/// The kernel for `chain` with the operands of `step`.
pub(super) fn bind(level: Level, chain: &Chain, step: &Step) -> Elementwise {
    let constants: Vec<f32> = chain.instrs.iter().filter_map(|i| constant(i.op)).collect();
    let mut program = Program {
        inputs: step.inputs.iter().map(|input| access(input, &step.output.shape)).collect(),
        constants,
        instrs: Vec::new(),
        outputs: Vec::new(),
    };
    // The chain numbers results in order; the kernel keeps constants before temporaries.
    let mut registers: Vec<u8> = (0..chain.inputs as u8).collect();
    let (mut next_constant, mut next_temporary) =
        (chain.inputs as u8, (chain.inputs + program.constants.len()) as u8);
    for instr in &chain.instrs {
        if constant(instr.op).is_some() {
            registers.push(next_constant);
            next_constant += 1;
            continue;
        }
        let [a, b, c] = instr.args.map(|arg| registers[usize::from(arg)]);
        program.instrs.push(Instr { op: operation(instr.op), dst: next_temporary, a, b, c });
        registers.push(next_temporary);
        next_temporary += 1;
    }
    let register = registers.last().copied().unwrap_or(0);
    program.outputs.push(Output { register, element: element(step.output.dtype) });
    Elementwise::new(level, program, step.output.shape.rows(), step.output.shape.last_dim())
}

fn constant(op: ChainOp) -> Option<f32> {
    if let ChainOp::Const(value) = op { Some(value.get()) } else { None }
}

/// How the kernel finds an input's element for each output element.
fn access(operand: &Operand, shape: &Shape) -> Input {
    let strides = &operand.layout.strides;
    let moving = |axis: usize| shape[axis] != 1 && strides[axis] != 0;
    let outer_shape = Shape::from(&shape[..shape.rank().saturating_sub(1)]);
    let outer = Layout { offset: 0, strides: strides[..outer_shape.rank()].into() };
    let last = shape.rank().checked_sub(1);
    let access = if operand.is_contiguous() {
        Access::Dense
    } else if !(0..shape.rank()).any(moving) {
        Access::Scalar
    } else if last.is_some_and(|l| strides[l] == 1) && !(0..outer_shape.rank()).any(moving) {
        Access::Row
    } else if last.is_some_and(|l| !moving(l)) && outer.is_contiguous(&outer_shape) {
        Access::Column
    } else {
        Access::Strided { shape: shape.to_vec(), strides: strides.iter().map(|&s| s as isize).collect() }
    };
    Input { element: element(operand.dtype), access }
}

fn operation(op: ChainOp) -> Operation {
    match op {
        ChainOp::Const(_) | ChainOp::Move => Operation::Copy,
        ChainOp::Select => Operation::Select,
        ChainOp::Unary(unary) => match unary {
            Unary::Neg => Operation::Neg,
            Unary::Abs => Operation::Abs,
            Unary::Exp => Operation::Exp,
            Unary::Log => Operation::Log,
            Unary::Sqrt => Operation::Sqrt,
            Unary::Rsqrt => Operation::Rsqrt,
            Unary::Recip => Operation::Recip,
            Unary::Sin => Operation::Sin,
            Unary::Cos => Operation::Cos,
            Unary::Tanh => Operation::Tanh,
            Unary::Erf => Operation::Erf,
            Unary::Floor => Operation::Floor,
            Unary::Round => Operation::Round,
            Unary::Sigmoid => Operation::Sigmoid,
        },
        ChainOp::Binary(binary) => match binary {
            Binary::Add => Operation::Add,
            Binary::Sub => Operation::Sub,
            Binary::Mul => Operation::Mul,
            Binary::Div => Operation::Div,
            Binary::Max => Operation::Max,
            Binary::Min => Operation::Min,
            Binary::Pow => Operation::Pow,
            Binary::Rem => Operation::Rem,
            Binary::Eq => Operation::Eq,
            Binary::Ne => Operation::Ne,
            Binary::Lt => Operation::Lt,
            Binary::Le => Operation::Le,
            Binary::And => Operation::And,
            Binary::Or => Operation::Or,
        },
    }
}
