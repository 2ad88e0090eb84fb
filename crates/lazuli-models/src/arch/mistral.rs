//! Mistral 7B and its successors (Jiang et al., 2023).
//!
//! Llama's form; the first version has a sliding window in all layers, later ones see everything.

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
        "max_position_embeddings": 131_072,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
    }));
    let c = Decoder::read(&keys)?;
    // Files that do not mention the window are those of the first version.
    let window = if keys.states("sliding_window") { config::window(&keys)? } else { Some(4096) };
    let attention = AttentionConfig { window, ..c.attention() };
    let act = activation(&keys, "hidden_act")?;
    let rope = source.rope(&keys, &c, "full_attention")?;
    keys.finish("mistral")?;
    let mlp = |w: &_| GatedMlp::load(w, c.hidden, c.inner, Bias::Without, act);
    PreNorm::load("mistral", source, &c, rope, |_| attention.clone(), mlp)
}
