//! Options of the commands that make a model talk.

use lazuli::engine::SamplingParams;
use serde_json::Value;

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
    /// A variable of the chat template, such as enable_thinking=false (may be given several times)
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = variable)]
    pub variables: Vec<(String, Value)>,
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
    /// Start even if keys, values and intermediate results do not fit into this machine's memory, or the model was not
    /// made for that much context
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

/// A name and a value: JSON if it is that (`false`, `3`), else the text as it stands.
fn variable(text: &str) -> Result<(String, Value), String> {
    let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
        return Err("expected NAME=VALUE".to_owned());
    };
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_are_json_or_text() {
        let parsed = |text| variable(text).map(|(_, value)| value);
        assert_eq!(parsed("enable_thinking=false"), Ok(json!(false)));
        assert_eq!(parsed("reasoning_effort=high"), Ok(json!("high")));
        assert_eq!(parsed("x="), Ok(json!("")));
        assert!(parsed("=1").is_err() && parsed("x").is_err());
    }
}
