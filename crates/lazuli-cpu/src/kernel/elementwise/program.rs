//! The form of an elementwise program: registers of `f32` blocks, inputs that fill them, instructions between them.

use super::Element;

/// The most registers a program may have, inputs and constants included.
pub(super) const MAX_REGISTERS: usize = 48;

/// An elementwise chain over `f32` registers.
///
/// Registers are numbered: first the inputs, then the constants, then as many temporaries as the instructions name.
/// Instructions write temporaries only, and may read the register that they write.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// Registers `0..inputs.len()`.
    pub inputs: Vec<Input>,
    /// The registers after the inputs.
    pub constants: Vec<f32>,
    /// Run in order.
    pub instrs: Vec<Instr>,
    /// What is stored at the end.
    pub outputs: Vec<Output>,
}

/// One input: its element type and how an output element finds its input element.
#[derive(Debug, Clone)]
pub struct Input {
    /// The type in memory.
    pub element: Element,
    /// Which element belongs to output element `[row, col]`.
    pub access: Access,
}

/// How the output's index becomes an input's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// The same shape, contiguous: `row * cols + col`.
    Dense,
    /// One value for all.
    Scalar,
    /// One value for each column: `col`.
    Row,
    /// One value for each row: `row`.
    Column,
    /// Any strides, in elements (0 repeats): the output's index is unfolded by `shape`, outermost axis first.
    Strided {
        /// The output's shape; the product is `rows * cols`.
        shape: Vec<usize>,
        /// The input's step along each axis.
        strides: Vec<isize>,
    },
}

/// One instruction: `dst = op(a, b, c)`. Operands that the operation does not have are ignored.
#[derive(Debug, Clone, Copy)]
pub struct Instr {
    /// What to compute.
    pub op: Operation,
    /// The register written.
    pub dst: u8,
    /// The first operand.
    pub a: u8,
    /// The second operand.
    pub b: u8,
    /// The third operand.
    pub c: u8,
}

impl Instr {
    /// An instruction of one operand.
    pub fn unary(op: Operation, dst: u8, a: u8) -> Self {
        Self { op, dst, a, b: a, c: a }
    }

    /// An instruction of two operands.
    pub fn binary(op: Operation, dst: u8, a: u8, b: u8) -> Self {
        Self { op, dst, a, b, c: b }
    }
}

/// A register to store, and the type it is rounded to.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// The register.
    pub register: u8,
    /// The type in memory.
    pub element: Element,
}

/// What an instruction computes. Truth values are 1 and 0, and whatever is not 0 is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names say it; those that need words have them.
pub enum Operation {
    Add,
    Sub,
    Mul,
    Div,
    /// `b` if either is NaN.
    Max,
    /// `b` if either is NaN.
    Min,
    Pow,
    /// `a - floor(a / b) * b`.
    Rem,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
    /// `a` true: `b`, else `c`.
    Select,
    Neg,
    Abs,
    Exp,
    Log,
    Sqrt,
    /// `1 / sqrt(a)`.
    Rsqrt,
    /// `1 / a`.
    Recip,
    Sin,
    Cos,
    Tanh,
    Erf,
    Floor,
    Ceil,
    /// To the nearest integer, ties to even.
    Round,
    Sigmoid,
    /// `a * sigmoid(a)`.
    Silu,
    /// By the error function.
    Gelu,
    /// By its tanh approximation.
    GeluTanh,
    Relu,
    Square,
    Copy,
    /// Rounded to half precision and back.
    ToF16,
    /// Rounded to bfloat16 and back.
    ToBF16,
    /// Towards zero, NaN to 0: what a cast to an integer type keeps.
    ToInt,
    /// 1 for whatever is not 0.
    ToBool,
}

impl Operation {
    fn operands(self) -> usize {
        match self {
            Self::Select => 3,
            Self::Add
            | Self::Sub
            | Self::Mul
            | Self::Div
            | Self::Max
            | Self::Min
            | Self::Pow
            | Self::Rem
            | Self::Eq
            | Self::Ne
            | Self::Lt
            | Self::Le
            | Self::Gt
            | Self::Ge
            | Self::And
            | Self::Or => 2,
            _ => 1,
        }
    }
}

impl Program {
    /// How many registers the program uses.
    pub(super) fn registers(&self) -> usize {
        let fixed = self.inputs.len() + self.constants.len();
        self.instrs.iter().map(|instr| usize::from(instr.dst) + 1).fold(fixed, usize::max)
    }

    /// Panics unless every register that is read was written, and only temporaries are written.
    pub(super) fn check(&self) {
        let fixed = self.inputs.len() + self.constants.len();
        assert!(self.registers() <= MAX_REGISTERS, "elementwise program: over {MAX_REGISTERS} registers");
        let mut written = [false; MAX_REGISTERS];
        written[..fixed].fill(true);
        for instr in &self.instrs {
            let operands = [instr.a, instr.b, instr.c];
            for &register in &operands[..instr.op.operands()] {
                assert!(
                    written.get(usize::from(register)) == Some(&true),
                    "{instr:?} reads what nothing wrote"
                );
            }
            assert!(usize::from(instr.dst) >= fixed, "{instr:?} writes an input or constant");
            written[usize::from(instr.dst)] = true;
        }
        for output in &self.outputs {
            let register = usize::from(output.register);
            assert!(written.get(register) == Some(&true), "{output:?} stores what nothing wrote");
        }
        for input in &self.inputs {
            if let Access::Strided { shape, strides } = &input.access {
                assert_eq!(shape.len(), strides.len(), "one stride for each axis");
            }
        }
    }
}
