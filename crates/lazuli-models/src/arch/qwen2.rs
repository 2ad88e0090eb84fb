//! Qwen2 and Qwen2.5 (Yang et al., 2024).
//!
//! Llama's form with biases of queries, keys and values; some sizes have sliding windows in their upper layers.

use lazuli_nn::{AttentionConfig, Bias, GatedMlp};
use serde_json::json;

use crate::config::{self, Decoder, activation};
use crate::pre_norm::PreNorm;
use crate::source::Source;
use crate::{CausalLm, Result};

/// Reads settings and names weights.
pub fn load(source: &Source) -> Result<Box<dyn CausalLm>> {
    let keys = source.keys(json!({
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
    }));
    let c = Decoder::read(&keys)?;
    let windows = config::upper_windows(&keys, c.layers)?;
    let attention =
        |layer: usize| AttentionConfig { qkv_bias: Bias::With, window: windows[layer], ..c.attention() };
    let act = activation(&keys, "hidden_act")?;
    let rope = source.rope(&keys, &c, "full_attention")?;
    keys.finish("qwen2")?;
    let mlp = |w: &_| GatedMlp::load(w, c.hidden, c.inner, Bias::Without, act);
    PreNorm::load("qwen2", source, &c, rope, attention, mlp)
}
