//! Super-blocks: the scales of 256 values' groups as whole multiples of one factor (and their minima of another),
//! settled together with the codes.
//!
//! Rounding a group's scale moves every value of the group, so the multiples are not simply the nearest ones: each is
//! tried with its neighbours and the codes that suit it. Then the factors that are best for those codes follow from
//! least squares, and the multiples are chosen once more.

use half::f16;

use super::search::{AffineFit, affine_code, affine_error, fit_affine, fit_symmetric, symmetric_code};
use crate::legacy::signed_extreme;

/// How often multiples and factors are chosen again for each other.
const ROUNDS: usize = 3;

/// 256 values as `d * scale * code - dmin * min`, in `G` groups of `N`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AffineBlock<const G: usize, const N: usize> {
    /// Factor of the scales, which f16 holds exactly.
    pub d: f32,
    /// Factor of the minima, which f16 holds exactly.
    pub dmin: f32,
    /// Multiple of each group's scale.
    pub scales: [u8; G],
    /// Multiple of each group's minimum.
    pub mins: [u8; G],
    /// The codes.
    pub codes: [[u8; N]; G],
}

impl<const G: usize, const N: usize> AffineBlock<G, N> {
    /// Searches for codes in `0..=top` and multiples in `0..=most`; `weigh` says how often errors in a group count.
    pub fn search(values: &[f32; 256], (top, most): (u8, u8), weigh: fn(&[f32; N]) -> [f32; N]) -> Self {
        // Relative to the largest value, so that no power of a value overflows.
        let peak = peak(values);
        let groups: [[f32; N]; G] = groups(values, peak);
        let weights = groups.each_ref().map(weigh);
        let fits: [AffineFit; G] = std::array::from_fn(|g| fit_affine(&groups[g], &weights[g], top));
        let largest = |of: fn(&AffineFit) -> f32| fits.iter().map(of).fold(0f32, f32::max);
        let mut d = half_of(largest(|fit| fit.scale) / f32::from(most), peak);
        let mut dmin = half_of(largest(|fit| fit.min) / f32::from(most), peak);
        let mut best = Self { d: 0.0, dmin: 0.0, scales: [0; G], mins: [0; G], codes: [[0; N]; G] };
        let mut best_error = f32::INFINITY;
        for _ in 0..ROUNDS {
            let mut trial = Self { d, dmin, ..best.clone() };
            let mut error = 0.0;
            for (g, &fit) in fits.iter().enumerate() {
                error += trial.choose(g, fit, (&groups[g], &weights[g]), (top, most));
            }
            if error >= best_error {
                break;
            }
            (best, best_error) = (trial, error);
            let Some(factors) = best.factors(&groups, &weights) else { break };
            (d, dmin) = (half_of(factors.scale, peak), half_of(factors.min, peak));
        }
        Self { d: best.d * peak, dmin: best.dmin * peak, ..best }
    }

    /// Sets multiples and codes of group `g` to the best near `fit`, and gives their error.
    fn choose(
        &mut self,
        g: usize,
        fit: AffineFit,
        (values, weights): (&[f32; N], &[f32; N]),
        (top, most): (u8, u8),
    ) -> f32 {
        let multiple =
            |value: f32, factor: f32| affine_code(value, AffineFit { scale: factor, min: 0.0 }, most);
        let mut least = f32::INFINITY;
        for scale in near(multiple(fit.scale, self.d), most) {
            for min in near(multiple(fit.min, self.dmin), most) {
                let stored = AffineFit { scale: self.d * f32::from(scale), min: self.dmin * f32::from(min) };
                let codes = values.map(|x| affine_code(x, stored, top));
                let error = affine_error(values, weights, &codes.map(f32::from), stored);
                if error < least {
                    least = error;
                    (self.scales[g], self.mins[g], self.codes[g]) = (scale, min, codes);
                }
            }
        }
        least
    }

    /// The factors that are best for multiples and codes as they are; `None` where no positive ones are.
    fn factors(&self, groups: &[[f32; N]; G], weights: &[[f32; N]; G]) -> Option<AffineFit> {
        let (mut aa, mut ab, mut bb, mut ax, mut bx) = (0f32, 0f32, 0f32, 0f32, 0f32);
        for g in 0..G {
            let (scale, b) = (f32::from(self.scales[g]), -f32::from(self.mins[g]));
            for i in 0..N {
                let (a, x, weight) = (scale * f32::from(self.codes[g][i]), groups[g][i], weights[g][i]);
                aa += weight * a * a;
                ab += weight * a * b;
                bb += weight * b * b;
                ax += weight * a * x;
                bx += weight * b * x;
            }
        }
        let determinant = aa * bb - ab * ab;
        let fit = if determinant > 1e-6 * aa * bb {
            AffineFit { scale: (bb * ax - ab * bx) / determinant, min: (aa * bx - ab * ax) / determinant }
        } else {
            AffineFit { scale: ax / aa, min: self.dmin }
        };
        (fit.scale > 0.0 && fit.scale.is_finite() && fit.min >= 0.0 && fit.min.is_finite()).then_some(fit)
    }
}

