//! Integer arithmetic, reductions along any axis and constants: exact, scalar, and off every hot path.

use std::ops::Range;

use lazuli_core::{Binary, DType, Layout, Reduce, Scalar, Shape, Unary};

/// An operation on elements one at a time, in 64-bit integers or f64.
#[derive(Debug, Clone)]
pub(crate) struct Plain {
    pub op: PlainOp,
    /// The output's shape.
    pub shape: Shape,
    /// The output's type.
    pub dtype: DType,
    /// Type and layout of each input (offsets are in the operand's pointer already).
    pub inputs: Vec<(DType, Layout)>,
}

/// What is computed.
#[derive(Debug, Clone)]
pub(crate) enum PlainOp {
    Unary(Unary),
    Binary(Binary),
    Select,
    Cast,
    Full(Scalar),
    Iota,
    /// Length and stride of the axis that is folded; the input's layout is without it.
    Reduce {
        kind: Reduce,
        len: usize,
        stride: usize,
    },
}

/// A number of any type.
#[derive(Clone, Copy)]
enum Number {
    Int(i64),
    Float(f32),
}

impl Number {
    fn float(self) -> f32 {
        match self {
            Self::Int(i) => i as f32,
            Self::Float(f) => f,
        }
    }

    fn int(self) -> i64 {
        match self {
            Self::Int(i) => i,
            Self::Float(f) => f as i64,
        }
    }

    fn is_true(self) -> bool {
        self.float() != 0.0
    }
}

impl Plain {
    /// Computes the output elements `units` (row-major).
    ///
    /// # Safety
    /// Each input must be valid for what its layout reaches, the output for `units`; nobody else may touch those.
    pub unsafe fn run(&self, units: Range<usize>, inputs: &[*const u8], out: *mut u8) {
        for unit in units {
            let load = |i: usize| {
                let (dtype, layout) = &self.inputs[i];
                // SAFETY: the caller's promise.
                unsafe { read(*dtype, inputs[i], index(&self.shape, layout, unit)) }
            };
            let value = match &self.op {
                PlainOp::Unary(op) => unary(*op, load(0)),
                PlainOp::Binary(op) => binary(*op, load(0), load(1)),
                PlainOp::Select => {
                    if load(0).is_true() {
                        load(1)
                    } else {
                        load(2)
                    }
                }
                PlainOp::Cast => load(0),
                PlainOp::Full(value) => Number::Float(value.get()),
                PlainOp::Iota => Number::Int(unit as i64),
                PlainOp::Reduce { kind, len, stride } => {
                    let (dtype, layout) = &self.inputs[0];
                    let start = index(&self.shape, layout, unit);
                    // SAFETY: the caller's promise.
                    let at = |i: usize| unsafe { read(*dtype, inputs[0], start + i * stride) };
                    reduce(*kind, *len, at)
                }
            };
            // SAFETY: the caller's promise.
            unsafe { write(self.dtype, out, unit, value) };
        }
    }
}

/// The storage index of the `unit`-th element in row-major order.
fn index(shape: &Shape, layout: &Layout, mut unit: usize) -> usize {
    let mut at = 0;
    for (&dim, &stride) in shape.iter().zip(&layout.strides).rev() {
        at += unit % dim * stride;
        unit /= dim;
    }
    at
}

fn unary(op: Unary, x: Number) -> Number {
    match (op, x) {
        (Unary::Abs, Number::Int(i)) => Number::Int(i.abs()),
        (Unary::Neg, Number::Int(i)) => Number::Int(-i),
        (Unary::Abs, Number::Float(f)) => Number::Float(f.abs()),
        (_, x) => Number::Float(-x.float()),
    }
}

