//! `cargo xtask gen`: the parts of the documentation that are derived from the code.
//!
//! A region between `gen:NAME` and `/gen:NAME` comments in README.md or docs/ belongs to the generator of that
//! name; a few files belong to a generator as a whole. Owns the list of generators, writing and comparing.

mod adr;
mod architectures;
mod cli;
mod regions;
mod rooms;

use std::path::Path;

use crate::failure::{Failure, Result};
use crate::shell;

/// Whether out-of-date text is written or reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Write,
    Check,
}

/// A name, and what writes its text.
type Region = (&'static str, fn() -> Result<String>);
/// A path, and what writes the whole file; `None` leaves the file as it is, once the generator has said why.
type Page = (&'static str, fn() -> Result<Option<String>>);

const REGIONS: &[Region] =
    &[("rooms", rooms::table), ("adrs", adr::list), ("architectures", architectures::table)];

const FILES: &[Page] = &[("docs/CLI.md", cli::reference)];

pub fn run(mode: Mode) -> Result {
    let mut stale = Vec::new();
    for path in documents(&shell::root())? {
        let old = std::fs::read_to_string(shell::root().join(&path))?;
        let new = regions::rewrite(&old, &|name| generate(name))
            .map_err(|failure| Failure::new(format!("{path}: {failure}")))?;
        settle(mode, &path, Some(&old), &new, &mut stale)?;
    }
    for (path, generator) in FILES {
        if let Some(new) = generator()? {
            let old = std::fs::read_to_string(shell::root().join(path)).ok();
            settle(mode, path, old.as_deref(), &new, &mut stale)?;
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "out of date: {}; run `cargo xtask gen` and commit what it writes",
        stale.join(", ")
    )))
}

fn generate(name: &str) -> Result<String> {
    if let Some((_, generator)) = REGIONS.iter().find(|(n, _)| *n == name) {
        return generator();
    }
    let known: Vec<_> = REGIONS.iter().map(|(name, _)| *name).collect();
    Err(Failure::new(format!("no generator `{name}`; there are: {}", known.join(", "))))
}

fn settle(mode: Mode, path: &str, old: Option<&str>, new: &str, stale: &mut Vec<String>) -> Result {
    if old == Some(new) {
        return Ok(());
    }
    match mode {
        Mode::Check => stale.push(path.to_string()),
        Mode::Write => {
            std::fs::write(shell::root().join(path), new)?;
            println!("wrote {path}");
        }
    }
    Ok(())
}

/// README.md and every Markdown file below docs/ that no generator owns as a whole, as paths from `root`.
fn documents(root: &Path) -> Result<Vec<String>> {
    let mut paths = vec!["README.md".to_string()];
    let mut folders = vec!["docs".to_string()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if Path::new(&path).extension().is_some_and(|e| e == "md") {
                paths.push(path);
            }
        }
    }
    paths.retain(|path| FILES.iter().all(|(owned, _)| owned != path));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_found_and_generated_files_left_out() {
        let paths = documents(&shell::root()).unwrap();
        assert!(paths.contains(&"README.md".to_string()));
        assert!(paths.contains(&"docs/ARCHITECTURE.md".to_string()));
        assert!(!paths.contains(&"docs/CLI.md".to_string()));
    }

    #[test]
    fn an_unknown_generator_is_named_with_the_known_ones() {
        let message = generate("weather").unwrap_err().to_string();
        assert!(message.contains("`weather`") && message.contains("rooms"), "{message}");
    }

    #[test]
    fn a_check_writes_nothing() {
        let mut stale = Vec::new();
        settle(Mode::Check, "docs/no-such-file.md", None, "new", &mut stale).unwrap();
        settle(Mode::Check, "README.md", Some("same"), "same", &mut stale).unwrap();
        assert_eq!(stale, ["docs/no-such-file.md"]);
        assert!(!shell::root().join("docs/no-such-file.md").exists());
    }
}
