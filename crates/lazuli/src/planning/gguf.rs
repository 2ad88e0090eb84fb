//! The settings of a GGUF file in a `config.json`'s words, as far as memory and speed go.
//!
//! Every architecture of the usual keys is read, also those that nothing here runs. What running needs is read, more
//! strictly, by `lazuli-models`.

use lazuli_io::gguf::{Array, Metadata, Value as Stored};
use serde_json::{Map, Value, json};

/// The same number under both names.
const SAME: &[(&str, &str)] = &[
    ("block_count", "num_hidden_layers"),
    ("context_length", "max_position_embeddings"),
    ("embedding_length", "hidden_size"),
    ("feed_forward_length", "intermediate_size"),
    ("expert_feed_forward_length", "moe_intermediate_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.sliding_window", "sliding_window"),
    ("attention.kv_lora_rank", "kv_lora_rank"),
    ("attention.q_lora_rank", "q_lora_rank"),
    ("expert_count", "num_experts"),
    ("expert_used_count", "num_experts_per_tok"),
    ("expert_shared_count", "n_shared_experts"),
    ("leading_dense_block_count", "first_k_dense_replace"),
];

/// Names of architectures that differ.
const KINDS: &[(&str, &str)] = &[
    ("gemma3", "gemma3_text"),
    ("qwen3moe", "qwen3_moe"),
    ("qwen2moe", "qwen2_moe"),
    ("gpt-oss", "gpt_oss"),
    ("deepseek2", "deepseek_v3"),
];

/// The settings; `tensors` are names and elements of the file's tensors.
pub(super) fn config(metadata: &Metadata, tensors: &[(String, u64)]) -> Value {
    let architecture = metadata.str("general.architecture").ok().flatten().unwrap_or("");
    let number = |key: &str| metadata.get(&format!("{architecture}.{key}")).and_then(largest);
    let mut config = Map::new();
    for (from, to) in SAME {
        if let Some(n) = number(from) {
            config.insert((*to).to_owned(), json!(n));
        }
    }
    let kind = KINDS.iter().find(|(from, _)| *from == architecture).map_or(architecture, |(_, to)| to);
    config.insert("model_type".to_owned(), json!(kind));
    let elements = |name: &str| tensors.iter().find(|(n, _)| n == name).map(|(_, elements)| *elements);
    config.insert("tie_word_embeddings".to_owned(), json!(elements("output.weight").is_none()));
    if let (Some(table), Some(hidden)) = (elements("token_embd.weight"), number("embedding_length")) {
        config.insert("vocab_size".to_owned(), json!(table / hidden.max(1)));
    }
    if config.contains_key("kv_lora_rank") {
        latent(&mut config, &number);
    } else if let Some(length) = number("attention.key_length") {
        config.insert("head_dim".to_owned(), json!(length));
    }
    if let Some(Stored::Array(Array::Numbers(list))) =
        metadata.get(&format!("{architecture}.attention.sliding_window_pattern"))
    {
        let kind = |i: usize| match list.get(i) {
            Some(Stored::Bool(true)) => "sliding_attention",
            _ => "full_attention",
        };
        config.insert("layer_types".to_owned(), (0..list.len()).map(kind).collect::<Vec<_>>().into());
    }
    Value::Object(config)
}

/// The parts of a head of latent attention: files have the sums.
fn latent(config: &mut Map<String, Value>, number: &dyn Fn(&str) -> Option<u64>) {
    let rope = number("rope.dimension_count").unwrap_or(0);
    let key = number("attention.key_length_mla").or_else(|| number("attention.key_length")).unwrap_or(0);
    let value = number("attention.value_length_mla").or_else(|| number("attention.value_length"));
    config.insert("qk_rope_head_dim".to_owned(), json!(rope));
    config.insert("qk_nope_head_dim".to_owned(), json!(key.saturating_sub(rope)));
    config.insert("v_head_dim".to_owned(), json!(value.unwrap_or(0)));
}

/// A number, or the largest of a list that has one for each layer.
fn largest(value: &Stored) -> Option<u64> {
    match value {
        Stored::Array(Array::Numbers(list)) => {
            list.integers().and_then(|all: Vec<u64>| all.into_iter().max())
        }
        other => other.as_i128().and_then(|n| u64::try_from(n).ok()),
    }
}