fn binary(op: Binary, a: Number, b: Number) -> Number {
    let (Number::Int(x), Number::Int(y)) = (a, b) else {
        let (x, y) = (a.float(), b.float());
        return Number::Float(match op {
            Binary::Add => x + y,
            Binary::Sub => x - y,
            Binary::Mul => x * y,
            Binary::Div => x / y,
            Binary::Max | Binary::Or => x.max(y),
            Binary::Min | Binary::And => x.min(y),
            Binary::Pow => x.powf(y),
            Binary::Rem => x - (x / y).floor() * y,
            Binary::Eq => f32::from(x == y),
            Binary::Ne => f32::from(x != y),
            Binary::Lt => f32::from(x < y),
            Binary::Le => f32::from(x <= y),
        });
    };
    Number::Int(match op {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => x.wrapping_mul(y),
        Binary::Div => x.checked_div(y).unwrap_or(0),
        Binary::Max | Binary::Or => x.max(y),
        Binary::Min | Binary::And => x.min(y),
        Binary::Pow => u32::try_from(y).map_or(0, |y| x.wrapping_pow(y)),
        Binary::Rem => x.checked_rem_euclid(y).unwrap_or(0),
        Binary::Eq => (x == y).into(),
        Binary::Ne => (x != y).into(),
        Binary::Lt => (x < y).into(),
        Binary::Le => (x <= y).into(),
    })
}

fn reduce(kind: Reduce, len: usize, at: impl Fn(usize) -> Number) -> Number {
    let best = |better: fn(f32, f32) -> bool| {
        (1..len).fold(0, |best, i| if better(at(i).float(), at(best).float()) { i } else { best })
    };
    match kind {
        Reduce::ArgMax => return Number::Int(best(|a, b| a > b) as i64),
        Reduce::ArgMin => return Number::Int(best(|a, b| a < b) as i64),
        _ => {}
    }
    let integers = len > 0 && matches!(at(0), Number::Int(_));
    if integers {
        let all = (0..len).map(|i| at(i).int());
        return Number::Int(match kind {
            Reduce::Sum => all.fold(0, i64::wrapping_add),
            Reduce::Prod => all.fold(1, i64::wrapping_mul),
            Reduce::Max => all.max().unwrap_or(0),
            _ => all.min().unwrap_or(0),
        });
    }
    let all = (0..len).map(|i| f64::from(at(i).float()));
    Number::Float(match kind {
        Reduce::Sum => all.sum::<f64>(),
        Reduce::Prod => all.product(),
        Reduce::Max => all.fold(f64::NEG_INFINITY, f64::max),
        _ => all.fold(f64::INFINITY, f64::min),
    } as f32)
}

unsafe fn read(dtype: DType, from: *const u8, index: usize) -> Number {
    use half::{bf16, f16};
    // SAFETY: the caller's promise; loads need no alignment.
    unsafe {
        match dtype {
            DType::F32 => Number::Float(from.cast::<f32>().add(index).read_unaligned()),
            DType::F16 => Number::Float(from.cast::<f16>().add(index).read_unaligned().to_f32()),
            DType::BF16 => Number::Float(from.cast::<bf16>().add(index).read_unaligned().to_f32()),
            DType::I32 => Number::Int(from.cast::<i32>().add(index).read_unaligned().into()),
            DType::U32 => Number::Int(from.cast::<u32>().add(index).read_unaligned().into()),
            DType::U8 | DType::Bool => Number::Int(from.add(index).read().into()),
            DType::Quant(_) => unreachable!("packed weights are decoded by their own kernels"),
        }
    }
}

unsafe fn write(dtype: DType, to: *mut u8, index: usize, value: Number) {
    use half::{bf16, f16};
    // A float is cut to an integer at the width of the type; an integer wraps.
    let truncated = |low: f32, high: f32| match value {
        Number::Float(f) => f.clamp(low, high) as i64,
        Number::Int(i) => i,
    };
    // SAFETY: the caller's promise; outputs are aligned.
    unsafe {
        match dtype {
            DType::F32 => to.cast::<f32>().add(index).write(value.float()),
            DType::F16 => to.cast::<f16>().add(index).write(f16::from_f32(value.float())),
            DType::BF16 => to.cast::<bf16>().add(index).write(bf16::from_f32(value.float())),
            DType::I32 if matches!(value, Number::Float(_)) => {
                to.cast::<i32>().add(index).write(value.float() as i32);
            }
            DType::I32 => to.cast::<i32>().add(index).write(value.int() as i32),
            DType::U32 => to.cast::<u32>().add(index).write(truncated(0.0, u32::MAX as f32) as u32),
            DType::U8 => to.add(index).write(truncated(0.0, 255.0) as u8),
            DType::Bool => to.add(index).write(value.is_true().into()),
            DType::Quant(_) => unreachable!("no operation writes packed weights"),
        }
    }
}
