//! Products with few rows of `x`: one pass over the weights in the order in which they lie in memory.
//!
//! One software prefetch stream runs 12 KiB ahead, which is what brings a single core to the speed of its memory.

use std::ops::Range;

use super::super::Element;
use super::super::element::{BF16, F16, F32, Float};
use super::{MatmulFloat, Weights};
use crate::simd::{Level, Simd, array, stamp};

/// Rows of `w` whose sums are carried at once; the streaming path decodes as many to scratch memory.
pub(super) const ROWS_AT_ONCE: usize = 4;
/// How far ahead of the loads the weights are asked for, in bytes.
const AHEAD: usize = 12 * 1024;

/// One pass: all of `x` that fits in registers times some rows of weights.
#[derive(Clone, Copy)]
struct Pass {
    k: usize,
    /// Rows of `w`.
    rows: usize,
    w: *const u8,
    w_stride: usize,
    x: *const f32,
    x_stride: usize,
    y: *mut f32,
    y_stride: usize,
}

/// The weight rows `rows` times every row of `x`.
pub(super) unsafe fn run(
    matmul: &MatmulFloat,
    rows: Range<usize>,
    x: *const f32,
    weights: Weights<'_>,
    y: *mut f32,
    scratch: *mut f32,
) {
    let &MatmulFloat { level, m, k, x_stride, y_stride, .. } = matmul;
    // Rows of one batch stay in the first caches while the rows of `x` that follow the first four pass over them.
    let batch = match weights {
        Weights::Float { .. } if m <= 4 => rows.len().max(1),
        Weights::Float { .. } => super::STREAM_UNIT,
        Weights::Rows(_) => ROWS_AT_ONCE,
    };
    let mut first = rows.start;
    while first < rows.end {
        let count = batch.min(rows.end - first);
        // SAFETY: the caller's promise; the scratch holds `ROWS_AT_ONCE` rows.
        unsafe {
            let (element, w, w_stride) = match weights {
                Weights::Float { element, data, stride } => {
                    (element, data.add(first * stride * element.size()), stride)
                }
                Weights::Rows(source) => {
                    for row in 0..count {
                        let to = std::slice::from_raw_parts_mut(scratch.add(row * k), k);
                        source.decode(first + row, 0, to);
                    }
                    (Element::F32, scratch.cast_const().cast(), k)
                }
            };
            for token in (0..m).step_by(4) {
                let x = x.add(token * x_stride);
                let y = y.add(token * y_stride + first);
                let pass = Pass { k, rows: count, w, w_stride, x, x_stride, y, y_stride };
                one_pass(level, element, (m - token).min(4), &pass);
            }
        }
        first += count;
    }
}

unsafe fn one_pass(level: Level, element: Element, tokens: usize, pass: &Pass) {
    let run = match (element, tokens) {
        (Element::F32, 1) => f32_1,
        (Element::F32, 2) => f32_2,
        (Element::F32, 3) => f32_3,
        (Element::F32, _) => f32_4,
        (Element::F16, 1) => f16_1,
        (Element::F16, 2) => f16_2,
        (Element::F16, 3) => f16_3,
        (Element::F16, _) => f16_4,
        (Element::BF16, 1) => bf16_1,
        (Element::BF16, 2) => bf16_2,
        (Element::BF16, 3) => bf16_3,
        (Element::BF16, _) => bf16_4,
        (other, _) => unreachable!("float weights are F32, F16 or BF16, not {other:?}"),
    };
    // SAFETY: the caller's promise.
    unsafe { run(level, pass) };
}

