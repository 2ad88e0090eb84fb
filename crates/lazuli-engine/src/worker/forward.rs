//! The model, its runtime and the pool: batches in, logits out. A failure costs the pool, not the thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lazuli_core::{Array, Repeater, Runtime, RuntimeStats};
use lazuli_models::CausalLm;
use lazuli_nn::{Batch, Group, KvPool, KvSpec, SequencePages, forward_pass};

use crate::{Error, Result};

/// Everything a forward pass needs.
pub struct Forward {
    model: Box<dyn CausalLm>,
    runtime: Runtime,
    again: Repeater,
    spec: KvSpec,
    groups: Vec<Group>,
    pool: Option<KvPool>,
}

impl Forward {
    /// Allocates the pool.
    ///
    /// # Errors
    /// If memory cannot be had.
    pub fn new(model: Box<dyn CausalLm>, runtime: Runtime, spec: KvSpec) -> Result<Self> {
        let mut forward =
            Self { model, runtime, again: Repeater::default(), groups: spec.groups(), spec, pool: None };
        forward.pool()?;
        Ok(forward)
    }

    /// An empty batch.
    pub fn batch(&self) -> Batch {
        Batch::new(&self.spec)
    }

    /// A sequence without tokens.
    ///
    /// # Errors
    /// If the pool was lost to a failure and cannot be had again.
    pub fn sequence(&mut self) -> Result<SequencePages> {
        Ok(self.pool()?.sequence())
    }

    /// Pages that no sequence has, in all groups of layers together.
    pub fn free_pages(&self) -> usize {
        self.pool.as_ref().map_or_else(|| self.pages(), KvPool::free_pages)
    }

    /// Pages that there are, in all groups of layers together.
    pub fn pages(&self) -> usize {
        self.groups.iter().map(|group| group.pages).sum()
    }

    /// The pool's groups of layers.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Tokens that the model knows.
    pub fn vocabulary(&self) -> usize {
        self.model.spec().vocabulary
    }

    /// Bytes that a decode step of one sequence of `tokens` reads.
    pub fn decode_bytes(&self, tokens: usize) -> u64 {
        (self.model.spec().decode_bytes + self.spec.read_bytes(tokens)) as u64
    }

    /// The runtime's counters.
    pub fn runtime_stats(&self) -> RuntimeStats {
        self.runtime.stats()
    }

    /// Runs a batch; the result has been evaluated, f32 `[rows, vocabulary]`.
    ///
    /// # Errors
    /// If the evaluation failed or the model panicked. What the pool holds is then unknown, so it is given up,
    /// and every sequence with it: none of them may be used again.
    pub fn run(&mut self, batch: &Batch) -> Result<Array> {
        self.pool()?;
        let Self { model, runtime, again, pool, .. } = self;
        // Nothing that a panic may leave half-changed is used afterwards: the pool is dropped, the model is
        // only read, and the runtime puts its state right by itself.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let Some(pool) = pool.as_mut() else { return Err(Error::ShutDown) };
            Ok(forward_pass(runtime, again, batch, pool, |batch, pool| model.forward(batch, pool))?)
        }));
        let result = outcome.unwrap_or_else(|payload| Err(Error::Panicked(message(&*payload))));
        if result.is_err() {
            self.pool = None;
        }
        result
    }

    fn pool(&mut self) -> Result<&mut KvPool> {
        match &mut self.pool {
            Some(pool) => Ok(pool),
            empty => {
                let backend = self.runtime.backend();
                Ok(empty.insert(KvPool::new(self.spec.clone(), |bytes| backend.alloc(bytes))?))
            }
        }
    }
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
