//! From logits to a token: a chain of plain functions in a fixed order.
//!
//! The order is the default one of llama.cpp, whose cuts mlx-lm makes too before its temperature:
//! logit bias, penalties (repetition, presence, frequency), top-k, top-p, min-p, temperature, the draw.
//! So the cuts see the model's own probabilities, and temperature only spreads what they left. With
//! temperature 0 the best token is taken after bias and penalties.

mod adjust;
mod candidates;
mod params;
mod rng;

pub use adjust::{Window, bias, penalise};
pub use candidates::{Candidate, Candidates, argmax, log_probability};
pub use params::{ParamError, SamplingParams};
pub use rng::{Rng, fresh_seed};

/// The chain of one sequence, with its random numbers and the tokens that it remembers.
#[derive(Debug, Clone)]
pub struct Sampler {
    params: SamplingParams,
    rng: Rng,
    window: Window,
    adjusted: Vec<f32>,
    candidates: Candidates,
}

impl Sampler {
    /// A sampler that gives the same tokens for the same seed and logits.
    pub fn new(params: SamplingParams, seed: u64) -> Self {
        let window = Window::new(if params.penalises() { params.penalty_window } else { 0 });
        let (adjusted, candidates) = (Vec::new(), Candidates::default());
        Self { params, rng: Rng::new(seed), window, adjusted, candidates }
    }

    /// Tells the penalties that a token stands in the text, of the prompt or chosen.
    pub fn observe(&mut self, id: u32) {
        self.window.push(id);
    }

    /// Chooses the next token from `logits` `[vocabulary]`; none if bias or a broken model leaves no finite
    /// logit. The caller passes the choice to [`Sampler::observe`].
    pub fn sample(&mut self, logits: &[f32]) -> Option<u32> {
        let Self { params, rng, window, adjusted, candidates } = self;
        let logits = if params.penalises() || !params.logit_bias.is_empty() {
            adjusted.clear();
            adjusted.extend_from_slice(logits);
            bias(adjusted, &params.logit_bias);
            penalise(adjusted, window, params);
            &adjusted[..]
        } else {
            logits
        };
        if params.temperature == 0.0 {
            return argmax(logits);
        }
        if params.top_k > 0 {
            candidates.fill_top_k(logits, params.top_k);
        } else {
            candidates.fill(logits);
        }
        candidates.top_p(params.top_p);
        candidates.min_p(params.min_p);
        candidates.temperature(params.temperature);
        candidates.draw(rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> SamplingParams {
        SamplingParams { temperature: 1.0, ..SamplingParams::default() }
    }

    fn draws(params: &SamplingParams, seed: u64, logits: &[f32]) -> Vec<u32> {
        let mut sampler = Sampler::new(params.clone(), seed);
        (0..200).map(|_| sampler.sample(logits).expect("finite logits")).collect()
    }

    #[test]
    fn temperature_zero_is_greedy_after_bias_and_penalties() {
        let mut sampler = Sampler::new(SamplingParams::default(), 0);
        assert_eq!(sampler.sample(&[1.0, 5.0, 5.0]), Some(1));
        let biased = SamplingParams { logit_bias: vec![(0, 10.0)], ..SamplingParams::default() };
        assert_eq!(Sampler::new(biased, 0).sample(&[1.0, 5.0, 5.0]), Some(0));
        let penalised = SamplingParams { presence_penalty: 1.0, ..SamplingParams::default() };
        let mut sampler = Sampler::new(penalised, 0);
        sampler.observe(1);
        assert_eq!(sampler.sample(&[1.0, 5.0, 5.0]), Some(2));
    }

    #[test]
    fn the_seed_fixes_the_draws() {
        let logits: Vec<f32> = (0..50).map(|i| (i as f32 * 0.7).sin()).collect();
        let with = SamplingParams { top_k: 20, top_p: 0.9, min_p: 0.05, ..params() };
        assert_eq!(draws(&with, 3, &logits), draws(&with, 3, &logits));
        assert_ne!(draws(&with, 3, &logits), draws(&with, 4, &logits));
    }

    #[test]
    fn the_cuts_come_before_the_temperature() {
        // At temperature 100 all tokens are about equally likely, and top-p 0.9 of that would keep most.
        let logits = [8.0, 1.0, 0.5, 0.0, -1.0];
        let hot = SamplingParams { temperature: 100.0, ..params() };
        assert!(draws(&hot, 0, &logits).iter().any(|&id| id > 0));
        for cut in [
            SamplingParams { top_p: 0.9, ..hot.clone() },
            SamplingParams { min_p: 0.1, ..hot.clone() },
            SamplingParams { top_k: 1, ..hot },
        ] {
            assert!(draws(&cut, 0, &logits).iter().all(|&id| id == 0), "{cut:?}");
        }
    }

    #[test]
    fn forbidding_everything_leaves_nothing() {
        for temperature in [0.0, 1.0] {
            let bias = vec![(0, f32::NEG_INFINITY), (1, f32::NEG_INFINITY)];
            let with = SamplingParams { temperature, logit_bias: bias, ..params() };
            assert_eq!(Sampler::new(with, 0).sample(&[1.0, 2.0]), None);
        }
    }
}
