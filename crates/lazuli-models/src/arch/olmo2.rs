//! OLMo 2 (OLMo Team, 2024).
//!
//! Norms behind each half of a layer and none before, and norms of queries and keys over all heads together.

use lazuli_core::Array;
use lazuli_nn::{
    Attention, AttentionConfig, BatchArrays, Bias, Embedding, GatedMlp, Head, HeadNorms, KvPool, RmsNorm,
    Rope,
};
use serde_json::json;

use crate::config::{Decoder, activation, bias};
use crate::parts::Parts;
use crate::source::Source;
use crate::{CausalLm, Result, Spec};

struct Olmo2 {
    spec: Spec,
    embedding: Embedding,
    rope: Rope,
    layers: Vec<Layer>,
    head: Head,
}

struct Layer {
    attention: Attention,
    attention_out_norm: RmsNorm,
    mlp: GatedMlp,
    mlp_out_norm: RmsNorm,
}

impl CausalLm for Olmo2 {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn forward(&self, batch: &BatchArrays, kv: &mut KvPool) -> Array {
        let rope = self.rope.tables(batch);
        let mut x = self.embedding.forward(&batch.tokens); // [tokens, hidden]
        for (index, layer) in self.layers.iter().enumerate() {
            let attended = layer.attention.forward(&x, &rope, batch, kv, index);
            x = x + layer.attention_out_norm.forward(&attended);
            let fed = layer.mlp.forward(&x);
            x = x + layer.mlp_out_norm.forward(&fed);
        }
        self.head.forward(&x, batch) // [rows, vocabulary]
    }
}

/// Reads settings and names weights.
pub fn load(source: &Source) -> Result<Box<dyn CausalLm>> {
    let keys = source.keys(json!({
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
    }));
    let c = Decoder::read(&keys)?;
    let biases = bias(&keys, "attention_bias")?;
    let attention = AttentionConfig {
        qkv_bias: biases,
        output_bias: biases,
        head_norms: HeadNorms::RmsOfAll { eps: c.eps },
        ..c.attention()
    };
    let act = activation(&keys, "hidden_act")?;
    let rope = source.rope(&keys, &c, "full_attention")?;
    keys.finish("olmo2")?;

    let parts = Parts::new(source, &c);
    let embedding = parts.embedding(1.0)?;
    let layers = parts.layers(|w, _| {
        Ok(Layer {
            attention: Attention::load(&w.at("self_attn"), attention.clone())?,
            attention_out_norm: parts.norm(&w, "post_attention_layernorm")?,
            mlp: GatedMlp::load(&w.at("mlp"), c.hidden, c.inner, Bias::Without, act)?,
            mlp_out_norm: parts.norm(&w, "post_feedforward_layernorm")?,
        })
    })?;
    let head = parts.head(&embedding, parts.norm(&parts.weights, "norm")?, None)?;
    let spec = parts.spec("olmo2", |_| attention.kv());
    Ok(Box::new(Olmo2 { spec, embedding, rope, layers, head }))
}
