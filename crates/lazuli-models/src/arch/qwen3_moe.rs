//! Qwen3's models with experts (Yang et al., 2025).
//!
//! Qwen3's form with experts in place of the feed-forward part, in all layers or in some.

use lazuli_nn::{
    AttentionConfig, Bias, ExpertActivation, ExpertNames, Experts, GatedMlp, HeadNorms, Moe, Router,
    RouterConfig, Score, Weights,
};
use serde_json::json;

use crate::config::{self, Decoder, Sparse, activation, bias};
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
    // Newer versions of the library write the other name.
    let experts = if keys.has("num_experts") { "num_experts" } else { "num_local_experts" };
    let sparse = Sparse::read(&keys, experts, "moe_intermediate_size")?;
    let has_experts = config::sparse_layers(&keys, c.layers)?;
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
    keys.finish("qwen3_moe")?;

    let sizes = [sparse.experts, sparse.inner, c.hidden];
    let feed_forward = |w: &Weights, layer: usize| {
        let w = w.at("mlp");
        if !has_experts[layer] {
            return Ok(GatedMlp::load(&w, c.hidden, c.inner, Bias::Without, act)?.into());
        }
        let names = (ExpertNames::PROJECTIONS, Bias::Without);
        let experts = Experts::load(&w, sizes, names, ExpertActivation::Gated(act))?;
        Ok(Moe::new(Router::load(&w.at("gate"), router.clone())?, experts, None).into())
    };
    PreNorm::load_sparse("qwen3_moe", (source, &c, sparse), rope, attention, feed_forward)
}
