//! [`Spec`]: what a model is, by its description and the sizes of its tensors. No weight is read for it.

use lazuli_core::DType;
use lazuli_nn::{KvSpec, LayerKv, Weights};

use crate::config::{Decoder, HeadWeight, Sparse};

/// A model in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// The architecture's name, as in `model_type`.
    pub architecture: String,
    /// Decoder layers.
    pub layers: usize,
    /// Length of the rows between layers.
    pub hidden: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Length of a head.
    pub head_dim: usize,
    /// Tokens that there are.
    pub vocabulary: usize,
    /// The most tokens of context that the model was made for.
    pub context: usize,
    /// What each layer keeps of a token.
    pub kv: Vec<LayerKv>,
    /// Elements of all weights.
    pub parameters: usize,
    /// Stored bytes of all weights.
    pub weight_bytes: usize,
    /// Bytes of weights that a decode step of one sequence reads: all of them, but only a row of an embedding
    /// that is not the projection to logits too.
    pub decode_bytes: usize,
    /// Experts of a sparse layer and how many of them a token uses; `None` if there are none.
    pub experts: Option<(usize, usize)>,
}

impl Spec {
    /// The numbers of a model that has got all its `weights`.
    pub(crate) fn new(source: &str, decoder: &Decoder, kv: Vec<LayerKv>, weights: &Weights) -> Self {
        let used = weights.used();
        let weight_bytes = used.iter().map(|(_, array)| array.bytes()).sum();
        let table = used.iter().find(|(name, _)| *name == "model.embed_tokens.weight");
        let table_bytes = table.map_or(0, |(_, array)| array.bytes());
        let row_bytes = table_bytes / decoder.vocabulary.max(1);
        let unread = if decoder.head == HeadWeight::Own { table_bytes } else { 0 };
        Self {
            architecture: source.to_owned(),
            layers: decoder.layers,
            hidden: decoder.hidden,
            heads: decoder.heads,
            kv_heads: decoder.kv_heads,
            head_dim: decoder.head_dim,
            vocabulary: decoder.vocabulary,
            context: decoder.context,
            kv,
            parameters: used.iter().map(|(_, array)| array.shape().elements()).sum(),
            weight_bytes,
            decode_bytes: weight_bytes - unread + row_bytes,
            experts: None,
        }
    }

    /// The same of a model with experts: a decode step reads those that its token uses.
    pub(crate) fn with_experts(self, sparse: Sparse, weights: &Weights) -> Self {
        let of_experts = |name: &str| name.contains(".experts.") || name.contains(".switch_mlp.");
        let used = weights.used();
        let all: usize = used.iter().filter(|(n, _)| of_experts(n)).map(|(_, array)| array.bytes()).sum();
        let read = all / sparse.experts * sparse.chosen;
        let decode_bytes = self.decode_bytes - all + read;
        Self { decode_bytes, experts: Some((sparse.experts, sparse.chosen)), ..self }
    }

    /// Bytes that one token of context takes in the pool, stored as `dtype` (a float type).
    pub fn kv_bytes_per_token(&self, dtype: DType) -> usize {
        self.kv_spec(dtype, 1, 1, 1).bytes_per_token()
    }

    /// A pool for `sequences` sequences of up to `context` tokens each, of which a pass appends at most `chunk`.
    pub fn kv_spec(&self, dtype: DType, sequences: usize, context: usize, chunk: usize) -> KvSpec {
        KvSpec::for_sequences(self.kv.clone(), dtype, sequences, context, chunk)
    }
}
