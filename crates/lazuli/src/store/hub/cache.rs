//! The hub's cache on this machine, in the layout that all its tools share: `models--org--name/blobs/<etag>` holds the
//! bytes, `snapshots/<commit>/<file>` links to them, `refs/<revision>` names a commit.

use super::select::{Choice, checkpoint, choose, models};
use crate::store::landing::make_parent;
use crate::store::{Entry, Format, HubRef, Selector, Source, StoreError};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// The folder that holds one repository.
#[derive(Debug)]
pub(in crate::store) struct RepoCache {
    folder: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    /// The folder of `org/name` below the hub's cache; need not exist.
    pub fn new(hub: &Path, repo: &str) -> Self {
        let name = format!("models--{}", repo.replace('/', "--"));
        RepoCache { locks: hub.join(".locks").join(&name), folder: hub.join(name) }
    }

    /// The repository's own folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The bytes of a file, by its etag.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// The bytes of a file that is still coming.
    pub fn incomplete(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// What the process that fetches a file locks.
    pub fn lock(&self, etag: &str) -> PathBuf {
        self.locks.join(format!("{etag}.lock"))
    }

    /// The folder of the files of one commit.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// Finds a model without a network: the path to load and what was chosen.
    ///
    /// The revision's own commit comes first; where no revision is asked for, the other commits follow, newest first,
    /// since any tool may have moved the reference without fetching this file again.
    pub fn find(&self, what: &HubRef) -> Option<(PathBuf, Choice)> {
        let mut commits: Vec<String> =
            self.commit_of(what.revision.as_deref().unwrap_or("main")).into_iter().collect();
        if what.revision.is_none() {
            commits.extend(self.commits_by_age());
        }
        commits.iter().find_map(|commit| {
            let snapshot = self.snapshot(commit);
            let choice = choose(what, &files_below(&snapshot)).ok()?;
            Some((path_of(&snapshot, &choice), choice))
        })
    }

    /// The commit that a branch or tag meant when it was last fetched, or the commit itself if it is here.
    pub fn commit_of(&self, revision: &str) -> Option<String> {
        if self.snapshot(revision).is_dir() {
            return Some(revision.to_owned());
        }
        let commit = std::fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        let commit = commit.trim();
        is_commit(commit).then(|| commit.to_owned())
    }

    fn commits_by_age(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.folder.join("snapshots")) else { return Vec::new() };
        let mut commits: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                Some((entry.metadata().ok()?.modified().ok()?, entry.file_name().into_string().ok()?))
            })
            .collect();
        commits.sort();
        commits.into_iter().rev().map(|(_, commit)| commit).collect()
    }

    /// Gives a blob its name in a snapshot.
    pub fn link(&self, commit: &str, file: &str, etag: &str) -> Result<(), StoreError> {
        let link = self.snapshot(commit).join(file);
        if std::fs::read_link(&link).is_ok_and(|target| target.ends_with(etag)) && link.exists() {
            return Ok(());
        }
        make_parent(&link)?;
        match std::fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io("replace", &link)(error));
            }
            _ => {}
        }
        // From snapshots/<commit>/a/b up to the repository and down to the blob.
        let mut target = PathBuf::from("../..");
        target.extend(file.split('/').skip(1).map(|_| ".."));
        target.extend(["blobs", etag]);
        symlink(&target, &self.blob(etag), &link).map_err(StoreError::io("link", &link))
    }

    /// Remembers what a branch or tag means.
    pub fn set_ref(&self, revision: &str, commit: &str) -> Result<(), StoreError> {
        if revision == commit {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        make_parent(&path)?;
        std::fs::write(&path, commit).map_err(StoreError::io("write", &path))
    }

    /// Every model in the repository's folder, newest commit first.
    pub fn entries(&self, repo: &str) -> Vec<Entry> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for commit in self.commits_by_age() {
            let snapshot = self.snapshot(&commit);
            let files = files_below(&snapshot);
            let ggufs =
                models(&files).into_iter().map(|gguf| Choice::Gguf { files: gguf.files, remark: None });
            for choice in ggufs.chain(checkpoint(&files)) {
                // The same bytes under two commits are one model.
                let real = choice.files().last().and_then(|file| snapshot.join(file).canonicalize().ok());
                if real.is_some_and(|path| seen.insert(path)) {
                    found.push(entry(repo, &snapshot, &choice));
                }
            }
        }
        found
    }

    /// The links, then the blobs that nothing else links to, that removing a model deletes.
    pub fn files_to_remove(&self, what: &HubRef) -> Vec<PathBuf> {
        let mut doomed = Vec::new();
        let mut kept = Vec::new();
        let only = what.revision.as_ref().map(|revision| self.commit_of(revision).unwrap_or_default());
        for commit in self.commits_by_age() {
            let snapshot = self.snapshot(&commit);
            let files = files_below(&snapshot);
            let chosen = match what.selector {
                _ if only.as_ref().is_some_and(|only| *only != commit) => Vec::new(),
                Selector::Any => files.clone(),
                _ => choose(what, &files).map(|choice| choice.files().to_vec()).unwrap_or_default(),
            };
            for file in files {
                let path = snapshot.join(&file);
                if chosen.contains(&file) { doomed.push(path) } else { kept.push(path) }
            }
        }
        let kept: BTreeSet<PathBuf> = kept.iter().filter_map(|link| link.canonicalize().ok()).collect();
        let blobs: BTreeSet<PathBuf> = doomed
            .iter()
            .filter_map(|link| link.canonicalize().ok())
            .filter(|blob| !kept.contains(blob) && !doomed.contains(blob))
            .collect();
        doomed.extend(blobs);
        doomed
    }
}

