//! One request on its way: its tokens, its pages, its sampler, and what it tells its listener.

use std::sync::mpsc::Sender;
use std::time::Instant;

use lazuli_nn::SequencePages;

use super::ending::Ending;
use crate::engine::RequestId;
use crate::reasoning::{Pieces, Splitter};
use crate::sample::{Sampler, fresh_seed, log_probability};
use crate::schedule::{Part, Progress};
use crate::stop::StopStrings;
use crate::{Error, Event, FinishReason, Request, RequestStats};

/// A request that waits in line.
pub struct Submission {
    pub id: RequestId,
    pub request: Request,
    pub events: Sender<Event>,
    pub submitted: Instant,
}

impl Submission {
    /// Ends it before it began. That nobody listens any more is no matter.
    pub fn fail(self, error: Error) {
        let _ = self.events.send(Event::Failed { error });
    }

    /// Ends it before it began, because it is not wanted any more.
    pub fn cancel(self) {
        let stats = RequestStats {
            prompt_tokens: self.request.prompt.len(),
            queue_seconds: self.submitted.elapsed().as_secs_f64(),
            ..RequestStats::default()
        };
        let _ = self.events.send(Event::Finished { reason: FinishReason::Cancelled, stats });
    }
}

/// A request that takes part in steps.
pub struct Sequence {
    pub id: RequestId,
    /// The prompt and what was generated.
    pub tokens: Vec<u32>,
    pub pages: SequencePages,
    /// Tokens whose keys and values stand in the pool.
    pub done: usize,
    /// Pages promised to it.
    pub promised: usize,
    prompt: usize,
    sampler: Sampler,
    ending: Ending,
    logprobs: bool,
    events: Sender<Event>,
    clock: Clock,
    stats: RequestStats,
}

/// When what happened.
struct Clock {
    submitted: Instant,
    started: Instant,
    first_token: Option<Instant>,
    last_token: Instant,
}

/// How a sequence ends.
pub enum End {
    Finished(FinishReason),
    Failed(Error),
}

impl Sequence {
    /// Starts a request whose first `pages.len()` tokens need no computing.
    pub fn start(submission: Submission, pages: SequencePages, promised: usize, context: usize) -> Self {
        let Submission { id, request, events, submitted } = submission;
        let (seed, prompt, done) =
            (request.seed.unwrap_or_else(fresh_seed), request.prompt.len(), pages.len());
        let mut sampler = Sampler::new(request.sampling, seed);
        request.prompt.iter().for_each(|&id| sampler.observe(id));
        let ending = Ending {
            max_tokens: request.max_tokens.unwrap_or(usize::MAX),
            context,
            stop_tokens: request.stop_tokens,
            stop_strings: StopStrings::new(request.stop_strings),
            text: request.text,
            splitter: request.reasoning.map(Splitter::new),
        };
        let now = Instant::now();
        let stats = RequestStats { prompt_tokens: prompt, cached_tokens: done, ..RequestStats::default() };
        let sequence = Self {
            id,
            tokens: request.prompt,
            pages,
            done,
            promised,
            prompt,
            sampler,
            ending,
            logprobs: request.logprobs,
            events,
            clock: Clock { submitted, started: now, first_token: None, last_token: now },
            stats,
        };
        sequence.tell(Event::Started { prompt_tokens: prompt, reused: done, seed });
        sequence
    }

    pub fn progress(&self) -> Progress {
        Progress { known: self.tokens.len(), done: self.done }
    }

    /// How many tokens of a part belong to the prompt.
    pub fn of_prompt(&self, part: &Part) -> usize {
        part.len.min(self.prompt.saturating_sub(part.start))
    }

    /// Forgets what was computed, as the pool was lost.
    pub fn restart(&mut self, pages: SequencePages) {
        (self.pages, self.done, self.stats.cached_tokens) = (pages, 0, 0);
    }

    /// Chooses the next token from its logits and tells it. Returns how the text ends, if it does.
    pub fn advance(&mut self, logits: &[f32]) -> Option<End> {
        let Some(id) = self.sampler.sample(logits) else { return Some(End::Failed(Error::NoCandidate)) };
        self.sampler.observe(id);
        self.tokens.push(id);
        self.clock.last_token = Instant::now();
        self.clock.first_token.get_or_insert(self.clock.last_token);
        let logprob = self.logprobs.then(|| log_probability(logits, id));
        let (pieces, end) = self.ending.take(id, self.tokens.len(), self.tokens.len() - self.prompt);
        let Pieces { answer, reasoning } = pieces;
        let heard = self.tell(Event::Token { id, text: answer, reasoning, logprob });
        if heard { end.map(End::Finished) } else { Some(End::Finished(FinishReason::Cancelled)) }
    }

    /// Tells the end. `decode_bytes` estimates what a decode step reads for a sequence of a given length.
    pub fn end(&self, end: End, decode_bytes: impl Fn(usize) -> u64) {
        let event = match end {
            End::Failed(error) => Event::Failed { error },
            End::Finished(reason) => Event::Finished { reason, stats: self.stats(decode_bytes) },
        };
        self.tell(event);
    }

    fn stats(&self, decode_bytes: impl Fn(usize) -> u64) -> RequestStats {
        let seconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64();
        let Clock { submitted, started, first_token, last_token } = self.clock;
        let first = first_token.unwrap_or_else(Instant::now);
        RequestStats {
            queue_seconds: seconds(submitted, started),
            prefill_seconds: seconds(started, first),
            first_token_seconds: seconds(submitted, first),
            generated_tokens: self.tokens.len() - self.prompt,
            decode_seconds: first_token.map_or(0.0, |first| seconds(first, last_token)),
            // Reading grows in a straight line with the length, so the mean is what the middle reads.
            bytes_per_token: decode_bytes(self.prompt.midpoint(self.tokens.len())),
            ..self.stats
        }
    }

    /// Sends an event; whether anybody listens.
    fn tell(&self, event: Event) -> bool {
        self.events.send(event).is_ok()
    }
}