/// 256 values as `d * scale * code`, in sixteen groups.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SymmetricBlock {
    /// Factor of the scales, which f16 holds exactly.
    pub d: f32,
    /// Multiple of each group's scale.
    pub scales: [i8; 16],
    /// The codes.
    pub codes: [[i8; 16]; 16],
}

impl SymmetricBlock {
    /// Searches for codes in `-half..half` and multiples in `-most..most`; `weigh` as above.
    pub fn search(values: &[f32; 256], (half, most): (u8, u8), weigh: fn(&[f32; 16]) -> [f32; 16]) -> Self {
        let peak = peak(values);
        let groups: [[f32; 16]; 16] = groups(values, peak);
        let weights = groups.each_ref().map(weigh);
        let fits: [f32; 16] = std::array::from_fn(|g| fit_symmetric(&groups[g], &weights[g], half));
        let mut d = half_of(signed_extreme(&fits) / -f32::from(most), peak);
        let mut best = Self { d: 0.0, scales: [0; 16], codes: [[0; 16]; 16] };
        let mut best_error = f32::INFINITY;
        for _ in 0..ROUNDS {
            let mut trial = Self { d, ..best.clone() };
            let mut error = 0.0;
            for (g, &fit) in fits.iter().enumerate() {
                error += trial.choose(g, fit, (&groups[g], &weights[g]), (half, most));
            }
            if error >= best_error {
                break;
            }
            (best, best_error) = (trial, error);
            let Some(factor) = best.factor(&groups, &weights) else { break };
            d = half_of(factor, peak);
        }
        Self { d: best.d * peak, ..best }
    }

    /// Sets multiple and codes of group `g` to the best near `fit`, and gives their error.
    fn choose(
        &mut self,
        g: usize,
        fit: f32,
        (values, weights): (&[f32; 16], &[f32; 16]),
        (half, most): (u8, u8),
    ) -> f32 {
        let nearest = i16::from(symmetric_code(fit, self.d, most));
        let mut least = f32::INFINITY;
        for scale in (nearest - 1).max(-i16::from(most))..=(nearest + 1).min(i16::from(most) - 1) {
            let stored = self.d * f32::from(scale);
            let codes = values.map(|x| symmetric_code(x, stored, half));
            let error =
                affine_error(values, weights, &codes.map(f32::from), AffineFit { scale: stored, min: 0.0 });
            if error < least {
                least = error;
                (self.scales[g], self.codes[g]) = (scale as i8, codes);
            }
        }
        least
    }

    /// The factor that is best for multiples and codes as they are; `None` if all of them are zero.
    fn factor(&self, groups: &[[f32; 16]; 16], weights: &[[f32; 16]; 16]) -> Option<f32> {
        let (mut along, mut length) = (0f32, 0f32);
        for g in 0..16 {
            for i in 0..16 {
                let a = f32::from(self.scales[g]) * f32::from(self.codes[g][i]);
                along += weights[g][i] * a * groups[g][i];
                length += weights[g][i] * a * a;
            }
        }
        (length > 0.0).then(|| along / length)
    }
}

/// A multiple and its neighbours.
fn near(multiple: u8, most: u8) -> std::ops::RangeInclusive<u8> {
    multiple.saturating_sub(1)..=(multiple + 1).min(most)
}

fn peak(values: &[f32; 256]) -> f32 {
    let peak = values.iter().fold(0f32, |peak, x| peak.max(x.abs()));
    if peak < 1e-30 { 1.0 } else { peak }
}

fn groups<const G: usize, const N: usize>(values: &[f32; 256], peak: f32) -> [[f32; N]; G] {
    std::array::from_fn(|g| std::array::from_fn(|i| values[g * N + i] / peak))
}

