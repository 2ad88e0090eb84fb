//! [`Engine`]: the handle to the engine's thread, and [`Stream`], the handle to a request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lazuli_core::{DType, Runtime, RuntimeStats};
use lazuli_models::CausalLm;
use lazuli_nn::{KvSpec, PAGE_SIZE};

use crate::worker::{Forward, Message, Submission, Worker};
use crate::{Error, Event, FinishReason, Request, RequestStats, Result};

/// How an engine is set up. Its memory for keys and values is fixed by these numbers when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineOptions {
    /// The most tokens of a sequence, prompt and answer together. What the model was made for,
    /// [`lazuli_models::Spec::context`], is not a limit here.
    pub context: usize,
    /// The most sequences in one step; further requests wait.
    pub max_sequences: usize,
    /// The most prompt tokens in one step, all sequences together.
    pub prefill_chunk: usize,
    /// Tokens in the pool, all sequences together; without it, as many as one context has. A request waits
    /// until the pool can promise room for its prompt and all it may generate.
    pub pool_tokens: Option<usize>,
    /// Type of keys and values in the pool.
    pub kv_dtype: DType,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { context: 4096, max_sequences: 8, prefill_chunk: 512, pool_tokens: None, kv_dtype: DType::F16 }
    }
}

impl EngineOptions {
    /// The pool that an engine with these options allocates for a model.
    ///
    /// # Errors
    /// [`Error::Option`] if a number is out of range.
    pub fn kv(&self, model: &dyn CausalLm) -> Result<KvSpec> {
        let at_least = |name, found, least: usize| {
            let expected = format!("at least {least}");
            if found < least { Err(Error::Option { name, found, expected }) } else { Ok(()) }
        };
        at_least("context", self.context, 1)?;
        at_least("max_sequences", self.max_sequences, 1)?;
        at_least("prefill_chunk", self.prefill_chunk, 1)?;
        let tokens = self.pool_tokens.unwrap_or(self.context);
        at_least("pool_tokens", tokens, self.context)?;
        Ok(KvSpec {
            layers: model.spec().kv.clone(),
            dtype: self.kv_dtype,
            pages: tokens.div_ceil(PAGE_SIZE),
            context: self.context,
            chunk: self.prefill_chunk,
        })
    }
}

/// What an engine has done and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineStats {
    /// Sequences that take part in steps.
    pub running: usize,
    /// Requests that wait for a place or for pages.
    pub waiting: usize,
    /// Finished sequences whose keys and values are kept; their pages are given up as soon as they are needed.
    pub kept: usize,
    /// Pages of the pool, of [`PAGE_SIZE`] tokens each: those of all groups of layers that share page tables.
    pub pages: usize,
    /// Pages that no sequence has.
    pub free_pages: usize,
    /// Pages that running sequences may come to need.
    pub promised_pages: usize,
    /// Forward passes so far.
    pub steps: u64,
    /// Prompt tokens computed so far.
    pub prompt_tokens: u64,
    /// Tokens generated so far.
    pub generated_tokens: u64,
    /// The runtime's counters.
    pub runtime: RuntimeStats,
}

/// The number of a request in its engine, in the order of submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

/// A model that takes requests, on a thread of its own that sleeps when there are none. Dropping it cancels
/// what runs and ends the thread.
#[derive(Debug)]
pub struct Engine {
    inbox: Sender<Message>,
    thread: Option<JoinHandle<()>>,
    requests: AtomicU64,
    options: EngineOptions,
}

impl Engine {
    /// Allocates the pool and starts the thread.
    ///
    /// # Errors
    /// If an option is out of range, or memory or a thread cannot be had.
    pub fn start(model: Box<dyn CausalLm>, runtime: Runtime, options: EngineOptions) -> Result<Self> {
        let kv = options.kv(&*model)?;
        let forward = Forward::new(model, runtime, kv)?;
        let (inbox, messages) = channel();
        let worker = Worker::new(forward, options, messages);
        let thread = std::thread::Builder::new()
            .name("lazuli-engine".into())
            .spawn(move || worker.run())
            .map_err(|error| Error::Thread(error.to_string()))?;
        Ok(Self { inbox, thread: Some(thread), requests: AtomicU64::new(0), options })
    }

