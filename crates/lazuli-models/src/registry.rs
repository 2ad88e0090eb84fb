//! [`load`]: from a checkpoint to the architecture that it names, and [`CausalLm`], what all of them can do.

use std::collections::HashSet;

use lazuli_core::{Array, Shape};
use lazuli_io::Checkpoint;
use lazuli_nn::{BatchArrays, KvPool, Weights};
use serde_json::Value;

use crate::source::Source;
use crate::{Error, Result, Spec, arch};

/// A language model that predicts the next token.
pub trait CausalLm: Send + Sync {
    /// What it is, in numbers.
    fn spec(&self) -> &Spec;

    /// The graph of one pass over `batch`: f32 logits `[rows, vocabulary]`, one row for each that the batch asks
    /// for. Computes nothing. The caller evaluates the logits together with [`KvPool::pending`], and before the
    /// next pass; if it wants no logits, the pool's arrays alone (the last layer then ends at its keys and values).
    fn forward(&self, batch: &BatchArrays, kv: &mut KvPool) -> Array;
}

type Loader = fn(&Source) -> Result<Box<dyn CausalLm>>;

/// Architectures by the names that `model_type` has for them.
const LOADERS: &[(&str, Loader)] = &[
    ("cohere2", arch::cohere2::load),
    ("deepseek_v2", arch::deepseek_v2::load),
    ("deepseek_v3", arch::deepseek_v3::load),
    ("gemma2", arch::gemma2::load),
    ("gemma3", arch::gemma3::load),
    ("gemma3_text", arch::gemma3::load),
    ("glm4", arch::glm4::load),
    ("glm4_moe", arch::glm4_moe::load),
    ("gpt_oss", arch::gpt_oss::load),
    ("granite", arch::granite::load),
    ("llama", arch::llama::load),
    ("mistral", arch::mistral::load),
    ("mixtral", arch::mixtral::load),
    ("olmo2", arch::olmo2::load),
    ("olmoe", arch::olmoe::load),
    ("phi3", arch::phi3::load),
    ("qwen2", arch::qwen2::load),
    ("qwen2_moe", arch::qwen2_moe::load),
    ("qwen3", arch::qwen3::load),
    ("qwen3_moe", arch::qwen3_moe::load),
    ("smollm3", arch::smollm3::load),
];

/// The names of all supported architectures, sorted; `gemma3` stands for its text part.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    LOADERS.iter().map(|(name, _)| *name)
}

/// The same in a sentence.
pub(crate) fn supported() -> String {
    architectures().collect::<Vec<_>>().join(", ")
}

/// Loads the model that `checkpoint` holds: weights stay in the mapped files and are not read.
///
/// # Errors
/// If the architecture is unknown, a setting or tensor is missing, malformed, or not supported.
pub fn load(checkpoint: &Checkpoint) -> Result<Box<dyn CausalLm>> {
    load_source(&Source::open(checkpoint)?)
}

/// Makes a model of settings and arrays that come from anywhere: `config` as in a `config.json`, arrays by the
/// names of Hugging Face checkpoints.
///
/// # Errors
/// As for [`load`].
pub fn from_arrays(config: &Value, arrays: Vec<(String, Array)>) -> Result<Box<dyn CausalLm>> {
    load_source(&Source::hugging_face(config, arrays, Vec::new())?)
}

/// The tensors that a model with the settings `config` (as in a `config.json`) has in a Hugging Face checkpoint: names
/// and shapes, in the order in which they are read.
///
/// # Errors
/// If the architecture is unknown, or a setting is missing, malformed, or not supported.
pub fn tensors(config: &Value) -> Result<Vec<(String, Shape)>> {
    let mut source = Source::hugging_face(config, Vec::new(), Vec::new())?;
    source.weights = Weights::listing();
    loader(&source)?.1(&source)?;
    let mut seen = HashSet::new();
    Ok(source.weights.asked().into_iter().filter(|(name, _)| seen.insert(name.clone())).collect())
}

fn loader(source: &Source) -> Result<&'static (&'static str, Loader)> {
    let found = LOADERS.iter().find(|(name, _)| *name == source.model_type);
    found.ok_or_else(|| Error::UnknownArchitecture {
        found: source.model_type.clone(),
        supported: supported(),
    })
}

fn load_source(source: &Source) -> Result<Box<dyn CausalLm>> {
    let (name, loader) = loader(source)?;
    let model = loader(source)?;
    refuse_unused(name, source)?;
    Ok(model)
}

/// Tensors of old checkpoints that newer code computes by itself: they may be there and are not read.
const HARMLESS_TENSORS: &[&str] = &["rotary_emb.inv_freq", "attn_rot_embd.weight"];

/// Names of the layers behind the last, which guess further tokens (DeepSeek's multi-token prediction) and are not
/// part of the model proper.
fn extra_layers(source: &Source) -> Vec<String> {
    let number = |key: &str| source.config.get(key).and_then(Value::as_u64).unwrap_or(0);
    let (layers, extra) = (number("num_hidden_layers"), number("num_nextn_predict_layers").min(16));
    // The second form is for names of GGUF files that have no translation.
    let names = |layer| [format!("model.layers.{layer}."), format!("blk.{layer}.")];
    (layers..layers + extra).flat_map(names).collect()
}

fn refuse_unused(architecture: &str, source: &Source) -> Result<()> {
    let tied = source.config.get("tie_word_embeddings").and_then(Value::as_bool) != Some(false);
    let extra = extra_layers(source);
    let harmless = |name: &String| {
        // A tied model's file may hold its table twice; the settings decide.
        HARMLESS_TENSORS.iter().any(|end| name.ends_with(end))
            || (tied && name == "lm_head.weight")
            || extra.iter().any(|prefix| name.starts_with(prefix))
    };
    let mut unused = source.weights.unused();
    unused.extend(source.others.iter().cloned());
    unused.retain(|name| !harmless(name));
    if unused.is_empty() {
        return Ok(());
    }
    let mut names = unused.iter().take(5).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if unused.len() > 5 {
        names.push_str(", ..");
    }
    Err(Error::UnusedTensors { architecture: architecture.to_owned(), count: unused.len(), names })
}
