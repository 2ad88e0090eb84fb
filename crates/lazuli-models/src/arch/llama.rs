//! Llama 2 and 3 and the many models of that form (SmolLM, TinyLlama, Yi, ..).
//!
//! Pre-norm layers, grouped-query attention, SwiGLU.

use lazuli_nn::{AttentionConfig, GatedMlp};
use serde_json::json;

use crate::config::{Decoder, activation, bias};
use crate::pre_norm::PreNorm;
use crate::source::Source;
use crate::{CausalLm, Result};

/// Reads settings and names weights.
pub fn load(source: &Source) -> Result<Box<dyn CausalLm>> {
    let keys = source.keys(json!({
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
    }));
    let c = Decoder::read(&keys)?;
    let biases = bias(&keys, "attention_bias")?;
    let attention = AttentionConfig { qkv_bias: biases, output_bias: biases, ..c.attention() };
    let (mlp_bias, act) = (bias(&keys, "mlp_bias")?, activation(&keys, "hidden_act")?);
    let rope = source.rope(&keys, &c, "full_attention")?;
    keys.finish("llama")?;
    let mlp = |w: &_| GatedMlp::load(w, c.hidden, c.inner, mlp_bias, act);
    PreNorm::load("llama", source, &c, rope, |_| attention.clone(), mlp)
}
