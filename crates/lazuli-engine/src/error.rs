//! Why a request, or the engine as a whole, failed.

use crate::sample::ParamError;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request, or the engine as a whole, failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The prompt has no tokens.
    #[error("the prompt has no tokens: give at least one, for instance the token that begins a text")]
    EmptyPrompt,
    /// The prompt alone is longer than the context.
    #[error(
        "the prompt has {tokens} tokens, but the context has room for {context}: shorten it or enlarge the context"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// The prompt has a token that the model does not know.
    #[error(
        "the prompt has token {id}, but the model has tokens 0 to {last}: was it made by another tokenizer?"
    )]
    UnknownToken {
        /// The token.
        id: u32,
        /// The last token of the vocabulary.
        last: usize,
    },
    /// A request asks for nothing.
    #[error("max_tokens is 0, expected at least 1")]
    NothingToGenerate,
    /// A stop string is empty, so every text would end before it begins.
    #[error("stop string {index} is empty: leave it out")]
    EmptyStopString {
        /// Which one, counted from 0.
        index: usize,
    },
    /// A sampling parameter is out of range.
    #[error(transparent)]
    Sampling(#[from] ParamError),
    /// An option of the engine is out of range.
    #[error("{name} is {found}, expected {expected}")]
    Option {
        /// The option.
        name: &'static str,
        /// What was given.
        found: usize,
        /// Which values it takes.
        expected: String,
    },
    /// Logit bias forbids everything, or the model computed no numbers.
    #[error("no token can be chosen: the logits hold no finite number after logit_bias")]
    NoCandidate,
    /// The forward pass failed.
    #[error("the forward pass failed: {0}")]
    Forward(#[from] lazuli_core::Error),
    /// The forward pass panicked, which is a bug in Lazuli.
    #[error("the forward pass panicked, which is a bug in Lazuli: {0}")]
    Panicked(String),
    /// The pool of keys and values could not be had, or had no page left.
    #[error(transparent)]
    Pool(#[from] lazuli_nn::Error),
    /// The engine's thread could not be started.
    #[error("cannot start the engine's thread: {0}")]
    Thread(String),
    /// The engine has been shut down.
    #[error("the engine has been shut down")]
    ShutDown,
}
