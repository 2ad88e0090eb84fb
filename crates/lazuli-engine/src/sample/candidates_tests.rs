//! Each link against its definition written out slowly, and the draw against its probabilities.

use proptest::prelude::*;

use super::super::Rng;
use super::*;

fn all(logits: &[f32]) -> Candidates {
    let mut candidates = Candidates::default();
    candidates.fill(logits);
    candidates
}

fn ids(candidates: &Candidates) -> Vec<u32> {
    candidates.items().iter().map(|c| c.id).collect()
}

/// Every finite logit, best first, by a full sort.
fn ranking(logits: &[f32]) -> Vec<(u32, f32)> {
    let mut list: Vec<(u32, f32)> =
        logits.iter().enumerate().filter(|(_, x)| x.is_finite()).map(|(i, &x)| (i as u32, x)).collect();
    list.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
    list
}

#[test]
fn argmax_takes_the_first_of_equals_and_no_nan() {
    assert_eq!(argmax(&[1.0, 3.0, 3.0, 2.0]), Some(1));
    assert_eq!(argmax(&[f32::NAN, -5.0, f32::NAN]), Some(1));
    assert_eq!(argmax(&[f32::INFINITY, 1.0, 2.0]), Some(2));
    assert_eq!(argmax(&[f32::NAN, f32::NEG_INFINITY]), None);
    assert_eq!(argmax(&[]), None);
    let mut long = vec![-1.0f32; 1000];
    long[998] = 0.5;
    long[517] = 0.5;
    assert_eq!(argmax(&long), Some(517));
}

#[test]
fn top_p_keeps_the_least_number_that_reaches_the_mass() {
    let logits: Vec<f32> = [0.5f32, 0.1, 0.3, 0.1].iter().map(|p| p.ln()).collect();
    for (p, expected) in
        [(0.01, vec![0]), (0.49, vec![0]), (0.6, vec![0, 2]), (0.85, vec![0, 1, 2]), (1.0, vec![0, 1, 2, 3])]
    {
        let mut candidates = all(&logits);
        candidates.top_p(p);
        assert_eq!(ids(&candidates), expected, "p {p}");
    }
}

#[test]
fn min_p_is_relative_to_the_best() {
    let logits: Vec<f32> = [0.1f32, 0.6, 0.25, 0.05].iter().map(|p| p.ln()).collect();
    for (p, expected) in [(0.0, vec![0, 1, 2, 3]), (0.1, vec![0, 1, 2]), (0.4, vec![1, 2]), (1.0, vec![1])] {
        let mut candidates = all(&logits);
        candidates.min_p(p);
        assert_eq!(ids(&candidates), expected, "p {p}");
    }
}

#[test]
fn temperature_divides() {
    let mut candidates = all(&[1.0, -2.0]);
    candidates.temperature(0.5);
    assert_eq!(candidates.items().iter().map(|c| c.logit).collect::<Vec<_>>(), [2.0, -4.0]);
}

#[test]
fn nothing_can_be_drawn_from_nothing() {
    assert_eq!(all(&[f32::NAN, f32::NEG_INFINITY]).draw(&mut Rng::new(0)), None);
}

/// Pearson's statistic of 100,000 draws over 8 tokens stays under its 1 - 1e-6 quantile (7 degrees of freedom).
#[test]
fn draws_follow_the_softmax() {
    let logits = [0.3f32, -1.0, 2.0, 0.0, 1.5, -0.5, 0.9, -2.0];
    let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
    for seed in 0..2 {
        let (mut rng, candidates) = (Rng::new(seed), all(&logits));
        let mut found = [0u32; 8];
        for _ in 0..100_000 {
            found[candidates.draw(&mut rng).unwrap() as usize] += 1;
        }
        let statistic: f64 = found
            .iter()
            .zip(logits)
            .map(|(&n, x)| {
                let expected = 100_000.0 * f64::from(x).exp() / total;
                (f64::from(n) - expected).powi(2) / expected
            })
            .sum();
        assert!(statistic < 40.5, "seed {seed}: {statistic}");
    }
}

