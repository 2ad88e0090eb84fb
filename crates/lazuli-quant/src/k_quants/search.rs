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

fn affine_error<const N: usize>(
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

/// Fits a group by `scale * code`, codes in `-half..half`, weighting each value by its square.
///
/// The scale is negative where the value of largest magnitude is positive, so that it may use the code `-half`.
pub(super) fn fit_symmetric<const N: usize>(values: &[f32; N], half: u8) -> f32 {
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
        for x in relative {
            let q = nearest((x * inverse).clamp(-levels, levels - 1.0));
            along += x * x * x * q;
            length += x * x * q * q;
        }
        // The squared error is constant minus along^2 / length, so the largest quotient wins.
        if length > 0.0 && along * along > best_gain * length {
            (best_scale, best_gain) = (along / length, along * along / length);
        }
        best_scale
    };
    let mut scale = 0.0;
    for step in -9i8..=9 {
        scale = attempt(-levels - 0.1 * f32::from(step));
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

/// The weights of a group: large values count more, none counts nothing.
pub(super) fn magnitude_weights<const N: usize>(values: &[f32; N]) -> [f32; N] {
    let typical = (values.iter().map(|x| x * x).sum::<f32>() / N as f32).sqrt();
    values.map(|x| typical + x.abs())
}

/// Eight groups of 32 with 6-bit scales and minima, as Q4_K and Q5_K store them.
pub(super) struct AffineGroups {
    /// 6-bit scale of each group.
    pub scales: [u8; 8],
    /// 6-bit minimum of each group.
    pub mins: [u8; 8],
    /// Scale of the scales.
    pub d: f32,
    /// Scale of the minima.
    pub dmin: f32,
}

impl AffineGroups {
    /// Searches every group's scale and minimum and quantises them to 6 bits.
    pub fn search(values: &[f32; 256], top: u8) -> Self {
        let mut fits = [AffineFit::default(); 8];
        for (fit, group) in fits.iter_mut().zip(values.chunks_exact(32)) {
            let group: &[f32; 32] = group.try_into().expect("a chunk of 32");
            *fit = fit_affine(group, &magnitude_weights(group), top);
        }
        let peak = |of: fn(&AffineFit) -> f32| fits.iter().map(of).fold(0f32, f32::max);
        let (d, dmin) = (peak(|fit| fit.scale) / 63.0, peak(|fit| fit.min) / 63.0);
        let sixth_bits = |value: f32, unit: f32| affine_code(value, AffineFit { scale: unit, min: 0.0 }, 63);
        Self {
            scales: fits.map(|fit| sixth_bits(fit.scale, d)),
            mins: fits.map(|fit| sixth_bits(fit.min, dmin)),
            d,
            dmin,
        }
    }

    /// The codes for the scales as stored, `d` and `dmin` rounded to f16 by now.
    pub fn codes(&self, values: &[f32; 256], top: u8, d: f32, dmin: f32) -> [u8; 256] {
        std::array::from_fn(|i| {
            let (scale, min) = (self.scales[i / 32], self.mins[i / 32]);
            let fit = AffineFit { scale: d * f32::from(scale), min: dmin * f32::from(min) };
            affine_code(values[i], fit, top)
        })
    }
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
        assert!((fit_symmetric(&symmetric, 8) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn the_search_beats_the_scale_that_covers_the_extremes() {
        let mut values: [f32; 32] = std::array::from_fn(|i| (i as f32 * 0.7).sin());
        values[3] = 2.0;
        let weights = magnitude_weights(&values);
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
        assert_eq!(fit_symmetric(&[0.0; 8], 32), 0.0);
    }
}
