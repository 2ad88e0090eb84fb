//! [`PreNorm`]: the form of Llama, and of the models that differ from it in options of their attention and
//! feed-forward parts alone.

use lazuli_core::Array;
use lazuli_nn::{
    Attention, AttentionConfig, BatchArrays, Embedding, FeedForward, GatedMlp, Head, KvPool, PreNormLayer,
    Rope, Weights,
};

use crate::config::{Decoder, Sparse};
use crate::parts::Parts;
use crate::source::Source;
use crate::{CausalLm, Result, Spec};

/// Embedding, layers with a norm before each half, head.
pub struct PreNorm {
    spec: Spec,
    embedding: Embedding,
    rope: Rope,
    layers: Vec<PreNormLayer>,
    head: Head,
}

impl CausalLm for PreNorm {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn forward(&self, batch: &BatchArrays, kv: &mut KvPool) -> Array {
        let rope = self.rope.tables(batch);
        let mut x = self.embedding.forward(&batch.tokens); // [tokens, hidden]
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, &rope, batch, kv, index);
        }
        self.head.forward(&x, batch) // [rows, vocabulary]
    }
}

impl PreNorm {
    /// Names the weights of `architecture`, whose settings have been read: `attention` has the options of each
    /// layer, `mlp` loads a feed-forward part.
    pub fn load(
        architecture: &str,
        source: &Source,
        c: &Decoder,
        rope: Rope,
        attention: impl Fn(usize) -> AttentionConfig,
        mlp: impl Fn(&Weights) -> lazuli_nn::Result<GatedMlp>,
    ) -> Result<Box<dyn CausalLm>> {
        let model =
            Self::new(architecture, source, c, rope, attention, |w, _| Ok(mlp(&w.at("mlp"))?.into()))?;
        Ok(Box::new(model))
    }

    /// The same where `sparse` says how many of how many experts a token uses, and `feed_forward` loads the second
    /// half of a layer, whose weights and index it is given.
    pub fn load_sparse(
        architecture: &str,
        (source, c, sparse): (&Source, &Decoder, Sparse),
        rope: Rope,
        attention: impl Fn(usize) -> AttentionConfig,
        feed_forward: impl Fn(&Weights, usize) -> lazuli_nn::Result<FeedForward>,
    ) -> Result<Box<dyn CausalLm>> {
        let mut model = Self::new(architecture, source, c, rope, attention, feed_forward)?;
        model.spec = model.spec.with_experts(sparse, &source.weights);
        Ok(Box::new(model))
    }

    fn new(
        architecture: &str,
        source: &Source,
        c: &Decoder,
        rope: Rope,
        attention: impl Fn(usize) -> AttentionConfig,
        feed_forward: impl Fn(&Weights, usize) -> lazuli_nn::Result<FeedForward>,
    ) -> Result<Self> {
        let parts = Parts::new(source, c);
        let embedding = parts.embedding(1.0)?;
        let layers = parts.layers(|w, index| {
            Ok(PreNormLayer {
                attention_norm: parts.norm(&w, "input_layernorm")?,
                attention: Attention::load(&w.at("self_attn"), attention(index))?,
                mlp_norm: parts.norm(&w, "post_attention_layernorm")?,
                mlp: feed_forward(&w, index)?,
            })
        })?;
        let head = parts.head(&embedding, parts.norm(&parts.weights, "norm")?, None)?;
        let spec = parts.spec(architecture, |index| attention(index).kv());
        Ok(Self { spec, embedding, rope, layers, head })
    }
}
