//! Checkpoints of true shapes with random weights: for tests of memory and speed without the weights themselves.
//!
//! Which tensors a model has is what its architecture asks for (`lazuli_models::tensors`), so every architecture can be
//! written. `plan` says how each tensor is packed, `fill` and `blocks` make its bytes; this file knows the settings by name
//! and writes the folder. `file` writes GGUF files, which take settings and shapes from another one.

mod blocks;
mod file;
mod fill;
mod plan;

use std::fs;
use std::path::{Path, PathBuf};

use lazuli_io::SafetensorsWriter;
use serde_json::{Map, Value, json};

use crate::quantize::{Container, QuantizeError};
pub use file::SynthFile;
use plan::Planned;
pub use plan::SynthFormat;

/// Settings of known models, as their makers published them.
const KNOWN: &[(&str, &str)] = &[
    ("llama-3.2-1b", include_str!("../../data/synth/llama-3.2-1b.json")),
    ("llama-3.1-8b", include_str!("../../data/synth/llama-3.1-8b.json")),
    ("llama-3.3-70b", include_str!("../../data/synth/llama-3.3-70b.json")),
    ("deepseek-r1", include_str!("../../data/synth/deepseek-r1.json")),
    ("gpt-oss-20b", include_str!("../../data/synth/gpt-oss-20b.json")),
    ("qwen3-30b-a3b", include_str!("../../data/synth/qwen3-30b-a3b.json")),
];

/// Bytes of a shard.
const SHARD: u64 = 4 << 30;
/// Room that is left free on the disk.
const RESERVE: u64 = 256 << 20;

/// Why a checkpoint cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SynthError {
    /// The settings are no known model and no file.
    #[error("`{name}` is neither a file of settings nor a known model; known are {}", names())]
    UnknownModel {
        /// What was asked for.
        name: String,
    },
    /// The settings cannot be read.
    #[error("{}: {what}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The settings do not suit what was asked for.
    #[error("{0}")]
    Unsuitable(String),
    /// The target is there already.
    #[error("{} exists already: choose another name, or remove it first", path.display())]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// The disk is too small.
    #[error("the checkpoint takes {needed} bytes and {free} are free at {}: use fewer --layers, or another disk", path.display())]
    NoRoom {
        /// Bytes of the checkpoint.
        needed: u64,
        /// Bytes free.
        free: u64,
        /// Where.
        path: PathBuf,
    },
    /// The caller wanted no more.
    #[error("interrupted")]
    Interrupted,
    /// The settings make no model.
    #[error(transparent)]
    Model(#[from] lazuli_models::Error),
    /// A GGUF file cannot be written like this.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] lazuli_io::Error),
    /// A folder could not be made.
    #[error("{}: {source}", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// The names of known models, in a sentence.
fn names() -> String {
    KNOWN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// A checkpoint to be written: its settings and its tensors.
#[derive(Debug)]
pub struct Synth {
    config: Value,
    tensors: Vec<Planned>,
}

impl Synth {
    /// A model by the name of a known one or by a file of settings (as `config.json`), in `format`, perhaps with another
    /// number of `layers`. Models whose first layers are dense keep one with experts.
    ///
    /// # Errors
    /// If the settings cannot be read, make no model, or cannot be written in this format.
    pub fn new(model: &str, format: SynthFormat, layers: Option<usize>) -> Result<Self, SynthError> {
        let mut config = settings(model)?;
        if let Some(layers) = layers {
            shorten(&mut config, layers)?;
        }
        let listed = lazuli_models::tensors(&Value::Object(config.clone()))?;
        let tensors = plan::plan(&config, &listed, format)?;
        plan::announce(&mut config, format);
        Ok(Self { config: Value::Object(config), tensors })
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(Planned::bytes).sum()
    }

    /// Writes the folder `out` by way of one beside it, so that a folder of this name is whole. Memory does not grow with
    /// the model. `progress` is told how many bytes are written, and says whether to go on.
    ///
    /// # Errors
    /// If the folder exists, the disk is too small or refuses, or `progress` wants no more.
    pub fn write(&self, out: &Path, progress: &mut dyn FnMut(u64) -> bool) -> Result<(), SynthError> {
        if out.exists() {
            return Err(SynthError::Exists { path: out.to_owned() });
        }
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = |path: &Path| {
            let path = path.to_owned();
            move |source| SynthError::Folder { path, source }
        };
        fs::create_dir_all(parent).map_err(folder(parent))?;
        let (needed, free) = (self.bytes(), fs4::available_space(parent).map_err(folder(parent))?);
        if needed + RESERVE > free {
            return Err(SynthError::NoRoom { needed, free, path: parent.to_owned() });
        }
        let mut name = out.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let partial = out.with_file_name(name);
        fs::create_dir(&partial).map_err(folder(&partial))?;
        let written = self.write_files(&partial, progress);
        let written = written.and_then(|()| fs::rename(&partial, out).map_err(folder(out)));
        if written.is_err() {
            // What is there is of no use; that it cannot be removed changes nothing in what went wrong.
            let _ = fs::remove_dir_all(&partial);
        }
        written
    }

    fn write_files(&self, folder: &Path, progress: &mut dyn FnMut(u64) -> bool) -> Result<(), SynthError> {
        let shards = self.shards();
        let (mut places, mut done) = (Map::new(), 0);
        for (index, tensors) in shards.iter().enumerate() {
            let file = format!("model-{:05}-of-{:05}.safetensors", index + 1, shards.len());
            let mut writer = SafetensorsWriter::create(folder.join(&file));
            writer.metadata("format", "pt");
            for tensor in *tensors {
                writer.declare_encoded(&tensor.name, &tensor.shape, tensor.encoding)?;
                places.insert(tensor.name.clone(), json!(file));
            }
            let mut body = writer.begin()?;
            let mut piece = Vec::new();
            for tensor in *tensors {
                let mut source = tensor.source();
                while source.next_piece(&mut piece) {
                    body.write_bytes(&piece)?;
                    done += piece.len() as u64;
                    if !progress(done) {
                        return Err(SynthError::Interrupted);
                    }
                }
            }
            body.finish()?;
        }
        let index = json!({"metadata": {"total_size": self.bytes()}, "weight_map": places});
        for (name, value) in [("config.json", &self.config), ("model.safetensors.index.json", &index)] {
            let path = folder.join(name);
            let text = format!("{value:#}\n");
            fs::write(&path, text).map_err(|source| SynthError::Folder { path, source })?;
        }
        let vocabulary = self.config.get("vocab_size").and_then(Value::as_u64).unwrap_or(0);
        let path = folder.join("tokenizer.json");
        let text = plan::tokenizer(vocabulary as usize).to_string();
        fs::write(&path, text).map_err(|source| SynthError::Folder { path, source })
    }

    /// Tensors in runs of at most a shard's bytes (or one tensor).
    fn shards(&self) -> Vec<&[Planned]> {
        let (mut shards, mut start, mut bytes) = (Vec::new(), 0, 0);
        for (index, tensor) in self.tensors.iter().enumerate() {
            if bytes > 0 && bytes + tensor.bytes() > SHARD {
                shards.push(&self.tensors[start..index]);
                (start, bytes) = (index, 0);
            }
            bytes += tensor.bytes();
        }
        shards.push(&self.tensors[start..]);
        shards
    }
}

/// The settings that `model` names.
fn settings(model: &str) -> Result<Map<String, Value>, SynthError> {
    let path = Path::new(model);
    if Container::of(path) == Container::Gguf {
        let what = "shapes of a GGUF file are written to a GGUF file: give an OUT that ends in .gguf";
        return Err(SynthError::Unsuitable(what.into()));
    }
    let known = KNOWN.iter().find(|(name, _)| *name == model);
    let text = match known {
        Some((_, text)) => (*text).to_owned(),
        None if path.is_file() => {
            fs::read_to_string(path).map_err(|source| SynthError::Folder { path: path.to_owned(), source })?
        }
        None => return Err(SynthError::UnknownModel { name: model.to_owned() }),
    };
    let wrong = |what: String| SynthError::Settings { path: path.to_owned(), what };
    match serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))? {
        Value::Object(map) => Ok(map),
        _ => Err(wrong("it is no JSON object".into())),
    }
}

