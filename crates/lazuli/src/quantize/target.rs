//! [`Target`]: the place that is written to. It is written beside under another name and renamed when it is complete,
//! so nobody ever sees half of it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::{QuantizeError, Result};
use super::formats::Container;

/// Whether a target that exists may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is refused.
    Refuse,
    /// It is replaced when the new one is complete.
    Replace,
}

/// The target, while it is being written: what was written is removed again unless [`Target::finish`] is reached.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    part: PathBuf,
}

/// Checks that `path` can be written, with `need` bytes, from a source at `source`.
///
/// # Errors
/// What stands in the way, before anything is written.
pub fn check(path: &Path, source: &Path, container: Container, existing: Existing, need: u64) -> Result<()> {
    let refuse = |what: &str| QuantizeError::Target { path: path.to_owned(), what: what.to_owned() };
    let folder = folder(path).ok_or_else(|| refuse("it names no file or folder"))?;
    if !folder.is_dir() {
        return Err(refuse("the folder that it should lie in does not exist"));
    }
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        if existing == Existing::Refuse {
            return Err(QuantizeError::Exists { path: path.to_owned() });
        }
        if metadata.is_dir() != (container == Container::Folder) {
            return Err(refuse("what is there is of another kind, and is not replaced"));
        }
        if metadata.is_dir() && !path.join("config.json").is_file() {
            return Err(refuse("the folder that is there holds no model, and is not replaced"));
        }
        let inside = |a: &Path, b: &Path| Some(a.canonicalize().ok()?.starts_with(b.canonicalize().ok()?));
        if inside(source, path).unwrap_or(true) {
            return Err(refuse("it is the source"));
        }
    }
    let free = fs4::available_space(folder).map_err(|error| refuse(&error.to_string()))?;
    if need > free {
        return Err(QuantizeError::DiskFull { path: path.to_owned(), need, free });
    }
    Ok(())
}

/// The folder that `path` lies in.
fn folder(path: &Path) -> Option<&Path> {
    path.file_name()?;
    let parent = path.parent()?;
    Some(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
}

impl Target {
    /// A target that [`check`] has let pass.
    pub fn new(path: &Path) -> Self {
        let mut part = OsString::from(".");
        part.push(path.file_name().unwrap_or_default());
        part.push(format!(".{}.part", std::process::id()));
        Self { path: path.to_owned(), part: path.with_file_name(part) }
    }

    /// Where to write.
    pub fn part(&self) -> &Path {
        &self.part
    }

    /// Gives what was written its name.
    ///
    /// # Errors
    /// If the system refuses; what was there before is then still there.
    pub fn finish(self) -> Result<()> {
        let fail = |error: std::io::Error| QuantizeError::Target {
            path: self.path.clone(),
            what: format!("renaming failed: {error}"),
        };
        if !self.path.is_dir() {
            return std::fs::rename(&self.part, &self.path).map_err(fail);
        }
        // A folder cannot be renamed over another.
        let old = self.part.with_extension("old");
        std::fs::rename(&self.path, &old).map_err(fail)?;
        if let Err(error) = std::fs::rename(&self.part, &self.path) {
            let _ = std::fs::rename(&old, &self.path);
            return Err(fail(error));
        }
        std::fs::remove_dir_all(&old).map_err(fail)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // After a rename there is nothing of this name, and otherwise what is there is of no use.
        if self.part.is_dir() {
            let _ = std::fs::remove_dir_all(&self.part);
        } else {
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source.gguf");
        std::fs::write(&source, "x").unwrap();
        let at = |name: &str, container, existing, need| {
            check(&dir.path().join(name), &source, container, existing, need).map_err(|e| e.to_string())
        };
        let (file, folder) = (Container::Gguf, Container::Folder);
        assert_eq!(at("new.gguf", file, Existing::Refuse, 1), Ok(()));
        assert!(at("new.gguf", file, Existing::Refuse, u64::MAX).unwrap_err().contains("bytes left"));
        assert!(at("none/new.gguf", file, Existing::Refuse, 1).unwrap_err().contains("does not exist"));
        assert!(at("source.gguf", file, Existing::Refuse, 1).unwrap_err().contains("--force"));
        assert!(at("source.gguf", file, Existing::Replace, 1).unwrap_err().contains("it is the source"));
        std::fs::create_dir(dir.path().join("home")).unwrap();
        assert!(at("home", folder, Existing::Replace, 1).unwrap_err().contains("holds no model"));
        assert!(at("home", file, Existing::Replace, 1).unwrap_err().contains("another kind"));
        std::fs::write(dir.path().join("home/config.json"), "{}").unwrap();
        assert_eq!(at("home", folder, Existing::Replace, 1), Ok(()));
        assert!(check("..".as_ref(), &source, folder, Existing::Refuse, 1).is_err());
    }

    #[test]
    fn only_what_is_finished_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model");
        let names = || std::fs::read_dir(dir.path()).unwrap().count();
        let write = |text: &str| {
            let target = Target::new(&path);
            std::fs::create_dir(target.part()).unwrap();
            std::fs::write(target.part().join("config.json"), text).unwrap();
            target
        };
        drop(write("half"));
        assert_eq!(names(), 0);
        write("first").finish().unwrap();
        write("second").finish().unwrap();
        assert_eq!(
            (names(), std::fs::read_to_string(path.join("config.json")).unwrap()),
            (1, "second".into())
        );
    }
}
