//! Llama 2 and 3 and the many models of that form (SmolLM, TinyLlama, Yi, ..).
//!
//! Pre-norm layers, grouped-query attention, SwiGLU.

use lazuli_core::Array;
use lazuli_nn::{
    Attention, AttentionConfig, BatchArrays, Embedding, GatedMlp, Head, HeadNorms, KvPool, RmsNorm, Rope,
    Weights,
};
use serde_json::json;

use super::logits_projection;
use crate::config::{Decoder, activation, bias};
use crate::source::Source;
use crate::{CausalLm, Result, Spec};

struct Llama {
    spec: Spec,
    embedding: Embedding,
    rope: Rope,
    layers: Vec<Layer>,
    head: Head,
}

struct Layer {
    attention_norm: RmsNorm,
    attention: Attention,
    mlp_norm: RmsNorm,
    mlp: GatedMlp,
}

impl CausalLm for Llama {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn forward(&self, batch: &BatchArrays, kv: &mut KvPool) -> Array {
        let rope = self.rope.tables(&batch.positions);
        let mut x = self.embedding.forward(&batch.tokens); // [tokens, hidden]
        for (index, layer) in self.layers.iter().enumerate() {
            let normed = layer.attention_norm.forward(&x);
            x = x + layer.attention.forward(&normed, &rope, batch, kv, index);
            let normed = layer.mlp_norm.forward(&x);
            x = x + layer.mlp.forward(&normed);
        }
        self.head.forward(&x, batch) // [rows, vocabulary]
    }
}

/// Reads settings and names weights.
pub fn load(source: &Source) -> Result<Box<dyn CausalLm>> {
    let keys = source.keys(json!({
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
    }));
    let c = Decoder::read(&keys)?;
    let attention = AttentionConfig {
        hidden: c.hidden,
        heads: c.heads,
        kv_heads: c.kv_heads,
        head_dim: c.head_dim,
        scale: 1.0 / (c.head_dim as f32).sqrt(),
        qkv_bias: bias(&keys, "attention_bias")?,
        output_bias: bias(&keys, "attention_bias")?,
        head_norms: HeadNorms::Without,
        window: None,
        softcap: None,
    };
    let (mlp_bias, act) = (bias(&keys, "mlp_bias")?, activation(&keys, "hidden_act")?);
    let rope = source.rope(&keys, &c, "full_attention")?;
    keys.finish("llama")?;

    let weights = source.weights.at("model");
    let norm = |w: &Weights, name: &str| RmsNorm::load(&w.at(name), c.hidden, c.eps, 0.0);
    let embedding = Embedding::load(&weights.at("embed_tokens"), c.vocabulary, c.hidden, 1.0)?;
    let layer = |index: usize| {
        let w = weights.at("layers").at(index);
        Ok(Layer {
            attention_norm: norm(&w, "input_layernorm")?,
            attention: Attention::load(&w.at("self_attn"), attention.clone())?,
            mlp_norm: norm(&w, "post_attention_layernorm")?,
            mlp: GatedMlp::load(&w.at("mlp"), c.hidden, c.inner, mlp_bias, act)?,
        })
    };
    let layers = (0..c.layers).map(layer).collect::<Result<_>>()?;
    let projection = logits_projection(&source.weights, &c, &embedding)?;
    let head = Head::new(norm(&weights, "norm")?, projection, None);
    let spec = Spec::new("llama", &c, vec![attention.kv(); c.layers], &source.weights);
    Ok(Box::new(Llama { spec, embedding, rope, layers, head }))
}
