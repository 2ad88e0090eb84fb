//! [`Reference`]: the slow interpreter that defines every primitive, and the oracle of every test.
//!
//! One element at a time, sums in f64, no threads, no fused operation: those are decomposed before they get
//! here. It copies its operands, so nothing it does depends on where they lie.

use std::sync::Arc;

use half::{bf16, f16};

use crate::backend::{Bindings, Program};
use crate::plan::{Operand, Plan, Step, StepKind};
use crate::{Array, Backend, Binary, DType, Error, Op, Reduce, Result, Shape, Unary, View};

/// A backend that runs one element at a time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference;

impl Backend for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn supports(&self, op: &Op, _inputs: &[&Array]) -> bool {
        !matches!(op, Op::Fused(_))
    }

    fn compile(&self, plan: Arc<Plan>) -> Result<Arc<dyn Program>> {
        Ok(Arc::new(Interpreter { plan }))
    }
}

struct Interpreter {
    plan: Arc<Plan>,
}

impl Program for Interpreter {
    fn run(&self, bindings: &Bindings) -> Result<()> {
        self.plan.steps.iter().try_for_each(|step| self.step(step, bindings))
    }

    fn workspace_bytes(&self) -> usize {
        0
    }
}

/// An operand's elements in row-major order. Integers and booleans stay exact.
#[derive(Debug, Clone)]
enum Values {
    Float(Vec<f32>),
    Int(Vec<i64>),
}

impl Values {
    fn float(&self, i: usize) -> f32 {
        match self {
            Self::Float(v) => v[i],
            Self::Int(v) => v[i] as f32,
        }
    }

    fn int(&self, i: usize) -> i64 {
        match self {
            Self::Float(v) => v[i] as i64,
            Self::Int(v) => v[i],
        }
    }

    fn is_float(&self) -> bool {
        matches!(self, Self::Float(_))
    }

    /// Elements picked by index.
    fn pick(&self, indices: impl Iterator<Item = usize>) -> Self {
        match self {
            Self::Float(v) => Self::Float(indices.map(|i| v[i]).collect()),
            Self::Int(v) => Self::Int(indices.map(|i| v[i]).collect()),
        }
    }
}

impl Interpreter {
    fn step(&self, step: &Step, bindings: &Bindings) -> Result<()> {
        let load = |i: usize| load(&bindings.view(&self.plan, &step.inputs[i]), &step.inputs[i]);
        let out = &step.output;
        let StepKind::Op(op) = &step.kind else {
            return Err(unsupported(step, "the interpreter runs operations one by one"));
        };
        let values = match op {
            Op::Full { value, .. } => Values::Float(vec![value.get(); out.shape.elements()]),
            Op::Iota { len } => Values::Int((0..*len as i64).collect()),
            Op::Copy | Op::Cast(_) => load(0)?,
            Op::Unary(unary) => self::unary(*unary, &load(0)?),
            Op::Binary(binary) => self::binary(*binary, &load(0)?, &load(1)?, out.dtype),
            Op::Select => select(&load(0)?, &load(1)?, &load(2)?),
            Op::Reduce { kind, axis } => reduce(*kind, *axis, &load(0)?, &step.inputs[0].shape),
            Op::Matmul { .. } => matmul(&load(0)?, &load(1)?, &step.inputs),
            Op::Gather => gather(&load(0)?, &load(1)?, &step.inputs[0].shape)?,
            Op::ExpertMatmul => expert_matmul(&load(0)?, &load(1)?, &load(2)?, &step.inputs)?,
            Op::TopK { count } => top_k(*count, &load(0)?, step.inputs[0].shape.last_dim()),
            Op::Concat { axis } => {
                let parts: Vec<Values> = (0..step.inputs.len()).map(load).collect::<Result<_>>()?;
                concat(*axis, &parts, &step.inputs, &out.shape)
            }
            Op::KvWrite { .. } => kv_write(load(0)?, &load(1)?, &load(2)?, &out.shape)?,
            Op::View(_) | Op::Fused(_) => return Err(unsupported(step, "it is not a primitive")),
        };
        store(&values, &bindings.view(&self.plan, out), out);
        Ok(())
    }
}

