//! Softmax over contiguous rows.

use std::ops::Range;

use crate::simd::{Level, Simd, math, stamp};

/// `y = e^(x - max) / sum(e^(x - max))` for each row. A row of minus infinities comes out as NaN.
#[derive(Debug, Clone, Copy)]
pub struct Softmax {
    /// The vector level.
    pub level: Level,
    /// Elements of a row.
    pub cols: usize,
}

impl Softmax {
    /// Computes `rows` of `x` (f32 `[rows, cols]`, contiguous) into `out` (likewise; may be `x`).
    ///
    /// # Safety
    /// The pointers must be valid for these rows, and nobody else may write the input or touch the output rows.
    pub unsafe fn run(&self, rows: Range<usize>, x: *const f32, out: *mut f32) {
        for row in rows {
            let at = row * self.cols;
            // SAFETY: the caller's promise.
            unsafe { softmax(self.level, self.cols, x.add(at), out.add(at)) };
        }
    }
}

stamp! {
    unsafe fn softmax(n: usize, x: *const f32, out: *mut f32) = softmax_row;
}

#[inline(always)]
unsafe fn softmax_row<S: Simd>(s: S, n: usize, x: *const f32, out: *mut f32) {
    let whole = n - n % S::LANES;
    // SAFETY: all accesses are below `n`.
    unsafe {
        let mut top = s.splat(f32::NEG_INFINITY);
        for i in (0..whole).step_by(S::LANES) {
            top = s.max(s.load(x.add(i)), top);
        }
        let mut max = s.reduce_max(top);
        for i in whole..n {
            max = max.max(*x.add(i));
        }
        let max = s.splat(max);
        let mut sums = s.zero();
        for i in (0..whole).step_by(S::LANES) {
            let e = math::exp(s, s.sub(s.load(x.add(i)), max));
            s.store(out.add(i), e);
            sums = s.add(sums, e);
        }
        let mut sum = s.reduce_sum(sums);
        if whole < n {
            let e = math::exp(s, s.sub(s.load_partial(x.add(whole), n - whole), max));
            s.store_partial(out.add(whole), n - whole, e);
            for i in whole..n {
                sum += *out.add(i);
            }
        }
        let scale = s.splat(1.0 / sum);
        for i in (0..whole).step_by(S::LANES) {
            s.store(out.add(i), s.mul(s.load(out.add(i)), scale));
        }
        if whole < n {
            let v = s.mul(s.load_partial(out.add(whole), n - whole), scale);
            s.store_partial(out.add(whole), n - whole, v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Random, assert_close, levels};
    use super::*;

    fn oracle(row: &[f32]) -> Vec<f64> {
        let max = row.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(f64::from(v)));
        let e: Vec<f64> = row.iter().map(|&v| (f64::from(v) - max).exp()).collect();
        let sum: f64 = e.iter().sum();
        e.iter().map(|v| v / sum).collect()
    }

    #[test]
    fn rows_sum_to_one_and_match_the_formula() {
        for level in levels() {
            for cols in [1, 2, 15, 16, 17, 33, 300] {
                let mut x: Vec<f32> = Random::new(5).floats(3 * cols).iter().map(|v| v * 40.0).collect();
                if cols > 2 {
                    x[1] = f32::NEG_INFINITY;
                    x[2 * cols - 1] = f32::NEG_INFINITY;
                }
                let want: Vec<f64> = x.chunks(cols).flat_map(oracle).collect();
                let mut out = x.clone();
                // SAFETY: three rows, in place.
                unsafe { Softmax { level, cols }.run(0..3, out.as_ptr(), out.as_mut_ptr()) };
                assert_close(&format!("{level} {cols}"), &out, &want, 1e-6);
            }
        }
    }
}
