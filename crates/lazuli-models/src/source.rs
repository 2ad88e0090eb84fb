//! [`Source`]: a checkpoint in one form, whatever files it came from: settings as in `config.json`, weights by
//! their Hugging Face names, and the conventions in which the two worlds differ.

use lazuli_core::Array;
use lazuli_io::{Checkpoint, Kind, TensorInfo};
use lazuli_nn::{Rope, RopeConfig, RopeScaling, RopeStyle, Weights};
use serde_json::{Map, Value};

use crate::config::{self, Decoder, Keys};
use crate::{Error, Result, gguf};

/// What a model is loaded from.
#[derive(Debug)]
pub struct Source {
    /// `model_type`.
    pub model_type: String,
    /// All settings.
    pub config: Map<String, Value>,
    /// All tensors.
    pub weights: Weights,
    /// How the tensors are to be understood.
    pub conventions: Conventions,
    /// Tensors that cannot be arrays; only harmless ones may be among them.
    pub others: Vec<String>,
}

/// What writers of checkpoints do differently.
#[derive(Debug, Clone, Copy)]
pub struct Conventions {
    /// Which elements of a head rotate together.
    pub rope: RopeStyle,
    /// What the weights of norms are, in models that add one to them.
    pub norms: NormWeights,
}

/// See [`Conventions::norms`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormWeights {
    /// As the model's own code stores them.
    AsPublished,
    /// With the one added.
    OffsetIncluded,
}

/// Parts of multimodal checkpoints that a text model leaves out, and the names of its own part.
const VISION: &[&str] =
    &["vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."];
const TEXT: &[(&str, &str)] = &[
    ("language_model.model.", "model."),
    ("model.language_model.", "model."),
    ("language_model.lm_head.", "lm_head."),
];

/// Settings of how tensors are packed.
const QUANTISATION: &[&str] = &["quantization", "quantization_config"];

impl Source {
    /// Reads a checkpoint's description and names its tensors. No weight is read.
    ///
    /// # Errors
    /// If the description is damaged, or asks for something that is not supported.
    pub fn open(checkpoint: &Checkpoint) -> Result<Self> {
        let (mut arrays, mut others) = (Vec::new(), Vec::new());
        for tensor in checkpoint.tensors() {
            if is_array(tensor) {
                arrays.push((tensor.name.clone(), checkpoint.array_of(tensor)?));
            } else {
                others.push(tensor.name.clone());
            }
        }
        match checkpoint.kind() {
            Kind::Gguf(metadata) => {
                let (dialect, config) = gguf::describe(metadata, checkpoint)?;
                let name = |name: &str| gguf::tensor_name(dialect, name);
                let arrays = arrays.into_iter().map(|(from, array)| gguf::reshaped(name(&from), array));
                Ok(Self {
                    model_type: dialect.model_type.to_owned(),
                    config,
                    weights: Weights::new(arrays),
                    conventions: dialect.conventions,
                    others: others.iter().map(|from| name(from)).collect(),
                })
            }
            Kind::HuggingFace(config) => Self::hugging_face(config, arrays, others),
            Kind::Tensors => {
                let path = checkpoint.path().display();
                Err(Error::setting("model_type", format!("missing: {path} holds tensors and no settings")))
            }
        }
    }

    /// Settings and tensors as Hugging Face checkpoints have them; `others` are names of tensors that cannot be
    /// arrays.
    ///
    /// # Errors
    /// If `config` is no object or names no architecture.
    pub fn hugging_face(
        config: &Value,
        mut arrays: Vec<(String, Array)>,
        mut others: Vec<String>,
    ) -> Result<Self> {
        let Value::Object(config) = config else {
            return Err(Error::setting("config.json", "it is no object"));
        };
        let nested = config.get("text_config").and_then(Value::as_object);
        let mut text = nested.map_or_else(|| config.clone(), |text| text_config(config, text));
        let model_type = text.get("model_type").and_then(Value::as_str);
        let model_type = model_type.ok_or_else(|| Error::setting("model_type", "missing"))?.to_owned();
        if nested.is_some() {
            arrays.retain(|(name, _)| !is_vision(name));
            others.retain(|name| !is_vision(name));
        }
        if arrays.iter().any(|(_, array)| array.format().is_some()) {
            // The reader of the files has understood these; a packed tensor is an array like any other.
            text.retain(|key, _| !QUANTISATION.contains(&key.as_str()));
        }
        let weights = Weights::new(arrays.into_iter().map(|(name, array)| (text_name(&name), array)));
        let conventions = Conventions { rope: RopeStyle::Halves, norms: NormWeights::AsPublished };
        Ok(Self { model_type, config: text, weights, conventions, others })
    }

