//! What `run` and `chat` share: opening a model for talking, prompts, one streamed answer and where it is shown.

use std::time::{Duration, Instant};

use lazuli::engine::reasoning::Part;
use lazuli::engine::{Engine, EngineOptions, Event, FinishReason, Request, RequestStats, Stream};
use lazuli::io::{ChatTemplate, Message, Position, StreamDecoder, Tokenizer};
use lazuli::planning::fixed_bytes;
use lazuli::{ChatPrompt, Model};
use serde_json::{Value, json};

use super::generation::{Generation, Limits, Think};
use super::options::Precision;
use super::room::{self, Candidate};
use super::ui;
use super::usage::{self, MemoryUse};
use super::{Context, Failure};

/// How long the terminal may wait before it looks at Ctrl-C.
const POLL: Duration = Duration::from_millis(50);

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
    /// What the model said to itself.
    pub reasoning: String,
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
        let workers = limits.threads.workers(Precision::Fast)?;
        let runtime = workers.runtime();
        let fixed = fixed_bytes(&model);
        let candidate = Candidate { network: &*network, runtime: &runtime, fixed };
        let context = room::context(cx, &candidate, limits)?;
        let options = EngineOptions { context, max_sequences: 1, ..EngineOptions::default() };
        let engine = Engine::start(network, runtime, options)?;
        Ok(Self { engine, tokenizer, template, label: found.label, threads: workers.count() })
    }

    /// Whether the model knows what a conversation is.
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// A text as it stands.
    pub fn raw_prompt(&self, text: &str) -> ChatPrompt {
        ChatPrompt { tokens: lazuli::text_prompt(&self.tokenizer, text), reasoning: None }
    }

    /// A conversation that asks for the next answer.
    pub fn chat_prompt(&self, messages: &[Message], generation: &Generation) -> Result<ChatPrompt, Failure> {
        let Some(template) = &self.template else {
            return Err(Failure::error("the model has no chat template: use `lazuli run --raw`"));
        };
        let variables = generation.variables.iter().cloned().collect();
        Ok(lazuli::chat_prompt(&self.tokenizer, template, messages, &variables)?)
    }

    /// Submits a prompt and shows the answer as it comes, unless there is to be JSON. Ctrl-C ends it early.
    pub fn answer(
        &self,
        cx: &Context,
        prompt: ChatPrompt,
        generation: &Generation,
    ) -> Result<Answer, Failure> {
        let request = Request {
            prompt: prompt.tokens,
            sampling: generation.sampling.params(),
            seed: generation.sampling.seed,
            max_tokens: generation.limits.max_tokens.map(|n| n as usize),
            stop_tokens: self.tokenizer.eog().to_vec(),
            text: Some(Box::new(StreamDecoder::new(&self.tokenizer, Position::Start))),
            reasoning: prompt.reasoning,
            ..Request::default()
        };
        let interrupt = cx.interrupt();
        let mut stream = self.engine.submit(request);
        let mut screen = Screen { cx, think: generation.think, remarked: false };
        let (mut text, mut reasoning) = (String::new(), String::new());
        loop {
            match next(&mut stream, &|| interrupt.is_set()) {
                Event::Started { .. } => {}
                Event::Token { text: piece, reasoning: thought, .. } => {
                    screen.show(Part::Reasoning, &thought)?;
                    screen.show(Part::Answer, &piece)?;
                    reasoning.push_str(&thought);
                    text.push_str(&piece);
                }
                Event::Finished { reason, stats } => {
                    return Ok(Answer { text, reasoning, reason, stats });
                }
                Event::Failed { error } => return Err(error.into()),
            }
        }
    }
}

/// Where an answer appears while it is made.
struct Screen<'a> {
    cx: &'a Context,
    think: Think,
    /// Whether the last thing shown was reasoning beside the answer.
    remarked: bool,
}

impl Screen<'_> {
    /// The answer goes to stdout. Reasoning is no answer: it goes to stderr, dimmed, unless it is all that is wanted.
    fn show(&mut self, part: Part, piece: &str) -> std::io::Result<()> {
        if piece.is_empty() || self.cx.json() {
            return Ok(());
        }
        match (part, self.think) {
            (Part::Answer, Think::Only) | (Part::Reasoning, Think::Hide) => Ok(()),
            (Part::Reasoning, Think::Show) => {
                self.remarked = self.cx.ui().aside(piece);
                Ok(())
            }
            (Part::Answer, _) | (Part::Reasoning, Think::Only) => {
                if std::mem::take(&mut self.remarked) {
                    self.cx.ui().aside("\n\n");
                }
                self.cx.out().text(piece)
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
        "disk_read_bytes": usage::disk_read(),
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
         memory held {} at most, of which {} private (the rest is the mapped model)\n\
         from disk   {}",
        stats.prompt_tokens - stats.cached_tokens,
        stats.prefill_rate(),
        stats.generated_tokens,
        stats.decode_rate(),
        ui::duration(Duration::from_secs_f64(stats.first_token_seconds)),
        ui::bytes(stats.bytes_per_token),
        bandwidth(stats),
        size(memory.peak_resident),
        size(memory.private),
        size(usage::disk_read()),
    )
}

fn bandwidth(stats: &RequestStats) -> f64 {
    stats.bytes_per_token as f64 * stats.decode_rate() / 1e9
}