fn unsupported(step: &Step, why: &str) -> Error {
    Error::Unsupported { backend: "reference", op: step.name(), why: why.into() }
}

/// Little-endian elements at the given indices.
fn read<const N: usize, T>(bytes: &[u8], indices: &[usize], make: impl Fn([u8; N]) -> T) -> Vec<T> {
    let mut raw = [0; N];
    let element = |&i: &usize| {
        raw.copy_from_slice(&bytes[i * N..][..N]);
        make(raw)
    };
    indices.iter().map(element).collect()
}

/// Copies an operand's elements out of its storage.
fn load(view: &View, operand: &Operand) -> Result<Values> {
    if view.stack.is_some() {
        return load_stack(view, operand);
    }
    let mut indices = Vec::with_capacity(operand.shape.elements());
    view.layout.for_each(&operand.shape, |i| indices.push(i));
    let bytes = &view.planes[0].buffer.all_bytes()[view.planes[0].offset..];
    Ok(match operand.dtype {
        DType::F32 => Values::Float(read(bytes, &indices, f32::from_le_bytes)),
        DType::F16 => Values::Float(read(bytes, &indices, |b| f16::from_le_bytes(b).to_f32())),
        DType::BF16 => Values::Float(read(bytes, &indices, |b| bf16::from_le_bytes(b).to_f32())),
        DType::I32 => Values::Int(read(bytes, &indices, |b| i32::from_le_bytes(b).into())),
        DType::U32 => Values::Int(read(bytes, &indices, |b| u32::from_le_bytes(b).into())),
        DType::U8 | DType::Bool => Values::Int(read(bytes, &indices, |b: [u8; 1]| b[0].into())),
        DType::Quant(_) => Values::Float(decode(view, operand)?.pick_all(&indices)),
    })
}

/// Copies the elements of a stack's members, one after the other.
fn load_stack(view: &View, operand: &Operand) -> Result<Values> {
    let shape = operand.shape.without(0);
    let layout = crate::Layout::contiguous(&shape);
    let mut all = Vec::with_capacity(operand.shape.elements());
    let member_operand = Operand { shape, layout: layout.clone(), ..operand.clone() };
    for index in 0..operand.shape[0] {
        let member = View { planes: view.member(index).into(), layout: layout.clone(), stack: None };
        match load(&member, &member_operand)? {
            Values::Float(values) => all.extend(values),
            Values::Int(values) => all.extend(values.iter().map(|&i| i as f32)),
        }
    }
    Ok(Values::Float(all))
}

/// All rows of a packed array's storage that an operand can reach.
fn decode(view: &View, operand: &Operand) -> Result<Decoded> {
    let DType::Quant(format) = operand.dtype else { return Ok(Decoded(Vec::new())) };
    let along = view.layout.strides.iter().position(|&s| s == 1).unwrap_or(0);
    let cols = operand.shape[along];
    let rows = view.layout.reach(&operand.shape).div_ceil(cols.max(1));
    let planes: Vec<&[u8]> = view.planes.iter().map(crate::Plane::bytes).collect();
    let mut values = vec![0.0; rows * cols];
    let failed = |e: lazuli_quant::QuantError| Error::Decode { dtype: operand.dtype, why: e.to_string() };
    format.decode(&planes, rows, cols, &mut values).map_err(failed)?;
    Ok(Decoded(values))
}

struct Decoded(Vec<f32>);

impl Decoded {
    fn pick_all(&self, indices: &[usize]) -> Vec<f32> {
        indices.iter().map(|&i| self.0[i]).collect()
    }
}

