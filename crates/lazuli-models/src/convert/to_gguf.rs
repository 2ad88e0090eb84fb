//! A Hugging Face checkpoint as GGUF files have it: names, settings, rows in the order of that world.

use lazuli_io::gguf::Value as Setting;
use lazuli_io::{Checkpoint, Kind};
use lazuli_nn::{RopeScaling, RopeStyle};
use serde_json::{Value, json};

use super::{Computed, Converted, Renamed, RowOrder};
use crate::arch::gemma3;
use crate::config::{self, Decoder, HeadWeight, Keys, Reach};
use crate::gguf::{Dialect, dialect_of_model_type, gguf_name};
use crate::source::{NormWeights, is_vision, text_config, text_name};
use crate::{Error, Result};

/// Architectures for which the way back and forth is known and tested.
pub const CONVERTIBLE: &[&str] = &["llama", "qwen2", "qwen3", "gemma3", "gemma3_text"];

/// What `checkpoint` (a Hugging Face folder whose `model_type` is llama, qwen2, qwen3 or gemma3) is as a GGUF file. The
/// settings of the tokenizer are not among the settings.
///
/// # Errors
/// If the architecture is another one, or a setting has no place in such files.
pub fn to_gguf(checkpoint: &Checkpoint) -> Result<Converted<Vec<(String, Setting)>>> {
    let Kind::HuggingFace(Value::Object(outer)) = checkpoint.kind() else {
        return Err(Error::setting("config.json", "it is no object"));
    };
    let config = match outer.get("text_config").and_then(Value::as_object) {
        Some(text) => text_config(outer, text),
        None => outer.clone(),
    };
    let model_type = config.get("model_type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let dialect = dialect_of_model_type(&model_type).filter(|_| CONVERTIBLE.contains(&model_type.as_str()));
    let Some(dialect) = dialect else {
        let supported = CONVERTIBLE.join(", ");
        return Err(Error::UnknownArchitecture {
            found: format!("{model_type} (between folders and GGUF files)"),
            supported,
        });
    };
    let keys = Keys::new(config, defaults(dialect));
    let decoder = Decoder::read(&keys)?;
    let mut writer = Writer { architecture: dialect.architecture, settings: Vec::new() };
    let name = checkpoint.path().file_name().map(|name| name.to_string_lossy().into_owned());
    writer.settings.push(("general.architecture".to_owned(), Setting::Str(dialect.architecture.to_owned())));
    writer.settings.push(("general.name".to_owned(), Setting::Str(name.unwrap_or_default())));
    writer.decoder(&decoder);
    let factors = writer.rope(&keys, &decoder)?;
    match dialect.architecture {
        "gemma3" => writer.gemma3(&keys, &decoder)?,
        "qwen2" | "qwen3" if keys.flag("use_sliding_window")? => {
            return Err(Error::setting(
                "use_sliding_window",
                "true has no place in GGUF files of this architecture",
            ));
        }
        _ if keys.optional::<String>("hidden_act", "a name")?.is_some_and(|act| act != "silu") => {
            return Err(Error::setting("hidden_act", "GGUF files of this architecture mean silu"));
        }
        _ => {}
    }
    let tensors = rename(checkpoint, dialect, &decoder)?;
    Ok(Converted { header: writer.settings, tensors, computed: factors.into_iter().collect() })
}

fn defaults(dialect: &Dialect) -> Value {
    match dialect.architecture {
        "gemma3" => gemma3::defaults(),
        _ => json!({"rms_norm_eps": 1e-6, "rope_theta": 10000.0}),
    }
}

/// The settings of a file, as they come together.
struct Writer {
    architecture: &'static str,
    settings: Vec<(String, Setting)>,
}

impl Writer {
    fn size(&mut self, key: &str, value: usize) {
        let value = Setting::U32(u32::try_from(value).unwrap_or(u32::MAX));
        self.settings.push((format!("{}.{key}", self.architecture), value));
    }

    fn number(&mut self, key: &str, value: f32) {
        self.settings.push((format!("{}.{key}", self.architecture), Setting::F32(value)));
    }

    fn text(&mut self, key: &str, value: &str) {
        self.settings.push((format!("{}.{key}", self.architecture), Setting::Str(value.to_owned())));
    }

    fn decoder(&mut self, c: &Decoder) {
        self.size("block_count", c.layers);
        self.size("context_length", c.context);
        self.size("embedding_length", c.hidden);
        self.size("feed_forward_length", c.inner);
        self.size("attention.head_count", c.heads);
        self.size("attention.head_count_kv", c.kv_heads);
        self.size("attention.key_length", c.head_dim);
        self.size("attention.value_length", c.head_dim);
        self.size("rope.dimension_count", c.head_dim);
        self.size("vocab_size", c.vocabulary);
        self.number("attention.layer_norm_rms_epsilon", c.eps);
    }

    /// Rotation of full attention; factors that differ by pair are a tensor.
    fn rope(&mut self, keys: &Keys, c: &Decoder) -> Result<Option<Computed>> {
        let rope = config::rope(keys, c, "full_attention", RopeStyle::Halves)?;
        if rope.rotated != c.head_dim {
            return Err(Error::setting(
                "partial_rotary_factor",
                "heads that rotate in part are not written to GGUF",
            ));
        }
        self.number("rope.freq_base", rope.theta);
        match rope.scaling {
            RopeScaling::None => Ok(None),
            RopeScaling::Linear { factor } => {
                self.text("rope.scaling.type", "linear");
                self.number("rope.scaling.factor", factor);
                Ok(None)
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let low_high = (low_freq_factor, high_freq_factor);
                let values = llama3_factors(rope.theta, rope.rotated, factor, low_high, original_context);
                Ok(Some(Computed { name: "rope_freqs.weight".to_owned(), shape: vec![values.len()], values }))
            }
            RopeScaling::Factors(values) => {
                Ok(Some(Computed { name: "rope_freqs.weight".to_owned(), shape: vec![values.len()], values }))
            }
            RopeScaling::Yarn(_) | RopeScaling::Long(_) | RopeScaling::Dynamic { .. } => {
                let what = "only linear scaling and that of Llama 3 are written to GGUF files";
                Err(Error::setting("rope_scaling", what))
            }
        }
    }

    /// What these files say of Gemma 3, and refusals of what they leave to the reader.
    fn gemma3(&mut self, keys: &Keys, c: &Decoder) -> Result<()> {
        let window = config::window(keys)?.unwrap_or(0) as usize;
        self.size("attention.sliding_window", window);
        let reaches = config::reaches(keys, c.layers, 6)?;
        let full = |pattern: usize, layer: usize| (layer + 1) % pattern == 0;
        let first = reaches.iter().position(|r| *r == Reach::Full).map_or(c.layers + 1, |layer| layer + 1);
        // Six fits where no layer is far enough down to tell.
        let pattern = if first > c.layers && c.layers < 6 { 6 } else { first };
        let regular =
            reaches.iter().enumerate().all(|(layer, r)| (*r == Reach::Full) == full(pattern, layer));
        if !regular {
            return Err(Error::setting(
                "layer_types",
                "layers that follow no pattern are not written to GGUF",
            ));
        }
        if pattern != 6 {
            self.size("attention.sliding_window_pattern", pattern);
        }
        for (key, ours) in [
            ("attn_logit_softcapping", "attn_logit_softcapping"),
            ("final_logit_softcapping", "final_logit_softcapping"),
        ] {
            if let Some(cap) = keys.optional_positive(key)? {
                self.number(ours, cap);
            }
        }
        let local = if keys.has("rope_parameters") {
            config::rope(keys, c, "sliding_attention", RopeStyle::Halves)?.theta
        } else {
            keys.positive("rope_local_base_freq")?
        };
        if local != 10000.0 {
            self.number("rope.freq_base_swa", local);
        }
        let assumed = if c.layers == 62 { c.hidden / c.heads } else { c.head_dim };
        let scalar = keys.positive("query_pre_attn_scalar")?;
        if scalar != assumed as f32 {
            let what = format!("{scalar} is not what readers of GGUF files take, {assumed}");
            return Err(Error::setting("query_pre_attn_scalar", what));
        }
        Ok(())
    }
}

/// By how much each pair's rotation is slower: the rule of Llama 3.1.
pub(super) fn llama3_factors(
    theta: f32,
    rotated: usize,
    factor: f32,
    (low, high): (f32, f32),
    original_context: usize,
) -> Vec<f32> {
    let (factor, low, high) = (f64::from(factor), f64::from(low), f64::from(high));
    let of_pair = |pair: usize| {
        let frequency = f64::from(theta).powf(-2.0 * pair as f64 / rotated as f64);
        let turns = original_context as f64 * frequency / std::f64::consts::TAU;
        let share = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        (1.0 / ((1.0 - share) / factor + share)) as f32
    };
    (0..rotated / 2).map(of_pair).collect()
}

/// Names, orders of rows and offsets. Vision parts, and a head that is the table again, are left out.
fn rename(checkpoint: &Checkpoint, dialect: &Dialect, c: &Decoder) -> Result<Vec<Renamed>> {
    let mut renamed = Vec::new();
    for tensor in checkpoint.tensors() {
        let name = text_name(&tensor.name);
        let is_second_table = name == "lm_head.weight" && c.head == HeadWeight::Tied;
        if is_vision(&tensor.name) || is_second_table || name.ends_with("rotary_emb.inv_freq") {
            continue;
        }
        let Some(gguf) = gguf_name(dialect, &name) else {
            let what = format!("tensor `{}` has no name in GGUF files of this architecture", tensor.name);
            return Err(Error::setting("model_type", what));
        };
        let reordered = [".q_proj.", ".k_proj."].iter().any(|part| name.contains(part))
            && dialect.conventions.rope == RopeStyle::Interleaved;
        let rows = if reordered { RowOrder::PairsFromHalves(c.head_dim) } else { RowOrder::Same };
        let offset =
            dialect.conventions.norms == NormWeights::OffsetIncluded && name.ends_with("norm.weight");
        let add = if offset { 1.0 } else { 0.0 };
        renamed.push(Renamed { from: tensor.name.clone(), name: gguf, rows, add });
    }
    Ok(renamed)
}
