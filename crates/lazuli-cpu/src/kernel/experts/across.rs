//! Products with weights `[k, n]` whose outputs lie side by side: sums of rows of weights, row after row.

use super::super::Element;
use super::super::element::{BF16, F16, F32, Float};
use crate::simd::{Level, Simd, stamp};

/// `y [m, n] (+)= x [m, k] . w [k, n]` in f32, all row-major with strides.
#[derive(Debug, Clone, Copy)]
pub struct Across {
    /// Rows of `x`.
    pub m: usize,
    /// Columns.
    pub n: usize,
    /// Rows of weights.
    pub k: usize,
    /// Elements from one row of `x` to the next.
    pub x_stride: usize,
    /// Elements from one row of weights to the next.
    pub w_stride: usize,
    /// Elements from one row of `y` to the next.
    pub y_stride: usize,
    /// Whether to add to what is there.
    pub add: bool,
}

impl Across {
    /// Computes it all, with weights of F32, F16 or BF16 (others are refused by a panic).
    ///
    /// # Safety
    /// The pointers must be valid for these sizes; nobody else may write the inputs or touch the output.
    pub unsafe fn run(&self, level: Level, x: *const f32, weights: (Element, *const u8), y: *mut f32) {
        let run = match weights.0 {
            Element::F32 => across_f32,
            Element::F16 => across_f16,
            Element::BF16 => across_bf16,
            other => unreachable!("float weights are F32, F16 or BF16, not {other:?}"),
        };
        // SAFETY: the caller's promise.
        unsafe { run(level, self, x, weights.1, y) }
    }
}

stamp! {
    unsafe fn across_f32(job: &Across, x: *const f32, w: *const u8, y: *mut f32) = across::<_, F32>;
    unsafe fn across_f16(job: &Across, x: *const f32, w: *const u8, y: *mut f32) = across::<_, F16>;
    unsafe fn across_bf16(job: &Across, x: *const f32, w: *const u8, y: *mut f32) = across::<_, BF16>;
}

/// Vectors of columns that are summed at once, and rows of `x`.
const WIDE: usize = 4;
const ROWS: usize = 4;

#[inline(always)]
unsafe fn across<S: Simd, E: Float>(s: S, job: &Across, x: *const f32, w: *const u8, y: *mut f32) {
    for first in (0..job.m).step_by(ROWS) {
        // SAFETY: the caller's promise, for these rows.
        unsafe {
            let (x, y) = (x.add(first * job.x_stride), y.add(first * job.y_stride));
            match job.m - first {
                1 => rows::<S, E, 1>(s, job, x, w.cast(), y),
                2 => rows::<S, E, 2>(s, job, x, w.cast(), y),
                3 => rows::<S, E, 3>(s, job, x, w.cast(), y),
                _ => rows::<S, E, 4>(s, job, x, w.cast(), y),
            }
        }
    }
}

#[inline(always)]
unsafe fn rows<S: Simd, E: Float, const M: usize>(
    s: S,
    job: &Across,
    x: *const f32,
    w: *const E::Bits,
    y: *mut f32,
) {
    let mut at = 0;
    // SAFETY: the caller's promise; columns stay below `n`.
    unsafe {
        while at + WIDE * S::LANES <= job.n {
            columns::<S, E, M, WIDE>(s, job, x, w.add(at), y.add(at), S::LANES);
            at += WIDE * S::LANES;
        }
        while at < job.n {
            let width = (job.n - at).min(S::LANES);
            columns::<S, E, M, 1>(s, job, x, w.add(at), y.add(at), width);
            at += width;
        }
    }
}

/// `V` vectors of columns; `width` elements of each, which is less than a vector only when there is one.
#[inline(always)]
unsafe fn columns<S: Simd, E: Float, const M: usize, const V: usize>(
    s: S,
    job: &Across,
    x: *const f32,
    w: *const E::Bits,
    y: *mut f32,
    width: usize,
) {
    let whole = width == S::LANES;
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[s.zero(); V]; M];
        if job.add {
            for (m, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    let from = y.add(m * job.y_stride + v * S::LANES);
                    *sum = if whole { s.load(from) } else { s.load_partial(from, width) };
                }
            }
        }
        for p in 0..job.k {
            let row = w.add(p * job.w_stride);
            let mut weights = [s.zero(); V];
            for (v, weights) in weights.iter_mut().enumerate() {
                let from = row.add(v * S::LANES);
                *weights = if whole { E::load(s, from) } else { E::load_partial(s, from, width) };
            }
            for (m, sums) in sums.iter_mut().enumerate() {
                let factor = s.splat(*x.add(m * job.x_stride + p));
                for v in 0..V {
                    sums[v] = s.fma(weights[v], factor, sums[v]);
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let to = y.add(m * job.y_stride + v * S::LANES);
                if whole {
                    s.store(to, sum);
                } else {
                    s.store_partial(to, width, sum);
                }
            }
        }
    }
}
