//! [`Memory`]: the bytes that running a model takes, part by part.

use lazuli_nn::{LONG_RUN, PAGE_SIZE, pages_kept};
use serde::Serialize;

use crate::shape::{Attention, Mlp};
use crate::{KvFormat, ModelShape, Weights};

/// The most tokens of a prompt that are computed at once: what a window has to hold besides itself.
pub const PREFILL_CHUNK: usize = 512;

/// What the model is asked to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Tokens of each sequence.
    pub context: usize,
    /// Sequences at once.
    pub concurrency: usize,
    /// How keys and values are stored.
    pub kv: KvFormat,
}

/// Sizes that somebody knows better than the arithmetic of this file: what the engine itself would allocate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of intermediate results of the largest step.
    pub workspace: Option<u64>,
    /// Bytes that the process takes besides.
    pub fixed: Option<u64>,
}

/// Bytes by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Weights as they are stored.
    pub weights: u64,
    /// Keys and values, in whole pages.
    pub kv: u64,
    /// Intermediate results of the largest step.
    pub workspace: u64,
    /// The process itself: code, tables, tokenizer.
    pub fixed: u64,
}

/// What a process takes besides, where nobody has measured it.
const FIXED: u64 = 200 << 20;

impl Memory {
    /// The memory of a model, packed as `weights`, under `load`.
    pub fn of(model: &ModelShape, weights: &Weights, load: &Workload, sizes: Sizes) -> Self {
        Self {
            weights: weights.bytes(model),
            kv: kv_bytes(model, load),
            workspace: sizes.workspace.unwrap_or_else(|| workspace_bytes(model, load)),
            fixed: sizes.fixed.unwrap_or(FIXED),
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.kv).saturating_add(self.workspace).saturating_add(self.fixed)
    }
}

/// Bytes of keys and values: whole pages for each sequence; layers with a window hold the window and a chunk, counted
/// by the code that allocates pools.
pub fn kv_bytes(model: &ModelShape, load: &Workload) -> u64 {
    let bytes = |layer: &crate::shape::Layer| {
        let window = layer.window.filter(|window| *window < load.context);
        let pages = pages_kept(window, load.context, PREFILL_CHUNK);
        (pages.saturating_mul(PAGE_SIZE) as u64).saturating_mul(layer.attention.kv_bytes(load.kv) as u64)
    };
    let one = model.layers.iter().map(bytes).fold(0, u64::saturating_add);
    one.saturating_mul(load.concurrency as u64)
}

/// Tokens up to which products read weights as the file has them.
const FEW: u64 = 4;

/// Bytes of intermediate results of a chunk of prompt, as an engine that reuses memory by lifetime needs them: the rows
/// of the widest layer in single precision, and the logits of each sequence.
pub fn workspace_bytes(model: &ModelShape, load: &Workload) -> u64 {
    let tokens = load.context.clamp(1, PREFILL_CHUNK) as u64;
    let h = model.hidden as u64;
    let attention = |layer: Attention| match layer {
        Attention::Grouped { heads, kv_heads, head_dim } => ((2 * heads + 2 * kv_heads) * head_dim) as u64,
        Attention::Latent { heads, query_rank, kv_rank, nope, rope, value } => {
            // Long runs keep queries as they are; others take them to the rank of the rows, and results from there.
            let long = tokens >= LONG_RUN as u64;
            let of_head = if long { 2 * nope + 3 * rope } else { nope + 2 * rope + 2 * kv_rank };
            let queries = heads * (of_head + value);
            (queries + query_rank.unwrap_or(0) + 2 * (kv_rank + rope)) as u64
        }
    };
    let mlp = |layer: Mlp| match layer {
        Mlp::Dense { inner } => 3 * inner as u64,
        Mlp::Experts { count, active, inner, shared, .. } => {
            (active * (3 * inner) + 3 * shared + 2 * count) as u64 + active as u64 * h
        }
    };
    let widest = model.layers.iter().map(|l| attention(l.attention).max(mlp(l.mlp))).max().unwrap_or(0);
    let logits = (load.concurrency as u64).saturating_mul(model.vocabulary as u64);
    // The rows between layers, their norm, and a copy in eight bits for the products: of few rows in each order that kernels
    // read, and as they are.
    let copy = h.max(widest / 3);
    let copy = if tokens <= FEW { 2 * copy } else { copy / 3 };
    (tokens * (2 * h + widest + copy)).saturating_add(logits).saturating_mul(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;

    fn load(context: usize) -> Workload {
        Workload { context, concurrency: 1, kv: KvFormat::F16 }
    }

    fn plan(model: &str, format: &str, context: usize) -> Memory {
        let shape = catalogue::find(model).unwrap().shape().unwrap();
        Memory::of(&shape, &Weights::parse(format).unwrap(), &load(context), Sizes::default())
    }

    #[test]
    fn the_numbers_that_people_quote() {
        let gb = |memory: Memory| memory.total() as f64 / 1e9;
        assert_eq!(plan("llama-3.3-70b", "q4", 131_072).kv, 40 << 30);
        assert!((75.0..85.0).contains(&gb(plan("llama-3.3-70b", "q8", 8192))));
        assert!((75.0..85.0).contains(&gb(plan("llama-3.3-70b", "q8_0", 8192))));
        assert!((40.0..45.0).contains(&gb(plan("llama-3.3-70b", "q4", 8192))));
        assert!((350.0..400.0).contains(&gb(plan("deepseek-r1", "q4", 8192))));
    }

    #[test]
    fn windows_bound_the_cache() {
        // Gemma 3 4B: 5 of its 34 layers see everything; a token of a layer takes 4 heads of 256, twice, in f16.
        let (layer, ring) = (4 * 2 * 256 * 2, 1024 + 512 + 64);
        assert_eq!(plan("gemma-3-4b", "q4", 131_072).kv, layer * (5 * 131_072 + 29 * ring));
        // Mistral 7B's first version: every layer looks back 4096 tokens.
        assert_eq!(plan("mistral-7b-v0.1", "q4", 32_768).kv, 131_072 * (4096 + 512 + 64));
    }

    #[test]
    fn pages_are_whole_and_sequences_add_up() {
        let shape = catalogue::find("llama-3.1-8b").unwrap().shape().unwrap();
        assert_eq!(kv_bytes(&shape, &load(1)), 64 * 131_072);
        assert_eq!(kv_bytes(&shape, &load(65)), 128 * 131_072);
        assert_eq!(kv_bytes(&shape, &Workload { concurrency: 3, ..load(65) }), 3 * 128 * 131_072);
        assert_eq!(kv_bytes(&shape, &Workload { kv: KvFormat::Q8_0, ..load(64) }), 64 * 131_072 / 64 * 34);
    }
}
