//! Models by name, with the settings that their makers published.

use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;

use super::ModelShape;
use crate::{Error, Result};

/// Against what an entry was checked, besides the number of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checked {
    /// Public copies of its `config.json`, and tables that quote it.
    Quoted,
    /// Nothing: its settings give the published number of parameters.
    Total,
}

/// A model of the catalogue.
#[derive(Debug, Clone, Deserialize)]
pub struct Entry {
    /// Its name, in small letters.
    pub name: String,
    /// Other names.
    pub aliases: Vec<String>,
    /// Where it was published on the hub.
    pub repo: String,
    /// Elements of all weights.
    pub parameters: u64,
    /// Against what its settings were checked.
    pub checked: Checked,
    /// The format in which it was published.
    pub published: String,
    /// Its `config.json`, as far as memory and speed go.
    pub config: Value,
}

impl Entry {
    /// Its shape.
    ///
    /// # Errors
    /// If its settings make no model, which a test excludes.
    pub fn shape(&self) -> Result<ModelShape> {
        ModelShape::from_config(&self.name, &self.config)
    }
}

/// All models, by family.
pub fn entries() -> &'static [Entry] {
    static ENTRIES: OnceLock<Vec<Entry>> = OnceLock::new();
    // A test reads the file, so that an empty list is a defect that cannot be released.
    ENTRIES
        .get_or_init(|| serde_json::from_str(include_str!("../../data/catalogue.json")).unwrap_or_default())
}

/// The entry that a name stands for: its own or another name, a hub repository's, in any case.
///
/// # Errors
/// [`Error::UnknownModel`] with the nearest names.
pub fn find(name: &str) -> Result<&'static Entry> {
    let wanted = plain(name);
    let is = |text: &str| plain(text) == wanted;
    let found = entries().iter().find(|e| is(&e.name) || is(&e.repo) || e.aliases.iter().any(|a| is(a)));
    found.ok_or_else(|| {
        let mut near: Vec<_> =
            entries().iter().map(|e| (strsim::jaro_winkler(&plain(&e.name), &wanted), &e.name)).collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        let nearest = near.iter().take(4).map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ");
        Error::UnknownModel { name: name.to_owned(), nearest }
    })
}

/// Small letters and digits alone, without what marks a fine-tuned version of the same shape.
fn plain(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let lower = lower.strip_suffix("-instruct").or_else(|| lower.strip_suffix("-it")).unwrap_or(&lower);
    lower.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '/').collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KvFormat;

    #[test]
    fn settings_give_the_published_number_of_parameters() {
        assert!(entries().len() > 35);
        for entry in entries() {
            let shape = entry.shape().expect(&entry.name);
            assert_eq!(shape.parameters(), entry.parameters, "{}", entry.name);
        }
    }

    #[test]
    fn caches_have_the_published_sizes() {
        let bytes = |name: &str| find(name).unwrap().shape().unwrap().kv_bytes_per_token(KvFormat::F16);
        assert_eq!(bytes("llama-3.3-70b"), 327_680);
        assert_eq!(bytes("deepseek-r1"), 70_272);
        assert_eq!(bytes("llama-3.1-8b"), 131_072);
        assert_eq!(bytes("qwen3-4b"), 147_456);
    }

    #[test]
    fn names_are_found_in_any_spelling() {
        for name in
            ["Llama-3.3-70B", "meta-llama/Llama-3.3-70B-Instruct", "llama 3.3 70b", "LLAMA-3.3-70b-instruct"]
        {
            assert_eq!(find(name).unwrap().name, "llama-3.3-70b", "{name}");
        }
        let error = find("llama-3.3-71b").unwrap_err().to_string();
        assert!(error.contains("llama-3.3-70b"), "{error}");
    }

    /// Totals as the publishers' pages state them, in billions.
    #[test]
    fn totals_are_those_of_the_publishers() {
        let billions = |name: &str| find(name).unwrap().parameters as f64 / 1e9;
        for (name, stated, digits) in [
            ("llama-3.1-8b", 8.03, 2),
            ("llama-3.3-70b", 70.55, 2),
            ("llama-3.1-405b", 405.85, 2),
            ("deepseek-r1", 671.0, 0),
            ("qwen3-30b-a3b", 30.5, 1),
            ("qwen3-235b-a22b", 235.0, 0),
            ("qwen2.5-72b", 72.7, 1),
            ("mixtral-8x7b", 46.7, 1),
            ("gpt-oss-20b", 20.91, 2),
            ("gpt-oss-120b", 116.83, 2),
            ("phi-4", 14.66, 2),
            ("gemma-3-27b", 27.0, 0),
        ] {
            let unit = 10f64.powi(digits);
            assert!((billions(name) * unit).round() == (stated * unit).round(), "{name}: {}", billions(name));
        }
    }

    #[test]
    fn few_experts_are_active() {
        let active = |name: &str| find(name).unwrap().shape().unwrap().active_parameters() as f64 / 1e9;
        assert!((36.5..38.0).contains(&active("deepseek-r1")), "{}", active("deepseek-r1"));
        assert!((12.5..13.0).contains(&active("mixtral-8x7b")), "{}", active("mixtral-8x7b"));
        assert!((2.9..3.4).contains(&active("qwen3-30b-a3b")), "{}", active("qwen3-30b-a3b"));
    }
}
