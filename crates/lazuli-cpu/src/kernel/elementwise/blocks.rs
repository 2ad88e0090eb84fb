//! Running a program over a range: fill registers, execute, store, one block after another.

use std::ops::Range;

use half::{bf16, f16};

use super::super::element::{load_any, store_any};
use super::super::math::{by_lane, by_lane2, erf, gelu};
use super::program::{Access, Input, Instr, MAX_REGISTERS, Operation, Program};
use super::{BLOCK, Element};
use crate::simd::{Simd, math, stamp};

stamp! {
    /// Runs a checked program over the elements of a range; see [`super::Elementwise::run`].
    pub(super) unsafe fn run(
        program: &Program,
        cols: usize,
        elements: Range<usize>,
        inputs: &[*const u8],
        outputs: &[*mut u8],
        scratch: *mut f32,
    ) = run_blocks;
}

#[inline(always)]
unsafe fn run_blocks<S: Simd>(
    s: S,
    program: &Program,
    cols: usize,
    elements: Range<usize>,
    inputs: &[*const u8],
    outputs: &[*mut u8],
    scratch: *mut f32,
) {
    // Where each register's block is: in the scratch or, for whole vectors of dense f32, in the input or output itself.
    let mut at = [std::ptr::null_mut::<f32>(); MAX_REGISTERS];
    let own = |register: usize| scratch.wrapping_add(register * BLOCK);
    for (register, pointer) in at.iter_mut().enumerate().take(program.registers()) {
        *pointer = own(register);
    }
    // What the last instruction computes may go to the output at once, even if that is an input: it is read no more.
    let direct = match (&program.outputs[..], program.instrs.last()) {
        ([output], Some(last)) if output.register == last.dst && output.element == Element::F32 => {
            Some(last.dst)
        }
        _ => None,
    };
    // SAFETY: blocks have BLOCK elements, of which every one below `n`, rounded up to whole vectors, is written before
    // it is read (`fill` writes whole vectors); input and output accesses are the caller's promise.
    unsafe {
        for (i, &value) in program.constants.iter().enumerate() {
            fill_splat(s, at[program.inputs.len() + i], BLOCK, value);
        }
        for (i, input) in program.inputs.iter().enumerate() {
            if input.access == Access::Scalar {
                fill_splat(s, at[i], BLOCK, input.element.read(inputs[i]));
            }
        }
        let mut start = elements.start;
        while start < elements.end {
            let n = BLOCK.min(elements.end - start);
            for (i, input) in program.inputs.iter().enumerate() {
                match input.access {
                    Access::Scalar => {}
                    Access::Dense if input.element == Element::F32 && n % S::LANES == 0 => {
                        at[i] = inputs[i].cast::<f32>().add(start).cast_mut();
                    }
                    _ => {
                        at[i] = own(i);
                        fill(s, input, inputs[i], own(i), cols, start, n);
                    }
                }
            }
            let padded = n.next_multiple_of(S::LANES);
            if let Some(register) = direct {
                let whole = padded == n;
                let register = usize::from(register);
                at[register] = if whole { outputs[0].cast::<f32>().add(start) } else { own(register) };
            }
            for instr in &program.instrs {
                execute(s, instr, &at, padded);
            }
            for (output, &to) in program.outputs.iter().zip(outputs) {
                let (to, from) = (to.add(start * output.element.size()), at[usize::from(output.register)]);
                if to != from.cast() {
                    store_block(s, output.element, from, to, n);
                }
            }
            start += n;
        }
    }
}

#[inline(always)]
unsafe fn fill_splat<S: Simd>(s: S, to: *mut f32, n: usize, value: f32) {
    for i in (0..n).step_by(S::LANES) {
        // SAFETY: a block is a whole number of vectors.
        unsafe { s.store(to.add(i), s.splat(value)) };
    }
}

