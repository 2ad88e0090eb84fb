//! A GGUF file as Hugging Face folders have it: names, `config.json`, rows in the order of that world.

use lazuli_io::{Checkpoint, Kind};
use lazuli_nn::RopeStyle;
use serde_json::{Map, Value, json};

use super::to_gguf::{CONVERTIBLE, llama3_factors};
use super::{Converted, Renamed, RowOrder};
use crate::gguf;
use crate::source::NormWeights;
use crate::{Error, Result};

/// The tensor in which GGUF files keep factors of the rotation.
const FACTORS: &str = "rope_freqs.weight";

/// What `checkpoint` (a GGUF file of the architecture llama, qwen2, qwen3 or gemma3) is as a folder: its header is a
/// `config.json`. The files of the tokenizer are not part of it.
///
/// # Errors
/// If the architecture is another one, or a setting or tensor is not understood.
pub fn to_folder(checkpoint: &Checkpoint) -> Result<Converted<Map<String, Value>>> {
    let Kind::Gguf(metadata) = checkpoint.kind() else {
        return Err(Error::setting("general.architecture", "missing: the checkpoint is no GGUF file"));
    };
    let (dialect, mut config) = gguf::describe(metadata, checkpoint)?;
    if !CONVERTIBLE.contains(&dialect.model_type) {
        return Err(Error::UnknownArchitecture {
            found: format!("{} (between folders and GGUF files)", dialect.architecture),
            supported: CONVERTIBLE.join(", "),
        });
    }
    let (class, act_key, act) = match dialect.architecture {
        "gemma3" => ("Gemma3ForCausalLM", "hidden_activation", "gelu_pytorch_tanh"),
        "qwen2" => ("Qwen2ForCausalLM", "hidden_act", "silu"),
        "qwen3" => ("Qwen3ForCausalLM", "hidden_act", "silu"),
        _ => ("LlamaForCausalLM", "hidden_act", "silu"),
    };
    config.insert("architectures".to_owned(), json!([class]));
    config.insert(act_key.to_owned(), json!(act));
    if !config.contains_key("rope_theta") {
        config.insert("rope_theta".to_owned(), json!(10000.0));
    }
    for (key, from) in [("bos_token_id", "bos"), ("eos_token_id", "eos")] {
        let id = metadata.u32(&format!("tokenizer.ggml.{from}_token_id"))?;
        if let Some(id) = id.filter(|&id| id != u32::MAX) {
            config.insert(key.to_owned(), json!(id));
        }
    }
    if let Some(factors) = checkpoint.tensor(FACTORS) {
        let factors = checkpoint.array_of(factors)?.as_slice::<f32>()?.to_vec();
        config.insert("rope_scaling".to_owned(), scaling(&factors, &config)?);
    }
    let head_dim = config.get("head_dim").and_then(Value::as_u64).unwrap_or(0) as usize;
    let interleaved = dialect.conventions.rope == RopeStyle::Interleaved;
    let offset = dialect.conventions.norms == NormWeights::OffsetIncluded;
    let mut tensors = Vec::new();
    for tensor in checkpoint.tensors().iter().filter(|tensor| tensor.name != FACTORS) {
        let name = gguf::tensor_name(dialect, &tensor.name);
        if name == tensor.name {
            let what = format!("tensor `{name}` has no name in folders of this architecture");
            return Err(Error::setting("general.architecture", what));
        }
        let reordered = interleaved && [".q_proj.", ".k_proj."].iter().any(|part| name.contains(part));
        let rows = if reordered { RowOrder::HalvesFromPairs(head_dim) } else { RowOrder::Same };
        let add = if offset && name.ends_with("norm.weight") { -1.0 } else { 0.0 };
        tensors.push(Renamed { from: tensor.name.clone(), name, rows, add });
    }
    Ok(Converted { header: config, tensors, computed: Vec::new() })
}

/// The settings behind factors of the rotation, if they follow the rule of Llama 3.1 to 3.3 with its usual numbers and
/// any original context: files do not say.
fn scaling(factors: &[f32], config: &Map<String, Value>) -> Result<Value> {
    let theta = config.get("rope_theta").and_then(Value::as_f64).unwrap_or(0.0) as f32;
    let (low, high) = (1.0, 4.0);
    let factor = factors.last().copied().unwrap_or(1.0);
    let fits = |original: &usize| {
        let known = llama3_factors(theta, factors.len() * 2, factor, (low, high), *original);
        known.iter().zip(factors).all(|(a, b)| (a - b).abs() <= 1e-3 * b.abs())
    };
    let Some(original) = (6..21).map(|power| 1usize << power).find(fits) else {
        let what = format!(
            "the factors in `{FACTORS}` are not those of Llama 3, and a folder has no place for others"
        );
        return Err(Error::setting("rope_scaling", what));
    };
    Ok(json!({
        "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_of_llama_3_are_known_again() {
        let config = json!({"rope_theta": 500000.0});
        let factors = llama3_factors(500000.0, 128, 32.0, (1.0, 4.0), 8192);
        assert_eq!((factors[0], factors[63]), (1.0, 32.0));
        assert!(factors.windows(2).all(|pair| pair[0] <= pair[1]));
        let found = scaling(&factors, config.as_object().unwrap()).unwrap();
        assert_eq!((&found["factor"], &found["rope_type"]), (&json!(32.0), &json!("llama3")));
        assert_eq!(found["original_max_position_embeddings"], 8192);
        let foreign: Vec<f32> = (0..64).map(|i| 1.0 + i as f32).collect();
        assert!(scaling(&foreign, config.as_object().unwrap()).is_err());
    }
}