/// `factor` as it is once f16 has held `factor * peak`.
fn half_of(factor: f32, peak: f32) -> f32 {
    let limit = f16::MAX.to_f32();
    f16::from_f32((factor * peak).clamp(-limit, limit)).to_f32() / peak
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k_quants::search::{magnitudes, raised_magnitudes};

    /// Values of a bell curve whose spread differs from group to group.
    fn blocks() -> impl Iterator<Item = [f32; 256]> {
        let mut state = 3u64;
        let mut uniform = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / 16_777_216.0
        };
        (0..40).map(move |_| {
            let mut spread = 0.0;
            std::array::from_fn(|i| {
                if i % 16 == 0 {
                    spread = 0.2 + uniform();
                }
                spread * ((0..6).map(|_| uniform()).sum::<f32>() - 3.0)
            })
        })
    }

    /// The weighted error with each group's own scale rounded to the nearest multiple, and that of `settled` values.
    fn errors<const N: usize>(
        values: &[f32; 256],
        weigh: fn(&[f32; N]) -> [f32; N],
        nearest: impl Fn(usize, &[f32; N]) -> [f32; N],
        settled: impl Fn(usize, usize) -> f32,
    ) -> [f32; 2] {
        let mut sums = [0.0; 2];
        for (g, group) in values.chunks_exact(N).enumerate() {
            let group: &[f32; N] = group.try_into().unwrap();
            let (weights, nearest) = (weigh(group), nearest(g, group));
            for i in 0..N {
                for (sum, value) in sums.iter_mut().zip([nearest[i], settled(g, i)]) {
                    *sum += weights[i] * (value - group[i]) * (value - group[i]);
                }
            }
        }
        sums
    }

    #[test]
    fn settling_beats_the_nearest_multiples() {
        let (mut affine, mut symmetric) = ([0.0; 2], [0.0; 2]);
        for values in blocks() {
            let found = AffineBlock::<16, 16>::search(&values, (3, 15), magnitudes);
            let groups: [[f32; 16]; 16] = groups(&values, 1.0);
            let fits = groups.map(|group| fit_affine(&group, &magnitudes(&group), 3));
            let d = fits.iter().fold(0f32, |most, fit| most.max(fit.scale)) / 15.0;
            let dmin = fits.iter().fold(0f32, |most, fit| most.max(fit.min)) / 15.0;
            let nearest = |g: usize, group: &[f32; 16]| {
                let fit = AffineFit {
                    scale: d * (fits[g].scale / d).round(),
                    min: dmin * (fits[g].min / dmin).round(),
                };
                group.map(|x| fit.scale * f32::from(affine_code(x, fit, 3)) - fit.min)
            };
            let settled = |g: usize, i: usize| {
                let (scale, min) = (f32::from(found.scales[g]), f32::from(found.mins[g]));
                found.d * scale * f32::from(found.codes[g][i]) - found.dmin * min
            };
            let pair = errors(&values, magnitudes, nearest, settled);
            affine = [affine[0] + pair[0], affine[1] + pair[1]];

            let found = SymmetricBlock::search(&values, (4, 32), magnitudes);
            let fits = groups.map(|group| fit_symmetric(&group, &magnitudes(&group), 4));
            let d = signed_extreme(&fits) / -32.0;
            let nearest = |g: usize, group: &[f32; 16]| {
                let scale = d * (fits[g] / d).round().clamp(-32.0, 31.0);
                group.map(|x| scale * f32::from(symmetric_code(x, scale, 4)))
            };
            let settled =
                |g: usize, i: usize| found.d * f32::from(found.scales[g]) * f32::from(found.codes[g][i]);
            let pair = errors(&values, magnitudes, nearest, settled);
            symmetric = [symmetric[0] + pair[0], symmetric[1] + pair[1]];
        }
        assert!(affine[1] < 0.95 * affine[0], "2 bits: {affine:?}");
        assert!(symmetric[1] < 0.998 * symmetric[0], "3 bits: {symmetric:?}");
    }

    #[test]
    fn what_the_multiples_can_hold_comes_back() {
        // Scales are 9 to 63 times a factor, minima 63 times another, and all codes are in use.
        let values: [f32; 256] =
            std::array::from_fn(|e| 0.25 * (1 + e / 32).min(7) as f32 * (e % 16) as f32 - 4.0);
        let found = AffineBlock::<8, 32>::search(&values, (15, 63), raised_magnitudes);
        for (e, x) in values.iter().enumerate() {
            let (g, i) = (e / 32, e % 32);
            let scale = found.d * f32::from(found.scales[g]);
            let value = scale * f32::from(found.codes[g][i]) - found.dmin * f32::from(found.mins[g]);
            assert!((value - x).abs() < 0.02, "{value} for {x}");
        }
    }
}
