//! Transcendental functions and activations over any [`Simd`] level, from our own polynomials.
//!
//! Every function gives the same bits at every level whose [`Simd::scale_by_pow2`] does not round (results in the
//! normal range), because it is built from correctly rounded operations in one fixed order.

use super::float::Simd;

/// `e^x`, within 2 units in the last place for results in the normal range; below it the result is rounded to a
/// denormal, above it infinite; NaN stays NaN.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`, and a polynomial of degree 6 for `e^r`.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    // Beyond these bounds the answer is infinity or zero; they keep the exponent in the range of the scaling.
    let x = s.min(s.splat(89.0), x);
    let x = s.max(s.splat(-104.0), x);
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.fnma(n, s.splat(LN2_HIGH), x);
    let r = s.fnma(n, s.splat(LN2_LOW), r);
    s.scale_by_pow2(exp_reduced(s, r), n)
}

/// `e^r` for `|r| <= ln 2 / 2`: the first terms of the series, then a fit of the rest at Chebyshev points.
#[inline(always)]
fn exp_reduced<S: Simd>(s: S, r: S::F) -> S::F {
    let mut p = s.splat(1.392_625_1e-3);
    for coefficient in [8.363_233e-3, 4.166_655_4e-2, 1.666_657_7e-1, 0.5, 1.0, 1.0] {
        p = s.fma(p, r, s.splat(coefficient));
    }
    p
}

/// The leading bits of ln 2, so few that a product with an exponent is exact.
const LN2_HIGH: f32 = 0.693_145_75;
/// What [`LN2_HIGH`] leaves of ln 2.
const LN2_LOW: f32 = 1.428_606_8e-6;

/// `tanh(x)`, within 4 units in the last place.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let a = s.abs(x);
    // Above the bound, 1 - 2 / (e^2a + 1); the quotient is at most 0.46 there, so little is lost.
    let e = exp(s, s.add(a, a));
    let large = s.sub(s.splat(1.0), s.div(s.splat(2.0), s.add(e, s.splat(1.0))));
    // Below it, the odd series a + a^3 (c3 + c5 a^2 + ...), fitted to the interval.
    let z = s.mul(a, a);
    let mut p = s.splat(TANH[0]);
    for &coefficient in &TANH[1..] {
        p = s.fma(p, z, s.splat(coefficient));
    }
    let small = s.fma(s.mul(p, z), a, a);
    s.copysign(s.select(s.lt(a, s.splat(0.625)), small, large), x)
}

/// Coefficients of `(tanh(a) - a) / a^3` in `a^2`, highest first, for `a < 0.625`.
const TANH: [f32; 6] =
    [2.289_626_2e-3, -8.341_189e-3, 2.176_807_5e-2, -5.395_915_6e-2, 1.333_330_3e-1, -3.333_333_3e-1];

/// The logistic function `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.neg(x))))
}

/// `x * sigmoid(x)`, the SiLU (swish) activation; 0 at minus infinity is not special-cased (NaN).
#[inline(always)]
pub fn silu<S: Simd>(s: S, x: S::F) -> S::F {
    s.div(x, s.add(s.splat(1.0), exp(s, s.neg(x))))
}

/// The tanh form of GELU: `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
#[inline(always)]
pub fn gelu_tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let cubic = s.fma(s.mul(s.mul(x, x), s.splat(0.044_715)), x, x);
    let t = tanh(s, s.mul(s.splat(0.797_884_6), cubic));
    let half = s.mul(s.splat(0.5), x);
    s.fma(half, t, half)
}
