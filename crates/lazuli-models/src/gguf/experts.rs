//! Experts and latent attention in the words of GGUF files.

use lazuli_core::Array;
use lazuli_io::Checkpoint;
use lazuli_io::gguf::Metadata;
use serde_json::{Map, Value, json};

use super::Dialect;
use super::metadata::Reader;
use super::names::Names;
use crate::Result;

/// The router, and all experts of a layer in one tensor for each projection.
pub const EXPERTS: Names = &[
    ("ffn_gate_inp", "mlp.gate"),
    ("ffn_gate_exps", "mlp.switch_mlp.gate_proj"),
    ("ffn_up_exps", "mlp.switch_mlp.up_proj"),
    ("ffn_down_exps", "mlp.switch_mlp.down_proj"),
];

/// What every token passes, in DeepSeek's words.
pub const SHARED_EXPERTS: Names = &[
    ("ffn_gate_shexp", "mlp.shared_experts.gate_proj"),
    ("ffn_up_shexp", "mlp.shared_experts.up_proj"),
    ("ffn_down_shexp", "mlp.shared_experts.down_proj"),
];

/// The same in Qwen's.
pub const SHARED_EXPERT: Names = &[
    ("ffn_gate_shexp", "mlp.shared_expert.gate_proj"),
    ("ffn_up_shexp", "mlp.shared_expert.up_proj"),
    ("ffn_down_shexp", "mlp.shared_expert.down_proj"),
    ("ffn_gate_inp_shexp", "mlp.shared_expert_gate"),
];

/// Multi-head latent attention.
pub const LATENT: Names = &[
    ("attn_q_a", "self_attn.q_a_proj"),
    ("attn_q_a_norm", "self_attn.q_a_layernorm"),
    ("attn_q_b", "self_attn.q_b_proj"),
    ("attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"),
    ("attn_kv_a_norm", "self_attn.kv_a_layernorm"),
    ("attn_kv_b", "self_attn.kv_b_proj"),
    ("attn_k_b", "self_attn.embed_q"),
    ("attn_v_b", "self_attn.unembed_out"),
];

/// Experts with biases, and a norm that is called as if it stood behind attention.
pub const GPT_OSS: Names = &[
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_gate_inp", "mlp.router"),
    ("ffn_gate_exps", "mlp.experts.gate_proj"),
    ("ffn_up_exps", "mlp.experts.up_proj"),
    ("ffn_down_exps", "mlp.experts.down_proj"),
];

/// What the code number of sigmoid routing is.
const SIGMOID: usize = 2;

/// The array of the tensor `name` (a translated one) in the shape that Hugging Face checkpoints give it.
pub fn reshaped(name: String, array: Array) -> (String, Array) {
    // Writers drop the axis of length one.
    if name.ends_with("shared_expert_gate.weight") && array.shape().rank() == 1 {
        let array = array.reshape([1, array.shape()[0]]);
        return (name, array);
    }
    (name, array)
}

/// Which of the architectures that files call by one name they mean, as `model_type` has it.
pub(super) fn model_type(architecture: &str, metadata: &Metadata) -> Result<Option<&'static str>> {
    let number = |key: &str| metadata.usize(&format!("{architecture}.{key}"));
    Ok(match architecture {
        "llama" => Some(if number("expert_count")?.unwrap_or(0) > 0 { "mixtral" } else { "llama" }),
        "deepseek2" if number("expert_gating_func")? == Some(SIGMOID) => Some("deepseek_v3"),
        "deepseek2" => Some("deepseek_v2"),
        _ => None,
    })
}

/// Adds what files with experts say to `config`.
pub(super) fn complete(
    dialect: &Dialect,
    reader: &Reader<'_>,
    checkpoint: &Checkpoint,
    config: &mut Map<String, Value>,
) -> Result<()> {
    let count = match dialect.model_type {
        "mixtral" | "gpt_oss" => "num_local_experts",
        "qwen2_moe" | "qwen3_moe" | "olmoe" => "num_experts",
        "deepseek_v2" | "deepseek_v3" | "glm4_moe" => "n_routed_experts",
        _ => return Ok(()),
    };
    required(reader, config, "expert_count", count)?;
    required(reader, config, "expert_used_count", "num_experts_per_tok")?;
    let inner = reader.size("expert_feed_forward_length")?;
    if let Some(inner) = inner.filter(|_| count != "num_local_experts" && dialect.model_type != "olmoe") {
        config.insert("moe_intermediate_size".to_owned(), json!(inner));
    }
    if count == "num_experts" {
        // All published Qwen3 models normalise and the others do not; files seldom say.
        let stated = reader.metadata.bool(&reader.key("expert_weights_norm"))?;
        let normalised = stated.unwrap_or(dialect.model_type == "qwen3_moe");
        config.insert("norm_topk_prob".to_owned(), json!(normalised));
    }
    if count != "n_routed_experts" && reader.size("expert_gating_func")? == Some(SIGMOID) {
        return Err(reader.error("expert_gating_func", "sigmoids are not supported in this architecture"));
    }
    match dialect.model_type {
        "qwen2_moe" => {
            let shared = "shared_expert_intermediate_size";
            required(reader, config, "expert_shared_feed_forward_length", shared)?;
        }
        "gpt_oss" => {
            // The files' writers round the ends of the ramp, the model's own code does not.
            if let Some(scaling) = config.get_mut("rope_scaling") {
                scaling["truncate"] = json!(false);
            }
        }
        "glm4_moe" => {
            routing(reader, config)?;
            extra_layers(reader, config)?;
            let has = |name| json!(checkpoint.tensor(name).is_some());
            config.insert("attention_bias".to_owned(), has("blk.0.attn_q.bias"));
            config.insert("use_qk_norm".to_owned(), has("blk.0.attn_q_norm.weight"));
        }
        "deepseek_v2" | "deepseek_v3" => {
            routing(reader, config)?;
            extra_layers(reader, config)?;
            groups(dialect, config);
            latent(reader, config)?;
        }
        _ => {}
    }
    Ok(())
}