/// Rounds values to a type and writes them from the view's start on.
fn store(values: &Values, view: &View, out: &Operand) {
    let dtype = out.dtype;
    let len = match values {
        Values::Float(v) => v.len(),
        Values::Int(v) => v.len(),
    };
    let mut bytes: Vec<u8> = Vec::with_capacity(len * dtype.size().unwrap_or(0));
    for i in 0..len {
        match dtype {
            DType::F32 => bytes.extend(values.float(i).to_le_bytes()),
            DType::F16 => bytes.extend(f16::from_f32(values.float(i)).to_le_bytes()),
            DType::BF16 => bytes.extend(bf16::from_f32(values.float(i)).to_le_bytes()),
            DType::I32 if values.is_float() => bytes.extend((values.float(i) as i32).to_le_bytes()),
            DType::I32 => bytes.extend((values.int(i) as i32).to_le_bytes()),
            DType::U32 if values.is_float() => bytes.extend((values.float(i) as u32).to_le_bytes()),
            DType::U32 => bytes.extend((values.int(i) as u32).to_le_bytes()),
            DType::U8 => {
                bytes.push(if values.is_float() { values.float(i) as u8 } else { values.int(i) as u8 });
            }
            DType::Bool => bytes.push(u8::from(values.float(i) != 0.0)),
            DType::Quant(_) => {}
        }
    }
    let (plane, size) = (&view.planes[0], dtype.size().unwrap_or(0));
    let store = |at: usize, bytes: &[u8]| plane.buffer.store(plane.offset + at * size, bytes);
    if view.layout.is_contiguous(&out.shape) {
        return store(view.layout.offset, &bytes);
    }
    let mut elements = bytes.chunks_exact(size.max(1));
    view.layout.for_each(&out.shape, |at| elements.next().into_iter().for_each(|element| store(at, element)));
}

fn unary(op: Unary, x: &Values) -> Values {
    if let Values::Int(v) = x {
        let f = |&i: &i64| if op == Unary::Abs { i.abs() } else { -i };
        return Values::Int(v.iter().map(f).collect());
    }
    let f = |x: f32| -> f32 {
        let wide = f64::from(x);
        match op {
            Unary::Neg => -x,
            Unary::Abs => x.abs(),
            Unary::Exp => wide.exp() as f32,
            Unary::Log => wide.ln() as f32,
            Unary::Sqrt => x.sqrt(),
            Unary::Rsqrt => (1.0 / wide.sqrt()) as f32,
            Unary::Recip => 1.0 / x,
            Unary::Sin => wide.sin() as f32,
            Unary::Cos => wide.cos() as f32,
            Unary::Tanh => wide.tanh() as f32,
            Unary::Erf => erf(wide) as f32,
            Unary::Floor => x.floor(),
            Unary::Round => x.round_ties_even(),
            Unary::Sigmoid => (1.0 / (1.0 + (-wide).exp())) as f32,
        }
    };
    match x {
        Values::Float(v) => Values::Float(v.iter().map(|&x| f(x)).collect()),
        Values::Int(v) => Values::Float(v.iter().map(|&x| f(x as f32)).collect()),
    }
}

/// The error function by its Maclaurin series, or its continued fraction where that converges slowly.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a < 3.0 {
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term.abs() > 1e-17 * sum.abs() {
            n += 1.0;
            term *= -a * a / n;
            sum += term / (2.0 * n + 1.0);
        }
        return x.signum() * sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let tail = (1..60).rev().fold(a, |fraction, k| a + f64::from(k) / 2.0 / fraction);
    x.signum() * (1.0 - (-a * a).exp() / (tail * std::f64::consts::PI.sqrt()))
}

