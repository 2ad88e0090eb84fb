//! Where the tiny checkpoints with reference results lie.

use std::path::PathBuf;

/// The folder of a fixture, for example `llama3`.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}
