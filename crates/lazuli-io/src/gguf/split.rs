//! Models split over several GGUF files, named `<stem>-00001-of-00003.gguf` by the tool that splits them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::{Gguf, Metadata};
use crate::error::{Error, Result};
use crate::mmap::MappedFile;
use crate::tensor::TensorInfo;

/// Files that a split model may have: the name's counter has five digits.
const MAX_PARTS: u32 = 99_999;

/// A whole model: one file, or all parts of a split one.
pub(crate) struct Joined {
    pub(crate) files: Vec<MappedFile>,
    /// Of the first part, which alone describes the model.
    pub(crate) metadata: Metadata,
    pub(crate) tensors: Vec<TensorInfo>,
}

/// Opens the model that `path` is, or is a part of.
pub(crate) fn join(path: &Path) -> Result<Joined> {
    let file = MappedFile::open(path)?;
    let gguf = Gguf::parse(&file)?;
    let count = gguf.metadata.u32("split.count")?.unwrap_or(1);
    if count <= 1 {
        return Ok(Joined { files: vec![file], metadata: gguf.metadata, tensors: gguf.tensors });
    }
    if count > MAX_PARTS {
        return Err(gguf.metadata.error("split.count", format!("it is {count}, at most {MAX_PARTS} can be")));
    }
    let stem = stem(path, count)?;
    let mut joined: Option<Joined> = None;
    let mut names = HashSet::new();
    for number in 0..count {
        let part = PathBuf::from(format!("{stem}-{:05}-of-{count:05}.gguf", number + 1));
        let file = MappedFile::open(&part)?;
        let Gguf { metadata, mut tensors, .. } = Gguf::parse(&file)?;
        check_place(&metadata, number, count)?;
        for tensor in &mut tensors {
            if !names.insert(tensor.name.clone()) {
                let what = format!("tensor `{}` is in an earlier part already", tensor.name);
                return Err(Error::Split { path: part, what });
            }
            tensor.planes.iter_mut().for_each(|plane| plane.file = number as usize);
        }
        match &mut joined {
            None => joined = Some(Joined { files: vec![file], metadata, tensors }),
            Some(joined) => {
                joined.files.push(file);
                joined.tensors.append(&mut tensors);
            }
        }
    }
    let joined = joined.ok_or_else(|| gguf.metadata.error("split.count", "it is 0"))?;
    if let Some(total) = joined.metadata.usize("split.tensors.count")? {
        if total != joined.tensors.len() {
            let what = format!("it is {total}, but the {count} parts hold {} tensors", joined.tensors.len());
            return Err(joined.metadata.error("split.tensors.count", what));
        }
    }
    Ok(joined)
}

/// The path without `-0000N-of-0000M.gguf`.
fn stem(path: &Path, count: u32) -> Result<String> {
    let fail = |what: String| Error::Split { path: path.to_owned(), what };
    let text = path.to_str().ok_or_else(|| fail("the path of a split model must be UTF-8".to_owned()))?;
    let ending = format!("-of-{count:05}.gguf");
    let numbered = text.strip_suffix(&ending).and_then(|rest| {
        let (stem, number) = rest.split_at_checked(rest.len().checked_sub(6)?)?;
        let digits = number.strip_prefix('-')?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| stem.to_owned())
    });
    numbered.ok_or_else(|| {
        fail(format!("it is a part of a split model of {count}, so its name must end in `-0000N{ending}`"))
    })
}

fn check_place(metadata: &Metadata, number: u32, count: u32) -> Result<()> {
    let found = metadata.u32("split.no")?.unwrap_or(0);
    if found != number {
        return Err(
            metadata.error("split.no", format!("it is {found}, expected {number} by the file's name"))
        );
    }
    let found = metadata.require("split.count", metadata.u32("split.count"))?;
    if found != count {
        return Err(metadata.error("split.count", format!("it is {found}, the first part says {count}")));
    }
    Ok(())
}
