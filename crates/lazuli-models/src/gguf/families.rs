//! What the files of one architecture leave to the program that runs them, or say in their own way.

use lazuli_io::Checkpoint;
use lazuli_io::gguf::{Array, Value as Stored};
use serde_json::{Map, Value, json};

use super::Dialect;
use super::metadata::Reader;
use crate::Result;

/// Adds it to `config`, which has what all files say.
pub(super) fn complete(
    dialect: &Dialect,
    reader: &Reader<'_>,
    checkpoint: &Checkpoint,
    config: &mut Map<String, Value>,
) -> Result<()> {
    let architecture = dialect.architecture;
    let eps = match architecture {
        "cohere2" => ("attention.layer_norm_epsilon", "layer_norm_eps"),
        _ => ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    };
    let value = reader.number(eps.0)?.ok_or_else(|| reader.error(eps.0, "it is missing"))?;
    config.insert(eps.1.to_owned(), json!(value));
    if dialect.model_type == "mixtral" {
        return Ok(());
    }
    if matches!(architecture, "glm4" | "granite" | "llama" | "smollm3") {
        // Biases are not announced: they are there or not.
        let has = |name| json!(checkpoint.tensor(name).is_some());
        config.insert("attention_bias".to_owned(), has("blk.0.attn_q.bias"));
        if architecture != "glm4" {
            config.insert("mlp_bias".to_owned(), has("blk.0.ffn_up.bias"));
        }
    }
    match architecture {
        "cohere2" => {
            windows(reader, config)?;
            logit_scale(reader, config, "logit_scale")
        }
        "gemma2" | "gemma3" => {
            windows(reader, config)?;
            query_scale(architecture, config);
            Ok(())
        }
        "granite" => granite(reader, config),
        "phi3" => phi3(reader, config),
        _ => Ok(()),
    }
}

/// Which layers slide: every but the n-th, or a list.
fn windows(reader: &Reader<'_>, config: &mut Map<String, Value>) -> Result<()> {
    let name = "attention.sliding_window_pattern";
    let key = reader.key(name);
    let Some(Stored::Array(Array::Numbers(list))) = reader.metadata.get(&key) else {
        if let Some(pattern) = reader.size(name)? {
            config.insert("sliding_window_pattern".to_owned(), json!(pattern));
        }
        return Ok(());
    };
    let reach = |index: usize| match list.get(index) {
        Some(Stored::Bool(true)) => Ok("sliding_attention"),
        Some(Stored::Bool(false)) => Ok("full_attention"),
        _ => Err(reader.error(name, "expected a number or a list of true and false")),
    };
    let types: Vec<&str> = (0..list.len()).map(reach).collect::<Result<_>>()?;
    config.insert("layer_types".to_owned(), json!(types));
    Ok(())
}

/// Queries of Gemma are scaled by the length of a head, those of the 27B models by the hidden size per head; these
/// are known by their depths.
fn query_scale(architecture: &str, config: &mut Map<String, Value>) {
    let size = |key: &str| config.get(key).and_then(Value::as_u64).unwrap_or(0);
    let is_27b = size("num_hidden_layers") == if architecture == "gemma2" { 46 } else { 62 };
    let scalar =
        if is_27b { size("hidden_size") / size("num_attention_heads").max(1) } else { size("head_dim") };
    config.insert("query_pre_attn_scalar".to_owned(), json!(scalar));
}

fn logit_scale(reader: &Reader<'_>, config: &mut Map<String, Value>, name: &str) -> Result<()> {
    let scale = reader.number("logit_scale")?.ok_or_else(|| reader.error("logit_scale", "it is missing"))?;
    config.insert(name.to_owned(), json!(scale));
    Ok(())
}

fn granite(reader: &Reader<'_>, config: &mut Map<String, Value>) -> Result<()> {
    let key = reader.key("rope.scaling.finetuned");
    if reader.metadata.bool(&key)? == Some(false) {
        return Err(reader.error("rope.scaling.finetuned", "false (no rotation) is not supported"));
    }
    // What the files call a scale divides.
    logit_scale(reader, config, "logits_scaling")
}

/// The factors of LongRoPE are tensors, and these the numbers beside them.
fn phi3(reader: &Reader<'_>, config: &mut Map<String, Value>) -> Result<()> {
    let kind = reader.key("rope.scaling.type");
    if let Some(kind) = reader.metadata.str(&kind)?.filter(|kind| !matches!(*kind, "none" | "longrope")) {
        return Err(reader.error("rope.scaling.type", format!("`{kind}` is not supported here")));
    }
    if let Some(factor) = reader.number("rope.scaling.attn_factor")? {
        config.insert("rope_attention_factor".to_owned(), json!(factor));
    }
    if let Some(original) = reader.size("rope.scaling.original_context_length")? {
        config.insert("original_max_position_embeddings".to_owned(), json!(original));
    }
    Ok(())
}
