//! Command R7B and Command A (Cohere, 2025).
//!
//! One norm (with the mean taken off) feeds attention and the feed-forward part, which run side by side. Layers with
//! a sliding window rotate neighbours; every fourth layer sees everything and does not rotate.

use lazuli_core::Array;
use lazuli_nn::{
    Attention, AttentionConfig, BatchArrays, Bias, Embedding, GatedMlp, Head, KvPool, LayerNorm, Rope,
    Rotation, Weights,
};
use serde_json::json;

use crate::config::{self, Decoder, Keys, Reach, activation, bias};
use crate::parts::Parts;
use crate::source::Source;
use crate::{CausalLm, Result, Spec};

struct Cohere2 {
    spec: Spec,
    embedding: Embedding,
    rope: Rope,
    layers: Vec<Layer>,
    head: Head,
}

struct Layer {
    norm: LayerNorm,
    attention: Attention,
    mlp: GatedMlp,
}

impl CausalLm for Cohere2 {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn forward(&self, batch: &BatchArrays, kv: &mut KvPool) -> Array {
        let rope = self.rope.tables(batch);
        let mut x = self.embedding.forward(&batch.tokens); // [tokens, hidden]
        for (index, layer) in self.layers.iter().enumerate() {
            let normed = layer.norm.forward(&x);
            let attended = layer.attention.forward(&normed, &rope, batch, kv, index);
            x = x + attended + layer.mlp.forward(&normed);
        }
        self.head.forward(&x, batch) // [rows, vocabulary]
    }
}

/// Reads settings and names weights.
pub fn load(source: &Source) -> Result<Box<dyn CausalLm>> {
    let keys = source.keys(json!({
        "hidden_act": "silu",
        "layer_norm_eps": 1e-5,
        "logit_scale": 0.0625,
        "max_position_embeddings": 8192,
        "rope_theta": 10000.0,
        "sliding_window": 4096,
        "tie_word_embeddings": true,
    }));
    let c = Decoder::read(&keys)?;
    let reaches = config::reaches(&keys, c.layers, 4)?;
    let (window, biases) = (config::window(&keys)?, bias(&keys, "attention_bias")?);
    let attention = |layer: usize| {
        let plain = AttentionConfig { qkv_bias: biases, output_bias: biases, ..c.attention() };
        match reaches[layer] {
            Reach::Full => AttentionConfig { rotation: Rotation::Without, ..plain },
            Reach::Sliding => AttentionConfig { window, ..plain },
        }
    };
    let (act, logit_scale) = (activation(&keys, "hidden_act")?, keys.positive("logit_scale")?);
    let rope = source.interleaved_rope(&keys, &c, "sliding_attention")?;
    published(&keys)?;
    keys.finish("cohere2")?;

    let parts = Parts::new(source, &c);
    let norm = |w: &Weights, name: &str| LayerNorm::load(&w.at(name), c.hidden, c.eps);
    let embedding = parts.embedding(1.0)?;
    let layers = parts.layers(|w, index| {
        Ok(Layer {
            norm: norm(&w, "input_layernorm")?,
            attention: Attention::load(&w.at("self_attn"), attention(index))?,
            mlp: GatedMlp::load(&w.at("mlp"), c.hidden, c.inner, Bias::Without, act)?,
        })
    })?;
    let head = parts.head(&embedding, norm(&parts.weights, "norm")?, None)?.scaled(logit_scale);
    let spec = parts.spec("cohere2", |index| attention(index).kv());
    Ok(Box::new(Cohere2 { spec, embedding, rope, layers, head }))
}

/// What published files say about the wiring above.
fn published(keys: &Keys) -> Result<()> {
    keys.built_in("order_of_interleaved_layers", "local_attn_first")?;
    keys.built_in("position_embedding_type", "rope_gptj")?;
    keys.built_in("rotary_pct", 1.0)?;
    for on in ["use_embedding_sharing", "use_gated_activation", "use_parallel_block"] {
        keys.built_in(on, true)?;
    }
    // The pattern of windows under another name.
    match keys.optional_size("sliding_window_pattern")? {
        Some(pattern) => keys.built_in("layer_switch", pattern),
        None => keys.built_in("layer_switch", 4),
    }
}
