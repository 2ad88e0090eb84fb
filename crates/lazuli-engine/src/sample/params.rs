//! What a request may ask of the sampler, and which values make sense.

/// How the next token is chosen. The default is greedy, with nothing adjusted.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits before the draw; 0 takes the best token and draws nothing.
    pub temperature: f32,
    /// Only the best so many tokens stay; 0 keeps all.
    pub top_k: usize,
    /// Only the best tokens that together reach this probability stay; 1 keeps all.
    pub top_p: f32,
    /// Only tokens with at least this share of the best one's probability stay; 0 keeps all.
    pub min_p: f32,
    /// Positive logits of tokens in the window are divided by it, negative ones multiplied; 1 changes nothing.
    /// (Keskar et al., "CTRL", 2019.)
    pub repetition_penalty: f32,
    /// Subtracted from the logit of each token in the window.
    pub presence_penalty: f32,
    /// Subtracted from a token's logit once for each time it stands in the window.
    pub frequency_penalty: f32,
    /// How many of the last tokens, prompt included, the three penalties look at.
    pub penalty_window: usize,
    /// Added to the logits of these tokens; negative infinity forbids one.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            penalty_window: 64,
            logit_bias: Vec::new(),
        }
    }
}

/// A sampling parameter outside its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ParamError {
    /// A number is too small, too large, or none.
    #[error("{name} is {found}, expected {expected}")]
    OutOfRange {
        /// The parameter.
        name: &'static str,
        /// What was given.
        found: f32,
        /// Which values it takes.
        expected: &'static str,
    },
    /// A bias names a token that the model does not have.
    #[error("logit_bias names token {id}, but the model has tokens 0 to {last}")]
    BiasToken {
        /// The token.
        id: u32,
        /// The last token of the vocabulary.
        last: usize,
    },
}

impl SamplingParams {
    /// Whether any penalty is on.
    pub fn penalises(&self) -> bool {
        self.penalty_window > 0
            && (self.repetition_penalty != 1.0
                || self.presence_penalty != 0.0
                || self.frequency_penalty != 0.0)
    }

    /// Checks every value for a model with `vocabulary` tokens.
    ///
    /// # Errors
    /// The first parameter that is out of range.
    pub fn validate(&self, vocabulary: usize) -> Result<(), ParamError> {
        let check = |holds: bool, name, found, expected| {
            if holds { Ok(()) } else { Err(ParamError::OutOfRange { name, found, expected }) }
        };
        let Self { temperature: t, top_p, min_p, repetition_penalty: r, .. } = *self;
        check(t.is_finite() && t >= 0.0, "temperature", t, "0 (greedy) or a positive number")?;
        check(top_p > 0.0 && top_p <= 1.0, "top_p", top_p, "a number above 0 and up to 1 (off)")?;
        check((0.0..=1.0).contains(&min_p), "min_p", min_p, "a number from 0 (off) to 1")?;
        check(r.is_finite() && r > 0.0, "repetition_penalty", r, "a positive number (1 is off)")?;
        for (name, found) in
            [("presence_penalty", self.presence_penalty), ("frequency_penalty", self.frequency_penalty)]
        {
            check(found.is_finite(), name, found, "a number (0 is off)")?;
        }
        for &(id, bias) in &self.logit_bias {
            if id as usize >= vocabulary {
                return Err(ParamError::BiasToken { id, last: vocabulary.saturating_sub(1) });
            }
            let meant = bias < f32::INFINITY; // false for NaN
            check(meant, "logit_bias", bias, "a number, or negative infinity to forbid a token")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(change: impl FnOnce(&mut SamplingParams)) -> String {
        let mut params = SamplingParams::default();
        change(&mut params);
        params.validate(100).expect_err("out of range").to_string()
    }

    #[test]
    fn the_default_is_valid_and_greedy() {
        let params = SamplingParams::default();
        assert_eq!(params.validate(1), Ok(()));
        assert_eq!(params.temperature, 0.0);
        assert!(!params.penalises());
    }

    #[test]
    fn values_out_of_range_are_named() {
        assert_eq!(
            message(|p| p.temperature = -1.0),
            "temperature is -1, expected 0 (greedy) or a positive number"
        );
        assert!(message(|p| p.temperature = f32::NAN).starts_with("temperature is NaN"));
        assert!(message(|p| p.top_p = 0.0).starts_with("top_p is 0"));
        assert!(message(|p| p.top_p = 1.1).starts_with("top_p is 1.1"));
        assert!(message(|p| p.min_p = -0.1).starts_with("min_p is -0.1"));
        assert!(message(|p| p.repetition_penalty = 0.0).starts_with("repetition_penalty is 0"));
        assert!(message(|p| p.presence_penalty = f32::INFINITY).starts_with("presence_penalty is inf"));
        assert!(message(|p| p.frequency_penalty = f32::NAN).starts_with("frequency_penalty is NaN"));
        assert!(message(|p| p.logit_bias = vec![(1, f32::NAN)]).starts_with("logit_bias is NaN"));
        assert_eq!(
            message(|p| p.logit_bias = vec![(100, 1.0)]),
            "logit_bias names token 100, but the model has tokens 0 to 99"
        );
    }

    #[test]
    fn a_token_may_be_forbidden() {
        let params =
            SamplingParams { logit_bias: vec![(99, f32::NEG_INFINITY)], ..SamplingParams::default() };
        assert_eq!(params.validate(100), Ok(()));
    }
}
