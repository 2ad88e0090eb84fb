//! OLMoE (Muennighoff et al., 2024).
//!
//! Llama's form with norms of queries and keys over all heads together, and many small experts in every layer.

use lazuli_nn::{
    AttentionConfig, Bias, ExpertActivation, ExpertNames, Experts, HeadNorms, Moe, Router, RouterConfig,
    Score, Weights,
};
use serde_json::json;

use crate::config::{Decoder, Sparse, activation, bias};
use crate::pre_norm::PreNorm;
use crate::source::Source;
use crate::{CausalLm, Result};

/// Reads settings and names weights.
pub fn load(source: &Source) -> Result<Box<dyn CausalLm>> {
    let keys = source.keys(json!({
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
    }));
    let c = Decoder::read(&keys)?;
    let sparse = Sparse::read(&keys, "num_experts", "intermediate_size")?;
    let biases = bias(&keys, "attention_bias")?;
    let attention = |_| AttentionConfig {
        qkv_bias: biases,
        output_bias: biases,
        head_norms: HeadNorms::RmsOfAll { eps: c.eps },
        ..c.attention()
    };
    let act = ExpertActivation::Gated(activation(&keys, "hidden_act")?);
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
    keys.finish("olmoe")?;

    let sizes = [sparse.experts, sparse.inner, c.hidden];
    let moe = |w: &Weights, _| {
        let w = w.at("mlp");
        let experts = Experts::load(&w, sizes, (ExpertNames::PROJECTIONS, Bias::Without), act)?;
        Ok(Moe::new(Router::load(&w.at("gate"), router.clone())?, experts, None).into())
    };
    PreNorm::load_sparse("olmoe", (source, &c, sparse), rope, attention, moe)
}
