//! Qwen1.5-MoE and Qwen2's models with experts (Yang et al., 2024).
//!
//! Qwen2's form with experts, and beside them an MLP that every token passes, weighted by a gate of its own.

use lazuli_nn::{
    AttentionConfig, Bias, ExpertActivation, ExpertNames, Experts, GatedMlp, Moe, Router, RouterConfig,
    Score, SharedExperts, Weights,
};
use serde_json::json;

use crate::config::{self, Decoder, Sparse, activation, bias};
use crate::pre_norm::PreNorm;
use crate::source::Source;
use crate::{CausalLm, Result};

/// Reads settings and names weights.
pub fn load(source: &Source) -> Result<Box<dyn CausalLm>> {
    let keys = source.keys(json!({
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "qkv_bias": true,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
    }));
    let c = Decoder::read(&keys)?;
    let sparse = Sparse::read(&keys, "num_experts", "moe_intermediate_size")?;
    let shared_inner = keys.size("shared_expert_intermediate_size")?;
    let has_experts = config::sparse_layers(&keys, c.layers)?;
    let windows = config::upper_windows(&keys, c.layers)?;
    let qkv_bias = bias(&keys, "qkv_bias")?;
    let attention = |layer: usize| AttentionConfig { qkv_bias, window: windows[layer], ..c.attention() };
    let act = activation(&keys, "hidden_act")?;
    let router = RouterConfig {
        hidden: c.hidden,
        experts: sparse.experts,
        chosen: sparse.chosen,
        bias: Bias::Without,
        score: Score::Softmax,
        normalised: keys.flag("norm_topk_prob")?,
        scale: 1.0,
        groups: None,
    };
    let rope = source.rope(&keys, &c, "full_attention")?;
    keys.finish("qwen2_moe")?;

    let sizes = [sparse.experts, sparse.inner, c.hidden];
    let feed_forward = |w: &Weights, layer: usize| {
        let w = w.at("mlp");
        if !has_experts[layer] {
            return Ok(GatedMlp::load(&w, c.hidden, c.inner, Bias::Without, act)?.into());
        }
        let names = (ExpertNames::PROJECTIONS, Bias::Without);
        let experts = Experts::load(&w, sizes, names, ExpertActivation::Gated(act))?;
        let shared = GatedMlp::load(&w.at("shared_expert"), c.hidden, shared_inner, Bias::Without, act)?;
        let shared = SharedExperts::gated(shared, &w.at("shared_expert_gate"), c.hidden)?;
        Ok(Moe::new(Router::load(&w.at("gate"), router.clone())?, experts, Some(shared)).into())
    };
    PreNorm::load_sparse("qwen2_moe", (source, &c, sparse), rope, attention, feed_forward)
}
