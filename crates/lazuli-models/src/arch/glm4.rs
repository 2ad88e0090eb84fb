//! GLM-4 of April 2025 (Zhipu AI), the dense sizes.
//!
//! Norms before and after each half of a layer, and heads that rotate in half of their elements, as neighbours.

use lazuli_core::Array;
use lazuli_nn::{
    Attention, AttentionConfig, BatchArrays, Bias, Embedding, GatedMlp, Head, KvPool, Rope, SandwichLayer,
};
use serde_json::json;

use crate::config::{Decoder, activation, bias};
use crate::parts::Parts;
use crate::source::Source;
use crate::{CausalLm, Result, Spec};

struct Glm4 {
    spec: Spec,
    embedding: Embedding,
    rope: Rope,
    layers: Vec<SandwichLayer>,
    head: Head,
}

impl CausalLm for Glm4 {
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

/// Reads settings and names weights.
pub fn load(source: &Source) -> Result<Box<dyn CausalLm>> {
    let keys = source.keys(json!({
        "attention_bias": true,
        "head_dim": 128,
        "hidden_act": "silu",
        "max_position_embeddings": 131_072,
        "num_key_value_heads": 2,
        "partial_rotary_factor": 0.5,
        "rms_norm_eps": 1.5625e-7,
        "rope_theta": 10000.0,
    }));
    let c = Decoder::read(&keys)?;
    let attention = AttentionConfig { qkv_bias: bias(&keys, "attention_bias")?, ..c.attention() };
    let act = activation(&keys, "hidden_act")?;
    let rope = source.interleaved_rope(&keys, &c, "full_attention")?;
    keys.finish("glm4")?;

    let parts = Parts::new(source, &c);
    let embedding = parts.embedding(1.0)?;
    let layers = parts.layers(|w, _| {
        Ok(SandwichLayer {
            attention_norm: parts.norm(&w, "input_layernorm")?,
            attention: Attention::load(&w.at("self_attn"), attention.clone())?,
            attention_out_norm: parts.norm(&w, "post_self_attn_layernorm")?,
            mlp_norm: parts.norm(&w, "post_attention_layernorm")?,
            mlp: GatedMlp::load_fused(&w.at("mlp"), c.hidden, c.inner, Bias::Without, act)?,
            mlp_out_norm: parts.norm(&w, "post_mlp_layernorm")?,
        })
    })?;
    let head = parts.head(&embedding, parts.norm(&parts.weights, "norm")?, None)?;
    let spec = parts.spec("glm4", |_| attention.kv());
    Ok(Box::new(Glm4 { spec, embedding, rope, layers, head }))
}
