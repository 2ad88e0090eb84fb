//! [`Model`]: a model's files, and the parts that are made from them, each on its own.

use std::path::Path;

use lazuli_io::{ChatTemplate, Checkpoint, Tokenizer};
use lazuli_models::CausalLm;

use crate::Result;

/// An opened model. Its files are mapped and their headers read; network, tokenizer and chat template are made when
/// they are asked for, so that nobody needs (or waits for) a part that is not used.
///
/// ```no_run
/// use lazuli::Model;
///
/// let model = Model::open("SmolLM2-135M-Instruct.Q4_1.gguf")?;
/// let network = model.causal_lm()?;
/// println!("{} tensors, a vocabulary of {}", model.checkpoint().tensors().len(), network.spec().vocabulary);
/// # Ok::<(), lazuli::Error>(())
/// ```
#[derive(Debug)]
pub struct Model {
    checkpoint: Checkpoint,
}

impl Model {
    /// Opens a GGUF file, or a folder in Hugging Face's layout.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self { checkpoint: Checkpoint::open(path)?.group_planes()? })
    }

    /// The files: tensors by name, and metadata.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The network, with its [`lazuli_models::Spec`]. Weights are views of the mapped files.
    ///
    /// # Errors
    /// If the architecture is unknown, or settings and tensors do not fit it.
    pub fn causal_lm(&self) -> Result<Box<dyn CausalLm>> {
        let network = lazuli_models::load(&self.checkpoint)?;
        // Of experts only those that are used should come from the disk, and not much beside them.
        if network.spec().experts.is_none() {
            self.checkpoint.prefer_huge_pages();
        }
        Ok(network)
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// If the checkpoint brings none, or one that is not supported.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        Ok(Tokenizer::from_checkpoint(&self.checkpoint)?)
    }

    /// The chat template, if the checkpoint brings one.
    ///
    /// # Errors
    /// If it does not compile.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>> {
        Ok(ChatTemplate::from_checkpoint(&self.checkpoint)?)
    }
}
