//! What the engine tells about a request: a closed set of events, in the order of the enum.

use crate::Error;

/// News of one request. The last one is `Finished` or `Failed`.
#[derive(Debug, Clone)]
pub enum Event {
    /// The request has pages and takes part from the next step on.
    Started {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// How many of them need no computing, as their keys and values were kept.
        reused: usize,
        /// The seed of the draws, given or chosen.
        seed: u64,
    },
    /// A token was generated; a stop token, which ends the text, included.
    Token {
        /// The token.
        id: u32,
        /// Text of the answer that is certain now. It may be empty, or belong to tokens before: half a character
        /// waits for its other half, and what may begin a stop string or a mark waits until that is clear.
        text: String,
        /// The same of the model's reasoning, if the request says how it is marked.
        reasoning: String,
        /// The natural logarithm of the token's probability before any sampling parameter, if asked for.
        logprob: Option<f32>,
    },
    /// Nothing more will come.
    Finished {
        /// Why.
        reason: FinishReason,
        /// What it took.
        stats: RequestStats,
    },
    /// The request could not be served, or not to its end.
    Failed {
        /// Why.
        error: Error,
    },
}

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model chose a stop token.
    Stop,
    /// A stop string is complete.
    StopString {
        /// Which one, counted from 0.
        index: usize,
    },
    /// As many tokens as asked for were generated.
    Length,
    /// It was cancelled, nobody listens any more, or the engine was shut down.
    Cancelled,
    /// The context is full.
    Context,
}

/// What a request took. Times are seconds by the clock on the wall, other requests in the same steps included.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RequestStats {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the prompt whose keys and values were kept from an earlier request.
    pub cached_tokens: usize,
    /// From the submission until there were pages and a place in the batch.
    pub queue_seconds: f64,
    /// From there until the first token was chosen.
    pub prefill_seconds: f64,
    /// From the submission until the first token was chosen.
    pub first_token_seconds: f64,
    /// Tokens generated, the stop token included.
    pub generated_tokens: usize,
    /// From the first generated token to the last.
    pub decode_seconds: f64,
    /// Bytes of weights, keys and values that a decode step of this sequence alone reads, on average over the
    /// steps: an estimate from the model's description.
    pub bytes_per_token: u64,
}

impl RequestStats {
    /// Tokens of the prompt computed per second.
    pub fn prefill_rate(&self) -> f64 {
        rate(self.prompt_tokens - self.cached_tokens, self.prefill_seconds)
    }

    /// Tokens generated per second after the first, which the prefill has chosen.
    pub fn decode_rate(&self) -> f64 {
        rate(self.generated_tokens.saturating_sub(1), self.decode_seconds)
    }
}

fn rate(tokens: usize, seconds: f64) -> f64 {
    if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 }
}