/// Every `org/name` that the hub's cache has a folder for, sorted.
pub(in crate::store) fn repositories(hub: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(hub) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut repos: Vec<String> = names
        .filter_map(|name| name.strip_prefix("models--").map(|rest| rest.replacen("--", "/", 1)))
        .collect();
    repos.sort();
    repos
}

/// True for what may be a commit: hex, so that it can be part of a path.
pub(in crate::store) fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// What to load: the first GGUF file, or the folder of the checkpoint.
pub(in crate::store) fn path_of(snapshot: &Path, choice: &Choice) -> PathBuf {
    match choice {
        Choice::Gguf { files, .. } => snapshot.join(&files[0]),
        Choice::Checkpoint { .. } => snapshot.to_owned(),
    }
}

/// Paths of all files below a folder, with `/` between their parts; dangling links are not files.
fn files_below(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, prefix: &str, depth: u32, found: &mut Vec<String>) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = entry.path();
            let Ok(data) = path.metadata() else { continue };
            if data.is_file() {
                found.push(format!("{prefix}{name}"));
            } else if depth < 8 {
                walk(&path, &format!("{prefix}{name}/"), depth + 1, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, "", 0, &mut found);
    found.sort();
    found
}

fn entry(repo: &str, snapshot: &Path, choice: &Choice) -> Entry {
    let size = |file: &String| snapshot.join(file).metadata().map_or(0, |data| data.len());
    let bytes = choice.files().iter().map(size).sum();
    let (format, quantisation) = match choice {
        Choice::Gguf { files, .. } => (Format::Gguf, crate::store::names::quantisation(&files[0])),
        Choice::Checkpoint { .. } => (Format::Safetensors, None),
    };
    let name = match choice {
        Choice::Gguf { files, .. } => format!("{repo}:{}", quantisation.as_ref().unwrap_or(&files[0])),
        Choice::Checkpoint { .. } => format!("{repo}:safetensors"),
    };
    Entry { name, format, quantisation, bytes, path: path_of(snapshot, choice), source: Source::Hub }
}

#[cfg(unix)]
fn symlink(relative: &Path, _blob: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(relative, link)
}

/// Where links need a privilege, the bytes are shared by a hard link.
#[cfg(not(unix))]
fn symlink(_relative: &Path, blob: &Path, link: &Path) -> io::Result<()> {
    std::fs::hard_link(blob, link)
}
