//! [`Mla`]: multi-head latent attention (DeepSeek-V2, 2024), absorbed.
//!
//! Keys and values of all heads are projections of one latent row per token. Moving a head's key projection to its
//! query, and its value projection behind the attention, leaves attention over the latent rows themselves: the pool
//! keeps `kv_rank + rope_dim` numbers per token and nothing per head, and values are the first part of the keys.
//!
//! Prefill runs absorbed too. Expanding keys and values would halve the multiplications of a chunk and is more than twice
//! as fast where it was measured (`docs/perf-log.md`), but the pages hold latents, so each chunk would have to expand the
//! whole context before it, head by head, and keep that in memory under a shape that grows.

use lazuli_core::Array;
use lazuli_core::fused::{PagedAttention, Pages};

use crate::{BatchArrays, Bias, KvPool, LayerKv, Linear, Result, RmsNorm, RopeTables, Weights};

/// What one layer's latent attention is, in numbers.
#[derive(Debug, Clone)]
pub struct MlaConfig {
    /// Length of the rows that come in and go out.
    pub hidden: usize,
    /// Heads.
    pub heads: usize,
    /// Length of the latent row that queries come from; `None` if they come from the input.
    pub q_rank: Option<usize>,
    /// Length of the latent row that keys and values come from.
    pub kv_rank: usize,
    /// Elements of a head's query and key that have no position.
    pub nope_dim: usize,
    /// Those that are rotated; all heads share one such key.
    pub rope_dim: usize,
    /// Elements of a head's value.
    pub value_dim: usize,
    /// Factor of the dot products.
    pub scale: f32,
    /// Of the norms of latent rows.
    pub eps: f32,
    /// Bias of the projections to latent rows, and of the one back.
    pub bias: Bias,
}

impl MlaConfig {
    /// What the layer keeps of each token: one row, of which values are the first part.
    pub fn kv(&self) -> LayerKv {
        LayerKv { heads: 1, key_dim: self.kv_rank + self.rope_dim, value_dim: 0, window: None }
    }
}

/// One layer's latent attention with its weights.
#[derive(Debug, Clone)]
pub struct Mla {
    queries: Queries,
    latent: Linear,
    latent_norm: RmsNorm,
    /// `[heads, kv_rank, nope_dim]`: queries to latents.
    key_up: Array,
    /// `[heads, value_dim, kv_rank]`: latents to values.
    value_up: Array,
    output: Linear,
    config: MlaConfig,
}

#[derive(Debug, Clone)]
enum Queries {
    Direct(Linear),
    Latent { down: Linear, norm: RmsNorm, up: Linear },
}

impl Mla {
    /// Reads `q_proj` or `q_a_proj`, `q_a_layernorm`, `q_b_proj`; `kv_a_proj_with_mqa`, `kv_a_layernorm`; the heads'
    /// projections as `kv_b_proj` or as `embed_q` and `unembed_out`; and `o_proj`.
    ///
    /// # Errors
    /// If one of them is missing or has another shape.
    pub fn load(weights: &Weights, config: MlaConfig) -> Result<Self> {
        let c = &config;
        let linear = |name, outputs, inputs, bias| Linear::load(&weights.at(name), outputs, inputs, bias);
        let norm = |name, dim| RmsNorm::load(&weights.at(name), dim, c.eps, 0.0);
        let heads = c.heads * (c.nope_dim + c.rope_dim);
        // Every head reads the latents, and the cache keeps them: an error in one is an error in all.
        let queries = match c.q_rank {
            None => Queries::Direct(linear("q_proj", heads, c.hidden, Bias::Without)?),
            Some(rank) => Queries::Latent {
                down: linear("q_a_proj", rank, c.hidden, c.bias)?.fine(),
                norm: norm("q_a_layernorm", rank)?,
                up: linear("q_b_proj", heads, rank, Bias::Without)?,
            },
        };
        let (key_up, value_up) = if weights.contains("embed_q.weight") {
            (
                weights.get("embed_q.weight", [c.heads, c.kv_rank, c.nope_dim])?,
                weights.get("unembed_out.weight", [c.heads, c.value_dim, c.kv_rank])?,
            )
        } else {
            // Rows of a head's key, then of its value: both are views, read where they lie.
            let rows = c.nope_dim + c.value_dim;
            let both = weights.get("kv_b_proj.weight", [c.heads * rows, c.kv_rank])?;
            let both = both.reshape([c.heads, rows, c.kv_rank]);
            (both.slice(1, 0..c.nope_dim).transpose(&[0, 2, 1]), both.slice(1, c.nope_dim..rows))
        };
        Ok(Self {
            queries,
            latent: linear("kv_a_proj_with_mqa", c.kv_rank + c.rope_dim, c.hidden, c.bias)?.fine(),
            latent_norm: norm("kv_a_layernorm", c.kv_rank)?,
            key_up,
            value_up,
            output: linear("o_proj", c.hidden, c.heads * c.value_dim, c.bias)?,
            config,
        })
    }

    /// `[tokens, hidden]` to f32 `[tokens, hidden]`. The tokens' latent rows are written into `layer` of the pool
    /// first, so that tokens of one run see each other.
    #[track_caller]
    pub fn forward(
        &self,
        x: &Array,
        rope: &RopeTables,
        batch: &BatchArrays,
        kv: &mut KvPool,
        layer: usize,
    ) -> Array {
        let (c, tokens) = (&self.config, x.shape()[0]);
        let q = match &self.queries {
            Queries::Direct(projection) => projection.forward(x),
            Queries::Latent { down, norm, up } => up.forward(&norm.forward(&down.forward(x))),
        };
        let q = q.reshape([tokens, c.heads, c.nope_dim + c.rope_dim]);
        // Each head is an expert that every token chooses.
        let heads = Array::iota(c.heads).broadcast_to([tokens, c.heads]);
        let latent_q = q.slice(-1, 0..c.nope_dim).expert_matmul(&self.key_up, &heads); // [tokens, heads, kv_rank]
        let rotated_q = rope.rotate(&q.slice(-1, c.nope_dim..c.nope_dim + c.rope_dim));
        let q = Array::concat(&[&latent_q, &rotated_q], -1); // [tokens, heads, kv_rank + rope_dim]

        let row = self.latent.forward(x); // [tokens, kv_rank + rope_dim]
        let latent = self.latent_norm.forward(&row.slice(-1, 0..c.kv_rank)).expand_dims(1);
        let rotated = rope.rotate(&row.slice(-1, c.kv_rank..c.kv_rank + c.rope_dim).expand_dims(1));
        let row = Array::concat(&[&latent, &rotated], -1); // [tokens, 1, kv_rank + rope_dim]
        let place = &batch.places[kv.group(layer)];
        let keys = kv.write_keys(layer, &row, &place.slots);
        let pages = Pages {
            keys: &keys,
            values: &keys.slice(-1, 0..c.kv_rank),
            page_table: &place.page_table,
            sequence: &batch.sequence,
            position: &batch.positions,
        };
        let op = PagedAttention { scale: c.scale.into(), window: None, softcap: None, sinks: false };
        let attended = q.paged_attention(&pages, None, op); // [tokens, heads, kv_rank]
        let values = attended.expert_matmul(&self.value_up, &heads); // [tokens, heads, value_dim]
        self.output.forward(&values.reshape([tokens, c.heads * c.value_dim]))
    }
}
