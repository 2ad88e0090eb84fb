//! What is in the caches, and taking it out again.

use super::hub::cache::{RepoCache, repositories};
use super::names::quantisation;
use super::{ModelRef, Selector, Store, StoreError, pypi};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A model in one of the caches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// A reference that means it: an alias if there is one.
    pub name: String,
    /// How it is stored.
    pub format: Format,
    /// What its name tells of its quantisation.
    pub quantisation: Option<String>,
    /// The size of its files.
    pub bytes: u64,
    /// What a loader opens.
    pub path: PathBuf,
    /// Which cache holds it.
    pub source: Source,
}

/// How a model is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One GGUF file, or one in parts.
    Gguf,
    /// A folder with a `config.json` and safetensors files.
    Safetensors,
}

/// Where a model came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A Python package; the file is in Lazuli's own cache.
    Pypi,
    /// The hub; the file is in its cache, which other tools share.
    Hub,
}

/// Files that are about to be deleted.
#[derive(Debug)]
pub struct Removal {
    /// What is removed, for people.
    pub label: String,
    /// Bytes that become free.
    pub bytes: u64,
    /// True if other tools may use the files too.
    pub shared: bool,
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    /// Empty folders are removed up to here, and not this one.
    root: PathBuf,
}

impl Store {
    /// Every model in Lazuli's cache and in the hub's, by name.
    pub fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let aliases = self.aliases()?;
        let mut found = self.pypi_entries();
        for entry in &mut found {
            let is_it = |model: &str| match ModelRef::parse_beside(model, |_| false) {
                Ok(ModelRef::Pypi(what)) => pypi::place(self.places(), &what) == entry.path,
                _ => false,
            };
            if let Some((name, _)) = aliases.iter().find(|(_, alias)| is_it(&alias.model)) {
                name.clone_into(&mut entry.name);
            }
        }
        let hub = &self.places().hub;
        found.extend(repositories(hub).iter().flat_map(|repo| RepoCache::new(hub, repo).entries(repo)));
        found.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
        Ok(found)
    }

    /// Finds out what removing a model would delete; [`Removal::execute`] does it.
    ///
    /// Only Lazuli's own cache, and the hub's if the reference itself names the hub. `org/name` means everything of
    /// that repository, `org/name:Q8_0` one model of it.
    pub fn removal(&self, model: &ModelRef) -> Result<Removal, StoreError> {
        let (meant, _) = self.expand(model)?;
        let absent =
            || StoreError::NotOurs(format!("'{model}' is not in the cache: 'lazuli models' lists what is"));
        let removal = match (&meant, model) {
            (ModelRef::Pypi(what), _) => {
                let file = pypi::place(self.places(), what);
                Removal::new(model.to_string(), vec![file], Vec::new(), self.places().pypi())
            }
            (ModelRef::Hub(hub), ModelRef::Alias(name)) => {
                let text = format!(
                    "'{name}' stands for '{hub}', which lies in the hub's cache that other tools share: say 'lazuli rm {hub}'"
                );
                return Err(StoreError::NotOurs(text));
            }
            (ModelRef::Hub(hub), _) => {
                let cache = RepoCache::new(&self.places().hub, &hub.repo);
                let whole = hub.selector == Selector::Any && hub.revision.is_none();
                let folders = if whole { vec![cache.folder().to_owned()] } else { Vec::new() };
                let files = cache.files_to_remove(hub);
                let mut removal = Removal::new(model.to_string(), files, folders, self.places().hub.clone());
                removal.shared = true;
                removal
            }
            _ => {
                let text =
                    format!("'{model}' is a file of yours and not in Lazuli's cache: delete it yourself");
                return Err(StoreError::NotOurs(text));
            }
        };
        if removal.files.is_empty() && removal.folders.is_empty() { Err(absent()) } else { Ok(removal) }
    }

    fn pypi_entries(&self) -> Vec<Entry> {
        let root = self.places().pypi();
        let mut files = Vec::new();
        walk(&root, &mut files);
        files.into_iter().filter_map(|path| pypi_entry(&root, path)).collect()
    }
}

impl Removal {
    fn new(label: String, files: Vec<PathBuf>, folders: Vec<PathBuf>, root: PathBuf) -> Self {
        let files: Vec<PathBuf> = files.into_iter().filter(|file| file.symlink_metadata().is_ok()).collect();
        let folders: Vec<PathBuf> = folders.into_iter().filter(|folder| folder.is_dir()).collect();
        // A link's own length is nothing to speak of; its target is counted where it is deleted too.
        let mut counted = files.clone();
        if !folders.is_empty() {
            counted.clear();
            for folder in &folders {
                walk(folder, &mut counted);
            }
        }
        let size =
            |file: &PathBuf| file.symlink_metadata().map_or(0, |d| if d.is_file() { d.len() } else { 0 });
        let bytes = counted.iter().map(size).sum();
        Removal { label, bytes, shared: false, files, folders, root }
    }

    /// Deletes, and gives the bytes that became free.
    pub fn execute(self) -> Result<u64, StoreError> {
        for folder in &self.folders {
            std::fs::remove_dir_all(folder).map_err(StoreError::io("delete", folder))?;
        }
        for file in &self.files {
            match std::fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io("delete", file)(error));
                }
                _ => prune(file, &self.root),
            }
        }
        Ok(self.bytes)
    }
}

/// Removes the folders above a deleted file that are empty now, but never `root` or anything above it.
fn prune(file: &Path, root: &Path) {
    let above = file.ancestors().skip(1).take_while(|folder| folder.starts_with(root) && *folder != root);
    // A folder that is not empty refuses, and then so would those above it.
    let _ = above.map(std::fs::remove_dir).find(Result::is_err);
}

/// All files and links below a folder; links are not followed.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&path, found),
            Ok(_) => found.push(path),
            Err(_) => {}
        }
    }
}

/// `<package>/<version>/<file>` as an entry.
fn pypi_entry(root: &Path, path: PathBuf) -> Option<Entry> {
    let inner = path.strip_prefix(root).ok()?.to_str()?.replace('\\', "/");
    let (package, rest) = inner.split_once('/')?;
    let (version, file) = rest.split_once('/')?;
    Some(Entry {
        name: format!("pypi:{package}=={version}/{file}"),
        format: Format::Gguf,
        quantisation: quantisation(file),
        bytes: path.metadata().ok()?.len(),
        path,
        source: Source::Pypi,
    })
}
