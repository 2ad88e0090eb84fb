//! RMSNorm and LayerNorm over rows.

use std::ops::Range;

use super::element::{BF16, Element, F16, F32, Float};
use crate::simd::{Level, Simd, stamp};

/// `y = x / sqrt(mean(x^2) + eps) * (offset + weight)` for each row (Zhang and Sennrich, 2019).
#[derive(Debug, Clone, Copy)]
pub struct RmsNorm {
    /// The vector level.
    pub level: Level,
    /// Elements of a row.
    pub cols: usize,
    /// Elements from one input row to the next.
    pub x_stride: usize,
    /// Added to the mean square.
    pub eps: f32,
    /// Added to the weight: 1 for Gemma, else 0.
    pub offset: f32,
    /// The weight's type: F32, F16 or BF16; other types are refused by a panic.
    pub weight: Element,
}

impl RmsNorm {
    /// Normalises `rows` of `x` (f32 `[rows, cols]` with rows `x_stride` apart) into `out` (f32, contiguous).
    /// `weight` holds `cols` elements, or is null for a norm without weight. `out` may be `x` if its rows are dense.
    ///
    /// # Safety
    /// The pointers must be valid for these rows, and nobody else may write the input or touch the output rows.
    pub unsafe fn run(&self, rows: Range<usize>, x: *const f32, weight: *const u8, out: *mut f32) {
        for row in rows {
            // SAFETY: the caller's promise.
            unsafe {
                let (x, out) = (x.add(row * self.x_stride), out.add(row * self.cols));
                match self.weight {
                    _ if weight.is_null() => {
                        rms_bare(self.level, self.cols, x, out, self.eps);
                    }
                    Element::F32 => rms_f32(self.level, self.cols, x, weight, out, self.eps, self.offset),
                    Element::F16 => rms_f16(self.level, self.cols, x, weight, out, self.eps, self.offset),
                    Element::BF16 => rms_bf16(self.level, self.cols, x, weight, out, self.eps, self.offset),
                    other => unreachable!("a norm's weight is a float, not {other:?}"),
                }
            }
        }
    }
}

/// `y = (x - mean) / sqrt(variance + eps) * weight + bias` for each row (Ba et al., 2016).
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm {
    /// The vector level.
    pub level: Level,
    /// Elements of a row.
    pub cols: usize,
    /// Elements from one input row to the next.
    pub x_stride: usize,
    /// Added to the variance.
    pub eps: f32,
    /// The type of weight and bias: F32, F16 or BF16; other types are refused by a panic.
    pub weight: Element,
}

impl LayerNorm {
    /// Normalises `rows` of `x` (f32 `[rows, cols]` with rows `x_stride` apart) into `out` (f32, contiguous).
    /// `weight` and `bias` hold `cols` elements; either may be null, for none.
    ///
    /// # Safety
    /// As for [`RmsNorm::run`].
    pub unsafe fn run(
        &self,
        rows: Range<usize>,
        x: *const f32,
        weight: *const u8,
        bias: *const u8,
        out: *mut f32,
    ) {
        let run = match self.weight {
            Element::F32 => layer_f32,
            Element::F16 => layer_f16,
            Element::BF16 => layer_bf16,
            other => unreachable!("a norm's weight is a float, not {other:?}"),
        };
        for row in rows {
            // SAFETY: the caller's promise.
            unsafe {
                let (x, out) = (x.add(row * self.x_stride), out.add(row * self.cols));
                run(self.level, self.cols, x, weight, bias, out, self.eps);
            }
        }
    }
}

stamp! {
    unsafe fn rms_bare(n: usize, x: *const f32, out: *mut f32, eps: f32) = rms_bare_row;
    unsafe fn rms_f32(n: usize, x: *const f32, w: *const u8, out: *mut f32, eps: f32, offset: f32) = rms_row::<_, F32>;
    unsafe fn rms_f16(n: usize, x: *const f32, w: *const u8, out: *mut f32, eps: f32, offset: f32) = rms_row::<_, F16>;
    unsafe fn rms_bf16(n: usize, x: *const f32, w: *const u8, out: *mut f32, eps: f32, offset: f32) = rms_row::<_, BF16>;
    unsafe fn layer_f32(n: usize, x: *const f32, w: *const u8, b: *const u8, out: *mut f32, eps: f32) = layer_row::<_, F32>;
    unsafe fn layer_f16(n: usize, x: *const f32, w: *const u8, b: *const u8, out: *mut f32, eps: f32) = layer_row::<_, F16>;
    unsafe fn layer_bf16(n: usize, x: *const f32, w: *const u8, b: *const u8, out: *mut f32, eps: f32) = layer_row::<_, BF16>;
}

