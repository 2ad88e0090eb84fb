//! What `run` and `chat` share: opening a model for talking, sampling options, prompts, and one streamed answer.

use std::time::{Duration, Instant};

use lazuli::Model;
use lazuli::engine::{
    Engine, EngineOptions, Event, FinishReason, Request, RequestStats, SamplingParams, Stream,
};
use lazuli::io::{ChatTemplate, Message, Position, StreamDecoder, Tokenizer};
use lazuli::models::Spec;
use serde_json::{Value, json};

use super::options::{self, Precision, Threads};
use super::ui;
use super::usage::MemoryUse;
use super::{Context, Failure};

/// How long the terminal may wait before it looks at Ctrl-C.
const POLL: Duration = Duration::from_millis(50);

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
    seed: Option<u64>,
}

/// Where and how much to compute.
#[derive(clap::Args, Debug, Clone)]
pub struct Limits {
    /// End the answer after so many tokens [default: what the context has room for]
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_tokens: Option<u64>,
    /// Tokens of context: prompt and answers together [default: 4096, or what the model was made for]
    #[arg(long, short = 'c', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub context: Option<u64>,
    #[command(flatten)]
    pub threads: Threads,
}

impl Sampling {
    fn params(&self) -> SamplingParams {
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

/// A model that talks: engine, tokenizer and template.
pub struct Talker {
    engine: Engine,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    /// What the model was called on the command line.
    pub label: String,
    /// How many workers compute.
    pub threads: usize,
}

/// A finished answer.
pub struct Answer {
    pub text: String,
    pub reason: FinishReason,
    pub stats: RequestStats,
}

impl Talker {
    /// Finds and opens a model. The tokenizer is built beside the network, as both take a moment.
    pub fn open(cx: &Context, model: Option<&str>, limits: &Limits) -> Result<Self, Failure> {
        let found = cx.model(model)?;
        let model = Model::open(&found.path)?;
        let (network, tokenizer, template) = std::thread::scope(|scope| {
            let tokenizer = scope.spawn(|| {
                let tokenizer = model.tokenizer()?;
                tokenizer.prepare();
                Ok::<_, Failure>(tokenizer)
            });
            let network = model.causal_lm();
            let template = model.chat_template();
            let tokenizer =
                tokenizer.join().map_err(|_| Failure::error("building the tokenizer panicked"))?;
            Ok::<_, Failure>((network?, tokenizer?, template?))
        })?;
        let context = context(cx, network.spec(), limits);
        let workers = limits.threads.workers(Precision::Fast)?;
        let options = EngineOptions { context, max_sequences: 1, ..EngineOptions::default() };
        let engine = Engine::start(network, workers.runtime(), options)?;
        Ok(Self { engine, tokenizer, template, label: found.label, threads: workers.count() })
    }

    /// Whether the model knows what a conversation is.
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// The tokens of a text as it stands.
    pub fn raw_tokens(&self, text: &str) -> Vec<u32> {
        lazuli::text_prompt(&self.tokenizer, text)
    }

    /// The tokens of a conversation that asks for the next answer.
    pub fn chat_tokens(&self, messages: &[Message]) -> Result<Vec<u32>, Failure> {
        let Some(template) = &self.template else {
            return Err(Failure::error("the model has no chat template: use `lazuli run --raw`"));
        };
        Ok(lazuli::chat_prompt(&self.tokenizer, template, messages)?)
    }

    /// Submits a prompt and calls `show` with each piece of text. Ctrl-C ends the answer early.
    pub fn answer(
        &self,
        cx: &Context,
        prompt: Vec<u32>,
        sampling: &Sampling,
        limits: &Limits,
        mut show: impl FnMut(&str) -> std::io::Result<()>,
    ) -> Result<Answer, Failure> {
        let request = Request {
            prompt,
            sampling: sampling.params(),
            seed: sampling.seed,
            max_tokens: limits.max_tokens.map(|n| n as usize),
            stop_tokens: self.tokenizer.eog().to_vec(),
            text: Some(Box::new(StreamDecoder::new(&self.tokenizer, Position::Start))),
            ..Request::default()
        };
        let interrupt = cx.interrupt();
        let mut stream = self.engine.submit(request);
        let mut text = String::new();
        loop {
            match next(&mut stream, &|| interrupt.is_set()) {
                Event::Started { .. } => {}
                Event::Token { text: piece, .. } => {
                    if !piece.is_empty() {
                        show(&piece)?;
                        text.push_str(&piece);
                    }
                }
                Event::Finished { reason, stats } => return Ok(Answer { text, reason, stats }),
                Event::Failed { error } => return Err(error.into()),
            }
        }
    }
}

/// The next event; Ctrl-C asks the engine to end the answer.
fn next(stream: &mut Stream, stopped: &dyn Fn() -> bool) -> Event {
    let mut asked = false;
    loop {
        if let Some(event) = stream.next_within(POLL) {
            return event;
        }
        if stopped() && !asked {
            stream.cancel();
            asked = true;
        }
    }
}

/// The context asked for, or a comfortable one within what the model was made for.
fn context(cx: &Context, spec: &Spec, limits: &Limits) -> usize {
    match limits.context {
        Some(asked) => {
            options::note_long_context(cx, spec, asked as usize);
            asked as usize
        }
        None => EngineOptions::default().context.min(spec.context),
    }
}

/// Why an answer ended, as JSON says it.
pub fn reason_name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::StopString { .. } => "stop_string",
        FinishReason::Length => "length",
        FinishReason::Cancelled => "cancelled",
        FinishReason::Context => "context",
    }
}

/// What an answer took, for machines.
pub fn stats_json(stats: &RequestStats, start: Instant, threads: usize) -> Value {
    let memory = MemoryUse::now();
    json!({
        "prompt_tokens": stats.prompt_tokens,
        "cached_tokens": stats.cached_tokens,
        "generated_tokens": stats.generated_tokens,
        "prompt_tok_s": stats.prefill_rate(),
        "generation_tok_s": stats.decode_rate(),
        "time_to_first_token_s": stats.first_token_seconds,
        "total_s": start.elapsed().as_secs_f64(),
        "bytes_per_token": stats.bytes_per_token,
        "gb_s": bandwidth(stats),
        "peak_resident_bytes": memory.peak_resident,
        "private_bytes": memory.private,
        "threads": threads,
    })
}

/// What an answer took, for people.
pub fn stats_text(stats: &RequestStats, threads: usize) -> String {
    let memory = MemoryUse::now();
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), ui::bytes);
    let cached = match stats.cached_tokens {
        0 => String::new(),
        n => format!(", {n} more kept from before"),
    };
    format!(
        "prompt      {} tokens, {:.1} tok/s{cached}\n\
         generation  {} tokens, {:.1} tok/s on {threads} threads\n\
         first token {}\n\
         memory read {} per token, {:.1} GB/s\n\
         memory held {} at most, of which {} private (the rest is the mapped model)",
        stats.prompt_tokens - stats.cached_tokens,
        stats.prefill_rate(),
        stats.generated_tokens,
        stats.decode_rate(),
        ui::duration(Duration::from_secs_f64(stats.first_token_seconds)),
        ui::bytes(stats.bytes_per_token),
        bandwidth(stats),
        size(memory.peak_resident),
        size(memory.private),
    )
}

fn bandwidth(stats: &RequestStats) -> f64 {
    stats.bytes_per_token as f64 * stats.decode_rate() / 1e9
}
