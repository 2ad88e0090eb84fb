//! [`ModelShape`]: a model's tensors and caches in numbers, without a tensor.
//!
//! `config` reads settings, `catalogue` has those of well-known models, `tensors` lists what the weights are. How
//! tensors are packed is the business of [`crate::Weights`].

pub mod catalogue;
mod config;
mod tensors;

pub use tensors::{Part, Tensor};

use crate::KvFormat;

/// What a model is, as far as memory and speed go.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelShape {
    /// What it is called.
    pub name: String,
    /// `model_type`.
    pub architecture: String,
    /// Length of the rows between layers.
    pub hidden: usize,
    /// Tokens that there are.
    pub vocabulary: usize,
    /// The most tokens that it was made for.
    pub context: usize,
    /// Where the projection to logits comes from.
    pub head: Head,
    /// Which small tensors there are.
    pub extras: Extras,
    /// The layers in order.
    pub layers: Vec<Layer>,
}

/// Where the projection to logits comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// A tensor of its own.
    Own,
    /// The embedding.
    Tied,
}

/// Small tensors by architecture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extras {
    /// Norms of a whole row in each layer.
    pub row_norms: usize,
    /// 1 where each head's queries and keys are normed.
    pub head_norms: usize,
    /// 1 where queries, keys and values have biases.
    pub qkv_bias: usize,
    /// 1 where the attention's output has a bias.
    pub output_bias: usize,
    /// 1 where each head has a learned sink.
    pub sinks: usize,
    /// 1 where the router has a bias for each expert.
    pub router_bias: usize,
    /// 1 where experts have biases.
    pub expert_bias: usize,
}

/// A layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// How it looks back.
    pub attention: Attention,
    /// How far, where that is limited.
    pub window: Option<usize>,
    /// The part after attention.
    pub mlp: Mlp,
}

/// How a layer looks back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    /// Keys and values of some heads, each shared by a group of queries (all heads: multi-head attention).
    Grouped {
        /// Heads of queries.
        heads: usize,
        /// Heads of keys and values.
        kv_heads: usize,
        /// Length of a head.
        head_dim: usize,
    },
    /// Multi-head latent attention (DeepSeek-V2, 2024): a compressed row and a rotated key for all heads.
    Latent {
        /// Heads.
        heads: usize,
        /// Length of the queries' compressed row, where they have one.
        query_rank: Option<usize>,
        /// Length of the compressed row.
        kv_rank: usize,
        /// Elements of a head's key that are not rotated.
        nope: usize,
        /// Elements that are.
        rope: usize,
        /// Length of a head's value.
        value: usize,
    },
}

/// The part of a layer after attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mlp {
    /// Gate, up and down.
    Dense {
        /// Inner length.
        inner: usize,
    },
    /// A choice of experts.
    Experts {
        /// How many there are.
        count: usize,
        /// How many a token uses.
        active: usize,
        /// Inner length of each.
        inner: usize,
        /// Inner length of what every token uses besides; 0 for none.
        shared: usize,
        /// 1 where the shared part has a gate of its own.
        shared_gate: usize,
    },
}

impl Attention {
    /// Heads of queries.
    pub fn heads(&self) -> usize {
        match self {
            Self::Grouped { heads, .. } | Self::Latent { heads, .. } => *heads,
        }
    }

    /// Elements of the rows that are kept of a token: one for each head's key and value, or the compressed row and
    /// the rotated key.
    fn kept(&self) -> (usize, [usize; 2]) {
        match self {
            Self::Grouped { kv_heads, head_dim, .. } => (*kv_heads, [*head_dim, *head_dim]),
            Self::Latent { kv_rank, rope, .. } => (1, [*kv_rank, *rope]),
        }
    }

    /// Bytes that one token's keys and values take.
    pub fn kv_bytes(&self, format: KvFormat) -> usize {
        let (rows, lengths) = self.kept();
        rows * lengths.iter().map(|&n| format.row_bytes(n)).sum::<usize>()
    }

