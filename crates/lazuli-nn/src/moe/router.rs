//! [`Router`]: which experts a token gets, and how much each counts.

use lazuli_core::Array;
use lazuli_core::fused::{ExpertChoice, GroupRank};

use crate::{Bias, Linear, Result, Weights};

/// A router in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct RouterConfig {
    /// Length of the rows that come in.
    pub hidden: usize,
    /// Experts there are.
    pub experts: usize,
    /// Experts a token gets.
    pub chosen: usize,
    /// Bias of the projection to scores.
    pub bias: Bias,
    /// What the projection becomes.
    pub score: Score,
    /// Whether the weights of a token's experts are divided by their sum.
    pub normalised: bool,
    /// Factor of all weights.
    pub scale: f32,
    /// Whether a token's experts must come from its best groups of experts.
    pub groups: Option<Groups>,
}

/// How a router scores experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Score {
    /// Softmax over all experts.
    Softmax,
    /// The sigmoid of each.
    Sigmoid,
    /// The sigmoid of each; the choice, not the weight, goes by its sum with `e_score_correction_bias`
    /// (`[experts]`, DeepSeek-V3's balance without an auxiliary loss).
    CorrectedSigmoid,
}

/// Groups of experts (DeepSeek): equal runs, of which a token may use some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    /// How many there are.
    pub count: usize,
    /// How many a token may use.
    pub kept: usize,
    /// What makes a group good.
    pub rank: GroupRank,
}

/// A projection to one score for each expert, and the choice by it.
#[derive(Debug, Clone)]
pub struct Router {
    projection: Linear,
    correction: Option<Array>,
    config: RouterConfig,
}

/// The experts of each token.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// Which, i32 `[tokens, chosen]`.
    pub ids: Array,
    /// How much each counts, f32 `[tokens, chosen]`.
    pub weights: Array,
}

impl Router {
    /// Reads `weight` `[experts, hidden]` and, as configured, `bias` and `e_score_correction_bias` (`[experts]`).
    ///
    /// # Errors
    /// If one of them is missing or has another shape.
    pub fn load(weights: &Weights, config: RouterConfig) -> Result<Self> {
        // A rounding error in a score can swap experts, which no later layer mends, and a router is a small part of
        // what a token reads: its rows are rounded finely.
        let projection = Linear::load(weights, config.experts, config.hidden, config.bias)?.fine();
        let correction = match config.score {
            Score::CorrectedSigmoid => Some(weights.get("e_score_correction_bias", [config.experts])?),
            Score::Softmax | Score::Sigmoid => None,
        };
        Ok(Self { projection, correction, config })
    }

    /// Chooses for each row of `x` `[tokens, hidden]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Chosen {
        let c = &self.config;
        let logits = self.projection.forward(x); // [tokens, experts]
        if c.score == Score::Softmax && c.normalised {
            // What the softmax divides by falls out again, so only the chosen need one, and it keeps their order.
            let ids = self.choose(&logits);
            return Chosen { weights: scaled(logits.take_along(&ids).softmax(), c.scale), ids };
        }
        let scores = if c.score == Score::Softmax { logits.softmax() } else { logits.sigmoid() };
        let ids = match &self.correction {
            Some(correction) => self.choose(&(&scores + correction)),
            None => self.choose(&scores),
        };
        let mut weights = scores.take_along(&ids);
        if c.normalised {
            weights = &weights / weights.sum(-1).expand_dims(-1);
        }
        Chosen { weights: scaled(weights, c.scale), ids }
    }

    fn choose(&self, scores: &Array) -> Array {
        match self.config.groups {
            Some(Groups { count, kept, rank }) if count > kept => {
                scores.expert_choice(ExpertChoice { count: self.config.chosen, groups: count, kept, rank })
            }
            _ => scores.top_k(self.config.chosen),
        }
    }
}

fn scaled(weights: Array, scale: f32) -> Array {
    if scale == 1.0 { weights } else { weights * scale }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lazuli_core::Runtime;

    /// One token whose logits for six experts are these.
    fn choose(logits: [f32; 6], config: RouterConfig, correction: [f32; 6]) -> (Vec<i32>, Vec<f32>) {
        let weights = Weights::new([
            ("weight".to_string(), Array::from_slice(&logits, [6, 1])),
            ("e_score_correction_bias".to_string(), Array::from_slice(&correction, [6])),
        ]);
        let router = Router::load(&weights, config).unwrap();
        let Chosen { ids, weights } = router.forward(&Array::from_slice(&[1.0f32], [1, 1]));
        Runtime::reference().eval(&[&ids, &weights]).unwrap();
        (ids.as_slice().unwrap().to_vec(), weights.as_slice().unwrap().to_vec())
    }

    fn config(score: Score) -> RouterConfig {
        RouterConfig {
            hidden: 1,
            experts: 6,
            chosen: 2,
            bias: Bias::Without,
            score,
            normalised: false,
            scale: 1.0,
            groups: None,
        }
    }

    fn close(found: &[f32], expected: &[f32]) -> bool {
        found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6)
    }

    const LOGITS: [f32; 6] = [0.0, 1.0, 2.0, -1.0, 1.5, 0.5];

    #[test]
    fn softmax_with_and_without_normalisation() {
        let sum: f32 = LOGITS.iter().map(|x| x.exp()).sum();
        let (ids, weights) = choose(LOGITS, config(Score::Softmax), [0.0; 6]);
        assert_eq!(ids, [2, 4]);
        assert!(close(&weights, &[2f32.exp() / sum, 1.5f32.exp() / sum]), "{weights:?}");
        let normalised = RouterConfig { normalised: true, scale: 3.0, ..config(Score::Softmax) };
        let (ids, weights) = choose(LOGITS, normalised, [0.0; 6]);
        let share = 3.0 / (1.0 + (-0.5f32).exp());
        assert_eq!(ids, [2, 4]);
        assert!(close(&weights, &[share, 3.0 - share]), "{weights:?}");
    }

    #[test]
    fn a_correction_changes_the_choice_and_not_the_weights() {
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        let correction = [0.0, 0.0, 0.0, 2.0, 0.0, 0.0];
        let (ids, weights) = choose(LOGITS, config(Score::CorrectedSigmoid), correction);
        assert_eq!(ids, [3, 2]);
        assert!(close(&weights, &[sigmoid(-1.0), sigmoid(2.0)]), "{weights:?}");
    }

    #[test]
    fn experts_come_from_the_best_groups() {
        // Groups of two: by their largest [1, 2, 1.5], by their sum of scores the first is best.
        let groups = |rank| Some(Groups { count: 3, kept: 1, rank });
        let by_largest = RouterConfig { groups: groups(GroupRank::Largest), ..config(Score::Sigmoid) };
        assert_eq!(choose(LOGITS, by_largest, [0.0; 6]).0, [2, 3]);
        let by_two = RouterConfig { groups: groups(GroupRank::TwoLargest), ..config(Score::Sigmoid) };
        assert_eq!(choose(LOGITS, by_two, [0.0; 6]).0, [4, 5]);
    }
}
