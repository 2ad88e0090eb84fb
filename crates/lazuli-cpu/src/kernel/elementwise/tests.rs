//! Elementwise programs against one element at a time: every operation, access pattern and tail.

use super::super::math::tests::erf;
use super::super::testing::{Level, Random, assert_close, levels, stored};
use super::{Access, Element, Elementwise, Input, Instr, Operation as Op, Output, Program};

const UNARY: [Op; 25] = [
    Op::Neg,
    Op::Abs,
    Op::Exp,
    Op::Log,
    Op::Sqrt,
    Op::Rsqrt,
    Op::Recip,
    Op::Sin,
    Op::Cos,
    Op::Tanh,
    Op::Erf,
    Op::Floor,
    Op::Ceil,
    Op::Round,
    Op::Sigmoid,
    Op::Silu,
    Op::Gelu,
    Op::GeluTanh,
    Op::Relu,
    Op::Square,
    Op::Copy,
    Op::ToF16,
    Op::ToBF16,
    Op::ToInt,
    Op::ToBool,
];
const BINARY: [Op; 16] = [
    Op::Add,
    Op::Sub,
    Op::Mul,
    Op::Div,
    Op::Max,
    Op::Min,
    Op::Pow,
    Op::Rem,
    Op::Eq,
    Op::Ne,
    Op::Lt,
    Op::Le,
    Op::Gt,
    Op::Ge,
    Op::And,
    Op::Or,
];

fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

/// The meaning of every operation, in f64.
fn oracle(op: Op, a: f64, b: f64, c: f64) -> f64 {
    match op {
        Op::Add => a + b,
        Op::Sub => a - b,
        Op::Mul => a * b,
        Op::Div => a / b,
        Op::Max => a.max(b),
        Op::Min => a.min(b),
        Op::Pow => f64::from((a as f32).powf(b as f32)),
        // The quotient is rounded to f32 before it is floored.
        Op::Rem => a - f64::from((a as f32 / b as f32).floor()) * b,
        Op::Eq => truth(a == b),
        Op::Ne => truth(a != b),
        Op::Lt => truth(a < b),
        Op::Le => truth(a <= b),
        Op::Gt => truth(a > b),
        Op::Ge => truth(a >= b),
        Op::And => truth(a != 0.0 && b != 0.0),
        Op::Or => truth(a != 0.0 || b != 0.0),
        Op::Select => {
            if a == 0.0 {
                c
            } else {
                b
            }
        }
        Op::Neg => -a,
        Op::Abs => a.abs(),
        Op::Exp => a.exp(),
        Op::Log => a.ln(),
        Op::Sqrt => a.sqrt(),
        Op::Rsqrt => 1.0 / a.sqrt(),
        Op::Recip => 1.0 / a,
        Op::Sin => a.sin(),
        Op::Cos => a.cos(),
        Op::Tanh => a.tanh(),
        Op::Erf => erf(a),
        Op::Floor => a.floor(),
        Op::Ceil => a.ceil(),
        Op::Round => a.round_ties_even(),
        Op::Sigmoid => 1.0 / (1.0 + (-a).exp()),
        Op::Silu => a / (1.0 + (-a).exp()),
        Op::Gelu => 0.5 * a * (1.0 + erf(a / 2.0_f64.sqrt())),
        Op::GeluTanh => {
            0.5 * a * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (a + 0.044715 * a * a * a)).tanh())
        }
        Op::Relu => a.max(0.0),
        Op::Square => a * a,
        Op::Copy => a,
        Op::ToF16 => half::f16::from_f64(a).to_f64(),
        Op::ToBF16 => half::bf16::from_f64(a).to_f64(),
        Op::ToInt => a.trunc(),
        Op::ToBool => truth(a != 0.0),
    }
}

fn dense(element: Element) -> Input {
    Input { element, access: Access::Dense }
}

/// Values of all sizes, some equal, some zero.
fn values(seed: u64, n: usize) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..n)
        .map(|i| match i % 7 {
            0 => 0.0,
            1 => (random.unit() * 4.0).round(),
            2 => random.unit() * 20.0,
            _ => random.unit() * 3.0,
        })
        .collect()
}

