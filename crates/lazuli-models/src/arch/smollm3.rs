//! SmolLM3 (Hugging Face, 2025).
//!
//! Llama's form; every fourth layer does not rotate queries and keys.

use lazuli_nn::{AttentionConfig, GatedMlp, Rotation};
use serde_json::json;

use crate::config::{self, Decoder, Keys, Reach, activation, bias};
use crate::pre_norm::PreNorm;
use crate::source::Source;
use crate::{CausalLm, Error, Result};

/// Reads settings and names weights.
pub fn load(source: &Source) -> Result<Box<dyn CausalLm>> {
    let keys = source.keys(json!({
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-6,
        "rope_theta": 2_000_000.0,
        "tie_word_embeddings": true,
    }));
    let c = Decoder::read(&keys)?;
    let rotations = rotations(&keys, c.layers)?;
    let windows = windows(&keys, &rotations)?;
    let biases = bias(&keys, "attention_bias")?;
    let attention = |layer: usize| AttentionConfig {
        qkv_bias: biases,
        output_bias: biases,
        rotation: rotations[layer],
        window: windows[layer],
        ..c.attention()
    };
    let (mlp_bias, act) = (bias(&keys, "mlp_bias")?, activation(&keys, "hidden_act")?);
    let rope = source.rope(&keys, &c, "full_attention")?;
    keys.finish("smollm3")?;
    let mlp = |w: &_| GatedMlp::load(w, c.hidden, c.inner, mlp_bias, act);
    PreNorm::load("smollm3", source, &c, rope, attention, mlp)
}

/// `no_rope_layers` has a 1 for each layer that does rotate; without it every `no_rope_layer_interval`-th does not.
fn rotations(keys: &Keys, layers: usize) -> Result<Vec<Rotation>> {
    let interval = keys.optional_size("no_rope_layer_interval")?.unwrap_or(4);
    let listed = keys.optional::<Vec<u8>>("no_rope_layers", "a list of 0 and 1")?;
    let rotates = listed.unwrap_or_else(|| (1..=layers).map(|n| u8::from(n % interval != 0)).collect());
    if rotates.len() != layers {
        let what = format!("{} numbers for {layers} layers", rotates.len());
        return Err(Error::setting("no_rope_layers", what));
    }
    Ok(rotates.iter().map(|&on| if on == 0 { Rotation::Without } else { Rotation::Rotated }).collect())
}

/// Windows, where they are in use, are those of `layer_types`, or of the layers that do not rotate.
fn windows(keys: &Keys, rotations: &[Rotation]) -> Result<Vec<Option<u32>>> {
    let in_use = keys.flag("use_sliding_window")?;
    let size = config::window(keys)?.filter(|_| in_use);
    let types = config::layer_types(keys, rotations.len())?;
    let slides = |layer: usize| match &types {
        Some(types) => types[layer] == Reach::Sliding,
        None => rotations[layer] == Rotation::Without,
    };
    Ok((0..rotations.len()).map(|layer| size.filter(|_| slides(layer))).collect())
}
