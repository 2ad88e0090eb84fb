//! What may be asked of the engine, and the checks that a request passes before it waits in line.

use crate::sample::SamplingParams;
use crate::{Error, Reasoning, Result};

/// A text to continue.
#[derive(Default)]
pub struct Request {
    /// The tokens so far; at least one.
    pub prompt: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// Seed of the draws; without one each run differs. Runs with equal seeds, logits and parameters are equal.
    pub seed: Option<u64>,
    /// The most tokens to generate; without it, what the context has room for.
    pub max_tokens: Option<usize>,
    /// Tokens that end the text.
    pub stop_tokens: Vec<u32>,
    /// Texts that end the text, and that are not part of it. They are only looked for when `text` is given, and not
    /// in reasoning.
    pub stop_strings: Vec<String>,
    /// Turns tokens into text; without it all texts are empty.
    pub text: Option<Box<dyn TextStream>>,
    /// How the model marks its reasoning; without it, all text is the answer.
    pub reasoning: Option<Reasoning>,
    /// Whether each token comes with the logarithm of its probability.
    pub logprobs: bool,
}

/// Tokens to text, one at a time.
pub trait TextStream: Send {
    /// Takes the next token and returns the text that is certain now.
    fn push(&mut self, id: u32) -> String;

    /// Ends the text, or a part of it, and returns what was still open.
    fn finish(&mut self) -> String;
}

impl TextStream for lazuli_io::StreamDecoder {
    fn push(&mut self, id: u32) -> String {
        Self::push(self, id)
    }

    fn finish(&mut self) -> String {
        Self::finish(self)
    }
}

impl Request {
    /// A greedy continuation of `prompt`; the other fields are public.
    pub fn new(prompt: Vec<u32>) -> Self {
        Self { prompt, ..Self::default() }
    }

    /// Checks the request against the model and the engine's context.
    pub(crate) fn validate(&self, vocabulary: usize, context: usize) -> Result<()> {
        let tokens = self.prompt.len();
        if tokens == 0 {
            return Err(Error::EmptyPrompt);
        }
        if tokens > context {
            return Err(Error::PromptTooLong { tokens, context });
        }
        if let Some(&id) = self.prompt.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(Error::UnknownToken { id, last: vocabulary.saturating_sub(1) });
        }
        if self.max_tokens == Some(0) {
            return Err(Error::NothingToGenerate);
        }
        if let Some(index) = self.stop_strings.iter().position(String::is_empty) {
            return Err(Error::EmptyStopString { index });
        }
        Ok(self.sampling.validate(vocabulary)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Request)) -> String {
        let mut request = Request::new(vec![1, 2, 3]);
        change(&mut request);
        request.validate(10, 4).expect_err("not valid").to_string()
    }

    #[test]
    fn a_request_that_cannot_work_is_refused_with_the_figures() {
        assert!(Request::new(vec![0, 9, 3, 4]).validate(10, 4).is_ok());
        assert!(refused(|r| r.prompt.clear()).starts_with("the prompt has no tokens"));
        assert!(refused(|r| r.prompt = vec![0; 5]).contains("5 tokens, but the context has room for 4"));
        assert!(refused(|r| r.prompt = vec![10]).contains("token 10, but the model has tokens 0 to 9"));
        assert_eq!(refused(|r| r.max_tokens = Some(0)), "max_tokens is 0, expected at least 1");
        assert_eq!(
            refused(|r| r.stop_strings = vec!["a".into(), String::new()]),
            "stop string 1 is empty: leave it out"
        );
        assert!(refused(|r| r.sampling.top_p = 2.0).starts_with("top_p is 2"));
    }
}
