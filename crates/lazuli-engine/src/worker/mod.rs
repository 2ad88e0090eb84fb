//! The engine's thread: one loop that takes messages, starts what fits, and runs steps until nothing is left.

mod ending;
mod forward;
mod sequence;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};

use lazuli_core::Array;
use lazuli_nn::{Batch, Group, LONG_RUN, Logits, SequencePages};

use crate::engine::{EngineOptions, EngineStats, RequestId};
use crate::schedule::{Part, Prefix, Text, find_prefix, plan_step, rows_needed};
use crate::{Error, FinishReason, Result};

pub use forward::Forward;
pub use sequence::Submission;
use sequence::{End, Sequence};

/// What the engine's thread can be told.
pub enum Message {
    /// Here is a request.
    Submit(Box<Submission>),
    /// A request is not wanted any more.
    Cancel(RequestId),
    /// Somebody wants to know how things stand.
    Stats(Sender<EngineStats>),
    /// End everything.
    Shutdown,
}

/// Whether the loop goes on.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    End,
}

/// A finished sequence whose keys and values may serve another prompt.
struct Kept {
    tokens: Vec<u32>,
    pages: SequencePages,
}

/// All that the engine's thread owns.
pub struct Worker {
    forward: Forward,
    options: EngineOptions,
    inbox: Receiver<Message>,
    waiting: VecDeque<Submission>,
    running: Vec<Sequence>,
    /// The one that was used longest ago first.
    kept: VecDeque<Kept>,
    steps: u64,
    prompt_tokens: u64,
    generated_tokens: u64,
}

impl Worker {
    pub fn new(forward: Forward, options: EngineOptions, inbox: Receiver<Message>) -> Self {
        Self {
            forward,
            options,
            inbox,
            waiting: VecDeque::new(),
            running: Vec::new(),
            kept: VecDeque::new(),
            steps: 0,
            prompt_tokens: 0,
            generated_tokens: 0,
        }
    }

    /// Runs until it is told to shut down, or nobody can tell it anything any more.
    pub fn run(mut self) {
        while self.listen() == Flow::On {
            self.admit();
            if !self.running.is_empty() {
                self.step();
            }
        }
        let Self { waiting, running, .. } = &mut self;
        waiting.drain(..).for_each(Submission::cancel);
        for sequence in std::mem::take(running) {
            self.finish(sequence, End::Finished(FinishReason::Cancelled));
        }
    }

    /// Takes all messages that are there; sleeps until there is one if there is nothing else to do.
    fn listen(&mut self) -> Flow {
        let idle = self.running.is_empty() && self.waiting.is_empty();
        let mut next = if idle {
            self.inbox.recv().map_err(|_| TryRecvError::Disconnected)
        } else {
            self.inbox.try_recv()
        };
        loop {
            match next {
                Ok(Message::Submit(submission)) => self.submit(*submission),
                Ok(Message::Cancel(id)) => self.cancel(id),
                // That the asker has gone is no matter.
                Ok(Message::Stats(answer)) => drop(answer.send(self.stats())),
                Ok(Message::Shutdown) | Err(TryRecvError::Disconnected) => return Flow::End,
                Err(TryRecvError::Empty) => return Flow::On,
            }
            next = self.inbox.try_recv();
        }
    }

    fn submit(&mut self, submission: Submission) {
        let vocabulary = self.forward.vocabulary();
        match submission.request.validate(vocabulary, self.options.context) {
            Ok(()) => self.waiting.push_back(submission),
            Err(error) => submission.fail(error),
        }
    }

    fn cancel(&mut self, id: RequestId) {
        if let Some(index) = self.waiting.iter().position(|s| s.id == id) {
            self.waiting.remove(index).into_iter().for_each(Submission::cancel);
        } else if let Some(index) = self.running.iter().position(|s| s.id == id) {
            let sequence = self.running.remove(index);
            self.finish(sequence, End::Finished(FinishReason::Cancelled));
        }
    }

    /// Starts requests in the order of their arrival while there are places and pages for all they may need.
    fn admit(&mut self) {
        while self.running.len() < self.options.max_sequences {
            let Some(next) = self.waiting.front() else { return };
            let request = &next.request;
            let rows = rows_needed(request.prompt.len(), request.max_tokens, self.options.context);
            let pages = rows.div_ceil(lazuli_nn::PAGE_SIZE);
            if !self.forward.groups().iter().all(|group| self.promised(group, pages) <= group.pages) {
                return;
            }
            let Some(next) = self.waiting.pop_front() else { return };
            match self.beginning(&next.request.prompt) {
                Ok(begun) => self.running.push(Sequence::start(next, begun, pages, self.options.context)),
                Err(error) => next.fail(error),
            }
        }
    }

    /// Pages of a group of layers that are promised, if a sequence of `more` pages joins: a window bounds each.
    fn promised(&self, group: &Group, more: usize) -> usize {
        let each = self.running.iter().map(|s| s.promised).chain([more]);
        each.map(|pages| pages.min(group.per_sequence)).sum()
    }

