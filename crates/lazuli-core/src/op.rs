//! [`Op`]: the closed list of what a node can do. Attributes are plain data, compared and hashed as bits.

use std::fmt;

use crate::{DType, Fused, Layout, Shape};

/// An `f32` attribute, compared by its bits so that operations can be hashed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scalar(u32);

impl Scalar {
    /// The number.
    pub fn get(self) -> f32 {
        f32::from_bits(self.0)
    }
}

impl From<f32> for Scalar {
    fn from(value: f32) -> Self {
        Self(value.to_bits())
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.get(), f)
    }
}

/// Elementwise functions of one array. Floats are computed in f32 and rounded once to the array's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names say it; those that need words have them.
pub enum Unary {
    Neg,
    Abs,
    Exp,
    Log,
    Sqrt,
    /// `1 / sqrt(x)`.
    Rsqrt,
    /// `1 / x`.
    Recip,
    Sin,
    Cos,
    Tanh,
    /// The error function.
    Erf,
    Floor,
    /// To the nearest integer, ties to even.
    Round,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
}

/// Elementwise functions of two arrays of one shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Pow,
    /// The remainder with the divisor's sign, as `a - floor(a / b) * b`.
    Rem,
    Eq,
    Ne,
    Lt,
    Le,
    And,
    Or,
}

impl Binary {
    /// Whether the result is boolean whatever the inputs are.
    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Lt | Self::Le)
    }
}

/// Functions that fold one axis. Sums of floats are accumulated in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Reduce {
    Sum,
    Max,
    Min,
    Prod,
    /// Index of the largest element, the first of equals, as i32.
    ArgMax,
    /// Index of the smallest element, the first of equals, as i32.
    ArgMin,
}

/// To how few bits a backend may round a product's left side where the right side is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// To eight, in a precision that trades digits for speed.
    Coarse,
    /// To no fewer than fifteen, in any precision: a small error here would be a large one later.
    Fine,
}

/// What a node does with its inputs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Op {
    /// A shape full of one number. No inputs.
    Full {
        /// The number, converted to the node's type.
        value: Scalar,
        /// The shape, as the result has no input to take it from.
        shape: crate::Shape,
        /// The type.
        dtype: DType,
    },
    /// `0, 1, 2, ..` as i32. No inputs.
    Iota {
        /// How many.
        len: usize,
    },
    /// The input's storage under another shape and layout; never computes anything.
    View(Layout),
    /// The input without gaps.
    Copy,
    /// The input in another type; from packed weights it decodes.
    Cast(DType),
    /// Elementwise, one input.
    Unary(Unary),
    /// Elementwise, two inputs of equal shape.
    Binary(Binary),
    /// `condition ? a : b`, three inputs of equal shape, the condition boolean.
    Select,
    /// Folds an axis away.
    Reduce {
        /// How.
        kind: Reduce,
        /// Which axis.
        axis: usize,
    },
    /// `[.., m, k] x [.., k, n]` to `[.., m, n]` in f32; the second may be packed along `k`.
    Matmul {
        /// What may happen to the first before it meets packed weights.
        rounding: Rounding,
    },
    /// Rows of the first input (`[n, ..]`, packed ones are decoded to f32) that the second (i32) names.
    Gather,
    /// Each token's rows times the weights of the experts chosen for it: inputs `x [tokens, k]` (the same row for
    /// all of a token's experts) or `[tokens, chosen, k]`, `weights [experts, n, k]` (floats, or packed along one of
    /// the last two axes), `ids [tokens, chosen]` (i32). The result is f32 `[tokens, chosen, n]`.
    ExpertMatmul,
    /// Indices (i32) of the largest elements along the last axis, the largest first, the first of equals first.
    TopK {
        /// How many.
        count: usize,
    },
    /// Inputs one after the other along an axis.
    Concat {
        /// Which axis.
        axis: usize,
    },
    /// Key or value rows into the pages of the pool: inputs `pool [pages, heads, page_size, dim]`,
    /// `rows [tokens, heads, dim]`, `slots [tokens]` (i32, `page * page_size + row`; negative ones are skipped).
    /// The result is the pool; it takes over the memory of a pool that nobody else holds.
    KvWrite {
        /// Elements from one page of the pool to the next, of the result as well.
        stride: usize,
    },
    /// An operation that means a graph of the others, and that a backend may run faster.
    Fused(Fused),
}

impl Op {
    /// How the operation's result, of this shape, lies in storage of its own (views have none).
    pub(crate) fn layout(&self, shape: &Shape) -> Layout {
        match self {
            Self::KvWrite { stride } => Layout::spaced(shape, *stride),
            _ => Layout::contiguous(shape),
        }
    }

    /// The operation's name, for messages and listings.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Full { .. } => "full",
            Self::Iota { .. } => "iota",
            Self::View(_) => "view",
            Self::Copy => "copy",
            Self::Cast(_) => "cast",
            Self::Unary(_) => "unary",
            Self::Binary(_) => "binary",
            Self::Select => "select",
            Self::Reduce { .. } => "reduce",
            Self::Matmul { .. } => "matmul",
            Self::Gather => "gather",
            Self::ExpertMatmul => "expert_matmul",
            Self::TopK { .. } => "top_k",
            Self::Concat { .. } => "concat",
            Self::KvWrite { .. } => "kv_write",
            Self::Fused(fused) => fused.name(),
        }
    }

    /// Whether each output element depends only on the input elements at its own index.
    pub fn is_elementwise(&self) -> bool {
        matches!(self, Self::Unary(_) | Self::Binary(_) | Self::Select | Self::Cast(_))
    }
}
