//! GPT-OSS (OpenAI, 2025).
//!
//! Every other layer has a sliding window, attention may look away (sinks), and experts have biases and a clamped
//! SwiGLU.

use lazuli_nn::{
    AttentionConfig, ExpertActivation, ExpertNames, Experts, Moe, Router, RouterConfig, Score, Sinks, Weights,
};
use serde_json::json;

use crate::config::{self, Decoder, Reach, Sparse, bias};
use crate::pre_norm::PreNorm;
use crate::source::Source;
use crate::{CausalLm, Result};

/// Reads settings and names weights.
pub fn load(source: &Source) -> Result<Box<dyn CausalLm>> {
    let keys = source.keys(json!({
        "attention_bias": true,
        "head_dim": 64,
        "hidden_act": "silu",
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 150_000.0,
        "swiglu_alpha": 1.702,
        "swiglu_limit": 7.0,
    }));
    let c = Decoder::read(&keys)?;
    let sparse = Sparse::read(&keys, "num_local_experts", "intermediate_size")?;
    // Published files say it twice.
    keys.optional_size("experts_per_token")?;
    let reaches = config::reaches(&keys, c.layers, 2)?;
    let window = config::window(&keys)?;
    let biases = bias(&keys, "attention_bias")?;
    let attention = |layer: usize| AttentionConfig {
        qkv_bias: biases,
        output_bias: biases,
        window: window.filter(|_| reaches[layer] == Reach::Sliding),
        sinks: Sinks::With,
        ..c.attention()
    };
    config::activation(&keys, "hidden_act")?;
    let act = ExpertActivation::Clamped {
        alpha: keys.positive("swiglu_alpha")?,
        limit: keys.positive("swiglu_limit")?,
    };
    // Published files say in words of their own what `rope_scaling` says too.
    keys.optional_number("initial_context_length")?;
    let rope = source.rope(&keys, &c, "full_attention")?;
    keys.finish("gpt_oss")?;

    let router = RouterConfig {
        hidden: c.hidden,
        experts: sparse.experts,
        chosen: sparse.chosen,
        bias: lazuli_nn::Bias::With,
        score: Score::Softmax,
        normalised: true,
        scale: 1.0,
        groups: None,
    };
    let sizes = [sparse.experts, sparse.inner, c.hidden];
    let moe = |w: &Weights, _| {
        let w = w.at("mlp");
        let names = (ExpertNames::PROJECTIONS, lazuli_nn::Bias::With);
        let experts = Experts::load(&w, sizes, names, act)?;
        Ok(Moe::new(Router::load(&w.at("router"), router.clone())?, experts, None).into())
    };
    PreNorm::load_sparse("gpt_oss", (source, &c, sparse), rope, attention, moe)
}
