//! [`Attention`]: grouped-query attention over the paged pool, with the options that architectures differ in.

use lazuli_core::Array;
use lazuli_core::fused::{PagedAttention, Pages};

use crate::{BatchArrays, Bias, KvPool, LayerKv, Linear, Result, RmsNorm, RopeTables, Weights};

/// What one layer's attention is, in numbers.
#[derive(Debug, Clone)]
pub struct AttentionConfig {
    /// Length of the rows that come in and go out.
    pub hidden: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` heads of the queries.
    pub kv_heads: usize,
    /// Length of one head.
    pub head_dim: usize,
    /// Factor of the dot products, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Biases of the projections to queries, keys and values.
    pub qkv_bias: Bias,
    /// Bias of the projection back.
    pub output_bias: Bias,
    /// Norms of each head's queries and keys before they are rotated.
    pub head_norms: HeadNorms,
    /// How many positions back a query sees, itself included; `None` for all.
    pub window: Option<u32>,
    /// Bound of the scores (Gemma 2).
    pub softcap: Option<f32>,
}

/// Whether queries and keys are normalised head by head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HeadNorms {
    /// They are not.
    Without,
    /// By `q_norm` and `k_norm` (`[head_dim]`), see [`RmsNorm`].
    Rms {
        /// Added to the mean square.
        eps: f32,
        /// Added to the weight.
        offset: f32,
    },
}

impl AttentionConfig {
    /// What the layer keeps of each token.
    pub fn kv(&self) -> LayerKv {
        LayerKv { heads: self.kv_heads, key_dim: self.head_dim, value_dim: self.head_dim }
    }
}

/// One layer's attention with its weights.
#[derive(Debug, Clone)]
pub struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    output: Linear,
    norms: Option<(RmsNorm, RmsNorm)>,
    config: AttentionConfig,
}

impl Attention {
    /// Reads `q_proj`, `k_proj`, `v_proj`, `o_proj` and, if configured, `q_norm` and `k_norm`.
    ///
    /// # Errors
    /// If one of them is missing or has another shape.
    pub fn load(weights: &Weights, config: AttentionConfig) -> Result<Self> {
        let c = &config;
        let project = |name, heads| Linear::load(&weights.at(name), heads * c.head_dim, c.hidden, c.qkv_bias);
        let norms = match c.head_norms {
            HeadNorms::Without => None,
            HeadNorms::Rms { eps, offset } => {
                let norm = |name| RmsNorm::load(&weights.at(name), c.head_dim, eps, offset);
                Some((norm("q_norm")?, norm("k_norm")?))
            }
        };
        Ok(Self {
            q: project("q_proj", c.heads)?,
            k: project("k_proj", c.kv_heads)?,
            v: project("v_proj", c.kv_heads)?,
            output: Linear::load(&weights.at("o_proj"), c.hidden, c.heads * c.head_dim, c.output_bias)?,
            norms,
            config,
        })
    }

    /// `[tokens, hidden]` to f32 `[tokens, hidden]`. The tokens' keys and values are written into `layer` of
    /// the pool first, so that tokens of one run see each other.
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
        let mut q = self.q.forward(x).reshape([tokens, c.heads, c.head_dim]);
        let mut k = self.k.forward(x).reshape([tokens, c.kv_heads, c.head_dim]);
        let v = self.v.forward(x).reshape([tokens, c.kv_heads, c.head_dim]);
        if let Some((q_norm, k_norm)) = &self.norms {
            (q, k) = (q_norm.forward(&q), k_norm.forward(&k));
        }
        let (keys, values) = kv.write(layer, &rope.rotate(&k), &v, &batch.slots);
        let pages = Pages {
            keys: &keys,
            values: &values,
            page_table: &batch.page_table,
            sequence: &batch.sequence,
            position: &batch.positions,
        };
        let op = PagedAttention {
            scale: c.scale.into(),
            window: c.window,
            softcap: c.softcap.map(Into::into),
            sinks: false,
        };
        let heads = rope.rotate(&q).paged_attention(&pages, None, op); // [tokens, heads, head_dim]
        self.output.forward(&heads.reshape([tokens, c.heads * c.head_dim]))
    }
}