/// Another number of layers, of which at least one has experts if any had.
fn shorten(config: &mut Map<String, Value>, layers: usize) -> Result<(), SynthError> {
    if layers == 0 {
        return Err(SynthError::Unsuitable("a model needs at least one layer".into()));
    }
    config.insert("num_hidden_layers".into(), json!(layers));
    if let Some(dense) = config.get("first_k_dense_replace").and_then(Value::as_u64) {
        config.insert("first_k_dense_replace".into(), json!(dense.min(layers as u64 - 1)));
    }
    if let Some(Value::Array(types)) = config.get_mut("layer_types") {
        let all = types.clone();
        *types = (0..layers).filter_map(|layer| all.get(layer % all.len().max(1)).cloned()).collect();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_models_have_the_published_sizes() {
        let parameters = |name: &str| {
            let config = settings(name).unwrap();
            let listed = lazuli_models::tensors(&Value::Object(config)).unwrap();
            listed.iter().map(|(_, shape)| shape.elements() as u64).sum::<u64>()
        };
        assert_eq!(parameters("llama-3.2-1b"), 1_235_814_400);
        assert_eq!(parameters("llama-3.1-8b"), 8_030_261_248);
        assert_eq!(parameters("llama-3.3-70b"), 70_553_706_496);
        assert_eq!(parameters("qwen3-30b-a3b"), 30_532_122_624);
        assert_eq!(parameters("gpt-oss-20b"), 20_914_757_184);
        assert_eq!(parameters("deepseek-r1"), 671_026_419_200);
    }

    #[test]
    fn fewer_layers_keep_one_with_experts() {
        let mut config = settings("deepseek-r1").unwrap();
        shorten(&mut config, 2).unwrap();
        assert_eq!(config["first_k_dense_replace"], 1);
        shorten(&mut config, 4).unwrap();
        assert_eq!((&config["num_hidden_layers"], &config["first_k_dense_replace"]), (&json!(4), &json!(1)));
        assert!(shorten(&mut config, 0).is_err());
        assert!(matches!(settings("no-such-model"), Err(SynthError::UnknownModel { .. })));
    }
}
