//! Mixtral (Jiang et al., 2024).
//!
//! Llama's form with experts in every layer, weighted by a softmax over those chosen.

use lazuli_nn::{
    AttentionConfig, Bias, ExpertActivation, ExpertNames, Experts, Moe, Router, RouterConfig, Score, Weights,
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
        "max_position_embeddings": 131_072,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1_000_000.0,
    }));
    let c = Decoder::read(&keys)?;
    let sparse = Sparse::read(&keys, "num_local_experts", "intermediate_size")?;
    let window = config::window(&keys)?;
    let biases = bias(&keys, "attention_bias")?;
    let attention = |_| AttentionConfig { window, qkv_bias: biases, output_bias: biases, ..c.attention() };
    let act = ExpertActivation::Gated(activation(&keys, "hidden_act")?);
    let rope = source.rope(&keys, &c, "full_attention")?;
    keys.finish("mixtral")?;

    let router = RouterConfig {
        hidden: c.hidden,
        experts: sparse.experts,
        chosen: sparse.chosen,
        bias: Bias::Without,
        score: Score::Softmax,
        normalised: true,
        scale: 1.0,
        groups: None,
    };
    let sizes = [sparse.experts, sparse.inner, c.hidden];
    let moe = |w: &Weights, _| {
        let renamed = w.at("mlp");
        let w = if renamed.contains("gate.weight") { renamed } else { w.at("block_sparse_moe") };
        let experts = Experts::load(&w, sizes, (ExpertNames::NUMBERED, Bias::Without), act)?;
        Ok(Moe::new(Router::load(&w.at("gate"), router.clone())?, experts, None).into())
    };
    PreNorm::load_sparse("mixtral", (source, &c, sparse), rope, attention, moe)
}
