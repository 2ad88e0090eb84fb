//! A model as published: a GGUF file (or its parts), or a folder with `config.json` and safetensors files.
//!
//! Owns finding and mapping the files and the list of named tensors. What the tensors and the settings mean is
//! the business of the architectures.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use lazuli_core::Buffer;
use serde_json::Value;

use crate::array::buffer;
use crate::error::{Error, Result};
use crate::gguf::{self, Metadata};
use crate::json::read_json;
use crate::mmap::{MappedFile, Resident};
use crate::safetensors;
use crate::tensor::TensorInfo;

/// Where a checkpoint's description of its model stands, and in which words.
#[derive(Debug)]
pub enum Kind {
    /// GGUF metadata; tensor names and settings as llama.cpp names them.
    Gguf(Metadata),
    /// The parsed `config.json` of a Hugging Face (or MLX) folder; names as its model code has them.
    HuggingFace(Value),
    /// Nothing: tensors alone, as in a file of reference results.
    Tensors,
}

/// A model's files, mapped, and what they say about themselves.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    kind: Kind,
    files: Vec<MappedFile>,
    tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
    /// The files again, as memory that arrays can share.
    buffers: Vec<Buffer>,
}

impl Checkpoint {
    /// Opens `path`: a GGUF file (any part of a split one), a folder with `config.json` and safetensors files,
    /// or a folder that holds exactly one GGUF model. Reads headers only: weights stay on disk until used.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`] if the path holds none of these, else what is wrong with the file named.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let metadata =
            std::fs::metadata(path).map_err(|source| Error::Open { path: path.to_owned(), source })?;
        if metadata.is_dir() {
            return Self::open_folder(path);
        }
        if path.extension().is_some_and(|e| e == "safetensors") {
            let found = "a safetensors file without its config.json (give the folder instead)".to_owned();
            return Err(Error::NotACheckpoint { path: path.to_owned(), found });
        }
        Self::open_gguf(path)
    }

    /// Opens one safetensors file for its tensors alone.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn open_tensors(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (files, tensors) = safetensors::open_single(path)?;
        Ok(Self::new(path, Kind::Tensors, files, tensors))
    }

    fn open_gguf(path: &Path) -> Result<Self> {
        let joined = gguf::join(path)?;
        Ok(Self::new(path, Kind::Gguf(joined.metadata), joined.files, joined.tensors))
    }

    fn open_folder(folder: &Path) -> Result<Self> {
        let config = folder.join("config.json");
        if config.is_file() {
            let config = read_json(&config)?;
            if let Some((files, tensors)) = safetensors::open_folder(folder)? {
                return Ok(Self::new(folder, Kind::HuggingFace(config), files, tensors));
            }
        }
        let mut models = gguf_models(folder)?;
        match (models.pop(), models.len()) {
            (Some(one), 0) => Self::open_gguf(&one),
            (Some(_), more) => {
                let found = format!("a folder with {} GGUF models (name the one you mean)", more + 1);
                Err(Error::NotACheckpoint { path: folder.to_owned(), found })
            }
            (None, _) => {
                Err(Error::NotACheckpoint { path: folder.to_owned(), found: describe_folder(folder) })
            }
        }
    }

    fn new(path: &Path, kind: Kind, files: Vec<MappedFile>, tensors: Vec<TensorInfo>) -> Self {
        let index = index(&tensors);
        let buffers = files.iter().map(buffer).collect();
        Self { path: path.to_owned(), kind, files, tensors, index, buffers }
    }

    /// The same files with another list of tensors.
    pub(crate) fn with_tensors(mut self, tensors: Vec<TensorInfo>) -> Self {
        self.index = index(&tensors);
        self.tensors = tensors;
        self
    }

    /// The path it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says that all weights will be read, again and again: they may come from the disk in large pages.
    pub fn prefer_huge_pages(&self) {
        self.files.iter().for_each(MappedFile::prefer_huge_pages);
    }

    /// What of the files is in memory, as far as this process has used it; `None` where the system does not say.
    pub fn resident(&self) -> Option<Resident> {
        Resident::of(&self.files)
    }

    /// What describes the model.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The GGUF metadata, if it is a GGUF model.
    pub fn metadata(&self) -> Option<&Metadata> {
        match &self.kind {
            Kind::Gguf(metadata) => Some(metadata),
            _ => None,
        }
    }

    /// The parsed `config.json`, if it is a folder of safetensors.
    pub fn config(&self) -> Option<&Value> {
        match &self.kind {
            Kind::HuggingFace(config) => Some(config),
            _ => None,
        }
    }

    /// All tensors, in the order of the files.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|&index| &self.tensors[index])
    }

    /// The bytes of one plane of one of this checkpoint's tensors.
    ///
    /// # Panics
    /// If `tensor` is from another checkpoint and lies outside this one's files, or has no such plane.
    pub fn plane(&self, tensor: &TensorInfo, plane: usize) -> &[u8] {
        let plane = &tensor.planes[plane];
        &self.files[plane.file][plane.bytes.clone()]
    }

    /// The mapped files that hold the tensors.
    pub fn files(&self) -> &[MappedFile] {
        &self.files
    }

    /// The files as buffers, in the same order: what the arrays are views of.
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// Stored bytes of all tensors.
    pub fn tensor_bytes(&self) -> usize {
        self.tensors.iter().map(TensorInfo::bytes).sum()
    }
}

