//! Settings of GGUF files as `config.json` has them. Keys are those of the GGUF document, without the
//! architecture's name in front.

use std::cell::RefCell;
use std::collections::BTreeSet;

use lazuli_io::Checkpoint;
use lazuli_io::gguf::{Metadata, Value as Stored};
use lazuli_nn::Yarn;
use serde_json::{Map, Value, json};

use super::{Dialect, experts, families};
use crate::{Error, Result};

/// Settings that change nothing here: how the tensors came to be, and that a file was fine-tuned.
const HARMLESS: &[&str] = &["tensor_data_layout", "rope.scaling.finetuned", "attention.causal", "vocab_size"];

/// Settings that have the same meaning and form in both worlds.
const PLAIN: &[(&str, &str)] = &[
    ("block_count", "num_hidden_layers"),
    ("context_length", "max_position_embeddings"),
    ("embedding_length", "hidden_size"),
    ("feed_forward_length", "intermediate_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.key_length", "head_dim"),
    ("attention.sliding_window", "sliding_window"),
    ("rope.freq_base", "rope_theta"),
    ("attn_logit_softcapping", "attn_logit_softcapping"),
    ("final_logit_softcapping", "final_logit_softcapping"),
    ("attention.scale", "attention_multiplier"),
    ("embedding_scale", "embedding_multiplier"),
    ("residual_scale", "residual_multiplier"),
];

/// Those of them that every file has.
const REQUIRED: &[&str] =
    &["block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count"];

/// The keys of one architecture, and which of them have been read.
pub(super) struct Reader<'a> {
    pub metadata: &'a Metadata,
    architecture: &'a str,
    read: RefCell<BTreeSet<String>>,
}

impl Reader<'_> {
    pub fn key(&self, key: &str) -> String {
        let full = format!("{}.{key}", self.architecture);
        self.read.borrow_mut().insert(full.clone());
        full
    }

    pub fn error(&self, key: &str, what: impl Into<String>) -> Error {
        self.metadata.error(&self.key(key), what).into()
    }

    pub fn size(&self, key: &str) -> Result<Option<usize>> {
        Ok(self.metadata.usize(&self.key(key))?)
    }

    pub fn number(&self, key: &str) -> Result<Option<f32>> {
        Ok(self.metadata.f32(&self.key(key))?)
    }

    /// A number or, where a list gives one for each layer, the one that they all are.
    fn plain(&self, key: &str) -> Result<Option<Value>> {
        let full = self.key(key);
        match self.metadata.get(&full) {
            None => Ok(None),
            Some(Stored::F32(_) | Stored::F64(_)) => Ok(self.number(key)?.map(|x| json!(x))),
            Some(_) => match self.metadata.u32s(&full)?.unwrap_or_default()[..] {
                [first, ref rest @ ..] if rest.iter().all(|x| *x == first) => Ok(Some(json!(first))),
                _ => Err(self.error(key, "layers that differ in this are not supported")),
            },
        }
    }

    fn finish(&self) -> Result<()> {
        let prefix = format!("{}.", self.architecture);
        let read = self.read.borrow();
        let is_off = |value: &Stored| match value {
            Stored::Bool(on) => !on,
            other => other.as_f64() == Some(0.0),
        };
        let refused: Vec<String> = self
            .metadata
            .iter()
            .filter(|(key, value)| {
                key.strip_prefix(&prefix).is_some_and(|key| !HARMLESS.contains(&key))
                    && !read.contains(*key)
                    && !is_off(value)
            })
            .map(|(key, value)| format!("`{key}` = {}", value.describe()))
            .collect();
        if refused.is_empty() {
            return Ok(());
        }
        let architecture = self.architecture.to_owned();
        Err(Error::UnsupportedSettings { architecture, settings: refused.join(", ") })
    }
}