    /// The settings, with the architecture's `defaults` for absent ones.
    pub fn keys(&self, defaults: Value) -> Keys {
        Keys::new(self.config.clone(), defaults)
    }

    /// What is added to the weights of norms in models that store their distance from one.
    pub fn norm_offset(&self) -> f32 {
        if self.conventions.norms == NormWeights::OffsetIncluded { 0.0 } else { 1.0 }
    }

    /// The position embedding of layers of the type `layer_type`, with the factors that a file may carry as a
    /// tensor in place of settings.
    pub fn rope(&self, keys: &Keys, decoder: &Decoder, layer_type: &str) -> Result<Rope> {
        self.rope_of(keys, decoder, layer_type, self.conventions.rope)
    }

    /// The same for architectures whose own code rotates neighbours: no writer of files reorders their heads.
    pub fn interleaved_rope(&self, keys: &Keys, decoder: &Decoder, layer_type: &str) -> Result<Rope> {
        self.rope_of(keys, decoder, layer_type, RopeStyle::Interleaved)
    }

    fn rope_of(&self, keys: &Keys, decoder: &Decoder, layer_type: &str, style: RopeStyle) -> Result<Rope> {
        let mut config = config::rope(keys, decoder, layer_type, style)?;
        let pairs = config.rotated / 2;
        let tensor = |name| -> Result<Option<Vec<f32>>> {
            let factors = self.weights.at("model").optional(name, [pairs])?;
            Ok(factors.map(|factors| factors.as_slice().map(<[f32]>::to_vec)).transpose()?)
        };
        let lists = (tensor("rope_factors_short.weight")?, tensor("rope_factors_long.weight")?);
        let scaling = match (tensor("rope_factors.weight")?, lists) {
            (None, (None, None)) => return Ok(Rope::new(&config)),
            (Some(factors), (None, None)) => RopeScaling::Factors(factors),
            (None, (Some(short), Some(long))) => {
                RopeScaling::Long(config::long_rope_of_lists(keys, decoder, short, long)?)
            }
            _ => return Err(keys.error("rope_scaling", "the tensors of factors contradict each other")),
        };
        if config.scaling != RopeScaling::None {
            let what = "both a kind of scaling and a tensor of factors are given";
            return Err(keys.error("rope_scaling", what));
        }
        config = RopeConfig { scaling, ..config };
        Ok(Rope::new(&config))
    }
}

/// The settings of the text part of a multimodal model. What stands outside it and concerns all parts is kept.
pub(crate) fn text_config(outer: &Map<String, Value>, text: &Map<String, Value>) -> Map<String, Value> {
    let mut config = text.clone();
    for key in ["model_type", "tie_word_embeddings"].iter().chain(QUANTISATION) {
        if let (None, Some(value)) = (config.get(*key), outer.get(*key)) {
            config.insert((*key).to_owned(), value.clone());
        }
    }
    config
}

/// Whether the tensor belongs to a part of a multimodal model that is left out.
pub(crate) fn is_vision(name: &str) -> bool {
    VISION.iter().any(|prefix| name.starts_with(prefix))
}

pub(crate) fn text_name(name: &str) -> String {
    let found = TEXT.iter().find_map(|(from, to)| name.strip_prefix(from).map(|rest| format!("{to}{rest}")));
    found.unwrap_or_else(|| name.to_owned())
}

fn is_array(tensor: &TensorInfo) -> bool {
    use lazuli_io::Encoding as E;
    !matches!(
        tensor.encoding,
        E::I8 | E::U16 | E::I16 | E::U64 | E::I64 | E::F64 | E::F8E4M3 | E::F8E5M2 | E::F8E8M0
    )
}