fn binary(op: Binary, a: &Values, b: &Values, dtype: DType) -> Values {
    if let (Values::Int(x), Values::Int(y)) = (a, b) {
        let pairs = x.iter().zip(y);
        return Values::Int(pairs.map(|(&x, &y)| integers(op, x, y, dtype)).collect());
    }
    let len = if let Values::Float(v) = a {
        v.len()
    } else if let Values::Float(v) = b {
        v.len()
    } else {
        0
    };
    let f = |x: f32, y: f32| match op {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => x * y,
        Binary::Div => x / y,
        Binary::Max | Binary::Or => x.max(y),
        Binary::Min | Binary::And => x.min(y),
        Binary::Pow => f64::from(x).powf(y.into()) as f32,
        Binary::Rem => x - (x / y).floor() * y,
        Binary::Eq => f32::from(x == y),
        Binary::Ne => f32::from(x != y),
        Binary::Lt => f32::from(x < y),
        Binary::Le => f32::from(x <= y),
    };
    Values::Float((0..len).map(|i| f(a.float(i), b.float(i))).collect())
}

/// Integer arithmetic wraps at the width of the type; division and remainder by zero give zero.
fn integers(op: Binary, x: i64, y: i64, dtype: DType) -> i64 {
    let wide = match op {
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
    };
    match dtype {
        DType::I32 => (wide as i32).into(),
        DType::U32 => (wide as u32).into(),
        DType::U8 => (wide as u8).into(),
        _ => wide,
    }
}

fn select(condition: &Values, yes: &Values, no: &Values) -> Values {
    let Values::Int(c) = condition else { return yes.clone() };
    if let (Values::Int(y), Values::Int(n)) = (yes, no) {
        return Values::Int(
            c.iter().zip(y.iter().zip(n)).map(|(&c, (&y, &n))| if c != 0 { y } else { n }).collect(),
        );
    }
    let pick = |(i, &c): (usize, &i64)| if c != 0 { yes.float(i) } else { no.float(i) };
    Values::Float(c.iter().enumerate().map(pick).collect())
}

fn reduce(kind: Reduce, axis: usize, x: &Values, shape: &Shape) -> Values {
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let len = shape[axis];
    let lines = (0..outer * inner).map(|line| {
        let start = line / inner * len * inner + line % inner;
        (0..len).map(move |i| start + i * inner)
    });
    match (kind, x) {
        (Reduce::ArgMax, _) => {
            Values::Int(lines.map(|line| arg(line, |a, b| x.float(a) > x.float(b))).collect())
        }
        (Reduce::ArgMin, _) => {
            Values::Int(lines.map(|line| arg(line, |a, b| x.float(a) < x.float(b))).collect())
        }
        (_, Values::Float(v)) => Values::Float(
            lines
                .map(|line| {
                    let wide = line.map(|i| f64::from(v[i]));
                    (match kind {
                        Reduce::Sum => wide.sum::<f64>(),
                        Reduce::Prod => wide.product(),
                        Reduce::Max => wide.fold(f64::NEG_INFINITY, f64::max),
                        _ => wide.fold(f64::INFINITY, f64::min),
                    }) as f32
                })
                .collect(),
        ),
        (_, Values::Int(v)) => Values::Int(
            lines
                .map(|line| {
                    let all = line.map(|i| v[i]);
                    match kind {
                        Reduce::Sum => all.fold(0, i64::wrapping_add),
                        Reduce::Prod => all.fold(1, i64::wrapping_mul),
                        Reduce::Max => all.max().unwrap_or(0),
                        _ => all.min().unwrap_or(0),
                    }
                })
                .collect(),
        ),
    }
}

fn arg(line: impl Iterator<Item = usize>, better: impl Fn(usize, usize) -> bool) -> i64 {
    let best = line.enumerate().reduce(|best, next| if better(next.1, best.1) { next } else { best });
    best.map_or(0, |(position, _)| position as i64)
}

fn matmul(a: &Values, b: &Values, inputs: &[Operand]) -> Values {
    let (left, right) = (&inputs[0].shape, &inputs[1].shape);
    let (m, k, n) = (left[left.rank() - 2], left.last_dim(), right.last_dim());
    let batch: usize = left[..left.rank() - 2].iter().product();
    let shared = right.rank() == 2;
    let mut out = Vec::with_capacity(batch * m * n);
    for i in 0..batch * m {
        let base = if shared { 0 } else { i / m * k * n };
        for j in 0..n {
            let dot = |p: usize| f64::from(a.float(i * k + p)) * f64::from(b.float(base + p * n + j));
            out.push((0..k).map(dot).sum::<f64>() as f32);
        }
    }
    Values::Float(out)
}