/// The settings of a file in a `config.json`'s words.
pub fn config(metadata: &Metadata, dialect: &Dialect, checkpoint: &Checkpoint) -> Result<Map<String, Value>> {
    let reader = Reader { metadata, architecture: dialect.architecture, read: RefCell::default() };
    let mut config = Map::new();
    for (gguf, hugging_face) in PLAIN {
        match reader.plain(gguf)? {
            // Some writers mean none by it.
            Some(value) if *gguf == "attention.sliding_window" && value == 0 => {}
            Some(value) => drop(config.insert((*hugging_face).to_owned(), value)),
            None if REQUIRED.contains(gguf) => return Err(reader.error(gguf, "it is missing")),
            None => {}
        }
    }
    let mut set = |key: &str, value: Value| {
        config.insert(key.to_owned(), value);
    };
    set("model_type", json!(dialect.model_type));
    set("tie_word_embeddings", json!(checkpoint.tensor("output.weight").is_none()));
    if let Some(table) = checkpoint.tensor("token_embd.weight") {
        set("vocab_size", json!(table.shape.first()));
    }
    if let Some(scaling) = rope_scaling(&reader, dialect)? {
        set("rope_scaling", scaling);
    }
    if let Some(theta) = reader.number("rope.freq_base_swa")? {
        set("rope_local_base_freq", json!(theta));
    }
    if !dialect.has_latent_attention() {
        head_dims(&reader, &mut config)?;
    }
    families::complete(dialect, &reader, checkpoint, &mut config)?;
    experts::complete(dialect, &reader, checkpoint, &mut config)?;
    reader.finish()?;
    Ok(config)
}

/// What files leave out because it follows from other settings, or say twice.
fn head_dims(reader: &Reader<'_>, config: &mut Map<String, Value>) -> Result<()> {
    let size =
        |config: &Map<String, Value>, key| config.get(key).and_then(Value::as_u64).unwrap_or(0) as usize;
    let heads = size(config, "num_attention_heads").max(1);
    let mut head_dim = size(config, "head_dim");
    if head_dim == 0 {
        head_dim = size(config, "hidden_size") / heads;
        config.insert("head_dim".to_owned(), json!(head_dim));
    }
    if let Some(value_dim) = reader.size("attention.value_length")?.filter(|&dim| dim != head_dim) {
        let what = format!("values of {value_dim} beside keys of {head_dim} are not supported");
        return Err(reader.error("attention.value_length", what));
    }
    if let Some(rotated) = reader.size("rope.dimension_count")?.filter(|&dim| dim != head_dim) {
        config.insert("partial_rotary_factor".to_owned(), json!(rotated as f64 / head_dim as f64));
    }
    Ok(())
}

fn rope_scaling(reader: &Reader<'_>, dialect: &Dialect) -> Result<Option<Value>> {
    if dialect.architecture == "phi3" {
        // Its factors are tensors; `families` has the rest.
        return Ok(None);
    }
    let key = reader.key("rope.scaling.type");
    let kind = reader.metadata.str(&key)?;
    // Before there was a type, a lone factor meant the linear one.
    let factor = match reader.number("rope.scaling.factor")? {
        None => reader.number("rope.scale_linear")?,
        factor => factor,
    };
    let original = reader.size("rope.scaling.original_context_length")?;
    let share = reader.number("rope.scaling.attn_factor")?.unwrap_or(1.0);
    let kind = match (kind, factor) {
        (Some("none") | None, None) => return Ok(None),
        (Some("none"), Some(_)) => return Ok(None),
        (None, Some(1.0)) => return Ok(None),
        (None, Some(_)) => "linear",
        (Some(kind), _) => kind,
    };
    let factor = factor.ok_or_else(|| reader.error("rope.scaling.factor", "it is missing"))?;
    let mut scaling = json!({"rope_type": kind, "factor": factor});
    if let Some(original) = original {
        scaling["original_max_position_embeddings"] = json!(original);
    }
    for (key, name) in [("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")] {
        if let Some(turns) = reader.number(&format!("rope.scaling.{key}"))? {
            scaling[name] = json!(turns);
        }
    }
    if share != 1.0 {
        scaling["attention_factor"] = json!(share * Yarn::default_attention_factor(factor));
    }
    Ok(Some(scaling))
}
