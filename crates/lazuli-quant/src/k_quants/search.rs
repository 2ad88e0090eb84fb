//! Scale search: the scale (and minimum) whose rounded codes have the least weighted squared error.
//!
//! Both searches walk a range of trial scales around the one that just covers the extremes. For each, the codes
//! are rounded, and then the best scale for those codes is the solution of a small least-squares problem.

use crate::legacy::signed_extreme;
use crate::rounding::nearest;

/// A group approximated as `scale * code - min`, with `scale` and `min` not negative.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct AffineFit {
    pub scale: f32,
    pub min: f32,
}

/// Fits a group by codes in `0..=top`, counting the error of value `i` `weights[i]` times.
///
/// `min` is kept at least 0 (the formats store it unsigned), so a group of positive values starts at 0.
pub(super) fn fit_affine<const N: usize>(values: &[f32; N], weights: &[f32; N], top: u8) -> AffineFit {
    let low = values.iter().copied().fold(0f32, f32::min);
    let high = values.iter().copied().fold(low, f32::max);
    if high <= low {
        return AffineFit { scale: 0.0, min: -low };
    }
    let levels = f32::from(top);
    let mut best = AffineFit { scale: (high - low) / levels, min: -low };
    let mut best_error = f32::INFINITY;
    for step in -10i8..=10 {
        let inverse = (levels + 0.1 * f32::from(step)) / (high - low);
        let codes = values.map(|x| nearest(((x - low) * inverse).clamp(0.0, levels)));
        let Some(fit) = solve_affine(values, weights, &codes) else { continue };
        let error = affine_error(values, weights, &codes, fit);
        if error < best_error {
            (best, best_error) = (fit, error);
        }
    }
    best
}

/// Weighted least squares for `values = scale * codes - min`; `None` where no positive scale fits.
fn solve_affine<const N: usize>(
    values: &[f32; N],
    weights: &[f32; N],
    codes: &[f32; N],
) -> Option<AffineFit> {
    let (mut w, mut wq, mut wqq, mut wx, mut wqx) = (0f32, 0f32, 0f32, 0f32, 0f32);
    for i in 0..N {
        let (x, weight, q) = (values[i], weights[i], codes[i]);
        w += weight;
        wq += weight * q;
        wqq += weight * q * q;
        wx += weight * x;
        wqx += weight * q * x;
    }
    let determinant = w * wqq - wq * wq;
    if determinant <= 0.0 {
        return None;
    }
    let mut fit =
        AffineFit { scale: (w * wqx - wq * wx) / determinant, min: (wq * wqx - wqq * wx) / determinant };
    if fit.min < 0.0 {
        fit = AffineFit { scale: wqx / wqq, min: 0.0 };
    }
    (fit.scale > 0.0 && fit.scale.is_finite() && fit.min.is_finite()).then_some(fit)
}

/// The weighted squared error of `codes` under `fit`.
pub(super) fn affine_error<const N: usize>(
    values: &[f32; N],
    weights: &[f32; N],
    codes: &[f32; N],
    fit: AffineFit,
) -> f32 {
    (0..N).fold(0.0, |error, i| {
        let miss = fit.scale * codes[i] - fit.min - values[i];
        error + weights[i] * miss * miss
    })
}

/// The code in `0..=top` that comes nearest to `value`.
pub(super) fn affine_code(value: f32, fit: AffineFit, top: u8) -> u8 {
    if fit.scale == 0.0 {
        return 0;
    }
    nearest(((value + fit.min) / fit.scale).clamp(0.0, f32::from(top))) as u8
}

/// Fits a group by `scale * code`, codes in `-half..half`, counting the error of value `i` `weights[i]` times.
///
/// The scale may be negative, so that a value of either sign may use the code `-half`.
pub(super) fn fit_symmetric<const N: usize>(values: &[f32; N], weights: &[f32; N], half: u8) -> f32 {
    let extreme = signed_extreme(values);
    if extreme.abs() < 1e-30 {
        return 0.0;
    }
    // Relative to the extreme, so that no power of a value overflows.
    let relative = values.map(|x| x / extreme);
    let levels = f32::from(half);
    let (mut best_scale, mut best_gain) = (0.0, 0.0);
    let mut attempt = |inverse: f32| {
        let (mut along, mut length) = (0f32, 0f32);
        for (x, weight) in relative.iter().zip(weights) {
            let q = nearest((x * inverse).clamp(-levels, levels - 1.0));
            along += weight * x * q;
            length += weight * q * q;
        }
        // The squared error is constant minus along^2 / length, so the largest quotient wins.
        if length > 0.0 && along * along > best_gain * length {
            (best_scale, best_gain) = (along / length, along * along / length);
        }
        best_scale
    };
    let mut scale = 0.0;
    for step in -12i8..=12 {
        attempt(-levels - 0.1 * f32::from(step));
        scale = attempt(levels - 1.0 + 0.1 * f32::from(step));
    }
    // From the best start, codes and scale settle on each other.
    for _ in 0..3 {
        scale = attempt(1.0 / scale);
    }
    scale * extreme
}

