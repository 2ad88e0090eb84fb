//! Phi-3, Phi-3.5 and Phi-4 (Abdin et al., 2024).
//!
//! Llama's form with fused projections; LongRoPE in the models with long contexts, heads that rotate in part in
//! Phi-4-mini, and a sliding window in the models with short contexts.

use lazuli_nn::{AttentionConfig, Bias, GatedMlp, Projections};
use serde_json::json;

use crate::config::{self, Decoder, activation};
use crate::pre_norm::PreNorm;
use crate::source::Source;
use crate::{CausalLm, Result};

/// Reads settings and names weights.
pub fn load(source: &Source) -> Result<Box<dyn CausalLm>> {
    let keys = source.keys(json!({
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
    }));
    let c = Decoder::read(&keys)?;
    let attention =
        AttentionConfig { projections: Projections::Fused, window: config::window(&keys)?, ..c.attention() };
    // What published files say about the wiring.
    for off in ["attention_bias", "lm_head_bias", "mlp_bias"] {
        keys.built_in(off, false)?;
    }
    for one in ["full_attn_mod", "interpolate_factor"] {
        keys.built_in(one, 1)?;
    }
    let act = activation(&keys, "hidden_act")?;
    let rope = source.rope(&keys, &c, "full_attention")?;
    keys.finish("phi3")?;
    let mlp = |w: &_| GatedMlp::load_fused(w, c.hidden, c.inner, Bias::Without, act);
    PreNorm::load("phi3", source, &c, rope, |_| attention.clone(), mlp)
}
