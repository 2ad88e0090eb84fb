//! [`Subject`]: what is planned, wherever its description comes from.

use std::path::PathBuf;

use lazuli_io::{Encoding, Kind};
use lazuli_planner::{ModelShape, Packing, StoredBytes, Weights, catalogue};

use crate::store::{FetchPolicy, Headers, ModelRef, Store, StoreError};
use crate::{Error, Model, Result};

/// A model in numbers, and how its weights are packed.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Layers, heads, experts.
    pub shape: ModelShape,
    /// As its files have them, or as it was published.
    pub weights: Weights,
    /// Where the numbers come from.
    pub origin: Origin,
}

/// Where the numbers come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The planner's catalogue.
    Catalogue,
    /// Headers of files on this machine.
    Files(PathBuf),
    /// Headers of files on the hub, so many bytes of them.
    Hub {
        /// What was fetched.
        bytes: u64,
    },
}

/// A tensor as all headers have it.
struct Tensor {
    name: String,
    elements: u64,
    bytes: u64,
    encoding: Option<Encoding>,
}

impl Tensor {
    fn packing(&self) -> Packing {
        match self.encoding {
            Some(Encoding::Quant(format)) => Packing::of(Some(format)),
            _ => Packing::Plain,
        }
    }
}

impl Subject {
    /// What a name stands for: files here (a path, an alias or a cached model), a model of the catalogue, or one on
    /// the hub, of which only headers are read.
    ///
    /// # Errors
    /// If there is no such model, or it has no weights or no settings.
    pub fn find(store: &Store, name: &str) -> Result<Self> {
        let reference = ModelRef::parse(name);
        let here = match &reference {
            Ok(reference) => {
                store.resolve(reference, FetchPolicy::Never).map(|found| (found.path, found.label))
            }
            Err(_) => Err(StoreError::NoSuchPath(PathBuf::from(name))),
        };
        let missing = match here {
            Ok((path, label)) => return Self::files(&Model::open(path)?, &label),
            Err(error) => error,
        };
        if let Ok(ModelRef::Hub(hub)) = &reference {
            let entry = catalogue::find(&hub.repo);
            return match store.headers(hub) {
                Ok(headers) => Self::hub(&hub.to_string(), &headers),
                // The catalogue knows some repositories, which helps where there is no network.
                Err(error) => match (error, entry) {
                    (StoreError::Unreachable { .. } | StoreError::NotFetched { .. }, Ok(entry)) => {
                        Self::entry(entry)
                    }
                    (StoreError::Gated { .. } | StoreError::Unauthorised { .. }, Ok(entry)) => {
                        Self::entry(entry)
                    }
                    (error, _) => Err(error.into()),
                },
            };
        }
        match (catalogue::find(name), missing) {
            (Ok(entry), _) => Self::entry(entry),
            // A word that is no alias either: the catalogue's suggestions help more.
            (Err(error), StoreError::UnknownAlias { .. }) => Err(error.into()),
            (Err(_), missing) => Err(missing.into()),
        }
    }

    /// Files on this machine, of which headers are read.
    ///
    /// # Errors
    /// If they have no settings that make a model.
    pub fn files(model: &Model, label: &str) -> Result<Self> {
        let checkpoint = model.checkpoint();
        let tensors: Vec<Tensor> = checkpoint
            .tensors()
            .iter()
            .map(|t| Tensor {
                name: t.name.clone(),
                elements: t.elements() as u64,
                bytes: t.bytes() as u64,
                encoding: Some(t.encoding),
            })
            .collect();
        let config = match checkpoint.kind() {
            Kind::Gguf(metadata) => super::gguf::config(metadata, &names(&tensors)),
            Kind::HuggingFace(config) => config.clone(),
            Kind::Tensors => serde_json::Value::Null,
        };
        let origin = Origin::Files(checkpoint.path().to_owned());
        Self::new(label, &config, &tensors, origin)
    }

    fn hub(label: &str, headers: &Headers) -> Result<Self> {
        let tensors: Vec<Tensor> = headers
            .tensors
            .iter()
            .map(|t| Tensor {
                name: t.name.clone(),
                elements: t.elements,
                bytes: t.bytes,
                encoding: t.encoding,
            })
            .collect();
        let config = match (&headers.config, &headers.metadata) {
            (Some(config), _) => config.clone(),
            (None, Some(metadata)) => super::gguf::config(metadata, &names(&tensors)),
            (None, None) => serde_json::Value::Null,
        };
        Self::new(label, &config, &tensors, Origin::Hub { bytes: headers.bytes_read })
    }

    fn entry(entry: &catalogue::Entry) -> Result<Self> {
        let weights = Weights::parse(&entry.published)?;
        Ok(Self { shape: entry.shape()?, weights, origin: Origin::Catalogue })
    }

    fn new(label: &str, config: &serde_json::Value, tensors: &[Tensor], origin: Origin) -> Result<Self> {
        let shape = ModelShape::from_config(label, config)?;
        let mut stored = StoredBytes::default();
        let mut unpacked = 0;
        for tensor in tensors {
            stored.add(&tensor.name, tensor.bytes, tensor.packing());
            if matches!(tensor.encoding, Some(Encoding::Quant(format)) if format.block_len() == 256) {
                unpacked += tensor.elements;
            }
        }
        if stored.total() == 0 {
            return Err(Error::NoWeights { label: label.to_owned() });
        }
        // Packed codes of planar formats count several elements in a word: the shape knows how many there are.
        let share = unpacked as f64 / shape.parameters().max(1) as f64;
        let name = dominant(tensors).unwrap_or_else(|| "as stored".to_owned());
        let weights = Weights::stored(&name, &shape, stored, share.min(1.0));
        Ok(Self { shape, weights, origin })
    }
}

fn names(tensors: &[Tensor]) -> Vec<(String, u64)> {
    tensors.iter().map(|t| (t.name.clone(), t.elements)).collect()
}

/// The format that most bytes stand in.
fn dominant(tensors: &[Tensor]) -> Option<String> {
    let mut sums: Vec<(Encoding, u64)> = Vec::new();
    for tensor in tensors {
        let encoding = tensor.encoding?;
        match sums.iter_mut().find(|(known, _)| *known == encoding) {
            Some((_, sum)) => *sum += tensor.bytes,
            None => sums.push((encoding, tensor.bytes)),
        }
    }
    let (most, _) = sums.into_iter().max_by_key(|(_, bytes)| *bytes)?;
    Some(match most {
        Encoding::Quant(format) => format.name().into_owned(),
        plain => plain.to_string().to_ascii_lowercase(),
    })
}
