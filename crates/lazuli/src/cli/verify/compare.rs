//! How far two lists of logits are apart. Numbers only; reading and printing are elsewhere.

use crate::cli::numbers::{best, log_sum_exp};
use serde::Serialize;

/// What a pass over all positions came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Report {
    /// The largest difference of two logits; not a number if one of them is not.
    pub max_abs_diff: f64,
    /// Mean over positions of KL(reference || ours), in nats.
    pub kl_mean: f64,
    /// The fraction of positions whose best token is the same.
    pub top1_agreement: f64,
}

/// Collects positions.
#[derive(Debug, Default)]
pub struct Comparison {
    max_abs_diff: f64,
    kl_sum: f64,
    agreements: usize,
    positions: usize,
}

impl Comparison {
    /// Adds one position: two rows of logits of equal length.
    pub fn add(&mut self, reference: &[f32], ours: &[f32]) {
        for (&a, &b) in reference.iter().zip(ours) {
            let diff = (f64::from(a) - f64::from(b)).abs();
            // `max` would drop a NaN, and with it the worst thing that can be wrong.
            if diff > self.max_abs_diff || diff.is_nan() {
                self.max_abs_diff = diff;
            }
            if self.max_abs_diff.is_nan() {
                break;
            }
        }
        self.kl_sum += kl(reference, ours);
        self.agreements += usize::from(best(reference) == best(ours));
        self.positions += 1;
    }

    /// Adds the rows of two tables with `columns` columns each.
    pub fn add_rows(&mut self, reference: &[f32], ours: &[f32], columns: usize) {
        for (reference, ours) in reference.chunks_exact(columns).zip(ours.chunks_exact(columns)) {
            self.add(reference, ours);
        }
    }

    /// Adds what another has collected.
    pub fn join(&mut self, other: &Self) {
        if other.max_abs_diff > self.max_abs_diff || other.max_abs_diff.is_nan() {
            self.max_abs_diff = other.max_abs_diff;
        }
        self.kl_sum += other.kl_sum;
        self.agreements += other.agreements;
        self.positions += other.positions;
    }

    /// Sums up.
    pub fn report(&self) -> Report {
        let positions = self.positions as f64;
        Report {
            max_abs_diff: self.max_abs_diff,
            kl_mean: self.kl_sum / positions,
            top1_agreement: self.agreements as f64 / positions,
        }
    }
}

/// KL(p || q) of the distributions that two rows of logits stand for, in nats.
fn kl(p: &[f32], q: &[f32]) -> f64 {
    let (log_p, log_q) = (log_sum_exp(p), log_sum_exp(q));
    let terms = p.iter().zip(q).map(|(&p, &q)| {
        let (p, q) = (f64::from(p) - log_p, f64::from(q) - log_q);
        p.exp() * (p - q)
    });
    // Rounding can make the sum of two equal rows a little less than nothing.
    let sum: f64 = terms.sum();
    if sum < 0.0 { 0.0 } else { sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_differ_by_nothing() {
        let row = [0.5f32, -3.0, 2.0];
        let mut comparison = Comparison::default();
        comparison.add_rows(&row, &row, 3);
        assert_eq!(comparison.report(), Report { max_abs_diff: 0.0, kl_mean: 0.0, top1_agreement: 1.0 });
    }

    #[test]
    fn divergence_is_what_its_definition_says() {
        // p = (1/2, 1/2), q = (4/5, 1/5): KL = 0.5 ln(5/8) + 0.5 ln(5/2).
        let (p, q) = ([1.0f32, 1.0], [4.0f32.ln(), 0.0]);
        let expected = 0.5 * (0.625f64.ln() + 2.5f64.ln());
        assert!((kl(&p, &q) - expected).abs() < 1e-7);
        // A constant added to all logits changes nothing.
        assert!((kl(&[101.0, 101.0], &[4.0f32.ln() - 90.0, -90.0]) - expected).abs() < 1e-5);
    }

    #[test]
    fn a_position_counts_once() {
        let mut comparison = Comparison::default();
        comparison.add(&[1.0, 0.0], &[0.0, 0.25]);
        comparison.add(&[1.0, 0.0], &[1.0, 0.0]);
        let report = comparison.report();
        assert_eq!((report.max_abs_diff, report.top1_agreement), (1.0, 0.5));
    }

    #[test]
    fn a_nan_is_not_lost() {
        let mut comparison = Comparison::default();
        comparison.add(&[1.0, f32::NAN], &[1.0, 0.0]);
        comparison.add(&[1.0, 7.0], &[1.0, 0.0]);
        assert!(comparison.report().max_abs_diff.is_nan());
    }
}
