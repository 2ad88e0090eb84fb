//! DeepSeek-V2 and V2-Lite (DeepSeek-AI, 2024).
//!
//! V3's form with routing by a softmax, among all experts or the groups of the best ones.

use lazuli_nn::{Bias, GroupRank, RouterConfig, Score};
use serde_json::json;

use super::deepseek_v3;
use crate::config::{Keys, Sparse};
use crate::source::Source;
use crate::{CausalLm, Error, Result};

/// Reads settings and names weights.
pub fn load(source: &Source) -> Result<Box<dyn CausalLm>> {
    let keys = source.keys(json!({
        "first_k_dense_replace": 0,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "scoring_func": "softmax",
        "topk_method": "greedy",
    }));
    deepseek_v3::load_with("deepseek_v2", source, &keys, router)
}

fn router(keys: &Keys, hidden: usize, sparse: Sparse) -> Result<RouterConfig> {
    let groups = deepseek_v3::groups(keys, sparse, GroupRank::Largest)?;
    let (score, method) = (keys.text("scoring_func")?, keys.text("topk_method")?);
    let groups = match method.as_str() {
        "greedy" => None,
        "group_limited_greedy" => groups,
        other => {
            let what = format!("`{other}` is not supported; greedy and group_limited_greedy are");
            return Err(Error::setting("topk_method", what));
        }
    };
    if score != "softmax" {
        return Err(Error::setting("scoring_func", format!("`{score}` is not supported; softmax is")));
    }
    // No published file normalises, and the published codes do not agree on what that would scale.
    if keys.flag("norm_topk_prob")? {
        return Err(Error::setting("norm_topk_prob", "true is not supported for deepseek_v2"));
    }
    Ok(RouterConfig {
        hidden,
        experts: sparse.experts,
        chosen: sparse.chosen,
        bias: Bias::Without,
        score: Score::Softmax,
        normalised: false,
        scale: keys.optional_positive("routed_scaling_factor")?.unwrap_or(1.0),
        groups,
    })
}
