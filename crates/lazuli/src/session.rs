//! [`Session`]: one sequence through a model, without an engine. For measuring and for comparing numbers.
//!
//! Text generation belongs to [`crate::engine`], which schedules many sequences; this file has no sampling.

use lazuli_core::plan::Plan;
use lazuli_core::{Array, DType, Runtime};
use lazuli_models::CausalLm;
use lazuli_nn::{Batch, KvPool, KvSpec, Logits, SequencePages};

use crate::{Error, Result};

/// The most tokens that one forward pass of a long prompt takes.
pub const PREFILL_CHUNK: usize = 512;

/// A model, a pool that holds one sequence, and the sequence.
pub struct Session {
    model: Box<dyn CausalLm>,
    runtime: Runtime,
    pool: KvPool,
    pages: SequencePages,
}

impl Session {
    /// Makes room for `context` tokens with keys and values of type `kv` (a float type).
    ///
    /// # Errors
    /// If memory for the pool cannot be had.
    pub fn new(model: Box<dyn CausalLm>, runtime: Runtime, kv: DType, context: usize) -> Result<Self> {
        let spec = model.spec().kv_spec(kv, 1, context);
        let pool = KvPool::new(spec, |bytes| runtime.backend().alloc(bytes))?;
        let pages = pool.sequence();
        Ok(Self { model, runtime, pool, pages })
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

    /// Appends `ids` in one forward pass; the result is evaluated: f32 `[rows, vocabulary]`, one row for each token
    /// that `logits` asks for.
    ///
    /// # Errors
    /// [`Error::NoSuchToken`], a full context, or a failed evaluation.
    pub fn feed(&mut self, ids: &[u32], logits: Logits) -> Result<Array> {
        let rows = self.append(ids, logits)?;
        self.runtime.eval(&self.wanted(&rows))?;
        Ok(rows)
    }

    /// Appends a prompt in passes of [`PREFILL_CHUNK`] tokens, and returns the logits of its last token, f32
    /// `[1, vocabulary]` (`[0, vocabulary]` if there is none).
    ///
    /// # Errors
    /// As [`Session::feed`].
    pub fn prompt(&mut self, ids: &[u32]) -> Result<Array> {
        let last = ids.len().saturating_sub(1) / PREFILL_CHUNK * PREFILL_CHUNK;
        for chunk in ids[..last].chunks(PREFILL_CHUNK) {
            self.feed(chunk, Logits::None)?;
        }
        self.feed(&ids[last..], Logits::Last)
    }

    /// The plan of appending one token and computing its logits; nothing is computed.
    ///
    /// # Errors
    /// If the context has no room for a token.
    pub fn decode_plan(mut self) -> Result<Plan> {
        self.rewind(0);
        let rows = self.append(&[0], Logits::Last)?;
        Ok(self.runtime.plan(&self.wanted(&rows)))
    }

    /// Forgets the tokens from position `len` on.
    pub fn rewind(&mut self, len: usize) {
        // A session shares no pages, so a page can be cut anywhere.
        self.pages.truncate(len);
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

    fn append(&mut self, ids: &[u32], logits: Logits) -> Result<Array> {
        self.check(ids)?;
        let positions = self.pages.grow(ids.len())?;
        let mut batch = Batch::new(self.pool.spec());
        batch.push(&self.pages, positions.start, ids, logits);
        Ok(self.model.forward(&batch.arrays(), &mut self.pool))
    }

    /// What one pass evaluates: the logits and the pool's writes.
    fn wanted<'a>(&'a self, rows: &'a Array) -> Vec<&'a Array> {
        let mut wanted = self.pool.pending();
        wanted.push(rows);
        wanted
    }
}