/// `sum((x - shift)^2)` in four chains, so that the additions do not wait for each other.
#[inline(always)]
unsafe fn sum_of_squares<S: Simd>(s: S, n: usize, x: *const f32, shift: f32) -> f32 {
    let shifts = s.splat(shift);
    let mut sums = [s.zero(); 4];
    let mut i = 0;
    // SAFETY: all accesses are below `n`.
    unsafe {
        while i + 4 * S::LANES <= n {
            for (chain, sum) in sums.iter_mut().enumerate() {
                let v = s.sub(s.load(x.add(i + chain * S::LANES)), shifts);
                *sum = s.fma(v, v, *sum);
            }
            i += 4 * S::LANES;
        }
        while i + S::LANES <= n {
            let v = s.sub(s.load(x.add(i)), shifts);
            sums[0] = s.fma(v, v, sums[0]);
            i += S::LANES;
        }
        let mut total = s.reduce_sum(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])));
        // Lanes past the end would count the shift, so the last ones go one by one.
        for j in i..n {
            let v = *x.add(j) - shift;
            total += v * v;
        }
        total
    }
}

/// `sum(x)`, in four chains.
#[inline(always)]
unsafe fn sum<S: Simd>(s: S, n: usize, x: *const f32) -> f32 {
    let mut sums = [s.zero(); 4];
    let mut i = 0;
    // SAFETY: all accesses are below `n`.
    unsafe {
        while i + 4 * S::LANES <= n {
            for (chain, sum) in sums.iter_mut().enumerate() {
                *sum = s.add(*sum, s.load(x.add(i + chain * S::LANES)));
            }
            i += 4 * S::LANES;
        }
        while i < n {
            sums[0] = s.add(sums[0], s.load_partial(x.add(i), (n - i).min(S::LANES)));
            i += S::LANES;
        }
    }
    s.reduce_sum(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])))
}

#[inline(always)]
unsafe fn rms_bare_row<S: Simd>(s: S, n: usize, x: *const f32, out: *mut f32, eps: f32) {
    // SAFETY: the caller's promise of `n` elements each.
    unsafe {
        let scale = s.splat(1.0 / (sum_of_squares(s, n, x, 0.0) / n as f32 + eps).sqrt());
        let whole = n - n % S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            s.store(out.add(i), s.mul(s.load(x.add(i)), scale));
        }
        if whole < n {
            let v = s.load_partial(x.add(whole), n - whole);
            s.store_partial(out.add(whole), n - whole, s.mul(v, scale));
        }
    }
}

#[inline(always)]
unsafe fn rms_row<S: Simd, W: Float>(
    s: S,
    n: usize,
    x: *const f32,
    weight: *const u8,
    out: *mut f32,
    eps: f32,
    offset: f32,
) {
    let weight = weight.cast::<W::Bits>();
    // SAFETY: the caller's promise of `n` elements each.
    unsafe {
        let scale = s.splat(1.0 / (sum_of_squares(s, n, x, 0.0) / n as f32 + eps).sqrt());
        let offset = s.splat(offset);
        let whole = n - n % S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            let w = s.add(W::load(s, weight.add(i)), offset);
            s.store(out.add(i), s.mul(s.mul(s.load(x.add(i)), scale), w));
        }
        if whole < n {
            let rest = n - whole;
            let w = s.add(W::load_partial(s, weight.add(whole), rest), offset);
            let v = s.load_partial(x.add(whole), rest);
            s.store_partial(out.add(whole), rest, s.mul(s.mul(v, scale), w));
        }
    }
}

