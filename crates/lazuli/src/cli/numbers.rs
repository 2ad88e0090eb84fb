//! What several commands compute from rows of logits.

/// The first of the largest logits.
pub fn best(logits: &[f32]) -> usize {
    let mut best = 0;
    for (index, &logit) in logits.iter().enumerate() {
        if logit > logits[best] {
            best = index;
        }
    }
    best
}

/// `ln(sum(exp(x)))`, without overflow.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&x| (f64::from(x) - max).exp()).sum();
    max + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equals_is_the_best() {
        assert_eq!(best(&[1.0, 3.0, 3.0, f32::NEG_INFINITY]), 1);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let found = log_sum_exp(&[1000.0, 1000.0 + 3.0f32.ln()]);
        assert!((found - (1000.0 + 4.0f64.ln())).abs() < 1e-4, "{found}");
    }
}