fn required(reader: &Reader<'_>, config: &mut Map<String, Value>, from: &str, to: &str) -> Result<()> {
    let value = reader.size(from)?.ok_or_else(|| reader.error(from, "it is missing"))?;
    config.insert(to.to_owned(), json!(value));
    Ok(())
}

/// Routing as in DeepSeek's models, and those that took it over.
fn routing(reader: &Reader<'_>, config: &mut Map<String, Value>) -> Result<()> {
    required(reader, config, "expert_shared_count", "n_shared_experts")?;
    required(reader, config, "leading_dense_block_count", "first_k_dense_replace")?;
    if let Some(scale) = reader.number("expert_weights_scale")? {
        config.insert("routed_scaling_factor".to_owned(), json!(scale));
    }
    let normalised = reader.metadata.bool(&reader.key("expert_weights_norm"))?.unwrap_or(false);
    config.insert("norm_topk_prob".to_owned(), json!(normalised));
    let sigmoid = reader.size("expert_gating_func")? == Some(SIGMOID);
    let sparse = config.get("model_type") == Some(&json!("deepseek_v2"));
    if sparse == sigmoid {
        return Err(reader.error("expert_gating_func", "it is not the one of this architecture"));
    }
    for (from, to) in [("expert_group_count", "n_group"), ("expert_group_used_count", "topk_group")] {
        if let Some(value) = reader.size(from)? {
            config.insert(to.to_owned(), json!(value));
        }
    }
    Ok(())
}

/// Layers that guess further tokens are counted with the others.
fn extra_layers(reader: &Reader<'_>, config: &mut Map<String, Value>) -> Result<()> {
    let extra = reader.size("nextn_predict_layers")?.unwrap_or(0);
    let all = config.get("num_hidden_layers").and_then(Value::as_u64).unwrap_or(0);
    config.insert("num_hidden_layers".to_owned(), json!(all.saturating_sub(extra as u64)));
    config.insert("num_nextn_predict_layers".to_owned(), json!(extra));
    Ok(())
}

/// Older files leave out the groups of experts.
fn groups(dialect: &Dialect, config: &mut Map<String, Value>) {
    let is_v3 = dialect.model_type == "deepseek_v3";
    if is_v3 && config.get("n_routed_experts") == Some(&json!(256)) && !config.contains_key("n_group") {
        // V3, R1 and V3.1, the only models of this form with as many experts.
        config.insert("n_group".to_owned(), json!(8));
        config.insert("topk_group".to_owned(), json!(4));
    }
    if !is_v3 {
        let grouped = config.get("n_group").and_then(Value::as_u64).is_some_and(|groups| groups > 1);
        let method = if grouped { "group_limited_greedy" } else { "greedy" };
        config.insert("topk_method".to_owned(), json!(method));
    }
}

/// Sizes of latent attention. Files with split key and value projections give lengths of the absorbed form, and those
/// of the heads apart.
fn latent(reader: &Reader<'_>, config: &mut Map<String, Value>) -> Result<()> {
    required(reader, config, "attention.kv_lora_rank", "kv_lora_rank")?;
    if let Some(rank) = reader.size("attention.q_lora_rank")?.filter(|&rank| rank > 0) {
        config.insert("q_lora_rank".to_owned(), json!(rank));
    }
    let length = |name: &str| -> Result<usize> {
        let plain = reader.size(&format!("attention.{name}"))?;
        let of_heads = reader.size(&format!("attention.{name}_mla"))?;
        of_heads.or(plain).ok_or_else(|| reader.error(&format!("attention.{name}"), "it is missing"))
    };
    let (key, value) = (length("key_length")?, length("value_length")?);
    required(reader, config, "rope.dimension_count", "qk_rope_head_dim")?;
    let rotated = config.get("qk_rope_head_dim").and_then(Value::as_u64).unwrap_or(0) as usize;
    let nope = key.checked_sub(rotated).filter(|&nope| nope > 0);
    let nope =
        nope.ok_or_else(|| reader.error("attention.key_length", "it is not more than what rotates"))?;
    for (name, number) in [("qk_nope_head_dim", nope), ("v_head_dim", value), ("head_dim", rotated)] {
        config.insert(name.to_owned(), json!(number));
    }
    // The absorbed form has one head of keys.
    config.remove("num_key_value_heads");
    config.remove("partial_rotary_factor");
    let weight = reader.number("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0);
    if let Some(scaling) = config.get_mut("rope_scaling") {
        scaling["mscale_all_dim"] = json!(weight / 0.1);
        // The weights of both are equal in all published models, so rotated elements do not grow.
        scaling["attention_factor"] = json!(1.0);
    }
    Ok(())
}