/// The code in `-half..half` that comes nearest to `value`.
pub(super) fn symmetric_code(value: f32, scale: f32, half: u8) -> i8 {
    if scale == 0.0 {
        return 0;
    }
    let levels = f32::from(half);
    nearest((value / scale).clamp(-levels, levels - 1.0)) as i8
}

/// Weights of a group without a minimum: a value's own magnitude.
///
/// Weights that count small values more lower the plain error of Q3_K and raise the divergence of a model's
/// predictions, by a tenth for SmolLM2-135M.
pub(super) fn magnitudes<const N: usize>(values: &[f32; N]) -> [f32; N] {
    values.map(f32::abs)
}

/// Weights of a group with a minimum, which can lie anywhere: large values count more, none counts nothing.
pub(super) fn raised_magnitudes<const N: usize>(values: &[f32; N]) -> [f32; N] {
    let typical = (values.iter().map(|x| x * x).sum::<f32>() / N as f32).sqrt();
    values.map(|x| typical + x.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_grid_is_found_exactly() {
        let values: [f32; 32] = std::array::from_fn(|i| 0.25 * (i % 16) as f32 - 1.5);
        let fit = fit_affine(&values, &[1.0; 32], 15);
        assert!((fit.scale - 0.25).abs() < 1e-6 && (fit.min - 1.5).abs() < 1e-5, "{fit:?}");
        let symmetric: [f32; 16] = std::array::from_fn(|i| 0.5 * (i as f32 - 8.0));
        assert!((fit_symmetric(&symmetric, &[1.0; 16], 8) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn the_search_beats_the_scale_that_covers_the_extremes() {
        let mut values: [f32; 32] = std::array::from_fn(|i| (i as f32 * 0.7).sin());
        values[3] = 2.0;
        let weights = raised_magnitudes(&values);
        let low = values.iter().copied().fold(0f32, f32::min);
        let plain = AffineFit { scale: (2.0 - low) / 15.0, min: -low };
        let searched = fit_affine(&values, &weights, 15);
        let error = |fit: AffineFit| {
            let codes = values.map(|x| f32::from(affine_code(x, fit, 15)));
            affine_error(&values, &weights, &codes, fit)
        };
        assert!(error(searched) < 0.9 * error(plain));
    }

    #[test]
    fn flat_groups_have_no_scale() {
        assert_eq!(fit_affine(&[0.0; 8], &[1.0; 8], 15), AffineFit::default());
        assert_eq!(fit_affine(&[-2.0; 8], &[1.0; 8], 15).min, 2.0);
        assert_eq!(fit_symmetric(&[0.0; 8], &[1.0; 8], 32), 0.0);
    }

    /// The share of the weighted power that the best of very many scales leaves, and that the search leaves.
    #[test]
    fn the_search_comes_near_the_best_of_all_scales() {
        let mut state = 7u64;
        for _ in 0..200 {
            let values: [f32; 16] = std::array::from_fn(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let uniform = (state >> 40) as f32 / 8_388_608.0 - 1.0;
                uniform * uniform.abs()
            });
            let weights = magnitudes(&values);
            let error = |scale: f32| {
                let codes = values.map(|x| f32::from(symmetric_code(x, scale, 4)));
                affine_error(&values, &weights, &codes, AffineFit { scale, min: 0.0 })
            };
            let peak = values.iter().fold(0f32, |peak, x| peak.max(x.abs()));
            let all = (1..4000).map(|step| peak * step as f32 / 8000.0);
            let least = all.flat_map(|scale| [error(scale), error(-scale)]).fold(f32::INFINITY, f32::min);
            let power: f32 = values.iter().zip(&weights).map(|(x, weight)| weight * x * x).sum();
            let found = error(fit_symmetric(&values, &weights, 4));
            assert!(found <= 1.1 * least + 1e-4 * power, "{found} where {least} can be had");
        }
    }
}