stamp! {
    unsafe fn f32_1(pass: &Pass) = all_rows::<_, F32, 1, 4>;
    unsafe fn f32_2(pass: &Pass) = all_rows::<_, F32, 2, 2>;
    unsafe fn f32_3(pass: &Pass) = all_rows::<_, F32, 3, 1>;
    unsafe fn f32_4(pass: &Pass) = all_rows::<_, F32, 4, 1>;
    unsafe fn f16_1(pass: &Pass) = all_rows::<_, F16, 1, 4>;
    unsafe fn f16_2(pass: &Pass) = all_rows::<_, F16, 2, 2>;
    unsafe fn f16_3(pass: &Pass) = all_rows::<_, F16, 3, 1>;
    unsafe fn f16_4(pass: &Pass) = all_rows::<_, F16, 4, 1>;
    unsafe fn bf16_1(pass: &Pass) = all_rows::<_, BF16, 1, 4>;
    unsafe fn bf16_2(pass: &Pass) = all_rows::<_, BF16, 2, 2>;
    unsafe fn bf16_3(pass: &Pass) = all_rows::<_, BF16, 3, 1>;
    unsafe fn bf16_4(pass: &Pass) = all_rows::<_, BF16, 4, 1>;
}

/// `M` rows of `x`, sums in `U` chains each. The rows of `w` go in fours where the registers allow it.
#[inline(always)]
unsafe fn all_rows<S: Simd, W: Float, const M: usize, const U: usize>(s: S, pass: &Pass) {
    let mut row = 0;
    // SAFETY: the caller's promise.
    unsafe {
        if M > 2 && S::LANES != 8 {
            while row + 4 <= pass.rows {
                some_rows::<S, W, M, 4, U>(s, pass, row);
                row += 4;
            }
        }
        while row + 2 <= pass.rows {
            some_rows::<S, W, M, 2, U>(s, pass, row);
            row += 2;
        }
        if row < pass.rows {
            some_rows::<S, W, M, 1, U>(s, pass, row);
        }
    }
}

/// `R` rows of `w` from `row` on. Each sum is formed in the same order whatever `R` is.
#[inline(always)]
unsafe fn some_rows<S: Simd, W: Float, const M: usize, const R: usize, const U: usize>(
    s: S,
    pass: &Pass,
    row: usize,
) {
    let mut sums = [[[s.zero(); U]; R]; M];
    let k = pass.k;
    // SAFETY: all accesses are below `k` in rows that the caller vouches for; any address may be prefetched.
    unsafe {
        let weights = pass.w.cast::<W::Bits>();
        let w = array!(r in R, weights, weights.add((row + r) * pass.w_stride));
        let x = array!(m in M, pass.x, pass.x.add(m * pass.x_stride));
        let step = U * S::LANES;
        let line = 64 / size_of::<W::Bits>();
        // One linear stream over the rows: the hardware follows two neighbouring ones less well.
        let mut stream = w[0].cast::<u8>().wrapping_add(AHEAD).cast::<W::Bits>();
        let mut i = 0;
        while i + step <= k {
            for at in (0..R * step).step_by(line) {
                s.prefetch_l2(stream.wrapping_add(at).cast());
            }
            stream = stream.wrapping_add(R * step);
            for u in 0..U {
                let at = i + u * S::LANES;
                let xs = array!(m in M, s.zero(), s.load(x[m].add(at)));
                for r in 0..R {
                    let v = W::load(s, w[r].add(at));
                    for m in 0..M {
                        sums[m][r][u] = s.fma(v, xs[m], sums[m][r][u]);
                    }
                }
            }
            i += step;
        }
        while i < k {
            let n = (k - i).min(S::LANES);
            let xs = array!(m in M, s.zero(), s.load_partial(x[m].add(i), n));
            for r in 0..R {
                let v = W::load_partial(s, w[r].add(i), n);
                for m in 0..M {
                    sums[m][r][0] = s.fma(v, xs[m], sums[m][r][0]);
                }
            }
            i += n;
        }
        for (m, sums) in sums.iter().enumerate() {
            for (r, sums) in sums.iter().enumerate() {
                let mut sum = sums[0];
                for &chain in &sums[1..] {
                    sum = s.add(sum, chain);
                }
                *pass.y.add(m * pass.y_stride + row + r) = s.reduce_sum(sum);
            }
        }
    }
}