/// The block-wise draw of many candidates lands where a plain walk over all shares lands.
#[test]
fn a_draw_skips_blocks_rightly() {
    let logits: Vec<f32> = (0..2000).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
    let candidates = all(&logits);
    let (mut rng, mut same) = (Rng::new(9), Rng::new(9));
    let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
    let mut exact = 0;
    for _ in 0..500 {
        let mut left = same.next_unit() * total;
        let plain = logits.iter().position(|&x| {
            left -= f64::from(x).exp();
            left < 0.0
        });
        let found = candidates.draw(&mut rng).unwrap() as usize;
        // The shares are f32, so a draw next to a border may land on its other side.
        assert!(found.abs_diff(plain.unwrap()) <= 1, "{found} {plain:?}");
        exact += usize::from(Some(found) == plain);
    }
    assert!(exact > 490, "{exact}");
}

#[test]
fn the_exponential_is_accurate() {
    for i in 0..200_000 {
        let x = i as f32 * -0.000_45;
        let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
        if x >= -87.0 {
            assert!((found / expected - 1.0).abs() < 2.5e-7, "exp({x}): {found}, expected {expected}");
        } else {
            assert_eq!(found, 0.0);
        }
    }
    assert_eq!((exp(0.0), exp(-1e30), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
}

#[test]
fn log_probabilities_are_normalised() {
    let logits = [0.3f32, -1.0, 2.0, 80.0, 79.0];
    let sum: f32 = (0..5).map(|id| log_probability(&logits, id).exp()).sum();
    assert!((sum - 1.0).abs() < 1e-6);
    let expected = -(1.0f32 + (-1.0f32).exp()).ln();
    let found = log_probability(&logits, 3);
    assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    assert!(log_probability(&[0.0, f32::NAN, 0.0], 0) < -0.69);
}

fn logits() -> impl Strategy<Value = Vec<f32>> {
    // Few distinct values make ties common.
    let value = prop_oneof![
        8 => (-40i32..40).prop_map(|x| x as f32 / 4.0),
        1 => Just(f32::NAN),
        1 => Just(f32::NEG_INFINITY),
        1 => Just(f32::INFINITY),
    ];
    proptest::collection::vec(value, 0..700)
}

proptest! {
    #[test]
    fn argmax_is_the_head_of_the_ranking(logits in logits()) {
        prop_assert_eq!(argmax(&logits), ranking(&logits).first().map(|c| c.0));
    }

    #[test]
    fn top_k_is_the_start_of_the_ranking(logits in logits(), k in 0usize..200) {
        let mut candidates = Candidates::default();
        candidates.fill_top_k(&logits, k);
        let expected = ranking(&logits);
        let kept = if k == 0 { expected.len() } else { k.min(expected.len()) };
        let expected: Vec<u32> = expected[..kept].iter().map(|c| c.0).collect();
        prop_assert_eq!(ids(&candidates), expected);
    }

    #[test]
    fn top_p_is_a_start_of_the_ranking_that_just_holds_the_mass(logits in logits(), p in 0.01f32..0.999) {
        let mut candidates = all(&logits);
        candidates.top_p(p);
        let ranking = ranking(&logits);
        let found = ids(&candidates);
        let mut start: Vec<u32> = ranking[..found.len()].iter().map(|c| c.0).collect();
        start.sort_unstable();
        prop_assert_eq!(&found, &start);
        let mut ranked = Candidates::default();
        ranked.fill_top_k(&logits, logits.len());
        ranked.top_p(p);
        let mut same = ids(&ranked);
        prop_assert!(same.iter().eq(ranking[..same.len()].iter().map(|c| &c.0)));
        same.sort_unstable();
        prop_assert_eq!(&found, &same);
        if let Some(&(_, best)) = ranking.first() {
            let share = |n: usize| ranking[..n].iter().map(|c| f64::from(c.1 - best).exp()).sum::<f64>();
            let (total, n) = (share(ranking.len()), found.len());
            prop_assert!(share(n) >= f64::from(p) * total * (1.0 - 1e-5));
            prop_assert!(share(n - 1) < f64::from(p) * total * (1.0 + 1e-5));
        }
    }
}
