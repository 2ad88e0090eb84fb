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
    /// Whether the projections to queries, keys and values are tensors of their own.
    pub projections: Projections,
    /// Norms of queries and keys before they are rotated.
    pub head_norms: HeadNorms,
    /// Whether queries and keys are rotated.
    pub rotation: Rotation,
    /// How many positions back a query sees, itself included; `None` for all.
    pub window: Option<u32>,
    /// Bound of the scores (Gemma 2).
    pub softcap: Option<f32>,
    /// Whether each head has one more logit, of a key that nobody has.
    pub sinks: Sinks,
}

/// Whether attention may look away (GPT-OSS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sinks {
    /// Its weights add up to one.
    Without,
    /// A part of them goes to nothing: `sinks` `[heads]` are logits beside those of the keys.
    With,
}

/// Whether queries and keys are normalised, and over what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HeadNorms {
    /// They are not.
    Without,
    /// Head by head, by `q_norm` and `k_norm` (`[head_dim]`), see [`RmsNorm`].
    Rms {
        /// Added to the mean square.
        eps: f32,
        /// Added to the weight.
        offset: f32,
    },
    /// All heads together, by `q_norm` (`[heads * head_dim]`) and `k_norm` (`[kv_heads * head_dim]`; OLMo 2).
    RmsOfAll {
        /// Added to the mean square.
        eps: f32,
    },
}

/// Which tensors hold the projections to queries, keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projections {
    /// `q_proj`, `k_proj` and `v_proj`.
    Separate,
    /// `qkv_proj`: the rows of the three, one after the other (Phi-3).
    Fused,
}

/// Whether attention knows positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Queries and keys are rotated.
    Rotated,
    /// They are not: the causal mask alone tells what came before ("NoPE", Kazemnejad et al., 2023).
    Without,
}

impl AttentionConfig {
    /// Attention as in Llama: no biases, norms, windows or caps, and dot products divided by the root of
    /// `head_dim`.
    pub fn plain(hidden: usize, heads: usize, kv_heads: usize, head_dim: usize) -> Self {
        Self {
            hidden,
            heads,
            kv_heads,
            head_dim,
            scale: 1.0 / (head_dim as f32).sqrt(),
            qkv_bias: Bias::Without,
            output_bias: Bias::Without,
            projections: Projections::Separate,
            head_norms: HeadNorms::Without,
            rotation: Rotation::Rotated,
            window: None,
            softcap: None,
            sinks: Sinks::Without,
        }
    }

    /// What the layer keeps of each token.
    pub fn kv(&self) -> LayerKv {
        LayerKv {
            heads: self.kv_heads,
            key_dim: self.head_dim,
            value_dim: self.head_dim,
            window: self.window.map(|window| window as usize),
        }
    }
}

/// One layer's attention with its weights.
#[derive(Debug, Clone)]
pub struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    output: Linear,
    norms: Option<Norms>,
    sinks: Option<Array>,
    config: AttentionConfig,
}

impl Attention {
    /// Reads `q_proj`, `k_proj` and `v_proj` (or `qkv_proj`), `o_proj` and, if configured, `q_norm`, `k_norm` and
    /// `sinks`.
    ///
    /// # Errors
    /// If one of them is missing or has another shape.
    pub fn load(weights: &Weights, config: AttentionConfig) -> Result<Self> {
        let c = &config;
        let (queries, keys) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let project = |name, outputs| Linear::load(&weights.at(name), outputs, c.hidden, c.qkv_bias);
        let (q, k, v) = match c.projections {
            Projections::Separate => {
                (project("q_proj", queries)?, project("k_proj", keys)?, project("v_proj", keys)?)
            }
            Projections::Fused => {
                let all = project("qkv_proj", queries + 2 * keys)?;
                let values = queries + keys;
                (all.rows(0..queries), all.rows(queries..values), all.rows(values..values + keys))
            }
        };
        let norm = |name, dim, eps, offset| RmsNorm::load(&weights.at(name), dim, eps, offset);
        let norms = match c.head_norms {
            HeadNorms::Without => None,
            HeadNorms::Rms { eps, offset } => {
                let (q, k) =
                    (norm("q_norm", c.head_dim, eps, offset)?, norm("k_norm", c.head_dim, eps, offset)?);
                Some(Norms::OfEach(q, k))
            }
            HeadNorms::RmsOfAll { eps } => {
                Some(Norms::OfAll(norm("q_norm", queries, eps, 0.0)?, norm("k_norm", keys, eps, 0.0)?))
            }
        };
        let sinks = match c.sinks {
            Sinks::Without => None,
            Sinks::With => Some(weights.get("sinks", [c.heads])?),
        };
        let output = Linear::load(&weights.at("o_proj"), c.hidden, queries, c.output_bias)?;
        Ok(Self { q, k, v, output, norms, sinks, config })
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
        let (mut q, mut k) = self.queries_and_keys(x); // [tokens, heads, head_dim]
        let v = self.v.forward(x).reshape([tokens, c.kv_heads, c.head_dim]);
        if c.rotation == Rotation::Rotated {
            (q, k) = (rope.rotate(&q), rope.rotate(&k));
        }
        let place = &batch.places[kv.group(layer)];
        let (keys, values) = kv.write(layer, &k, &v, &place.slots);
        let pages = Pages {
            keys: &keys,
            values: &values,
            page_table: &place.page_table,
            sequence: &batch.sequence,
            position: &batch.positions,
        };
        let op = PagedAttention {
            scale: c.scale.into(),
            window: c.window,
            softcap: c.softcap.map(Into::into),
            sinks: self.sinks.is_some(),
        };
        let heads = q.paged_attention(&pages, self.sinks.as_ref(), op); // [tokens, heads, head_dim]
        self.output.forward(&heads.reshape([tokens, c.heads * c.head_dim]))
    }

    /// Queries and keys `[tokens, heads, head_dim]`, normalised and not yet rotated.
    fn queries_and_keys(&self, x: &Array) -> (Array, Array) {
        let (c, tokens) = (&self.config, x.shape()[0]);
        let split = |x: &Array, heads: usize| x.reshape([tokens, heads, c.head_dim]);
        let (q, k) = (self.q.forward(x), self.k.forward(x)); // [tokens, heads * head_dim]
        match &self.norms {
            None => (split(&q, c.heads), split(&k, c.kv_heads)),
            Some(Norms::OfEach(q_norm, k_norm)) => {
                (q_norm.forward(&split(&q, c.heads)), k_norm.forward(&split(&k, c.kv_heads)))
            }
            Some(Norms::OfAll(q_norm, k_norm)) => {
                (split(&q_norm.forward(&q), c.heads), split(&k_norm.forward(&k), c.kv_heads))
            }
        }
    }
}

/// Norms of queries and keys, see [`HeadNorms`].
#[derive(Debug, Clone)]
enum Norms {
    OfEach(RmsNorm, RmsNorm),
    OfAll(RmsNorm, RmsNorm),
}