#[inline(always)]
unsafe fn layer_row<S: Simd, W: Float>(
    s: S,
    n: usize,
    x: *const f32,
    weight: *const u8,
    bias: *const u8,
    out: *mut f32,
    eps: f32,
) {
    let (weight, bias) = (weight.cast::<W::Bits>(), bias.cast::<W::Bits>());
    // SAFETY: the caller's promise of `n` elements each, or null.
    unsafe {
        let mean = sum(s, n, x) / n as f32;
        let scale = s.splat(1.0 / (sum_of_squares(s, n, x, mean) / n as f32 + eps).sqrt());
        let mean = s.splat(mean);
        let mut i = 0;
        while i < n {
            let count = (n - i).min(S::LANES);
            let mut v = s.mul(s.sub(s.load_partial(x.add(i), count), mean), scale);
            if !weight.is_null() {
                v = s.mul(v, W::load_partial(s, weight.add(i), count));
            }
            if !bias.is_null() {
                v = s.add(v, W::load_partial(s, bias.add(i), count));
            }
            s.store_partial(out.add(i), count, v);
            i += S::LANES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Random, assert_close, levels, stored};
    use super::*;

    const WEIGHTS: [Element; 3] = [Element::F32, Element::F16, Element::BF16];

    #[test]
    fn rms_norm_is_its_formula() {
        for (cols, x_stride, rows) in
            [(1, 1, 2), (7, 7, 3), (24, 30, 3), (64, 64, 2), (129, 129, 3), (1536, 2048, 2)]
        {
            let mut random = Random::new(cols as u64);
            let x = random.floats(rows * x_stride);
            let weights = random.floats(cols);
            for (level, weight, offset) in
                levels().into_iter().flat_map(|l| WEIGHTS.map(|w| (l, w, cols as f32 % 2.0)))
            {
                let (bytes, w) = stored(weight, &weights);
                let want = |with_weight: bool| -> Vec<f64> {
                    let row = |r: usize| &x[r * x_stride..r * x_stride + cols];
                    let scale = |r| {
                        let squares: f64 = row(r).iter().map(|&v| f64::from(v) * f64::from(v)).sum();
                        1.0 / (squares / cols as f64 + 1e-5).sqrt()
                    };
                    let factor =
                        |c: usize| if with_weight { f64::from(w[c]) + f64::from(offset) } else { 1.0 };
                    (0..rows * cols)
                        .map(|i| f64::from(row(i / cols)[i % cols]) * scale(i / cols) * factor(i % cols))
                        .collect()
                };
                let norm = RmsNorm { level, cols, x_stride, eps: 1e-5, offset, weight };
                for with_weight in [true, false] {
                    let pointer = if with_weight { bytes.as_ptr().cast() } else { std::ptr::null() };
                    let mut out = vec![0.0; rows * cols];
                    // SAFETY: the vectors hold `rows` rows.
                    unsafe { norm.run(0..rows, x.as_ptr(), pointer, out.as_mut_ptr()) };
                    assert_close(&format!("{level} {weight:?} {cols}"), &out, &want(with_weight), 2e-6);
                }
            }
        }
    }

    #[test]
    fn layer_norm_is_its_formula() {
        for (cols, x_stride, rows) in [(1, 1, 2), (24, 30, 3), (64, 64, 2), (129, 129, 3), (1000, 1000, 2)] {
            let mut random = Random::new(cols as u64);
            let x: Vec<f32> = random.floats(rows * x_stride).iter().map(|v| v + 3.0).collect();
            let (weights, biases) = (random.floats(cols), random.floats(cols));
            for (level, weight) in levels().into_iter().flat_map(|l| WEIGHTS.map(|w| (l, w))) {
                let ((w_bytes, w), (b_bytes, b)) = (stored(weight, &weights), stored(weight, &biases));
                let mut want = Vec::new();
                for r in 0..rows {
                    let row: Vec<f64> = x[r * x_stride..][..cols].iter().map(|&v| f64::from(v)).collect();
                    let mean = row.iter().sum::<f64>() / cols as f64;
                    let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / cols as f64;
                    let scale = 1.0 / (variance + 1e-5).sqrt();
                    want.extend(
                        (0..cols).map(|c| (row[c] - mean) * scale * f64::from(w[c]) + f64::from(b[c])),
                    );
                }
                let norm = LayerNorm { level, cols, x_stride, eps: 1e-5, weight };
                let mut out = vec![0.0; rows * cols];
                // SAFETY: the vectors hold `rows` rows.
                unsafe {
                    norm.run(
                        0..rows,
                        x.as_ptr(),
                        w_bytes.as_ptr().cast(),
                        b_bytes.as_ptr().cast(),
                        out.as_mut_ptr(),
                    );
                }
                assert_close(&format!("{level} {weight:?} {cols}"), &out, &want, 1e-5);
            }
        }
    }
}
