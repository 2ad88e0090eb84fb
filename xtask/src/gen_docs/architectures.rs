//! The table of architectures: which files of each the tests check against results of another implementation.
//!
//! Nothing is written down twice: names come from the registry, the first column from the architecture's file,
//! the others from the fixtures and the tests that use them.

use std::fs::read_to_string;
use std::path::Path;

use serde_json::Value;

use crate::failure::{Failure, Result};
use crate::shell;

const MODELS: &str = "crates/lazuli-models";
const FIXTURES: &str = "crates/lazuli-testkit/fixtures";

/// Published files whose perplexity is compared with llama.cpp's, by architecture.
const PUBLISHED: &[(&str, &str)] =
    &[("gemma3", "gemma-3-270m"), ("llama", "SmolLM2-135M"), ("qwen2", "Qwen2.5-Coder-1.5B")];

/// One row for each file of an architecture.
pub fn table() -> Result<String> {
    let root = shell::root();
    let registry = read_to_string(root.join(MODELS).join("src/registry.rs"))?;
    let goldens = read_to_string(root.join(MODELS).join("tests/goldens.rs"))?;
    let fixtures = fixtures(&root.join(FIXTURES), &goldens)?;
    let conversions = conversions(&root.join(MODELS).join("tests"))?;
    let mut rows = String::from("| architecture | | Hugging Face | MLX | GGUF |\n|---|---|---|---|---|\n");
    for (file, names) in architectures(&registry)? {
        let source = read_to_string(root.join(MODELS).join(format!("src/arch/{file}.rs")))?;
        let row = Row { file: &file, names: &names, fixtures: &fixtures, conversions: &conversions };
        rows.push_str(&row.render(first_sentence(&source)));
    }
    Ok(rows)
}

struct Fixture {
    name: String,
    model_type: String,
}

struct Row<'a> {
    file: &'a str,
    names: &'a [String],
    fixtures: &'a [Fixture],
    /// Fixtures that tests write as GGUF files.
    conversions: &'a [String],
}

impl Row<'_> {
    fn render(&self, what: &str) -> String {
        let own: Vec<&str> = self
            .fixtures
            .iter()
            .filter(|fixture| self.names.contains(&fixture.model_type))
            .map(|fixture| fixture.name.as_str())
            .collect();
        let (mlx, plain): (Vec<&str>, Vec<&str>) = own.iter().partition(|name| name.starts_with("mlx-"));
        let gguf: Vec<&str> =
            own.iter().copied().filter(|name| self.conversions.iter().any(|c| c == name)).collect();
        let published = PUBLISHED.iter().find(|(file, _)| *file == self.file).map(|(_, name)| *name);
        let mut gguf_cell = listed(&gguf, "not yet");
        if let Some(published) = published {
            gguf_cell.extend([", published: ", published]);
        }
        let names: Vec<String> = self.names.iter().map(|name| format!("`{name}`")).collect();
        format!(
            "| {} | {what} | {} | {} | {gguf_cell} |\n",
            names.join(", "),
            listed(&plain, "unchecked"),
            listed(&mlx, "by name"),
        )
    }
}

fn listed(names: &[&str], none: &str) -> String {
    if names.is_empty() { none.to_owned() } else { format!("golden: {}", names.join(", ")) }
}

/// Files of architectures with the names that the registry has for them, in its order.
fn architectures(registry: &str) -> Result<Vec<(String, Vec<String>)>> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for line in registry.lines() {
        let Some((name, rest)) = line.trim().strip_prefix("(\"").and_then(|l| l.split_once("\", arch::"))
        else {
            continue;
        };
        let file = rest.split("::").next().unwrap_or_default();
        match found.iter_mut().find(|(known, _)| known == file) {
            Some((_, names)) => names.push(name.to_owned()),
            None => found.push((file.to_owned(), vec![name.to_owned()])),
        }
    }
    if found.is_empty() {
        return Err(Failure::new("registry.rs has no lines of the form (\"name\", arch::file::load)"));
    }
    Ok(found)
}

/// The fixtures that `goldens` names, with the architecture their settings name.
fn fixtures(folder: &Path, goldens: &str) -> Result<Vec<Fixture>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    names.retain(|name| goldens.contains(&format!("\"{name}\"")));
    let read = |name: String| {
        let config: Value = serde_json::from_str(&read_to_string(folder.join(&name).join("config.json"))?)?;
        let model_type = config["model_type"].as_str().unwrap_or_default().to_owned();
        Ok(Fixture { name, model_type })
    };
    names.into_iter().map(read).collect()
}

/// The first arguments of `agrees(..)` in the tests of GGUF files.
fn conversions(tests: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(tests)? {
        let path = entry?.path();
        let gguf = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("gguf"));
        if gguf && path.extension().is_some_and(|e| e == "rs") {
            let text = read_to_string(&path)?;
            let calls = text.split("agrees(").skip(1);
            let name = |call: &str| call.trim_start().strip_prefix('"')?.split('"').next().map(str::to_owned);
            found.extend(calls.filter_map(name));
        }
    }
    Ok(found)
}

/// The first line of a file's header, without its full stop.
fn first_sentence(source: &str) -> &str {
    let line = source.lines().next().unwrap_or_default();
    line.trim_start_matches("//!").trim().trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_file_share_a_row() {
        let registry =
            "const L: &[X] = &[\n    (\"a\", arch::a::load),\n    (\"a_text\", arch::a::load),\n];";
        assert_eq!(architectures(registry).unwrap(), [("a".into(), vec!["a".into(), "a_text".into()])]);
        assert!(architectures("").is_err());
    }

    #[test]
    fn a_row_says_what_is_checked_and_what_is_not() {
        let fixture = |name: &str| Fixture { name: name.into(), model_type: "a".into() };
        let fixtures = [fixture("a-window"), fixture("mlx-a-q4")];
        let names = ["a".to_owned()];
        let mut row =
            Row { file: "a", names: &names, fixtures: &fixtures, conversions: &["a-window".into()] };
        let expected = "| `a` | What | golden: a-window | golden: mlx-a-q4 | golden: a-window |\n";
        assert_eq!(row.render("What"), expected);
        (row.fixtures, row.conversions) = (&[], &[]);
        assert_eq!(row.render("What"), "| `a` | What | unchecked | by name | not yet |\n");
    }

    #[test]
    fn every_architecture_is_checked_in_one_form_at_least() {
        let table = table().unwrap();
        assert!(table.lines().count() > 10 && !table.contains("unchecked"), "{table}");
        assert!(table.contains("| `gemma3`, `gemma3_text` |"), "{table}");
    }
}
