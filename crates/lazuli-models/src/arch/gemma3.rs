//! Gemma 3, its text part (Gemma Team, 2025).
//!
//! Norms before and after each half of a layer and of each head's queries and keys, scaled embeddings, GeGLU,
//! and one layer of full attention after several with a sliding window and a rotation base of their own.

use lazuli_core::Array;
use lazuli_nn::{
    Attention, AttentionConfig, BatchArrays, Bias, Embedding, GatedMlp, Head, HeadNorms, KvPool, RmsNorm,
    Rope, RopeConfig, RopeScaling, Weights,
};
use serde_json::json;

use super::logits_projection;
use crate::config::{self, Decoder, Keys, Reach, activation, bias};
use crate::source::{NormWeights, Source};
use crate::{CausalLm, Result, Spec};

struct Gemma3 {
    spec: Spec,
    embedding: Embedding,
    full_rope: Rope,
    sliding_rope: Rope,
    layers: Vec<Layer>,
    head: Head,
}

struct Layer {
    reach: Reach,
    attention_norm: RmsNorm,
    attention: Attention,
    attention_out_norm: RmsNorm,
    mlp_norm: RmsNorm,
    mlp: GatedMlp,
    mlp_out_norm: RmsNorm,
}

impl CausalLm for Gemma3 {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn forward(&self, batch: &BatchArrays, kv: &mut KvPool) -> Array {
        let full = self.full_rope.tables(&batch.positions);
        let sliding = self.sliding_rope.tables(&batch.positions);
        let mut x = self.embedding.forward(&batch.tokens); // [tokens, hidden]
        for (index, layer) in self.layers.iter().enumerate() {
            let rope = if layer.reach == Reach::Full { &full } else { &sliding };
            let normed = layer.attention_norm.forward(&x);
            let attended = layer.attention.forward(&normed, rope, batch, kv, index);
            x = x + layer.attention_out_norm.forward(&attended);
            let normed = layer.mlp_norm.forward(&x);
            x = x + layer.mlp_out_norm.forward(&layer.mlp.forward(&normed));
        }
        self.head.forward(&x, batch) // [rows, vocabulary]
    }
}

/// Reads settings and names weights.
pub fn load(source: &Source) -> Result<Box<dyn CausalLm>> {
    let keys = source.keys(defaults());
    let c = Decoder::read(&keys)?;
    let offset = if source.conventions.norms == NormWeights::OffsetIncluded { 0.0 } else { 1.0 };
    let reaches = reaches(&keys, c.layers)?;
    let window = config::window(&keys)?;
    let (qkv_bias, scalar) = (bias(&keys, "attention_bias")?, keys.positive("query_pre_attn_scalar")?);
    let softcap = keys.optional_positive("attn_logit_softcapping")?;
    let attention = |reach: Reach| AttentionConfig {
        hidden: c.hidden,
        heads: c.heads,
        kv_heads: c.kv_heads,
        head_dim: c.head_dim,
        scale: 1.0 / scalar.sqrt(),
        qkv_bias,
        output_bias: qkv_bias,
        head_norms: HeadNorms::Rms { eps: c.eps, offset },
        window: window.filter(|_| reach == Reach::Sliding),
        softcap,
    };
    let act = activation(&keys, "hidden_activation")?;
    let (full_rope, sliding_rope) = ropes(source, &keys, &c)?;
    let logits_softcap = keys.optional_positive("final_logit_softcapping")?;
    keys.finish("gemma3")?;

    let weights = source.weights.at("model");
    let norm = |w: &Weights, name: &str| RmsNorm::load(&w.at(name), c.hidden, c.eps, offset);
    let scale = (c.hidden as f32).sqrt();
    let embedding = Embedding::load(&weights.at("embed_tokens"), c.vocabulary, c.hidden, scale)?;
    let layer = |(index, &reach): (usize, &Reach)| {
        let w = weights.at("layers").at(index);
        Ok(Layer {
            reach,
            attention_norm: norm(&w, "input_layernorm")?,
            attention: Attention::load(&w.at("self_attn"), attention(reach))?,
            attention_out_norm: norm(&w, "post_attention_layernorm")?,
            mlp_norm: norm(&w, "pre_feedforward_layernorm")?,
            mlp: GatedMlp::load(&w.at("mlp"), c.hidden, c.inner, Bias::Without, act)?,
            mlp_out_norm: norm(&w, "post_feedforward_layernorm")?,
        })
    };
    let layers = reaches.iter().enumerate().map(layer).collect::<Result<_>>()?;
    let projection = logits_projection(&source.weights, &c, &embedding)?;
    let head = Head::new(norm(&weights, "norm")?, projection, logits_softcap);
    let spec = Spec::new("gemma3", &c, vec![attention(Reach::Full).kv(); c.layers], &source.weights);
    Ok(Box::new(Gemma3 { spec, embedding, full_rope, sliding_rope, layers, head }))
}

/// Published files leave out what equals these.
fn defaults() -> serde_json::Value {
    json!({
        "vocab_size": 262_208,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": true,
        "rope_theta": 1_000_000.0,
        "rope_local_base_freq": 10_000.0,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
    })
}

/// Which layers see everything: `layer_types`, or every `sliding_window_pattern`-th.
fn reaches(keys: &Keys, layers: usize) -> Result<Vec<Reach>> {
    let named = keys.optional_size("sliding_window_pattern")?;
    // The library writes the same number under a private name too.
    let private = keys.optional_size("_sliding_window_pattern")?;
    let pattern = named.or(private).unwrap_or(6);
    let by_pattern = |layer: usize| if (layer + 1) % pattern == 0 { Reach::Full } else { Reach::Sliding };
    let types = config::layer_types(keys, layers)?;
    Ok(types.unwrap_or_else(|| (0..layers).map(by_pattern).collect()))
}

/// The rotations of full and of sliding layers. Scaling in the older form concerns the full ones alone.
fn ropes(source: &Source, keys: &Keys, c: &Decoder) -> Result<(Rope, Rope)> {
    let full = source.rope(keys, c, "full_attention")?;
    let local = keys.positive("rope_local_base_freq")?;
    if keys.has("rope_parameters") {
        return Ok((full, source.rope(keys, c, "sliding_attention")?));
    }
    let style = source.conventions.rope;
    let sliding = RopeConfig { theta: local, rotated: c.head_dim, style, scaling: RopeScaling::None };
    Ok((full, Rope::new(&sliding)))
}
