//! Options of the commands that make a model talk.

use lazuli::engine::SamplingParams;

use super::options::Threads;
use super::room::ContextSize;

/// What `run` and `chat` take alike.
#[derive(clap::Args, Debug, Clone)]
pub struct Generation {
    /// What the model is told first
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Whether the reasoning of a model that marks it is shown (dimmed, on stderr)
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Think::Show)]
    pub think: Think,
    /// Tell what an answer took, on stderr
    #[arg(long)]
    pub stats: bool,
    #[command(flatten)]
    pub limits: Limits,
    #[command(flatten)]
    pub sampling: Sampling,
}

/// What becomes of a model's reasoning.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Think {
    /// Before the answer
    Show,
    /// Not at all
    Hide,
    /// In place of the answer
    Only,
}

/// How tokens are chosen.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Sampling")]
pub struct Sampling {
    /// Randomness: 0 takes the most likely token, 1 follows the model's probabilities
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    temp: f32,
    /// Draw from the K most likely tokens only (0: all)
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Draw from the most likely tokens that together reach this probability (1: all)
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f32,
    /// Leave out tokens less likely than this share of the most likely one (0: none)
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    min_p: f32,
    /// Divide the logits of tokens that came lately (1: off)
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    repetition_penalty: f32,
    /// Seed of the draws; the same seed gives the same text
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// Where and how much to compute.
#[derive(clap::Args, Debug, Clone)]
pub struct Limits {
    /// End the answer after so many tokens [default: what the context has room for]
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_tokens: Option<u64>,
    /// Tokens of context: prompt and answers together; `auto`: all that fit into memory [default: 4096, or what the
    /// model was made for]
    #[arg(long, short = 'c', value_name = "N")]
    pub context: Option<ContextSize>,
    /// Start even if the model does not fit into this machine's memory
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub threads: Threads,
}

impl Sampling {
    /// For the engine.
    pub fn params(&self) -> SamplingParams {
        SamplingParams {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            ..SamplingParams::default()
        }
    }
}
