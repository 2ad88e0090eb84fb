//! Granite 3 (IBM, 2024), the dense sizes.
//!
//! Llama's form with factors in four places: embedding, what attention and the feed-forward part add, dot
//! products, logits.

use lazuli_core::Array;
use lazuli_nn::{
    Attention, AttentionConfig, BatchArrays, Embedding, GatedMlp, Head, KvPool, PreNormLayer, Rope,
};
use serde_json::json;

use crate::config::{Decoder, activation, bias};
use crate::parts::Parts;
use crate::source::Source;
use crate::{CausalLm, Result, Spec};

struct Granite {
    spec: Spec,
    embedding: Embedding,
    rope: Rope,
    layers: Vec<PreNormLayer>,
    residual: f32,
    head: Head,
}

impl CausalLm for Granite {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn forward(&self, batch: &BatchArrays, kv: &mut KvPool) -> Array {
        let rope = self.rope.tables(batch);
        let mut x = self.embedding.forward(&batch.tokens); // [tokens, hidden]
        for (index, layer) in self.layers.iter().enumerate() {
            let normed = layer.attention_norm.forward(&x);
            x = x + layer.attention.forward(&normed, &rope, batch, kv, index) * self.residual;
            let normed = layer.mlp_norm.forward(&x);
            x = x + layer.mlp.forward(&normed) * self.residual;
        }
        self.head.forward(&x, batch) // [rows, vocabulary]
    }
}

/// Reads settings and names weights.
pub fn load(source: &Source) -> Result<Box<dyn CausalLm>> {
    let keys = source.keys(json!({
        "attention_multiplier": 1.0,
        "embedding_multiplier": 1.0,
        "hidden_act": "silu",
        "logits_scaling": 1.0,
        "max_position_embeddings": 2048,
        "residual_multiplier": 1.0,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
    }));
    let c = Decoder::read(&keys)?;
    let biases = bias(&keys, "attention_bias")?;
    let attention = AttentionConfig {
        scale: keys.positive("attention_multiplier")?,
        qkv_bias: biases,
        output_bias: biases,
        ..c.attention()
    };
    let (mlp_bias, act) = (bias(&keys, "mlp_bias")?, activation(&keys, "hidden_act")?);
    let residual = keys.positive("residual_multiplier")?;
    let (embedded, divisor) = (keys.positive("embedding_multiplier")?, keys.positive("logits_scaling")?);
    let rope = source.rope(&keys, &c, "full_attention")?;
    keys.finish("granite")?;

    let parts = Parts::new(source, &c);
    let embedding = parts.embedding(embedded)?;
    let layers = parts.layers(|w, _| {
        Ok(PreNormLayer {
            attention_norm: parts.norm(&w, "input_layernorm")?,
            attention: Attention::load(&w.at("self_attn"), attention.clone())?,
            mlp_norm: parts.norm(&w, "post_attention_layernorm")?,
            mlp: GatedMlp::load(&w.at("mlp"), c.hidden, c.inner, mlp_bias, act)?.into(),
        })
    })?;
    let head = parts.head(&embedding, parts.norm(&parts.weights, "norm")?, None)?.scaled(1.0 / divisor);
    let spec = parts.spec("granite", |_| attention.kv());
    Ok(Box::new(Granite { spec, embedding, rope, layers, residual, head }))
}
