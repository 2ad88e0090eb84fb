//! GLM-4.5 and later (Zhipu AI, 2025), the models with experts.
//!
//! Llama's form with biases of queries, keys and values, heads that rotate in half of their elements, and
//! DeepSeek-V3's routing.

use lazuli_nn::{
    AttentionConfig, Bias, ExpertActivation, ExpertNames, Experts, GatedMlp, HeadNorms, Moe, Router,
    SharedExperts, Weights,
};
use serde_json::json;

use super::deepseek_v3;
use crate::config::{Decoder, Sparse, activation, bias};
use crate::pre_norm::PreNorm;
use crate::source::Source;
use crate::{CausalLm, Result};

/// Reads settings and names weights.
pub fn load(source: &Source) -> Result<Box<dyn CausalLm>> {
    let keys = source.keys(json!({
        "first_k_dense_replace": 1,
        "head_dim": 128,
        "hidden_act": "silu",
        "max_position_embeddings": 131_072,
        "norm_topk_prob": true,
        "num_key_value_heads": 8,
        "partial_rotary_factor": 0.5,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
    }));
    let c = Decoder::read(&keys)?;
    let sparse = Sparse::read(&keys, "n_routed_experts", "moe_intermediate_size")?;
    let shared_inner = sparse.inner * keys.size("n_shared_experts")?;
    let dense_layers = keys.optional("first_k_dense_replace", "a number of layers")?.unwrap_or(0usize);
    let norms = if keys.flag("use_qk_norm")? {
        HeadNorms::Rms { eps: c.eps, offset: 0.0 }
    } else {
        HeadNorms::Without
    };
    let qkv_bias = bias(&keys, "attention_bias")?;
    let attention = |_| AttentionConfig { qkv_bias, head_norms: norms, ..c.attention() };
    let act = activation(&keys, "hidden_act")?;
    let router = deepseek_v3::router(&keys, c.hidden, sparse)?;
    let rope = source.rope(&keys, &c, "full_attention")?;
    keys.finish("glm4_moe")?;

    let sizes = [sparse.experts, sparse.inner, c.hidden];
    let feed_forward = |w: &Weights, layer: usize| {
        let w = w.at("mlp");
        if layer < dense_layers {
            return Ok(GatedMlp::load(&w, c.hidden, c.inner, Bias::Without, act)?.into());
        }
        let names = (ExpertNames::PROJECTIONS, Bias::Without);
        let experts = Experts::load(&w, sizes, names, ExpertActivation::Gated(act))?;
        let shared = GatedMlp::load(&w.at("shared_experts"), c.hidden, shared_inner, Bias::Without, act)?;
        let router = Router::load(&w.at("gate"), router.clone())?;
        Ok(Moe::new(router, experts, Some(SharedExperts::new(shared))).into())
    };
    PreNorm::load_sparse("glm4_moe", (source, &c, sparse), rope, attention, feed_forward)
}
