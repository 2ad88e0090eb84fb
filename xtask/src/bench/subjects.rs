//! What the engines take turns on: models as they are found, or files with the shapes of one of them in one format each.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, Result};
use crate::shell;

/// The types of GGUF files that `--formats all` stands for.
pub const FORMATS: [&str; 24] = [
    "BF16", "Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS", "MXFP4",
    "NVFP4", "Q3_K", "IQ3_S", "IQ3_XXS", "Q2_K", "IQ2_S", "IQ2_XS", "IQ2_XXS", "TQ2_0", "TQ1_0", "IQ1_M",
    "IQ1_S",
];
/// Layers of the files that are written: enough that their weights fill no cache.
const LAYERS: &str = "8";

/// A model to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A file or folder.
    Found(PathBuf),
    /// A file with the shapes of the GGUF file `like`, random weights, and all matrices in `format`.
    Written { like: PathBuf, format: String },
}

impl Subject {
    /// The model on disk; a file that had to be written is removed again with it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn open(&self, lazuli: &Path) -> Result<Opened> {
        let (like, format) = match self {
            Self::Found(path) => return Ok(Opened { path: path.clone(), written: false }),
            Self::Written { like, format } => (like, format),
        };
        let folder = shell::root().join("target/bench-formats");
        std::fs::create_dir_all(&folder)
            .map_err(|e| Failure::new(format!("cannot make {}: {e}", folder.display())))?;
        let stem = like.file_stem().unwrap_or_default().to_string_lossy();
        let opened = Opened {
            // Without commas, at which llama-bench divides names.
            path: folder.join(format!("{format}-of-{stem}.gguf")),
            written: true,
        };
        // What an interrupted run has left.
        opened.remove();
        let mut synth = Command::new(lazuli);
        synth
            .arg("synth")
            .arg(like)
            .arg(&opened.path)
            .args(["--quiet", "--format", format, "--layers", LAYERS]);
        shell::output(&mut synth)?;
        Ok(opened)
    }
}

/// A model while it is measured.
#[derive(Debug)]
pub struct Opened {
    /// The file or folder.
    pub path: PathBuf,
    written: bool,
}

impl Opened {
    fn remove(&self) {
        // It may not exist; where it cannot be removed, writing it says so.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if self.written {
            self.remove();
        }
    }
}