#[inline(always)]
unsafe fn store_block<S: Simd>(s: S, element: Element, from: *const f32, to: *mut u8, n: usize) {
    for i in (0..n).step_by(S::LANES) {
        // SAFETY: the block has whole vectors, the output `n` elements.
        unsafe {
            store_any(s, element, to.add(i * element.size()), (n - i).min(S::LANES), s.load(from.add(i)));
        };
    }
}

/// Copies `n` consecutive elements into a register; writes whole vectors if the register has room for them.
#[inline(always)]
unsafe fn fill_dense<S: Simd>(s: S, element: Element, from: *const u8, to: *mut f32, n: usize) {
    let whole = n - n % S::LANES;
    // SAFETY: the caller's promise.
    unsafe {
        for i in (0..whole).step_by(S::LANES) {
            s.store(to.add(i), load_any(s, element, from.add(i * element.size()), S::LANES));
        }
        for i in whole..n {
            *to.add(i) = element.read(from.add(i * element.size()));
        }
    }
}

/// Fills a register with the `n` elements from output position `start` on, and the rest of its last vector with 1.
#[inline(always)]
unsafe fn fill<S: Simd>(
    s: S,
    input: &Input,
    from: *const u8,
    to: *mut f32,
    cols: usize,
    start: usize,
    n: usize,
) {
    let size = input.element.size();
    // SAFETY: the caller's promise for the input; the register holds a block.
    unsafe {
        for i in n..n.next_multiple_of(S::LANES) {
            *to.add(i) = 1.0;
        }
        match &input.access {
            Access::Scalar => {}
            Access::Dense => fill_dense(s, input.element, from.add(start * size), to, n),
            Access::Row | Access::Column => {
                let mut done = 0;
                while done < n {
                    let (row, col) = ((start + done) / cols, (start + done) % cols);
                    let count = (cols - col).min(n - done);
                    if input.access == Access::Row {
                        fill_dense(s, input.element, from.add(col * size), to.add(done), count);
                    } else {
                        let value = input.element.read(from.add(row * size));
                        for i in done..done + count {
                            *to.add(i) = value;
                        }
                    }
                    done += count;
                }
            }
            Access::Strided { shape, strides } => {
                fill_strided(input.element, shape, strides, from, to, start, n);
            }
        }
    }
}

/// Runs along the last axis; the outer index is unfolded once per run.
unsafe fn fill_strided(
    element: Element,
    shape: &[usize],
    strides: &[isize],
    from: *const u8,
    to: *mut f32,
    start: usize,
    n: usize,
) {
    let (&inner, outer) = shape.split_last().unwrap_or((&1, &[]));
    let step = strides.last().copied().unwrap_or(0);
    let mut done = 0;
    while done < n {
        let (mut rest, col) = ((start + done) / inner, (start + done) % inner);
        let mut offset = col as isize * step;
        for (&extent, &stride) in outer.iter().zip(strides).rev() {
            offset += (rest % extent) as isize * stride;
            rest /= extent;
        }
        let count = (inner - col).min(n - done);
        for i in 0..count {
            let index = (offset + i as isize * step) * element.size() as isize;
            // SAFETY: the caller's promise for the input; the register holds a block.
            unsafe { *to.add(done + i) = element.read(from.offset(index)) };
        }
        done += count;
    }
}

