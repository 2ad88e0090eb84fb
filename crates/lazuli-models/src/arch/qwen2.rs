//! Qwen2 and Qwen2.5 (Yang et al., 2024).
//!
//! Llama's form with biases of queries, keys and values; some sizes have sliding windows in their upper layers.

use lazuli_core::Array;
use lazuli_nn::{
    Attention, AttentionConfig, BatchArrays, Bias, Embedding, GatedMlp, Head, HeadNorms, KvPool, RmsNorm,
    Rope, Weights,
};
use serde_json::json;

use super::logits_projection;
use crate::config::{self, Decoder, Keys, Reach, activation};
use crate::source::Source;
use crate::{CausalLm, Result, Spec};

struct Qwen2 {
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

impl CausalLm for Qwen2 {
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
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
    }));
    let c = Decoder::read(&keys)?;
    let windows = windows(&keys, c.layers)?;
    let attention = |window: Option<u32>| AttentionConfig {
        hidden: c.hidden,
        heads: c.heads,
        kv_heads: c.kv_heads,
        head_dim: c.head_dim,
        scale: 1.0 / (c.head_dim as f32).sqrt(),
        qkv_bias: Bias::With,
        output_bias: Bias::Without,
        head_norms: HeadNorms::Without,
        window,
        softcap: None,
    };
    let act = activation(&keys, "hidden_act")?;
    let rope = source.rope(&keys, &c, "full_attention")?;
    keys.finish("qwen2")?;

    let weights = source.weights.at("model");
    let norm = |w: &Weights, name: &str| RmsNorm::load(&w.at(name), c.hidden, c.eps, 0.0);
    let embedding = Embedding::load(&weights.at("embed_tokens"), c.vocabulary, c.hidden, 1.0)?;
    let layer = |(index, &window): (usize, &Option<u32>)| {
        let w = weights.at("layers").at(index);
        Ok(Layer {
            attention_norm: norm(&w, "input_layernorm")?,
            attention: Attention::load(&w.at("self_attn"), attention(window))?,
            mlp_norm: norm(&w, "post_attention_layernorm")?,
            mlp: GatedMlp::load(&w.at("mlp"), c.hidden, c.inner, Bias::Without, act)?,
        })
    };
    let layers = windows.iter().enumerate().map(layer).collect::<Result<_>>()?;
    let projection = logits_projection(&source.weights, &c, &embedding)?;
    let head = Head::new(norm(&weights, "norm")?, projection, None);
    let spec = Spec::new("qwen2", &c, vec![attention(None).kv(); c.layers], &source.weights);
    Ok(Box::new(Qwen2 { spec, embedding, rope, layers, head }))
}

/// Each layer's window: `layer_types`, or the layers from `max_window_layers` on; none unless
/// `use_sliding_window` is set.
fn windows(keys: &Keys, layers: usize) -> Result<Vec<Option<u32>>> {
    let size = config::window(keys)?;
    let types = config::layer_types(keys, layers)?;
    let first = keys.optional::<usize>("max_window_layers", "a number of layers")?.unwrap_or(28);
    if !keys.flag("use_sliding_window")? {
        return Ok(vec![None; layers]);
    }
    let slides = |layer: usize| types.as_ref().map_or(layer >= first, |t| t[layer] == Reach::Sliding);
    Ok((0..layers).map(|layer| size.filter(|_| slides(layer))).collect())
}