/// Places in the list by name.
fn index(tensors: &[TensorInfo]) -> HashMap<String, usize> {
    tensors.iter().enumerate().map(|(place, tensor)| (tensor.name.clone(), place)).collect()
}

/// The GGUF models in a folder: a split one counts once, by its first part.
fn gguf_models(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |source| Error::Open { path: folder.to_owned(), source };
    let mut models = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_gguf = path.extension().is_some_and(|e| e == "gguf");
        // Companions for images are not language models.
        if is_gguf && !is_later_part(name) && !name.starts_with("mmproj") {
            models.push(path);
        }
    }
    Ok(models)
}

fn is_later_part(name: &str) -> bool {
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    name.strip_suffix(".gguf")
        .and_then(|stem| stem.rsplit_once("-of-"))
        .and_then(|(rest, count)| Some((rest.rsplit_once('-')?.1, count)))
        .is_some_and(|(number, count)| digits(number) && digits(count) && number != "00001")
}

fn describe_folder(folder: &Path) -> String {
    let config = if folder.join("config.json").is_file() { "with" } else { "without" };
    let has_bin = folder.join("pytorch_model.bin").is_file();
    let pickles =
        if has_bin { " (its pytorch_model.bin is not read: convert it to safetensors)" } else { "" };
    format!("a folder {config} config.json and without safetensors or GGUF files{pickles}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::safetensors::SafetensorsWriter;
    use crate::tensor::Encoding;

    fn write_safetensors(path: &Path) {
        let mut writer = SafetensorsWriter::create(path);
        writer.declare::<f32>("w", &[2]).unwrap();
        let mut body = writer.begin().unwrap();
        body.write(&[1.0f32, 2.0]).unwrap();
        body.finish().unwrap();
    }

    #[test]
    fn opens_hugging_face_folders() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), r#"{"model_type":"llama"}"#).unwrap();
        assert!(Checkpoint::open(dir.path()).unwrap_err().to_string().contains("with config.json"));
        write_safetensors(&dir.path().join("model.safetensors"));
        write_safetensors(&dir.path().join("reference.safetensors"));
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(checkpoint.config().unwrap()["model_type"], "llama");
        assert!(checkpoint.metadata().is_none());
        let w = checkpoint.tensor("w").unwrap();
        assert_eq!((w.encoding, &w.shape[..], checkpoint.tensor_bytes()), (Encoding::F32, &[2][..], 8));
        assert_eq!(checkpoint.plane(w, 0), [1.0f32, 2.0].map(f32::to_le_bytes).concat());
        let error = Checkpoint::open(dir.path().join("model.safetensors")).unwrap_err();
        assert!(error.to_string().contains("give the folder"), "{error}");
    }

    #[test]
    fn opens_the_one_gguf_of_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = gguf::tests::Writer::default().text("general.architecture", "llama").bytes();
        std::fs::write(dir.path().join("mmproj-x.gguf"), &bytes).unwrap();
        assert!(Checkpoint::open(dir.path()).unwrap_err().to_string().contains("without config.json"));
        std::fs::write(dir.path().join("a.gguf"), &bytes).unwrap();
        std::fs::write(dir.path().join("b-00002-of-00002.gguf"), &bytes).unwrap();
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(checkpoint.metadata().unwrap().str("general.architecture").unwrap(), Some("llama"));
        std::fs::write(dir.path().join("b.gguf"), &bytes).unwrap();
        assert!(Checkpoint::open(dir.path()).unwrap_err().to_string().contains("2 GGUF models"));
        assert!(Checkpoint::open(dir.path().join("none")).unwrap_err().to_string().contains("none"));
        std::fs::write(dir.path().join("x.gguf"), b"{}").unwrap();
        assert!(Checkpoint::open(dir.path().join("x.gguf")).is_err());
    }
}
