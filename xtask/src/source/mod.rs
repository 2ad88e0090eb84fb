//! The files of the workspace as the checks see them: text, and for Rust also the code without its comments
//! and strings. Owns which files are looked at; what is wrong with them is the business of `tidy`.

mod mask;
mod spans;

use std::ops::Range;
use std::path::Path;

pub use mask::{Masked, mask};
pub use spans::{functions, matching, test_regions, words};

use crate::failure::{Failure, Result};

/// Folders that hold what is built or fetched, not what is written.
const SKIPPED_DIRS: &[&str] = &["target", ".git", "corpus", "artifacts", "node_modules"];
/// Endings of the text files that the rules read.
const TEXT_ENDINGS: &[&str] = &["rs", "toml", "md", "sh", "yml", "yaml", "editorconfig"];

/// One text file of the workspace.
#[derive(Debug)]
pub struct SourceFile {
    /// Path from the root, with `/` between its parts.
    pub path: String,
    pub text: String,
    /// Present for `.rs` files.
    pub rust: Option<Rust>,
}

/// What is known of a Rust file. All offsets are the same as in its text.
#[derive(Debug)]
pub struct Rust {
    /// The text with comments and the insides of strings blanked.
    pub code: String,
    /// The text with everything but comments blanked.
    pub comments: String,
    /// Byte ranges of items under `#[cfg(test)]`.
    pub tests: Vec<Range<usize>>,
}

impl SourceFile {
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let rust = is_rust(&path).then(|| {
            let Masked { code, comments } = mask(&text);
            let tests = test_regions(&code);
            Rust { code, comments, tests }
        });
        Self { path, text, rust }
    }

    /// Line number, from 1, of a byte offset.
    pub fn line_of(&self, offset: usize) -> usize {
        self.text[..offset].matches('\n').count() + 1
    }

    /// The crate's folder name for a file under `crates/`; `xtask` for ours.
    pub fn krate(&self) -> &str {
        match self.path.strip_prefix("crates/") {
            Some(rest) => rest.split('/').next().unwrap_or(rest),
            None => self.path.split('/').next().unwrap_or(&self.path),
        }
    }

    /// Whether the whole file is test or bench code.
    pub fn is_test_file(&self) -> bool {
        let mut parts = self.path.rsplit('/');
        let name = parts.next().unwrap_or_default();
        name == "tests.rs" || name.ends_with("_tests.rs") || parts.any(|p| matches!(p, "tests" | "benches"))
    }
}

impl Rust {
    /// Whether the byte at `offset` belongs to an item under `#[cfg(test)]`.
    pub fn in_tests(&self, offset: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&offset))
    }
}

/// All text files below `root`, sorted by path.
pub fn read_all(root: &Path) -> Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    walk(root, "", &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn walk(dir: &Path, prefix: &str, files: &mut Vec<SourceFile>) -> Result {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        if entry.file_type()?.is_dir() {
            if !SKIPPED_DIRS.contains(&name.as_str()) {
                walk(&entry.path(), &path, files)?;
            }
        } else if is_text(&path) {
            let text = std::fs::read_to_string(entry.path())
                .map_err(|error| Failure::new(format!("cannot read {path} as text: {error}")))?;
            files.push(SourceFile::new(path, text));
        }
    }
    Ok(())
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|e| e == "rs")
}

fn is_text(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.starts_with(".ci/") || name.rsplit_once('.').is_some_and(|(_, end)| TEXT_ENDINGS.contains(&end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_know_their_crate_and_whether_they_test() {
        let file = |path: &str| SourceFile::new(path, "");
        assert_eq!(file("crates/lazuli-nn/src/rope.rs").krate(), "lazuli-nn");
        assert_eq!(file("xtask/src/main.rs").krate(), "xtask");
        assert!(file("crates/lazuli-nn/tests/rope.rs").is_test_file());
        assert!(file("crates/lazuli-nn/src/rope/tests.rs").is_test_file());
        assert!(!file("crates/lazuli-testkit/src/cases.rs").is_test_file());
    }

    #[test]
    fn the_walk_finds_this_file_and_nothing_built() {
        let files = read_all(&crate::shell::root()).unwrap();
        assert!(files.iter().any(|f| f.path == "xtask/src/source/mod.rs"));
        assert!(files.iter().any(|f| f.path == ".ci/run"));
        assert!(files.iter().all(|f| !f.path.starts_with("target/")));
    }

    #[test]
    fn lines_count_from_one() {
        let file = SourceFile::new("a.md", "x\ny\n");
        assert_eq!((file.line_of(0), file.line_of(2)), (1, 2));
    }
}
