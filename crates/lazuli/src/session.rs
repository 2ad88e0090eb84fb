//! [`Session`]: one sequence through a model, without an engine. For measuring and for comparing numbers.
//!
//! Text generation belongs to [`crate::engine`], which schedules many sequences; this file has no sampling.

use lazuli_core::plan::Plan;
use lazuli_core::{Array, DType, Repeater, Runtime};
use lazuli_models::CausalLm;
use lazuli_nn::{Batch, KvPool, KvSpec, Logits, SequencePages, forward_pass};

use crate::{Error, Result};

/// The most tokens that one forward pass of a long prompt takes.
pub const PREFILL_CHUNK: usize = 512;

/// A model, a pool that holds one sequence, and the sequence.
pub struct Session {
    model: Box<dyn CausalLm>,
    runtime: Runtime,
    again: Repeater,
    pool: KvPool,
    pages: SequencePages,
}

impl Session {
    /// Makes room for `context` tokens with keys and values of type `kv` (a float type).
    ///
    /// # Errors
    /// If memory for the pool cannot be had.
    pub fn new(model: Box<dyn CausalLm>, runtime: Runtime, kv: DType, context: usize) -> Result<Self> {
        let spec = model.spec().kv_spec(kv, 1, context, PREFILL_CHUNK);
        let pool = KvPool::new(spec, |bytes| runtime.backend().alloc(bytes))?;
        let pages = pool.sequence();
        Ok(Self { model, runtime, again: Repeater::default(), pool, pages })
    }

    /// The model.
    pub fn model(&self) -> &dyn CausalLm {
        &*self.model
    }

    /// The runtime, for its counters.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The pool's size.
    pub fn kv(&self) -> &KvSpec {
        self.pool.spec()
    }

    /// Tokens that the sequence has.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether the sequence has no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends `ids` in one forward pass, or in as few as [`PREFILL_CHUNK`] allows; the result is evaluated: f32
    /// `[rows, vocabulary]`, one row for each token that `logits` asks for.
    ///
    /// # Errors
    /// [`Error::NoSuchToken`], a full context, or a failed evaluation.
    pub fn feed(&mut self, ids: &[u32], logits: Logits) -> Result<Array> {
        if ids.len() > PREFILL_CHUNK {
            return self.feed_long(ids, logits);
        }
        let batch = self.append(ids, logits)?;
        let Self { model, runtime, again, pool, .. } = self;
        Ok(forward_pass(runtime, again, &batch, pool, |batch, pool| model.forward(batch, pool))?)
    }

    fn feed_long(&mut self, ids: &[u32], logits: Logits) -> Result<Array> {
        let (before, last) = ids.split_at((ids.len() - 1) / PREFILL_CHUNK * PREFILL_CHUNK);
        let of_chunk = if logits == Logits::All { Logits::All } else { Logits::None };
        let mut rows = Vec::new();
        for chunk in before.chunks(PREFILL_CHUNK) {
            rows.extend_from_slice(self.feed(chunk, of_chunk)?.as_slice::<f32>()?);
        }
        rows.extend_from_slice(self.feed(last, logits)?.as_slice::<f32>()?);
        let vocabulary = self.model.spec().vocabulary;
        let count = match logits {
            Logits::None => 0,
            Logits::Last => 1,
            Logits::All => ids.len(),
        };
        Ok(Array::from_vec(rows, [count, vocabulary]))
    }

    /// Appends a prompt in passes of [`PREFILL_CHUNK`] tokens, and returns the logits of its last token, f32
    /// `[1, vocabulary]` (`[0, vocabulary]` if there is none).
    ///
    /// # Errors
    /// As [`Session::feed`].
    pub fn prompt(&mut self, ids: &[u32]) -> Result<Array> {
        self.feed(ids, Logits::Last)
    }

    /// The plan of appending one token and computing its logits; nothing is computed.
    ///
    /// # Errors
    /// If the context has no room for a token.
    pub fn decode_plan(mut self) -> Result<Plan> {
        self.rewind(0);
        let batch = self.append(&[0], Logits::Last)?;
        let rows = self.model.forward(&batch.arrays(), &mut self.pool);
        let mut wanted = self.pool.pending();
        wanted.push(&rows);
        Ok(self.runtime.plan(&wanted))
    }

    /// Forgets the tokens from position `len` on and returns how many are left: `len`, or none where layers with a
    /// window have given up what the next token would see.
    pub fn rewind(&mut self, len: usize) -> usize {
        self.pages.truncate(len)
    }

    /// Refuses ids that the model does not have.
    ///
    /// # Errors
    /// [`Error::NoSuchToken`] with the first of them.
    pub fn check(&self, ids: &[u32]) -> Result<()> {
        let vocabulary = self.model.spec().vocabulary;
        match ids.iter().find(|&&id| id as usize >= vocabulary) {
            Some(&id) => Err(Error::NoSuchToken { id, vocabulary }),
            None => Ok(()),
        }
    }

    /// Gives `ids` places in the sequence.
    fn append(&mut self, ids: &[u32], logits: Logits) -> Result<Batch> {
        self.check(ids)?;
        let positions = self.pages.grow(ids.len())?;
        let mut batch = Batch::new(self.pool.spec());
        batch.push(&self.pages, positions.start, ids, logits);
        Ok(batch)
    }
}
