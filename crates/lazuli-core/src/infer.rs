//! Shape and dtype inference: what an operation gives for its inputs, or why it does not take them.

use smallvec::SmallVec;

use crate::{Array, DType, Layout, Op, Reduce, Shape, Unary};

type Inferred = Result<(Shape, DType), String>;

/// The shape and type of `op` applied to `inputs`, or a sentence that says what does not fit.
pub(crate) fn infer(op: &Op, inputs: &[&Array]) -> Inferred {
    if *op != Op::ExpertMatmul && inputs.iter().any(|input| input.is_stack()) {
        return Err("a stack of separate arrays is read by `expert_matmul` alone".into());
    }
    match op {
        Op::Full { shape, dtype, .. } => Ok((shape.clone(), *dtype)),
        Op::Iota { len } => Ok(([*len].into(), DType::I32)),
        Op::View(_) => Err("views are made by shape operations".into()),
        Op::Copy => Ok((inputs[0].shape().clone(), inputs[0].dtype())),
        Op::Cast(to) => cast(*to, inputs[0]),
        Op::Unary(unary) => self::unary(*unary, inputs[0]),
        Op::Binary(binary) => {
            let shape = same_shape(inputs)?;
            let dtype = promote(inputs[0].dtype(), inputs[1].dtype())?;
            Ok((shape, if binary.is_comparison() { DType::Bool } else { dtype }))
        }
        Op::Select => {
            if inputs[0].dtype() != DType::Bool {
                return Err(format!("the condition must be bool, not {}", inputs[0].dtype()));
            }
            Ok((same_shape(inputs)?, promote(inputs[1].dtype(), inputs[2].dtype())?))
        }
        Op::Reduce { kind, axis } => reduce(*kind, *axis, inputs[0]),
        Op::Matmul { .. } => matmul(inputs[0], inputs[1]),
        Op::Gather => gather(inputs[0], inputs[1]),
        Op::ExpertMatmul => expert_matmul(inputs),
        Op::TopK { count } => top_k(*count, inputs[0]),
        Op::Concat { axis } => concat(*axis, inputs),
        Op::KvWrite { .. } => kv_write(inputs),
        Op::Fused(fused) => fused.infer(inputs),
    }
}

fn same_shape(inputs: &[&Array]) -> Result<Shape, String> {
    let shape = inputs[0].shape();
    match inputs.iter().find(|a| a.shape() != shape) {
        Some(other) => Err(format!("shapes {shape} and {} differ", other.shape())),
        None => Ok(shape.clone()),
    }
}

fn promote(a: DType, b: DType) -> Result<DType, String> {
    a.promote(b).ok_or_else(|| format!("no common type for {a} and {b}: cast one of them"))
}

fn cast(to: DType, input: &Array) -> Inferred {
    match (input.dtype(), to) {
        (_, DType::Quant(_)) => Err("packed weights are made by encoders, not by a cast".into()),
        (DType::Quant(_), to) if !to.is_float() => {
            Err(format!("packed weights decode to floats, not to {to}"))
        }
        _ => Ok((input.shape().clone(), to)),
    }
}

fn unary(op: Unary, input: &Array) -> Inferred {
    let dtype = input.dtype();
    let integers_too = matches!(op, Unary::Neg | Unary::Abs) && dtype == DType::I32;
    if dtype.is_float() || integers_too {
        Ok((input.shape().clone(), dtype))
    } else {
        Err(format!("{op:?} is not defined for {dtype}: cast to a float first").to_lowercase())
    }
}

fn reduce(kind: Reduce, axis: usize, input: &Array) -> Inferred {
    let shape = input.shape();
    if axis >= shape.rank() {
        return Err(format!("axis {axis} of a {}-dimensional array", shape.rank()));
    }
    if input.dtype().is_quantised() {
        return Err("packed weights must be cast before they are reduced".into());
    }
    if shape[axis] == 0 && !matches!(kind, Reduce::Sum | Reduce::Prod) {
        return Err(format!("axis {axis} is empty and {kind:?} has no value for that"));
    }
    let dtype = match kind {
        Reduce::ArgMax | Reduce::ArgMin => DType::I32,
        _ => input.dtype(),
    };
    Ok((shape.without(axis), dtype))
}

