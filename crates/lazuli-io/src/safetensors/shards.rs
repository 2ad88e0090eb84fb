//! Which safetensors files make up a checkpoint folder.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Safetensors;
use crate::error::{Error, Result};
use crate::json::read_json;
use crate::mmap::MappedFile;
use crate::tensor::TensorInfo;

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// The mapped files of a checkpoint and their tensors.
pub(crate) type Opened = (Vec<MappedFile>, Vec<TensorInfo>);

/// Opens one file.
pub(crate) fn open_single(path: &Path) -> Result<Opened> {
    let file = MappedFile::open(path)?;
    let tensors = Safetensors::parse(&file)?.tensors;
    Ok((vec![file], tensors))
}

/// Opens the weights in `folder`: those that `model.safetensors.index.json` lists, else `model.safetensors`,
/// else `model-00001-of-0000N.safetensors` and its sisters. `None` if there are none of these.
pub(crate) fn open_folder(folder: &Path) -> Result<Option<Opened>> {
    let index = folder.join(INDEX);
    if index.is_file() {
        return open_indexed(folder, &index).map(Some);
    }
    let single = folder.join(SINGLE);
    if single.is_file() {
        return open_single(&single).map(Some);
    }
    let parts = numbered_parts(folder)?;
    if parts.is_empty() {
        return Ok(None);
    }
    open_files(parts).map(|(opened, _)| Some(opened))
}

fn open_indexed(folder: &Path, index: &Path) -> Result<Opened> {
    let fail = |what: String| Error::Json { path: index.to_owned(), what };
    let json = read_json(index)?;
    let map = json.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| fail("it has no object `weight_map`".to_owned()))?;
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        let name = file.as_str().filter(|name| is_plain_file_name(name)).ok_or_else(|| {
            fail(format!(
                "`weight_map` gives {file} for tensor `{tensor}`, expected a file name in this folder"
            ))
        })?;
        names.insert(name);
    }
    if names.is_empty() {
        return Err(fail("`weight_map` is empty".to_owned()));
    }
    let (opened, places) = open_files(names.iter().map(|name| folder.join(name)).collect())?;
    for (tensor, file) in map {
        let listed = file.as_str().unwrap_or_default();
        let found = places.get(tensor).map(|&file| opened.0[file].path());
        if found.and_then(Path::file_name).is_none_or(|name| name != listed) {
            return Err(fail(format!("tensor `{tensor}` should be in {listed}, but is not there")));
        }
    }
    Ok(opened)
}

/// A hostile index must not lead out of the folder.
fn is_plain_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', ':', '\0'])
}

/// All of `model-0000I-of-0000N.safetensors`; an error if one is missing.
fn numbered_parts(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |source| Error::Open { path: folder.to_owned(), source };
    let mut count = None;
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        let Some(found) = name.to_str().and_then(part_count) else { continue };
        if count.is_some_and(|count| count != found) {
            let what = "it holds the parts of two different models: remove one".to_owned();
            return Err(Error::Split { path: folder.to_owned(), what });
        }
        count = Some(found);
    }
    let count = count.unwrap_or(0);
    let part = |number| folder.join(format!("model-{number:05}-of-{count:05}.safetensors"));
    Ok((1..=count).map(part).collect())
}

fn part_count(name: &str) -> Option<u32> {
    let (number, count) = name.strip_prefix("model-")?.strip_suffix(".safetensors")?.split_once("-of-")?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    (digits(number) && digits(count)).then(|| count.parse().ok())?
}

/// Maps and reads the files in order; also says which file each tensor is in.
fn open_files(paths: Vec<PathBuf>) -> Result<(Opened, HashMap<String, usize>)> {
    let (mut files, mut tensors) = (Vec::new(), Vec::new());
    let mut places = HashMap::new();
    for (number, path) in paths.into_iter().enumerate() {
        let file = MappedFile::open(&path)?;
        for mut tensor in Safetensors::parse(&file)?.tensors {
            if places.insert(tensor.name.clone(), number).is_some() {
                let what = format!("tensor `{}` is in an earlier file already", tensor.name);
                return Err(Error::Split { path, what });
            }
            tensor.planes[0].file = number;
            tensors.push(tensor);
        }
        files.push(file);
    }
    Ok(((files, tensors), places))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::safetensors::SafetensorsWriter;

    fn write(path: &Path, name: &str) {
        let mut writer = SafetensorsWriter::create(path);
        writer.declare::<f32>(name, &[1]).unwrap();
        let mut body = writer.begin().unwrap();
        body.write(&[1.0f32]).unwrap();
        body.finish().unwrap();
    }

    #[test]
    fn numbered_parts_need_no_index_but_must_be_complete() {
        let dir = tempfile::tempdir().unwrap();
        assert!(open_folder(dir.path()).unwrap().is_none());
        write(&dir.path().join("model-00002-of-00002.safetensors"), "b");
        assert!(matches!(open_folder(dir.path()), Err(Error::Open { .. })));
        write(&dir.path().join("model-00001-of-00002.safetensors"), "a");
        let (files, tensors) = open_folder(dir.path()).unwrap().unwrap();
        assert_eq!(files.len(), 2);
        let places: Vec<_> = tensors.iter().map(|t| (t.name.as_str(), t.planes[0].file)).collect();
        assert_eq!(places, [("a", 0), ("b", 1)]);
        write(&dir.path().join("model-00001-of-00002.safetensors"), "b");
        assert!(matches!(open_folder(dir.path()), Err(Error::Split { .. })));
        write(&dir.path().join("model-00001-of-00003.safetensors"), "c");
        assert!(matches!(open_folder(dir.path()), Err(Error::Split { .. })));
    }

    #[test]
    fn an_index_is_believed_only_as_far_as_the_files_agree() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("x.safetensors"), "a");
        let index = |map: &str| {
            std::fs::write(dir.path().join(INDEX), format!(r#"{{"weight_map":{map}}}"#)).unwrap();
            open_folder(dir.path())
        };
        assert_eq!(index(r#"{"a":"x.safetensors"}"#).unwrap().unwrap().1.len(), 1);
        assert!(index(r#"{"b":"x.safetensors"}"#).unwrap_err().to_string().contains("tensor `b`"));
        for bad in [r#"{"a":"../x.safetensors"}"#, r#"{"a":7}"#, r#"{"a":".."}"#, r#"{"a":"/x"}"#, "{}", "3"]
        {
            assert!(matches!(index(bad), Err(Error::Json { .. })), "{bad}");
        }
        assert!(matches!(index(r#"{"a":"y.safetensors"}"#), Err(Error::Open { .. })));
    }
}
