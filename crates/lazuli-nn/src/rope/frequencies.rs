//! One angle per position for each pair of rotated elements.
//!
//! Rounded to f32 at the same places as the reference implementations do, because an error of one part in ten
//! million is a hundredth of a radian at position 100,000.

use std::f64::consts::TAU;

use super::{LongRope, RopeConfig, RopeScaling, Yarn, YarnRamp};

/// Radians per position of each of the `rotated / 2` pairs.
pub(super) fn frequencies(config: &RopeConfig) -> Vec<f32> {
    let plain = plain(config.theta, config.rotated);
    match &config.scaling {
        // Within the original context the dynamic form does nothing.
        RopeScaling::None | RopeScaling::Dynamic { .. } => plain,
        RopeScaling::Linear { factor } => plain.into_iter().map(|f| f / factor).collect(),
        RopeScaling::Factors(factors) | RopeScaling::Long(LongRope { short: factors, .. }) => {
            plain.into_iter().zip(factors).map(|(f, factor)| f / factor).collect()
        }
        &RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
            let blend = |f: f32| {
                let turns = original_context as f32 * f / TAU as f32;
                // 0 for long wavelengths, 1 for short ones.
                let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                (1.0 - kept) * f / factor + kept * f
            };
            plain.into_iter().map(blend).collect()
        }
        RopeScaling::Yarn(yarn) => yarn_frequencies(config, yarn, &plain),
    }
}

/// The angles of a dynamic base in a pool for `context` tokens, more than the original context.
pub(super) fn stretched(config: &RopeConfig, context: usize) -> Vec<f32> {
    let &RopeScaling::Dynamic { factor, original_context } = &config.scaling else {
        return frequencies(config);
    };
    let (factor, dim) = (f64::from(factor), config.rotated as f64);
    let stretch = factor * context as f64 / original_context as f64 - (factor - 1.0);
    plain_of(f64::from(config.theta) * stretch.powf(dim / (dim - 2.0)), config.rotated)
}

fn plain(theta: f32, rotated: usize) -> Vec<f32> {
    plain_of(f64::from(theta), rotated)
}

fn plain_of(theta: f64, rotated: usize) -> Vec<f32> {
    let pair = |i: usize| {
        let exponent = (2 * i) as f32 / rotated as f32;
        1.0 / (theta.powf(f64::from(exponent)) as f32)
    };
    (0..rotated / 2).map(pair).collect()
}

fn yarn_frequencies(config: &RopeConfig, yarn: &Yarn, plain: &[f32]) -> Vec<f32> {
    let theta = f64::from(config.theta);
    // The (fractional) pair that turns so many times within the original context.
    let pair_of = |turns: f32| {
        let wavelength = yarn.original_context as f64 / (f64::from(turns) * TAU);
        config.rotated as f64 * wavelength.ln() / (2.0 * theta.ln())
    };
    let (mut low, mut high) = (pair_of(yarn.beta_fast), pair_of(yarn.beta_slow));
    if yarn.ramp == YarnRamp::Whole {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(config.rotated as f64 - 1.0));
    // A ramp of no length would divide by zero; this one is steeper than one pair.
    let width = if low == high { 0.001 } else { high - low };
    let blend = |(i, &f): (usize, &f32)| {
        let divided = ((i as f64 - low) / width).clamp(0.0, 1.0) as f32;
        f / yarn.factor * divided + f * (1.0 - divided)
    };
    plain.iter().enumerate().map(blend).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lazuli_core::fused::RopeStyle;

    fn with(scaling: RopeScaling) -> Vec<f32> {
        frequencies(&RopeConfig { theta: 10_000.0, rotated: 64, style: RopeStyle::Halves, scaling })
    }

    #[test]
    fn plain_frequencies_fall_from_one_geometrically() {
        let plain = with(RopeScaling::None);
        assert_eq!((plain.len(), plain[0]), (32, 1.0));
        assert!(plain.windows(2).all(|w| (w[1] / w[0] - 10_000f32.powf(-1.0 / 32.0)).abs() < 1e-6));
        let half = with(RopeScaling::Linear { factor: 2.0 });
        assert!(plain.iter().zip(&half).all(|(p, h)| p / 2.0 == *h));
        let factors = with(RopeScaling::Factors((1..=32).map(|i| i as f32).collect()));
        assert!(plain.iter().zip(&factors).enumerate().all(|(i, (p, f))| p / (i + 1) as f32 == *f));
    }

    #[test]
    fn llama3_keeps_short_wavelengths_and_divides_long_ones() {
        let plain = with(RopeScaling::None);
        let scaled = with(RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 1000,
        });
        let mut seen = [0; 3];
        for (p, s) in plain.iter().zip(&scaled) {
            let wavelength = TAU / f64::from(*p);
            let kind = if wavelength < 250.0 { 0 } else { 1 + usize::from(wavelength > 1000.0) };
            seen[kind] += 1;
            match kind {
                0 => assert_eq!(p, s),
                1 => assert!(*s < *p && *s > p / 8.0),
                _ => assert_eq!(p / 8.0, *s),
            }
        }
        assert!(seen.iter().all(|&n| n > 0), "{seen:?}");
    }

    #[test]
    fn a_dynamic_base_is_stretched_as_the_reference_does() {
        let scaling = RopeScaling::Dynamic { factor: 4.0, original_context: 2048 };
        let config = RopeConfig { theta: 10_000.0, rotated: 64, style: RopeStyle::Halves, scaling };
        assert_eq!(frequencies(&config), with(RopeScaling::None));
        // By hand: 4 * 8192 / 2048 - 3 = 13, to the power of 64 / 62 is 14.121376, times the base 141,213.76; the last
        // exponent is 62 / 64.
        let stretched = stretched(&config, 8192);
        assert_eq!(stretched[0], 1.0);
        for (pair, wanted) in [(1, 0.690_345_f32), (16, 0.002_661_1), (31, 1.025_786e-5)] {
            let ratio = stretched[pair] / wanted;
            assert!((ratio - 1.0).abs() < 1e-5, "pair {pair}: {} instead of {wanted}", stretched[pair]);
        }
    }

    #[test]
    fn yarn_ramps_from_kept_to_divided() {
        let yarn = Yarn {
            factor: 4.0,
            original_context: 2048,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: 1.0,
            ramp: YarnRamp::Whole,
        };
        // By the paper's formula, 32 turns in 2048 positions are at pair 8.06 and 1 turn at pair 20.1.
        let (plain, scaled) = (with(RopeScaling::None), with(RopeScaling::Yarn(yarn.clone())));
        for (i, (p, s)) in plain.iter().zip(&scaled).enumerate() {
            let ratio = s / p;
            let expected = 1.0 - ((i as f32 - 8.0) / 13.0).clamp(0.0, 1.0) * 0.75;
            assert!((ratio - expected).abs() < 1e-6, "pair {i}: {ratio} instead of {expected}");
        }
        let exact = with(RopeScaling::Yarn(Yarn { ramp: YarnRamp::Exact, ..yarn }));
        assert_eq!(exact[8], plain[8]);
        let expected = 1.0 - (14.0 - 8.064) / (20.106 - 8.064) * 0.75;
        assert!((exact[14] / plain[14] - expected).abs() < 1e-4, "{}", exact[14] / plain[14]);
        assert!((Yarn::default_attention_factor(4.0) - 1.138_629_4).abs() < 1e-6);
    }
}