    /// Floating-point operations of one query against one key.
    fn operations(&self) -> usize {
        match self {
            Self::Grouped { heads, head_dim, .. } => heads * 4 * head_dim,
            Self::Latent { heads, kv_rank, rope, .. } => heads * 2 * (2 * kv_rank + rope),
        }
    }
}

impl ModelShape {
    /// Elements of all weights.
    pub fn parameters(&self) -> u64 {
        self.tensors().iter().map(Tensor::elements).fold(0, u64::saturating_add)
    }

    /// Elements of the weights that a token is multiplied with.
    pub fn active_parameters(&self) -> u64 {
        let read = |t: &Tensor| t.elements() as f64 * t.share;
        self.tensors().iter().filter(|t| t.part.is_product()).map(read).sum::<f64>() as u64
    }

    /// Bytes that a token takes in all layers together, as long as no window is full.
    pub fn kv_bytes_per_token(&self, format: KvFormat) -> usize {
        self.layers.iter().map(|layer| layer.attention.kv_bytes(format)).sum()
    }

    /// Bytes that reading the cache of a sequence with `tokens` tokens takes: windows bound what is read.
    pub fn kv_read_bytes(&self, format: KvFormat, tokens: usize) -> u64 {
        let bytes =
            |l: &Layer| (l.attention.kv_bytes(format) * l.window.map_or(tokens, |w| tokens.min(w))) as u64;
        self.layers.iter().map(bytes).sum()
    }

    /// Elements of the weights that each token of a prompt is multiplied with: the projection to logits is for the last
    /// one alone.
    pub fn prompt_parameters(&self) -> u64 {
        self.active_parameters().saturating_sub((self.vocabulary * self.hidden) as u64)
    }

    /// Bytes that the steps between products read and write for one token: norms, sums, rotation, gates, in single
    /// precision.
    pub fn step_bytes(&self) -> u64 {
        let of = |layer: &Layer| {
            let inner = match layer.mlp {
                Mlp::Dense { inner } => inner,
                Mlp::Experts { active, inner, shared, .. } => active * (inner + self.hidden) + shared,
            };
            // A norm reads and writes a row, a sum reads two: twice in a layer; a gate reads two inner rows.
            4 * (2 * 5 * self.hidden + 3 * inner) as u64
        };
        self.layers.iter().map(of).sum()
    }

    /// Floating-point operations of attention of the token behind `tokens` others.
    pub fn query_operations(&self, tokens: usize) -> f64 {
        let of = |l: &Layer| (l.attention.operations() * l.window.map_or(tokens, |w| tokens.min(w))) as f64;
        self.layers.iter().map(of).sum()
    }

    /// Floating-point operations of attention over a prompt of `tokens` tokens.
    pub fn attention_operations(&self, tokens: usize) -> f64 {
        let pairs = |l: &Layer| {
            let n = tokens as f64;
            let w = l.window.map_or(n, |w| n.min(w as f64));
            // Each query sees those before it, at most the window.
            w * (w + 1.0) / 2.0 + (n - w) * w
        };
        self.layers.iter().map(|l| l.attention.operations() as f64 * pairs(l)).sum()
    }

    /// Layers with experts.
    pub fn expert_layers(&self) -> usize {
        self.layers.iter().filter(|l| matches!(l.mlp, Mlp::Experts { .. })).count()
    }

    /// Layers with a window shorter than the model's context.
    pub fn windowed_layers(&self) -> usize {
        self.layers.iter().filter(|l| l.window.is_some_and(|w| w < self.context)).count()
    }

    /// The heads of queries per head of keys and values in the first layer.
    pub(crate) fn group(&self) -> usize {
        match self.layers.first().map(|l| l.attention) {
            Some(Attention::Grouped { heads, kv_heads, .. }) => heads / kv_heads.max(1),
            _ => 1,
        }
    }
}