/// Runs a program in pieces cut at odd places.
fn run(
    level: Level,
    program: &Program,
    rows: usize,
    cols: usize,
    inputs: &[&[u32]],
    outputs: &mut [Vec<u32>],
) {
    let kernel = Elementwise::new(level, program.clone(), rows, cols);
    let mut scratch = vec![f32::NAN; kernel.scratch_len()];
    let inputs: Vec<*const u8> = inputs.iter().map(|input| input.as_ptr().cast()).collect();
    let outputs: Vec<*mut u8> = outputs.iter_mut().map(|output| output.as_mut_ptr().cast()).collect();
    let cuts = [0, kernel.len() / 5, kernel.len() / 2 + 1, kernel.len()];
    for pair in cuts.windows(2) {
        if pair[0] < pair[1] {
            // SAFETY: the tests hand in arrays of the program's shapes.
            unsafe { kernel.run(pair[0]..pair[1], &inputs, &outputs, scratch.as_mut_ptr()) };
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn floats(words: &[u32]) -> Vec<f32> {
    words.iter().map(|&w| f32::from_bits(w)).collect()
}

#[test]
fn every_operation_is_its_definition_at_every_level() {
    let output = vec![Output { register: 3, element: Element::F32 }];
    for level in levels() {
        for n in [1, 15, 33, 511, 1300] {
            let (a, b, c) = (values(1, n), values(2, n), values(3, n));
            let all = UNARY.iter().chain(&BINARY).chain(&[Op::Select]);
            for &op in all {
                let program = Program {
                    inputs: vec![dense(Element::F32), dense(Element::F32), dense(Element::F32)],
                    constants: vec![],
                    instrs: vec![Instr { op, dst: 3, a: 0, b: 1, c: 2 }],
                    outputs: output.clone(),
                };
                let mut out = [vec![0; n]];
                run(level, &program, 1, n, &[&bits(&a), &bits(&b), &bits(&c)], &mut out);
                let want: Vec<f64> =
                    (0..n).map(|i| oracle(op, a[i].into(), b[i].into(), c[i].into())).collect();
                assert_close(&format!("{level} {op:?} {n}"), &floats(&out[0]), &want, 2e-6);
            }
        }
    }
}

#[test]
fn inputs_broadcast_and_convert() {
    for level in levels() {
        for (rows, cols) in [(1, 1), (3, 5), (40, 17), (2, 700), (5, 512)] {
            let n = rows * cols;
            let kinds = [Element::F32, Element::F16, Element::BF16, Element::I32, Element::U8, Element::U32];
            for element in kinds {
                let whole: Vec<f32> = values(4, n).iter().map(|v| v.abs()).collect();
                let (dense_words, dense_values) = stored(element, &whole);
                let (row_words, row_values) = stored(element, &whole[..cols.min(n)]);
                let (column_words, column_values) = stored(element, &whole[..rows]);
                let (scalar_words, scalar_values) = stored(element, &[2.0]);
                // Transposed: element [r, c] at c * rows + r.
                let strided = Access::Strided { shape: vec![rows, cols], strides: vec![1, rows as isize] };
                let access = [Access::Dense, Access::Row, Access::Column, Access::Scalar, strided];
                let program = Program {
                    inputs: access.map(|access| Input { element, access }).to_vec(),
                    constants: vec![0.5],
                    instrs: vec![
                        Instr::binary(Op::Mul, 6, 0, 1),
                        Instr::binary(Op::Add, 7, 6, 2),
                        Instr::binary(Op::Mul, 6, 3, 5),
                        Instr::binary(Op::Add, 7, 7, 6),
                        Instr::binary(Op::Sub, 7, 7, 4),
                    ],
                    outputs: vec![
                        Output { register: 7, element: Element::F32 },
                        Output { register: 4, element: Element::F32 },
                    ],
                };
                let inputs = [&dense_words, &row_words, &column_words, &scalar_words, &dense_words];
                let mut out = [vec![0; n], vec![0; n]];
                run(level, &program, rows, cols, &inputs.map(Vec::as_slice), &mut out);
                let transposed = |i: usize| f64::from(dense_values[i % cols * rows + i / cols]);
                let want: Vec<f64> = (0..n)
                    .map(|i| {
                        f64::from(dense_values[i]) * f64::from(row_values[i % cols])
                            + f64::from(column_values[i / cols])
                            + f64::from(scalar_values[0]) * 0.5
                            - transposed(i)
                    })
                    .collect();
                let what = format!("{level} {element:?} [{rows}, {cols}]");
                assert_close(&what, &floats(&out[0]), &want, 1e-6);
                assert_close(&what, &floats(&out[1]), &(0..n).map(transposed).collect::<Vec<_>>(), 0.0);
            }
        }
    }
}

#[test]
fn outputs_are_rounded_to_their_types() {
    let n = 777;
    let x = values(9, n);
    for level in levels() {
        for element in [Element::F32, Element::F16, Element::BF16, Element::I32, Element::U8, Element::U32] {
            let program = Program {
                inputs: vec![dense(Element::F32)],
                outputs: vec![Output { register: 0, element }],
                ..Program::default()
            };
            let (want, _) = stored(element, &x);
            let mut out = [vec![0; want.len()]];
            run(level, &program, 1, n, &[&bits(&x)], &mut out);
            assert_eq!(out[0], want, "{level} {element:?}");
        }
    }
}

#[test]
fn an_output_may_replace_an_input() {
    for level in levels() {
        let x = values(3, 1500);
        let program = Program {
            inputs: vec![dense(Element::F32)],
            constants: vec![3.0],
            instrs: vec![Instr::binary(Op::Mul, 2, 0, 1), Instr::binary(Op::Add, 3, 2, 0)],
            outputs: vec![Output { register: 3, element: Element::F32 }],
        };
        let mut place = x.clone();
        let kernel = Elementwise::new(level, program, 1, x.len());
        let mut scratch = vec![f32::NAN; kernel.scratch_len()];
        let (from, to) = (place.as_ptr().cast(), place.as_mut_ptr().cast());
        // SAFETY: one dense array, in place.
        unsafe { kernel.run(0..x.len(), &[from], &[to], scratch.as_mut_ptr()) };
        let want: Vec<f64> = x.iter().map(|&v| f64::from(v) * 4.0).collect();
        assert_close(&level.to_string(), &place, &want, 1e-6);
    }
}

#[test]
fn a_program_that_reads_nothing_is_refused() {
    let program =
        Program { instrs: vec![Instr::binary(Op::Add, 1, 0, 0)], constants: vec![], ..Program::default() };
    assert!(std::panic::catch_unwind(|| Elementwise::new(Level::SCALAR, program, 1, 1)).is_err());
}
