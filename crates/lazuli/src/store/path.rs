//! Models that are simply files of the user's: which file or folder a path means.

use super::StoreError;
use super::names::{is_model_gguf, sibling_part, split_part};
use std::path::{Path, PathBuf};

/// The path to load: a GGUF file (the first part of a split one, of which all parts must be there) or a checkpoint
/// folder. A folder without a checkpoint but with one GGUF model means that model.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    let data = path.metadata().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => StoreError::NoSuchPath(path.to_owned()),
        _ => StoreError::io("read", path)(error),
    })?;
    if data.is_dir() { folder(path) } else { file(path) }
}

fn file(path: &Path) -> Result<PathBuf, StoreError> {
    let extension = path.extension().unwrap_or_default();
    if extension.eq_ignore_ascii_case("safetensors") {
        return match path.parent().filter(|folder| folder.join("config.json").is_file()) {
            Some(folder) => Ok(folder.to_owned()),
            None => Err(no_model(
                path,
                "a safetensors model is a folder with a config.json beside its weights".into(),
            )),
        };
    }
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(path.to_owned()) };
    let Some((_, _, count)) = split_part(name) else { return Ok(path.to_owned()) };
    for number in 1..=count {
        let part = sibling_part(name, number).unwrap_or_default();
        if !path.with_file_name(&part).is_file() {
            return Err(no_model(path, format!("it is one of {count} parts, and '{part}' is not beside it")));
        }
    }
    Ok(sibling_part(name, 1).map_or_else(|| path.to_owned(), |first| path.with_file_name(first)))
}

fn folder(path: &Path) -> Result<PathBuf, StoreError> {
    let entries = std::fs::read_dir(path).map_err(StoreError::io("read", path))?;
    let names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let has_weights =
        names.iter().any(|name| Path::new(name).extension().is_some_and(|e| e == "safetensors"));
    if has_weights && names.iter().any(|name| name == "config.json") {
        return Ok(path.to_owned());
    }
    let is_first = |name: &&String| split_part(name).is_none_or(|(_, number, _)| number == 1);
    let mut ggufs: Vec<&String> = names.iter().filter(|name| is_model_gguf(name)).filter(is_first).collect();
    ggufs.sort();
    match ggufs[..] {
        [only] => file(&path.join(only)),
        [] if has_weights => Err(no_model(path, "it has weights but no config.json".into())),
        [] => Err(no_model(
            path,
            "it has neither a config.json with safetensors weights nor a GGUF file".into(),
        )),
        [first, ..] => {
            let why = format!(
                "it has {} GGUF files; name one, such as '{}'",
                ggufs.len(),
                path.join(first).display()
            );
            Err(no_model(path, why))
        }
    }
}

fn no_model(path: &Path, why: String) -> StoreError {
    StoreError::NoModelAt { path: path.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn files_and_folders() {
        let dir = TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["one/m.gguf", "one/mmproj-f16.gguf", "two/a.gguf", "two/b.gguf", "ckpt/config.json"] {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), b"").unwrap();
        }
        std::fs::write(at("ckpt/model.safetensors"), b"").unwrap();
        std::fs::write(at("s-00001-of-00002.gguf"), b"").unwrap();
        let why = |name: &str| resolve(&at(name)).expect_err(name).to_string();

        assert_eq!(resolve(&at("one")).unwrap(), at("one/m.gguf"));
        assert_eq!(resolve(&at("ckpt")).unwrap(), at("ckpt"));
        assert_eq!(resolve(&at("ckpt/model.safetensors")).unwrap(), at("ckpt"));
        assert!(why("two").contains("a.gguf"));
        assert!(why("absent").contains("there is no file or folder"));
        assert!(why("s-00001-of-00002.gguf").contains("'s-00002-of-00002.gguf' is not beside it"));
        std::fs::write(at("s-00002-of-00002.gguf"), b"").unwrap();
        assert_eq!(resolve(&at("s-00002-of-00002.gguf")).unwrap(), at("s-00001-of-00002.gguf"));
        std::fs::remove_file(at("ckpt/config.json")).unwrap();
        assert!(why("ckpt").contains("no config.json"));
        assert!(why("ckpt/model.safetensors").contains("a folder"));
        std::fs::create_dir(at("empty")).unwrap();
        assert!(why("empty").contains("neither"));
    }
}
