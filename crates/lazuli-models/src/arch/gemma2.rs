//! Gemma 2 (Gemma Team, 2024).
//!
//! Norms before and after each half of a layer, scaled embeddings, GeGLU, bounded scores and logits, and a sliding
//! window in every other layer.

use lazuli_core::Array;
use lazuli_nn::{
    Attention, AttentionConfig, BatchArrays, Bias, Embedding, GatedMlp, Head, KvPool, RmsNorm, Rope,
    SandwichLayer, Weights,
};
use serde_json::json;

use crate::config::{self, Decoder, Reach, activation, bias};
use crate::parts::Parts;
use crate::source::Source;
use crate::{CausalLm, Result, Spec};

struct Gemma2 {
    spec: Spec,
    embedding: Embedding,
    rope: Rope,
    layers: Vec<SandwichLayer>,
    head: Head,
}

impl CausalLm for Gemma2 {
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
    let keys = source.keys(defaults());
    let c = Decoder::read(&keys)?;
    let offset = source.norm_offset();
    let reaches = config::reaches(&keys, c.layers, 2)?;
    let (window, biases) = (config::window(&keys)?, bias(&keys, "attention_bias")?);
    let scalar = keys.positive("query_pre_attn_scalar")?;
    let cap = |key: &str, default: f32| {
        if keys.states(key) { keys.optional_positive(key) } else { Ok(Some(default)) }
    };
    let softcap = cap("attn_logit_softcapping", 50.0)?;
    let attention = |reach: Reach| AttentionConfig {
        scale: 1.0 / scalar.sqrt(),
        qkv_bias: biases,
        output_bias: biases,
        window: window.filter(|_| reach == Reach::Sliding),
        softcap,
        ..c.attention()
    };
    let act = activation(&keys, "hidden_activation")?;
    // An older name, which the model's own code does not read where the newer one is there.
    keys.optional::<String>("hidden_act", "a text")?;
    let logits_softcap = cap("final_logit_softcapping", 30.0)?;
    let rope = source.rope(&keys, &c, "full_attention")?;
    keys.finish("gemma2")?;

    let parts = Parts::new(source, &c);
    let norm = |w: &Weights, name: &str| RmsNorm::load(&w.at(name), c.hidden, c.eps, offset);
    let embedding = parts.embedding((c.hidden as f32).sqrt())?;
    let layers = parts.layers(|w, index| {
        Ok(SandwichLayer {
            attention_norm: norm(&w, "input_layernorm")?,
            attention: Attention::load(&w.at("self_attn"), attention(reaches[index]))?,
            attention_out_norm: norm(&w, "post_attention_layernorm")?,
            mlp_norm: norm(&w, "pre_feedforward_layernorm")?,
            mlp: GatedMlp::load(&w.at("mlp"), c.hidden, c.inner, Bias::Without, act)?,
            mlp_out_norm: norm(&w, "post_feedforward_layernorm")?,
        })
    })?;
    let head = parts.head(&embedding, norm(&parts.weights, "norm")?, logits_softcap)?;
    let spec = parts.spec("gemma2", |index| attention(reaches[index]).kv());
    Ok(Box::new(Gemma2 { spec, embedding, rope, layers, head }))
}

/// Published files leave out what equals these.
fn defaults() -> serde_json::Value {
    json!({
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 8192,
        "num_key_value_heads": 4,
        "query_pre_attn_scalar": 256,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "sliding_window": 4096,
        "tie_word_embeddings": true,
    })
}
