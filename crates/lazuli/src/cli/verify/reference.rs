//! The file of reference results: ids, logits and, if it has one, a greedy continuation.

use crate::cli::Failure;
use lazuli::core::Array;
use lazuli::io::Checkpoint;
use std::path::{Path, PathBuf};

/// Results of another implementation for one list of tokens.
#[derive(Debug)]
pub struct Reference {
    /// The tokens, at least one.
    pub ids: Vec<u32>,
    /// The most likely tokens after them.
    pub greedy: Option<Vec<u32>>,
    /// Columns of the logits.
    pub vocabulary: usize,
    logits: Array,
    path: PathBuf,
}

impl Reference {
    /// Where a model's reference is if nobody says: in its folder, or beside its file.
    pub fn beside(model: &Path) -> PathBuf {
        let folder = if model.is_dir() { model } else { model.parent().unwrap_or(Path::new("")) };
        folder.join("reference.safetensors")
    }

    /// Reads the small tensors; the logits stay in the mapped file.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        if !path.is_file() {
            return Err(Failure::error(format!(
                "there is no reference {}: name one with --reference",
                path.display()
            )));
        }
        let file = Checkpoint::open_tensors(path)?;
        let fail = |what: String| Failure::error(format!("{}: {what}", path.display()));
        let ids = ids(&file, "input_ids")?;
        let logits = file.array("logits")?;
        let greedy = file.tensor("greedy").map(|_| self::ids(&file, "greedy")).transpose()?;
        let [rows, vocabulary] = logits.shape()[..] else {
            return Err(fail(format!("logits have shape {}, expected [T, V]", logits.shape())));
        };
        if ids.is_empty() || rows != ids.len() || vocabulary == 0 {
            let count = ids.len();
            return Err(fail(format!("there are {count} input_ids, but logits of shape {}", logits.shape())));
        }
        let reference = Reference { ids, greedy, vocabulary, logits, path: path.to_owned() };
        reference.logits()?;
        Ok(reference)
    }

    /// The logits, row by row.
    pub fn logits(&self) -> Result<&[f32], Failure> {
        let what = |error| Failure::error(format!("{}: logits: {error}", self.path.display()));
        self.logits.as_slice::<f32>().map_err(what)
    }

    /// Refuses results of a model with another vocabulary.
    pub fn check(&self, vocabulary: usize) -> Result<(), Failure> {
        if self.vocabulary == vocabulary {
            return Ok(());
        }
        Err(Failure::error(format!(
            "{} is for a vocabulary of {}, but the model has {vocabulary} tokens: it belongs to another model",
            self.path.display(),
            self.vocabulary
        )))
    }
}

fn ids(file: &Checkpoint, name: &str) -> Result<Vec<u32>, Failure> {
    let fail = |what: String| Failure::error(format!("{}: {name}: {what}", file.path().display()));
    let array = file.array(name)?;
    if array.shape().rank() != 1 {
        return Err(fail(format!("shape {}, expected [T]", array.shape())));
    }
    let ids = array.as_slice::<i32>().map_err(|error| fail(error.to_string()))?;
    let id = |&id: &i32| u32::try_from(id).map_err(|_| fail(format!("{id} is no token id")));
    ids.iter().map(id).collect()
}
