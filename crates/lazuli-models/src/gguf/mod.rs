//! GGUF files in the words of Hugging Face: settings, tensor names, and what the writers of such files changed.
//!
//! `names` translates tensors, `metadata` translates settings, `families` adds what the files of one architecture
//! leave to the program that runs them, `experts` what files of models with experts say. Architectures see only the translation.

mod experts;
mod families;
mod metadata;
mod names;

use lazuli_io::Checkpoint;
use lazuli_io::gguf::Metadata;
use lazuli_nn::RopeStyle;
use serde_json::{Map, Value};

use crate::source::{Conventions, NormWeights};
use crate::{Error, Result, registry};

use experts::{EXPERTS, GPT_OSS, LATENT, SHARED_EXPERT, SHARED_EXPERTS};
use names::{FUSED_ATTENTION, FUSED_MLP, NORMS_BEFORE, NORMS_BEFORE_AND_AFTER, NORMS_OF_GLM};

pub use experts::reshaped;
pub use names::translate as tensor_name;
pub use names::untranslate as gguf_name;

/// An architecture as GGUF files name it, and how their writers change its tensors.
#[derive(Debug)]
pub struct Dialect {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// `model_type` of the same models in Hugging Face checkpoints.
    pub model_type: &'static str,
    /// What differs from the tensors in Hugging Face checkpoints.
    pub conventions: Conventions,
    /// Names of tensors that not all architectures have, or that mean something else here.
    pub names: &'static [names::Names],
}

impl Dialect {
    /// Whether heads are made of latent rows, so that what files say of their lengths means something else.
    fn has_latent_attention(&self) -> bool {
        self.architecture == "deepseek2"
    }
}

/// Tensors as Hugging Face checkpoints have them.
const AS_PUBLISHED: Conventions = Conventions { rope: RopeStyle::Halves, norms: NormWeights::AsPublished };

/// Rows of query and key weights are reordered so that pairs are neighbours.
const REORDERED: Conventions = Conventions { rope: RopeStyle::Interleaved, norms: NormWeights::AsPublished };

/// The weights of norms have the one added that the model's own code adds.
const OFFSET_INCLUDED: Conventions =
    Conventions { rope: RopeStyle::Halves, norms: NormWeights::OffsetIncluded };

/// The norm before the feed-forward part, called after where it stands.
const NORM_BEHIND_ATTENTION: names::Names = &[("post_attention_norm", "post_attention_layernorm")];

const fn dialect(
    architecture: &'static str,
    model_type: &'static str,
    conventions: Conventions,
    names: &'static [names::Names],
) -> Dialect {
    Dialect { architecture, model_type, conventions, names }
}

const DIALECTS: &[Dialect] = &[
    dialect("cohere2", "cohere2", AS_PUBLISHED, &[]),
    dialect("deepseek2", "deepseek_v2", AS_PUBLISHED, &[NORMS_BEFORE, EXPERTS, SHARED_EXPERTS, LATENT]),
    dialect("deepseek2", "deepseek_v3", AS_PUBLISHED, &[NORMS_BEFORE, EXPERTS, SHARED_EXPERTS, LATENT]),
    dialect("gemma2", "gemma2", OFFSET_INCLUDED, &[NORMS_BEFORE_AND_AFTER]),
    dialect("gemma3", "gemma3_text", OFFSET_INCLUDED, &[NORMS_BEFORE_AND_AFTER]),
    dialect("glm4", "glm4", AS_PUBLISHED, &[NORMS_OF_GLM, FUSED_MLP]),
    dialect("glm4moe", "glm4_moe", AS_PUBLISHED, &[NORM_BEHIND_ATTENTION, EXPERTS, SHARED_EXPERTS]),
    dialect("gpt-oss", "gpt_oss", AS_PUBLISHED, &[GPT_OSS]),
    dialect("granite", "granite", REORDERED, &[NORMS_BEFORE]),
    dialect("llama", "llama", REORDERED, &[NORMS_BEFORE]),
    dialect("llama", "mixtral", REORDERED, &[NORMS_BEFORE, EXPERTS]),
    dialect("olmo2", "olmo2", AS_PUBLISHED, &[NORMS_BEFORE_AND_AFTER]),
    dialect("olmoe", "olmoe", AS_PUBLISHED, &[NORMS_BEFORE, EXPERTS]),
    dialect("phi3", "phi3", AS_PUBLISHED, &[NORMS_BEFORE, FUSED_ATTENTION, FUSED_MLP]),
    dialect("qwen2", "qwen2", AS_PUBLISHED, &[NORMS_BEFORE]),
    dialect("qwen2moe", "qwen2_moe", AS_PUBLISHED, &[NORMS_BEFORE, EXPERTS, SHARED_EXPERT]),
    dialect("qwen3", "qwen3", AS_PUBLISHED, &[NORMS_BEFORE]),
    dialect("qwen3moe", "qwen3_moe", AS_PUBLISHED, &[NORMS_BEFORE, EXPERTS]),
    dialect("smollm3", "smollm3", REORDERED, &[NORMS_BEFORE]),
];

/// How files call the models of a `model_type` of Hugging Face checkpoints.
pub fn dialect_of_model_type(model_type: &str) -> Option<&'static Dialect> {
    // The text part of a multimodal model goes by either name.
    let model_type = if model_type == "gemma3" { "gemma3_text" } else { model_type };
    DIALECTS.iter().find(|dialect| dialect.model_type == model_type)
}

/// The architecture that `metadata` names, and its settings as a `config.json` would have them.
///
/// # Errors
/// If the architecture is not known, or a setting is missing, malformed or not supported.
pub fn describe(
    metadata: &Metadata,
    checkpoint: &Checkpoint,
) -> Result<(&'static Dialect, Map<String, Value>)> {
    let name = metadata.require("general.architecture", metadata.str("general.architecture"))?;
    let kind = experts::model_type(name, metadata)?;
    let meant = |d: &&Dialect| d.architecture == name && kind.is_none_or(|kind| kind == d.model_type);
    let Some(dialect) = DIALECTS.iter().find(meant) else {
        return Err(Error::UnknownArchitecture { found: name.to_owned(), supported: registry::supported() });
    };
    Ok((dialect, metadata::config(metadata, dialect, checkpoint)?))
}