fn matmul(a: &Array, b: &Array) -> Inferred {
    let (left, right) = (a.shape(), b.shape());
    if left.rank() < 2 || right.rank() < 2 {
        return Err("both sides need at least two axes".into());
    }
    if !a.dtype().is_float() || !(b.dtype().is_float() || b.dtype().is_quantised()) {
        return Err("takes floats on the left, floats or packed weights on the right".into());
    }
    let (m, k) = (left[left.rank() - 2], left[left.rank() - 1]);
    let (k2, n) = (right[right.rank() - 2], right[right.rank() - 1]);
    if k != k2 {
        return Err(format!("inner axes {k} and {k2} differ"));
    }
    if b.dtype().is_quantised() {
        let layout = b.layout();
        if right.rank() != 2 || layout.strides[0] != 1 || layout.strides[1] != k {
            return Err("packed weights are multiplied along their rows: pass `&weight.t()`".into());
        }
    }
    let outer = |s: &Shape| Shape::from(&s[..s.rank() - 2]);
    let batch = outer(left).broadcast(&outer(right)).ok_or("the outer axes do not broadcast")?;
    if batch != outer(left) || (batch != outer(right) && right.rank() > 2) {
        return Err("the outer axes differ: broadcast them first".into());
    }
    Ok((batch.iter().copied().chain([m, n]).collect(), DType::F32))
}

fn gather(table: &Array, indices: &Array) -> Inferred {
    if indices.dtype() != DType::I32 {
        return Err(format!("indices must be i32, not {}", indices.dtype()));
    }
    if table.shape().rank() == 0 || (table.dtype().is_quantised() && table.shape().rank() != 2) {
        return Err("the table needs a leading axis (and exactly two when it is packed)".into());
    }
    let dtype = if table.dtype().is_quantised() { DType::F32 } else { table.dtype() };
    let shape = indices.shape().iter().chain(&table.shape()[1..]).copied().collect();
    Ok((shape, dtype))
}

fn expert_matmul(inputs: &[&Array]) -> Inferred {
    let (x, weights, ids) = (inputs[0], inputs[1], inputs[2]);
    if !x.dtype().is_float() || !(weights.dtype().is_float() || weights.dtype().is_quantised()) {
        return Err("takes float rows, and floats or packed weights".into());
    }
    let (&[experts, n, k], &[tokens, chosen]) = (&weights.shape()[..], &ids.shape()[..]) else {
        return Err("the weights must be [experts, n, k] and the ids [tokens, chosen]".into());
    };
    if ids.dtype() != DType::I32 || experts == 0 {
        return Err(format!("ids must be i32 into at least one expert, not {}", ids.dtype()));
    }
    if x.shape()[..] != [tokens, k] && x.shape()[..] != [tokens, chosen, k] {
        return Err(format!("rows must be [{tokens}, {k}] or [{tokens}, {chosen}, {k}]"));
    }
    if weights.dtype().is_quantised() && !weights.is_stack() {
        let Layout { offset, strides } = weights.layout();
        let along = if strides[2] == 1 { (k, strides[1]) } else { (n, strides[2]) };
        let whole = along.0 > 0 && along.0 == along.1 && offset % along.0 == 0 && strides[0] % along.0 == 0;
        if !whole || (strides[2] != 1 && strides[1] != 1) {
            return Err("packed experts must consist of whole rows".into());
        }
    }
    Ok(([tokens, chosen, n].into(), DType::F32))
}

fn top_k(count: usize, x: &Array) -> Inferred {
    let shape = x.shape();
    if !x.dtype().is_float() || shape.rank() == 0 || shape.last_dim() < count {
        return Err(format!("takes floats with at least {count} elements along the last axis"));
    }
    Ok((shape.with_dim(shape.rank() - 1, count), DType::I32))
}

fn concat(axis: usize, inputs: &[&Array]) -> Inferred {
    let first = inputs.first().ok_or("nothing to join")?;
    if axis >= first.shape().rank() || first.dtype().is_quantised() {
        return Err(format!("cannot join {} {} along axis {axis}", first.dtype(), first.shape()));
    }
    let mut total = 0;
    for input in inputs {
        if input.dtype() != first.dtype() || input.shape().rank() != first.shape().rank() {
            return Err("types or numbers of axes differ".into());
        }
        if input.shape().with_dim(axis, 0) != first.shape().with_dim(axis, 0) {
            return Err(format!("shapes differ outside axis {axis}"));
        }
        total += input.shape()[axis];
    }
    Ok((first.shape().with_dim(axis, total), first.dtype()))
}

fn kv_write(inputs: &[&Array]) -> Inferred {
    let (pool, rows, slots) = (inputs[0], inputs[1], inputs[2]);
    let dims: SmallVec<[usize; 4]> = pool.shape().iter().copied().collect();
    let &[_, heads, _, dim] = dims.as_slice() else {
        return Err("the pool must be [pages, heads, page_size, dim]".into());
    };
    if !rows.dtype().is_float() || rows.shape().len() != 3 || rows.shape()[1..] != [heads, dim] {
        return Err(format!("rows must be floats [tokens, {heads}, {dim}]"));
    }
    if slots.dtype() != DType::I32 || slots.shape()[..] != rows.shape()[..1] {
        return Err("slots must be i32, one for each row".into());
    }
    Ok((pool.shape().clone(), pool.dtype()))
}