fn expert_matmul(x: &Values, weights: &Values, ids: &Values, inputs: &[Operand]) -> Result<Values> {
    let (x_shape, shape) = (&inputs[0].shape, &inputs[1].shape);
    let (experts, n, k) = (shape[0], shape[1], shape[2]);
    let chosen = inputs[2].shape[1];
    let mut out = Vec::with_capacity(inputs[2].shape.elements() * n);
    for slot in 0..inputs[2].shape.elements() {
        let expert = checked("expert_matmul", ids.int(slot), experts)?;
        let row = if x_shape.rank() == 3 { slot } else { slot / chosen };
        for j in 0..n {
            let weight = |p: usize| f64::from(weights.float((expert * n + j) * k + p));
            out.push((0..k).map(|p| f64::from(x.float(row * k + p)) * weight(p)).sum::<f64>() as f32);
        }
    }
    Ok(Values::Float(out))
}

fn top_k(count: usize, x: &Values, len: usize) -> Values {
    let Values::Float(x) = x else { return x.clone() };
    let mut out = Vec::new();
    for row in x.chunks(len.max(1)) {
        let key = |i: usize| if row[i].is_nan() { f32::NEG_INFINITY } else { row[i] };
        let mut order: Vec<usize> = (0..len).collect();
        // The sort is stable, so equals stay in order.
        order.sort_by(|&a, &b| key(b).partial_cmp(&key(a)).unwrap_or(std::cmp::Ordering::Equal));
        out.extend(order[..count].iter().map(|&i| i as i64));
    }
    Values::Int(out)
}

fn checked(op: &'static str, index: i64, len: usize) -> Result<usize> {
    usize::try_from(index).ok().filter(|&i| i < len).ok_or(Error::Index { op, index, len })
}

fn gather(table: &Values, indices: &Values, shape: &Shape) -> Result<Values> {
    let Values::Int(indices) = indices else { return Ok(table.clone()) };
    let row = shape[1..].iter().product::<usize>();
    let rows: Vec<usize> = indices.iter().map(|&i| checked("gather", i, shape[0])).collect::<Result<_>>()?;
    Ok(table.pick(rows.into_iter().flat_map(|r| r * row..(r + 1) * row)))
}

fn concat(axis: usize, parts: &[Values], inputs: &[Operand], shape: &Shape) -> Values {
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let mut floats = Vec::new();
    let mut ints = Vec::new();
    for line in 0..outer {
        for (part, input) in parts.iter().zip(inputs) {
            let width = input.shape[axis] * inner;
            match part {
                Values::Float(v) => floats.extend(&v[line * width..][..width]),
                Values::Int(v) => ints.extend(&v[line * width..][..width]),
            }
        }
    }
    if ints.is_empty() { Values::Float(floats) } else { Values::Int(ints) }
}

fn kv_write(pool: Values, rows: &Values, slots: &Values, shape: &Shape) -> Result<Values> {
    let (Values::Float(mut pool), Values::Int(slots)) = (pool, slots) else {
        return Ok(rows.clone());
    };
    let (pages, heads, page, dim) = (shape[0], shape[1], shape[2], shape[3]);
    for (token, &slot) in slots.iter().enumerate().filter(|&(_, &slot)| slot >= 0) {
        let slot = checked("kv_write", slot, pages * page)?;
        for head in 0..heads {
            let to = ((slot / page * heads + head) * page + slot % page) * dim;
            for d in 0..dim {
                pool[to + d] = rows.float((token * heads + head) * dim + d);
            }
        }
    }
    Ok(Values::Float(pool))
}
