//! Qwen3 (Yang et al., 2025), the dense sizes.
//!
//! Llama's form with norms of each head's queries and keys, and heads whose length is a setting of its own.

use lazuli_nn::{AttentionConfig, Bias, GatedMlp, HeadNorms};
use serde_json::json;

use crate::config::{self, Decoder, activation, bias};
use crate::pre_norm::PreNorm;
use crate::source::Source;
use crate::{CausalLm, Result};

/// Reads settings and names weights.
pub fn load(source: &Source) -> Result<Box<dyn CausalLm>> {
    let keys = source.keys(json!({
        "head_dim": 128,
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
    }));
    let c = Decoder::read(&keys)?;
    let windows = config::upper_windows(&keys, c.layers)?;
    let biases = bias(&keys, "attention_bias")?;
    let attention = |layer: usize| AttentionConfig {
        qkv_bias: biases,
        output_bias: biases,
        head_norms: HeadNorms::Rms { eps: c.eps, offset: 0.0 },
        window: windows[layer],
        ..c.attention()
    };
    let act = activation(&keys, "hidden_act")?;
    let rope = source.rope(&keys, &c, "full_attention")?;
    keys.finish("qwen3")?;
    let mlp = |w: &_| GatedMlp::load(w, c.hidden, c.inner, Bias::Without, act);
    PreNorm::load("qwen3", source, &c, rope, attention, mlp)
}