    /// Hands a request in. What is wrong with it, its stream says.
    pub fn submit(&self, request: Request) -> Stream {
        let id = RequestId(self.requests.fetch_add(1, Ordering::Relaxed));
        let (events, news) = channel();
        let submission = Submission { id, request, events, submitted: Instant::now() };
        // If the thread is gone, the stream notices: its sender is dropped here.
        let _ = self.inbox.send(Message::Submit(Box::new(submission)));
        Stream { news, canceller: Canceller { id, inbox: self.inbox.clone() }, ended: false }
    }

    /// How things stand after the step that runs now.
    ///
    /// # Errors
    /// [`Error::ShutDown`] if the thread is gone.
    pub fn stats(&self) -> Result<EngineStats> {
        let (answer, stats) = channel();
        self.inbox.send(Message::Stats(answer)).map_err(|_| Error::ShutDown)?;
        stats.recv().map_err(|_| Error::ShutDown)
    }

    /// How it was set up.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.inbox.send(Message::Shutdown);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to end.
            let _ = thread.join();
        }
    }
}

/// The events of one request, in order. Dropping it cancels the request.
#[derive(Debug)]
pub struct Stream {
    news: Receiver<Event>,
    canceller: Canceller,
    ended: bool,
}

/// Cancels a request from anywhere: a Ctrl-C handler, a closed connection.
#[derive(Debug, Clone)]
pub struct Canceller {
    id: RequestId,
    inbox: Sender<Message>,
}

impl Canceller {
    /// Ends the request after the step that runs now; its stream ends with [`FinishReason::Cancelled`]. Does
    /// nothing if it has ended.
    pub fn cancel(&self) {
        let _ = self.inbox.send(Message::Cancel(self.id));
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Its tokens, a stop token included.
    pub tokens: Vec<u32>,
    /// Its text, without the reasoning.
    pub text: String,
    /// What the model said to itself, see [`Request::reasoning`].
    pub reasoning: String,
    /// Why it ended.
    pub reason: FinishReason,
    /// What it took.
    pub stats: RequestStats,
}

impl Stream {
    /// The request's number.
    pub fn id(&self) -> RequestId {
        self.canceller.id
    }

    /// See [`Canceller::cancel`]. Events that are on their way still arrive.
    pub fn cancel(&self) {
        self.canceller.cancel();
    }

    /// A handle that cancels the request.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// The next event if there is one within `wait`; `None` if there is none yet, or none to come.
    pub fn next_within(&mut self, wait: Duration) -> Option<Event> {
        if self.ended {
            return None;
        }
        match self.news.recv_timeout(wait) {
            Ok(event) => Some(self.note(event)),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(self.note(Event::Failed { error: Error::ShutDown })),
        }
    }

    /// Waits for the end and returns everything.
    ///
    /// # Errors
    /// What the request failed with.
    pub fn wait(self) -> Result<Answer> {
        let (mut tokens, mut text, mut reasoning) = (Vec::new(), String::new(), String::new());
        for event in self {
            match event {
                Event::Started { .. } => {}
                Event::Token { id, text: piece, reasoning: thought, .. } => {
                    tokens.push(id);
                    text.push_str(&piece);
                    reasoning.push_str(&thought);
                }
                Event::Finished { reason, stats } => {
                    return Ok(Answer { tokens, text, reasoning, reason, stats });
                }
                Event::Failed { error } => return Err(error),
            }
        }
        Err(Error::ShutDown)
    }

    fn note(&mut self, event: Event) -> Event {
        self.ended = matches!(event, Event::Finished { .. } | Event::Failed { .. });
        event
    }
}

impl Iterator for Stream {
    type Item = Event;

    /// Waits for the next event; `None` after the last one.
    fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let event = self.news.recv().unwrap_or(Event::Failed { error: Error::ShutDown });
        Some(self.note(event))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.ended {
            self.cancel();
        }
    }
}