/// One instruction over the first `n` elements (whole vectors).
#[inline(always)]
unsafe fn execute<S: Simd>(s: S, instr: &Instr, at: &[*mut f32; MAX_REGISTERS], n: usize) {
    use Operation as Op;
    let pointer = |register: u8| at[usize::from(register)];
    let (dst, a, b, c) = (pointer(instr.dst), pointer(instr.a), pointer(instr.b), pointer(instr.c));
    /// Stores the expression for every vector of the block.
    macro_rules! each {
        ($($x:ident = $from:ident),+ => $value:expr) => {
            for i in (0..n).step_by(S::LANES) {
                // SAFETY: the caller's promise: registers hold whole blocks.
                unsafe {
                    $(let $x = s.load($from.add(i));)+
                    s.store(dst.add(i), $value);
                }
            }
        };
    }
    let (zero, one) = (s.zero(), s.splat(1.0));
    match instr.op {
        Op::Add => each!(x = a, y = b => s.add(x, y)),
        Op::Sub => each!(x = a, y = b => s.sub(x, y)),
        Op::Mul => each!(x = a, y = b => s.mul(x, y)),
        Op::Div => each!(x = a, y = b => s.div(x, y)),
        Op::Max => each!(x = a, y = b => s.max(x, y)),
        Op::Min => each!(x = a, y = b => s.min(x, y)),
        Op::Pow => each!(x = a, y = b => by_lane2(s, x, y, f32::powf)),
        Op::Rem => each!(x = a, y = b => s.sub(x, s.mul(s.floor(s.div(x, y)), y))),
        Op::Eq => each!(x = a, y = b => s.select(s.eq(x, y), one, zero)),
        Op::Ne => each!(x = a, y = b => s.select(s.eq(x, y), zero, one)),
        Op::Lt => each!(x = a, y = b => s.select(s.lt(x, y), one, zero)),
        Op::Le => each!(x = a, y = b => s.select(s.le(x, y), one, zero)),
        Op::Gt => each!(x = a, y = b => s.select(s.lt(y, x), one, zero)),
        Op::Ge => each!(x = a, y = b => s.select(s.le(y, x), one, zero)),
        Op::And => each!(x = a, y = b => s.select(s.eq(x, zero), zero, s.select(s.eq(y, zero), zero, one))),
        Op::Or => each!(x = a, y = b => s.select(s.eq(x, zero), s.select(s.eq(y, zero), zero, one), one)),
        Op::Select => each!(x = a, y = b, z = c => s.select(s.eq(x, zero), z, y)),
        Op::Neg => each!(x = a => s.neg(x)),
        Op::Abs => each!(x = a => s.abs(x)),
        Op::Exp => each!(x = a => math::exp(s, x)),
        Op::Log => each!(x = a => by_lane(s, x, f32::ln)),
        Op::Sqrt => each!(x = a => s.sqrt(x)),
        Op::Rsqrt => each!(x = a => s.div(one, s.sqrt(x))),
        Op::Recip => each!(x = a => s.div(one, x)),
        Op::Sin => each!(x = a => by_lane(s, x, f32::sin)),
        Op::Cos => each!(x = a => by_lane(s, x, f32::cos)),
        Op::Tanh => each!(x = a => math::tanh(s, x)),
        Op::Erf => each!(x = a => erf(s, x)),
        Op::Floor => each!(x = a => s.floor(x)),
        Op::Ceil => each!(x = a => s.neg(s.floor(s.neg(x)))),
        Op::Round => each!(x = a => s.round(x)),
        Op::Sigmoid => each!(x = a => math::sigmoid(s, x)),
        Op::Silu => each!(x = a => math::silu(s, x)),
        Op::Gelu => each!(x = a => gelu(s, x)),
        Op::GeluTanh => each!(x = a => math::gelu_tanh(s, x)),
        // The operand order keeps NaN.
        Op::Relu => each!(x = a => s.max(zero, x)),
        Op::Square => each!(x = a => s.mul(x, x)),
        Op::Copy => each!(x = a => x),
        Op::ToF16 => each!(x = a => by_lane(s, x, |v| f16::from_f32(v).to_f32())),
        Op::ToBF16 => each!(x = a => by_lane(s, x, |v| bf16::from_f32(v).to_f32())),
        Op::ToInt => each!(x = a => by_lane(s, x, |v| if v.is_nan() { 0.0 } else { v.trunc() })),
        Op::ToBool => each!(x = a => s.select(s.eq(x, zero), zero, one)),
    }
}