    /// Pages that hold as much of the prompt as is known already.
    fn beginning(&mut self, prompt: &[u32]) -> Result<SequencePages> {
        let kept = self.kept.iter().map(|k| Text { tokens: &k.tokens, least: k.pages.least_len() });
        let running =
            self.running.iter().map(|s| Text { tokens: &s.tokens[..s.done], least: s.pages.least_len() });
        match find_prefix(prompt, kept, running) {
            Prefix::None => self.forward.sequence(),
            Prefix::ShareRunning { running, tokens } => Ok(self.running[running].pages.prefix(tokens)),
            Prefix::ShareKept { kept, tokens } => {
                let shared = self.kept[kept].pages.prefix(tokens);
                // It was used just now, so it is the last to go.
                let used = self.kept.remove(kept);
                self.kept.extend(used);
                Ok(shared)
            }
            Prefix::Take { kept, tokens } => match self.kept.remove(kept) {
                Some(mut taken) => {
                    taken.pages.truncate(tokens);
                    Ok(taken.pages)
                }
                None => self.forward.sequence(),
            },
        }
    }

    /// One forward pass: a prompt chunk for some, one token for others.
    fn step(&mut self) {
        let progress: Vec<_> = self.running.iter().map(Sequence::progress).collect();
        let mut parts = plan_step(&progress, self.options.prefill_chunk);
        // Long runs lead the batch, where layers find them.
        parts.sort_by_key(|part| part.len < LONG_RUN);
        let result = self.batch(&parts).and_then(|batch| self.forward.run(&batch));
        match result {
            Ok(logits) => self.advance(&parts, &logits),
            Err(error) => self.fail(&parts, &error),
        }
    }

    fn batch(&mut self, parts: &[Part]) -> Result<Batch> {
        let mut batch = self.forward.batch();
        for part in parts {
            let sequence = &mut self.running[part.sequence];
            while !sequence.pages.has_room(part.len) {
                // Kept sequences hold all pages that are neither free nor promised, so there is one.
                if self.kept.pop_front().is_none() {
                    break;
                }
            }
            sequence.pages.grow(part.len)?;
            let ids = &sequence.tokens[part.start..part.start + part.len];
            let logits = if part.last { Logits::Last } else { Logits::None };
            batch.push(&sequence.pages, part.start, ids, logits);
        }
        Ok(batch)
    }

    /// Takes the logits of a step: each sequence that asked for them chooses its next token.
    fn advance(&mut self, parts: &[Part], logits: &Array) {
        let values = match logits.as_slice::<f32>() {
            Ok(values) => values,
            Err(error) => return self.fail(parts, &error.into()),
        };
        let mut rows = values.chunks_exact(logits.shape()[1].max(1));
        let mut ended = Vec::new();
        self.steps += 1;
        for part in parts {
            let sequence = &mut self.running[part.sequence];
            sequence.done += part.len;
            self.prompt_tokens += sequence.of_prompt(part) as u64;
            if part.last {
                let Some(row) = rows.next() else { break };
                self.generated_tokens += 1;
                if let Some(end) = sequence.advance(row) {
                    ended.push((part.sequence, end));
                }
            }
        }
        // From the last to the first, so that indices stay right.
        ended.sort_by_key(|(index, _)| Reverse(*index));
        for (index, end) in ended {
            let sequence = self.running.remove(index);
            self.finish(sequence, end);
        }
    }

    /// Tells the end of a sequence and keeps what it computed for a prompt that begins like it.
    fn finish(&mut self, sequence: Sequence, end: End) {
        sequence.end(end, |tokens| self.forward.decode_bytes(tokens));
        let Sequence { mut tokens, mut pages, done, .. } = sequence;
        tokens.truncate(pages.truncate(done));
        if !tokens.is_empty() {
            self.kept.push_back(Kept { tokens, pages });
        }
    }

    /// A step failed, and the pool with it: those who took part fail, the others begin again.
    fn fail(&mut self, parts: &[Part], error: &Error) {
        self.kept.clear();
        let mut failed: Vec<usize> = parts.iter().map(|part| part.sequence).collect();
        // From the last to the first, so that indices stay right.
        failed.sort_by_key(|index| Reverse(*index));
        for index in failed {
            let sequence = self.running.remove(index);
            sequence.end(End::Failed(error.clone()), |_| 0);
        }
        for mut sequence in std::mem::take(&mut self.running) {
            match self.forward.sequence() {
                Ok(pages) => {
                    sequence.restart(pages);
                    self.running.push(sequence);
                }
                Err(error) => sequence.end(End::Failed(error), |_| 0),
            }
        }
    }

    fn stats(&self) -> EngineStats {
        EngineStats {
            running: self.running.len(),
            waiting: self.waiting.len(),
            kept: self.kept.len(),
            pages: self.forward.pages(),
            free_pages: self.forward.free_pages(),
            promised_pages: self.forward.groups().iter().map(|group| self.promised(group, 0)).sum(),
            steps: self.steps,
            prompt_tokens: self.prompt_tokens,
            generated_tokens: self.generated_tokens,
            runtime: self.forward.runtime_stats(),
        }
    }
}
