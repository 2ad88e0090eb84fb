//! DeepSeek-V3, R1 and V3.1 (DeepSeek-AI, 2024), and the form that V2 shares.
//!
//! Multi-head latent attention, some dense layers first, then shared experts beside routed ones, which a token
//! chooses from its best groups by sigmoids and a correction.

use lazuli_core::Array;
use lazuli_nn::{
    BatchArrays, Bias, Embedding, ExpertActivation, ExpertNames, Experts, FeedForward, GatedMlp, GroupRank,
    Groups, Head, KvPool, Mla, Moe, RmsNorm, Rope, Router, RouterConfig, Score, SharedExperts, Weights,
};
use serde_json::json;

use crate::config::{Decoder, Keys, Sparse, activation, latent};
use crate::parts::Parts;
use crate::source::Source;
use crate::{CausalLm, Error, Result, Spec};

struct DeepSeek {
    spec: Spec,
    embedding: Embedding,
    rope: Rope,
    layers: Vec<Layer>,
    head: Head,
}

struct Layer {
    attention_norm: RmsNorm,
    attention: Mla,
    mlp_norm: RmsNorm,
    mlp: FeedForward,
}

impl CausalLm for DeepSeek {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn forward(&self, batch: &BatchArrays, kv: &mut KvPool) -> Array {
        let rope = self.rope.tables(batch);
        let mut x = self.embedding.forward(&batch.tokens); // [tokens, hidden]
        for (index, layer) in self.layers.iter().enumerate() {
            let normed = layer.attention_norm.forward(&x);
            x = x + layer.attention.forward(&normed, &rope, batch, kv, index);
            let normed = layer.mlp_norm.forward(&x);
            x = x + layer.mlp.forward(&normed);
        }
        self.head.forward(&x, batch) // [rows, vocabulary]
    }
}

/// Reads settings and names weights.
pub fn load(source: &Source) -> Result<Box<dyn CausalLm>> {
    let keys = source.keys(json!({
        "first_k_dense_replace": 3,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "norm_topk_prob": true,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
    }));
    let method = (keys.text("scoring_func")?, keys.text("topk_method")?);
    if (method.0.as_str(), method.1.as_str()) != ("sigmoid", "noaux_tc") {
        let what = format!("{} with {} is not supported; noaux_tc with sigmoid is", method.1, method.0);
        return Err(Error::setting("topk_method", what));
    }
    load_with("deepseek_v3", source, &keys, router)
}

/// Routing by sigmoids with a correction, among the best groups by their two best experts.
pub fn router(keys: &Keys, hidden: usize, sparse: Sparse) -> Result<RouterConfig> {
    Ok(RouterConfig {
        hidden,
        experts: sparse.experts,
        chosen: sparse.chosen,
        bias: Bias::Without,
        score: Score::CorrectedSigmoid,
        normalised: keys.flag("norm_topk_prob")?,
        scale: keys.optional_positive("routed_scaling_factor")?.unwrap_or(1.0),
        groups: groups(keys, sparse, GroupRank::TwoLargest)?,
    })
}

/// `n_group` and `topk_group`, if the experts stand in groups.
pub fn groups(keys: &Keys, sparse: Sparse, rank: GroupRank) -> Result<Option<Groups>> {
    let (count, kept) = (keys.optional_size("n_group")?, keys.optional_size("topk_group")?);
    let (Some(count), Some(kept)) = (count, kept) else { return Ok(None) };
    let members = sparse.experts / count;
    let least = if rank == GroupRank::TwoLargest && count > 1 { 2 } else { 1 };
    if sparse.experts % count != 0
        || count > 256
        || kept > count
        || kept * members < sparse.chosen
        || members < least
    {
        let Sparse { experts, chosen, .. } = sparse;
        let what = format!("{kept} of {count} groups do not suit {chosen} of {experts} experts");
        return Err(keys.error("n_group", what));
    }
    Ok(Some(Groups { count, kept, rank }))
}

/// The form that V2 and V3 share; `router` reads what they differ in.
pub fn load_with(
    name: &str,
    source: &Source,
    keys: &Keys,
    router: impl Fn(&Keys, usize, Sparse) -> Result<RouterConfig>,
) -> Result<Box<dyn CausalLm>> {
    let c = Decoder::read(keys)?;
    let sparse = Sparse::read(keys, "n_routed_experts", "moe_intermediate_size")?;
    let shared_inner = sparse.inner * keys.size("n_shared_experts")?;
    let dense_layers = keys.optional("first_k_dense_replace", "a number of layers")?.unwrap_or(0usize);
    if keys.optional_size("moe_layer_freq")?.unwrap_or(1) != 1 {
        return Err(keys.error("moe_layer_freq", "only 1 is supported"));
    }
    let router = router(keys, c.hidden, sparse)?;
    let act = activation(keys, "hidden_act")?;
    let (attention, rope) = latent(keys, &c)?;
    keys.finish(name)?;

    let sizes = [sparse.experts, sparse.inner, c.hidden];
    let feed_forward = |w: &Weights, layer: usize| -> Result<FeedForward> {
        if layer < dense_layers {
            return Ok(GatedMlp::load(w, c.hidden, c.inner, Bias::Without, act)?.into());
        }
        let names = (ExpertNames::PROJECTIONS, Bias::Without);
        let experts = Experts::load(w, sizes, names, ExpertActivation::Gated(act))?;
        let shared = GatedMlp::load(&w.at("shared_experts"), c.hidden, shared_inner, Bias::Without, act)?;
        let router = Router::load(&w.at("gate"), router.clone())?;
        Ok(Moe::new(router, experts, Some(SharedExperts::new(shared))).into())
    };
    let parts = Parts::new(source, &c);
    let embedding = parts.embedding(1.0)?;
    let layers = parts.layers(|w, index| {
        Ok(Layer {
            attention_norm: parts.norm(&w, "input_layernorm")?,
            attention: Mla::load(&w.at("self_attn"), attention.clone())?,
            mlp_norm: parts.norm(&w, "post_attention_layernorm")?,
            mlp: feed_forward(&w.at("mlp"), index)?,
        })
    })?;
    let head = parts.head(&embedding, parts.norm(&parts.weights, "norm")?, None)?;
    let spec = parts.spec(name, |_| attention.kv()).with_experts(sparse, &source.weights);
    Ok(Box::new(DeepSeek { spec, embedding, rope, layers, head }))
}
