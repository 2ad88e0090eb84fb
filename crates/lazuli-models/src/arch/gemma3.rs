//! Gemma 3, its text part (Gemma Team, 2025).
//!
//! Norms before and after each half of a layer and of each head's queries and keys, scaled embeddings, GeGLU,
//! and one layer of full attention after several with a sliding window and a rotation base of their own.

use lazuli_core::Array;
use lazuli_nn::{
    Attention, AttentionConfig, BatchArrays, Bias, Embedding, GatedMlp, Head, HeadNorms, KvPool, RmsNorm,
    Rope, RopeConfig, RopeScaling, SandwichLayer, Weights,
};
use serde_json::json;

use crate::config::{self, Decoder, Keys, Reach, activation, bias};
use crate::parts::Parts;
use crate::source::Source;
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
    block: SandwichLayer,
}

impl CausalLm for Gemma3 {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn forward(&self, batch: &BatchArrays, kv: &mut KvPool) -> Array {
        let (full, sliding) = (self.full_rope.tables(batch), self.sliding_rope.tables(batch));
        let mut x = self.embedding.forward(&batch.tokens); // [tokens, hidden]
        for (index, layer) in self.layers.iter().enumerate() {
            let rope = if layer.reach == Reach::Full { &full } else { &sliding };
            x = layer.block.forward(&x, rope, batch, kv, index);
        }
        self.head.forward(&x, batch) // [rows, vocabulary]
    }
}

/// Reads settings and names weights.
pub fn load(source: &Source) -> Result<Box<dyn CausalLm>> {
    let keys = source.keys(defaults());
    let c = Decoder::read(&keys)?;
    let offset = source.norm_offset();
    let reaches = config::reaches(&keys, c.layers, 6)?;
    let window = config::window(&keys)?;
    let (qkv_bias, scalar) = (bias(&keys, "attention_bias")?, keys.positive("query_pre_attn_scalar")?);
    let softcap = keys.optional_positive("attn_logit_softcapping")?;
    let attention = |reach: Reach| AttentionConfig {
        scale: 1.0 / scalar.sqrt(),
        qkv_bias,
        output_bias: qkv_bias,
        head_norms: HeadNorms::Rms { eps: c.eps, offset },
        window: window.filter(|_| reach == Reach::Sliding),
        softcap,
        ..c.attention()
    };
    let act = activation(&keys, "hidden_activation")?;
    let (full_rope, sliding_rope) = ropes(source, &keys, &c)?;
    let logits_softcap = keys.optional_positive("final_logit_softcapping")?;
    keys.finish("gemma3")?;

    let parts = Parts::new(source, &c);
    let norm = |w: &Weights, name: &str| RmsNorm::load(&w.at(name), c.hidden, c.eps, offset);
    let embedding = parts.embedding((c.hidden as f32).sqrt())?;
    let layers = parts.layers(|w, index| {
        let block = SandwichLayer {
            attention_norm: norm(&w, "input_layernorm")?,
            attention: Attention::load(&w.at("self_attn"), attention(reaches[index]))?,
            attention_out_norm: norm(&w, "post_attention_layernorm")?,
            mlp_norm: norm(&w, "pre_feedforward_layernorm")?,
            mlp: GatedMlp::load(&w.at("mlp"), c.hidden, c.inner, Bias::Without, act)?,
            mlp_out_norm: norm(&w, "post_feedforward_layernorm")?,
        };
        Ok(Layer { reach: reaches[index], block })
    })?;
    let head = parts.head(&embedding, norm(&parts.weights, "norm")?, logits_softcap)?;
    let spec = parts.spec("gemma3", |index| attention(reaches[index]).kv());
    Ok(Box::new(Gemma3 { spec, embedding, full_rope, sliding_rope, layers, head }))
}

/// Published files leave out what equals these.
pub fn defaults() -> serde_json::Value {
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
