//! GGUF files in the words of Hugging Face: settings, tensor names, and what the writers of such files changed.
//!
//! `names` translates tensors, `metadata` translates settings. Architectures see only the translation.

mod metadata;
mod names;

use lazuli_io::Checkpoint;
use lazuli_io::gguf::Metadata;
use lazuli_nn::RopeStyle;
use serde_json::{Map, Value};

use crate::source::{Conventions, NormWeights};
use crate::{Error, Result, registry};

pub use names::translate as tensor_name;

/// An architecture as GGUF files name it, and how their writers change its tensors.
#[derive(Debug)]
pub struct Dialect {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// `model_type` of the same models in Hugging Face checkpoints.
    pub model_type: &'static str,
    /// What differs from the tensors in Hugging Face checkpoints.
    pub conventions: Conventions,
    /// Names of norms before and after the two halves of a layer.
    pub norms: names::LayerNorms,
}

const DIALECTS: &[Dialect] = &[
    Dialect {
        architecture: "llama",
        model_type: "llama",
        // Rows of query and key weights are reordered so that pairs are neighbours.
        conventions: Conventions { rope: RopeStyle::Interleaved, norms: NormWeights::AsPublished },
        norms: names::LayerNorms::Before,
    },
    Dialect {
        architecture: "qwen2",
        model_type: "qwen2",
        conventions: Conventions { rope: RopeStyle::Halves, norms: NormWeights::AsPublished },
        norms: names::LayerNorms::Before,
    },
    Dialect {
        architecture: "gemma3",
        model_type: "gemma3_text",
        conventions: Conventions { rope: RopeStyle::Halves, norms: NormWeights::OffsetIncluded },
        norms: names::LayerNorms::BeforeAndAfter,
    },
];

/// The architecture that `metadata` names, and its settings as a `config.json` would have them.
///
/// # Errors
/// If the architecture is not known, or a setting is missing, malformed or not supported.
pub fn describe(
    metadata: &Metadata,
    checkpoint: &Checkpoint,
) -> Result<(&'static Dialect, Map<String, Value>)> {
    let name = metadata.require("general.architecture", metadata.str("general.architecture"))?;
    let Some(dialect) = DIALECTS.iter().find(|d| d.architecture == name) else {
        return Err(Error::UnknownArchitecture { found: name.to_owned(), supported: registry::supported() });
    };
    Ok((dialect, metadata::config(metadata, dialect, checkpoint)?))
}
