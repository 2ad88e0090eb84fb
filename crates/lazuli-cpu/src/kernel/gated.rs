//! Gated activations: `act(gate) * up`, the middle of a gated feed-forward layer (Shazeer, 2020).

use std::ops::Range;

pub use lazuli_core::fused::Activation;

use super::math::gelu;
use crate::simd::{Level, Simd, math, stamp};

/// `out[r, c] = act(gate[r, c]) * up[r, c]`.
///
/// Gate and up may be separate arrays or two halves of one: each has its own distance between rows.
#[derive(Debug, Clone, Copy)]
pub struct Gated {
    /// The vector level.
    pub level: Level,
    /// The function of the gate.
    pub activation: Activation,
    /// Elements of a row.
    pub cols: usize,
    /// Elements from one row of the gate to the next.
    pub gate_stride: usize,
    /// Elements from one row of the other factor to the next.
    pub up_stride: usize,
}

impl Gated {
    /// Computes the output elements `elements` of `[rows, cols]` (contiguous f32). `out` may be `gate` or `up` if
    /// that one is dense. Units may be cut anywhere; multiples of 16 elements are fastest.
    ///
    /// # Safety
    /// The pointers must be valid for these elements, and nobody else may write the inputs or touch the outputs.
    pub unsafe fn run(&self, elements: Range<usize>, gate: *const f32, up: *const f32, out: *mut f32) {
        let run = match self.activation {
            Activation::Silu => gated_silu,
            Activation::Gelu => gated_gelu,
            Activation::GeluTanh => gated_gelu_tanh,
        };
        let mut at = elements.start;
        while at < elements.end {
            let (row, col) = (at / self.cols, at % self.cols);
            let count = (self.cols - col).min(elements.end - at);
            // SAFETY: the caller's promise.
            unsafe {
                let gate = gate.add(row * self.gate_stride + col);
                let up = up.add(row * self.up_stride + col);
                run(self.level, count, gate, up, out.add(at));
            }
            at += count;
        }
    }
}

stamp! {
    unsafe fn gated_silu(n: usize, gate: *const f32, up: *const f32, out: *mut f32) = gated::<_, 0>;
    unsafe fn gated_gelu(n: usize, gate: *const f32, up: *const f32, out: *mut f32) = gated::<_, 1>;
    unsafe fn gated_gelu_tanh(n: usize, gate: *const f32, up: *const f32, out: *mut f32) = gated::<_, 2>;
}

/// `ACT` is the position of the activation in its enum: a function parameter would not be compiled into the loop.
#[inline(always)]
unsafe fn gated<S: Simd, const ACT: u8>(s: S, n: usize, gate: *const f32, up: *const f32, out: *mut f32) {
    let whole = n - n % S::LANES;
    // SAFETY: all accesses are below `n`.
    unsafe {
        for i in (0..whole).step_by(S::LANES) {
            let g = activate::<S, ACT>(s, s.load(gate.add(i)));
            s.store(out.add(i), s.mul(g, s.load(up.add(i))));
        }
        if whole < n {
            let g = activate::<S, ACT>(s, s.load_partial(gate.add(whole), n - whole));
            let v = s.mul(g, s.load_partial(up.add(whole), n - whole));
            s.store_partial(out.add(whole), n - whole, v);
        }
    }
}

#[inline(always)]
fn activate<S: Simd, const ACT: u8>(s: S, x: S::F) -> S::F {
    match ACT {
        0 => math::silu(s, x),
        1 => gelu(s, x),
        _ => math::gelu_tanh(s, x),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Random, assert_close, levels};
    use super::*;

    fn oracle(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Gelu => {
                0.5 * x * (1.0 + super::super::math::tests::erf(x * std::f64::consts::FRAC_1_SQRT_2))
            }
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                0.5 * x * (1.0 + inner.tanh())
            }
        }
    }

    #[test]
    fn split_and_separate_inputs_match_the_formula_in_any_division() {
        for level in levels() {
            for activation in [Activation::Silu, Activation::Gelu, Activation::GeluTanh] {
                for (rows, cols) in [(1, 1), (3, 5), (2, 16), (3, 67), (2, 200)] {
                    let both: Vec<f32> =
                        Random::new(cols as u64).floats(rows * 2 * cols).iter().map(|v| v * 9.0).collect();
                    let want: Vec<f64> = (0..rows * cols)
                        .map(|i| {
                            let at = i / cols * 2 * cols + i % cols;
                            oracle(activation, f64::from(both[at])) * f64::from(both[at + cols])
                        })
                        .collect();
                    let gated = Gated { level, activation, cols, gate_stride: 2 * cols, up_stride: 2 * cols };
                    let mut out = vec![0.0; rows * cols];
                    let cut = rows * cols / 3;
                    // SAFETY: the halves of `both` are the inputs; the ranges lie within the output.
                    unsafe {
                        let (gate, up) = (both.as_ptr(), both.as_ptr().add(cols));
                        gated.run(0..cut, gate, up, out.as_mut_ptr());
                        gated.run(cut..rows * cols, gate, up, out.as_mut_ptr());
                    }
                    assert_close(&format!("{level} {activation:?}"), &out, &want, 3e-6);
                }
            }
        }
    }
}
