//! What this engine allocates for a model: the same plans that it runs, made and compiled, but not run.

use std::sync::Arc;

use lazuli_core::{DType, Runtime};
use lazuli_io::tokenizer_bytes;
use lazuli_models::CausalLm;
use lazuli_nn::{Batch, KvPool, KvSpec, LONG_RUN, Logits, PAGE_SIZE};
use lazuli_planner::Sizes;

use crate::{Model, PREFILL_CHUNK, Result};

/// Bytes that running a model allocates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// Views of the mapped files: all weights that the model reads.
    pub weights: u64,
    /// The pool of keys and values.
    pub kv: u64,
    /// The arena that the largest plan needs.
    pub arena: u64,
    /// Scratch memory of the program that needs the most.
    pub scratch: u64,
    /// Results that have memory of their own: logits.
    pub results: u64,
}

/// What the process takes besides its tokenizer: 11 to 13 MB of code that ran, the rest compiled expressions, plans and
/// threads. Measured with models of 0.1 to 2 billion parameters.
const PROCESS: u64 = 20 << 20;

/// Bytes that a process takes besides weights, keys and values, and workspace: itself, and the model's tokenizer.
pub fn fixed_bytes(model: &Model) -> u64 {
    PROCESS + tokenizer_bytes(model.checkpoint())
}

impl Allocation {
    /// For the planner, which has weights and pool itself.
    pub fn sizes(&self, fixed: u64) -> Sizes {
        Sizes { workspace: Some(self.workspace()), fixed: Some(fixed) }
    }

    /// Intermediate results of all kinds.
    pub fn workspace(&self) -> u64 {
        self.arena + self.scratch + self.results
    }

    /// All of it, with `fixed` of [`fixed_bytes`].
    pub fn total(&self, fixed: u64) -> u64 {
        self.weights + self.anonymous(fixed)
    }

    /// What has no file behind it: all but the weights, which the system can drop and read again.
    pub fn anonymous(&self, fixed: u64) -> u64 {
        self.kv + self.workspace() + fixed
    }
}

/// What one sequence of `context` tokens takes, with keys and values of type `kv`. Plans the longest chunk of a prompt,
/// the longest that is no long run, and a decode step; nothing is computed, and no pool of that size is made.
///
/// # Errors
/// If a plan cannot be compiled.
pub fn allocation(model: &dyn CausalLm, runtime: &Runtime, kv: DType, context: usize) -> Result<Allocation> {
    let spec = model.spec();
    let whole = spec.kv_spec(kv, 1, context, PREFILL_CHUNK);
    let chunk = context.clamp(1, PREFILL_CHUNK);
    // The pool's pages are data, but the length of the page table is a shape: that is the whole context's.
    let small = KvSpec { pages: chunk.div_ceil(PAGE_SIZE), ..whole.clone() };
    let weights = spec.weight_bytes as u64;
    let mut found = Allocation { weights, kv: whole.bytes() as u64, arena: 0, scratch: 0, results: 0 };
    let mut passes = vec![chunk, chunk.min(LONG_RUN - 1), 1];
    passes.dedup();
    for tokens in passes {
        let mut pool = KvPool::new(small.clone(), |bytes| runtime.backend().alloc(bytes))?;
        let mut pages = pool.sequence();
        let positions = pages.grow(tokens)?;
        let mut batch = Batch::new(pool.spec());
        batch.push(&pages, positions.start, &vec![0; tokens], Logits::Last);
        let rows = model.forward(&batch.arrays(), &mut pool);
        let mut wanted = pool.pending();
        wanted.push(&rows);
        let plan = runtime.plan(&wanted);
        let results: usize = plan.output_bytes.iter().sum();
        found.arena = found.arena.max(plan.arena_bytes as u64);
        found.results = found.results.max(results as u64);
        let program = runtime.backend().compile(Arc::new(plan))?;
        found.scratch = found.scratch.max(program.workspace_bytes() as u64);
    }
    Ok(found)
}

/// The most tokens of context, at most what the model was made for, with which one sequence takes no more than `budget`
/// bytes, `fixed` of [`fixed_bytes`] among them; 0 if none does.
///
/// # Errors
/// As [`allocation`].
pub fn longest_context(
    model: &dyn CausalLm,
    runtime: &Runtime,
    kv: DType,
    budget: u64,
    fixed: u64,
) -> Result<usize> {
    let spec = model.spec();
    let most = spec.context.max(1);
    // Everything but the pool takes the most with the longest context.
    let needs = allocation(model, runtime, kv, most)?;
    let total = needs.total(fixed);
    if total <= budget {
        return Ok(most);
    }
    let left = budget.saturating_sub(total - needs.kv);
    let fits = |pages: usize| spec.kv_spec(kv, 1, pages * PAGE_SIZE, PREFILL_CHUNK).bytes() as u64 <= left;
    // Windows make memory grow in two slopes; it grows all the same, so that halving finds the border.
    let (mut least, mut above) = (0, most.div_ceil(PAGE_SIZE));
    while above - least > 1 {
        let middle = least.midpoint(above);
        if fits(middle) { least = middle } else { above = middle }
    }
    Ok(least * PAGE_SIZE)
}
