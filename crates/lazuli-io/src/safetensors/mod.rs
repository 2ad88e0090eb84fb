//! Safetensors: header parser, shards, and a streaming writer, after the format's published description.
//!
//! Owns the header and the checks that make its tensors tile the data section exactly. The bytes themselves
//! stay in the mapped file.

mod header;
mod shards;
mod write;

pub(crate) use shards::{open_folder, open_single};
pub use write::{Element, SafetensorsBody, SafetensorsWriter};

use std::collections::HashSet;

use crate::error::{Error, HeaderFault, Result, TensorFault};
use crate::mmap::MappedFile;
use crate::tensor::{Encoding, Plane, TensorInfo, checked_size};
use header::{Entry, Header};

/// The longest header that is read, in bytes; the reference implementation has the same limit.
pub const MAX_HEADER: u64 = 100_000_000;

/// The header of one safetensors file.
#[derive(Debug)]
pub struct Safetensors {
    /// The free-form `__metadata__` table.
    pub metadata: Vec<(String, String)>,
    /// Tensors in the header's order; their planes point into file 0.
    pub tensors: Vec<TensorInfo>,
}

impl Safetensors {
    /// Reads and checks the header of `file`: lengths, types, shapes, and that the tensors' byte ranges cover
    /// the data section without gap or overlap.
    ///
    /// # Errors
    /// [`Error::Header`] or [`Error::Tensor`], naming the place.
    pub fn parse(file: &MappedFile) -> Result<Self> {
        let fail = |offset, fault| Error::Header { path: file.path().to_owned(), offset, fault };
        let truncated =
            |offset, what, need| fail(offset, HeaderFault::Truncated { what, need, len: file.len() });
        let prefix = file.first_chunk::<8>().ok_or_else(|| truncated(0, "the header's length", 8))?;
        let len = u64::from_le_bytes(*prefix);
        if len > MAX_HEADER {
            let what = format!(
                "the header's length is given as {len} bytes, at most {MAX_HEADER} are allowed: is this a safetensors file?"
            );
            return Err(fail(0, HeaderFault::Layout(what)));
        }
        let start = 8 + len as usize;
        let text = file.get(8..start).ok_or_else(|| truncated(8, "the header", len))?;
        if text.first() != Some(&b'{') {
            let found = text.iter().take(4).copied().collect();
            return Err(fail(8, HeaderFault::Magic { expected: "safetensors", found }));
        }
        let header = Header::parse(text).map_err(|what| fail(8, HeaderFault::Layout(what)))?;
        let tensors = locate(file, start, header.tensors)?;
        Ok(Self { metadata: header.metadata, tensors })
    }
}

/// Checks every entry and the tiling of the data section.
fn locate(file: &MappedFile, start: usize, entries: Vec<(String, Entry)>) -> Result<Vec<TensorInfo>> {
    let fail = |tensor: &str, fault| Error::Tensor {
        path: file.path().to_owned(),
        tensor: tensor.to_owned(),
        offset: 8,
        fault,
    };
    let mut names = HashSet::with_capacity(entries.len());
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        if !names.insert(name.clone()) {
            return Err(fail(&name, TensorFault::DuplicateName));
        }
        tensors.push(place(file, start, &name, &entry).map_err(|fault| fail(&name, fault))?);
    }
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&index| (tensors[index].planes[0].bytes.start, tensors[index].planes[0].bytes.end));
    let (mut end, mut before) = (start, "the header");
    for &index in &order {
        let TensorInfo { name, planes, .. } = &tensors[index];
        let bytes = &planes[0].bytes;
        if bytes.start < end {
            return Err(fail(name, TensorFault::Overlap(before.to_owned())));
        }
        if bytes.start > end {
            return Err(fail(name, TensorFault::Gap(bytes.start - end)));
        }
        (end, before) = (bytes.end, name);
    }
    if end != file.len() {
        let what = format!("{} bytes after the last tensor belong to none", file.len() - end);
        return Err(Error::Header {
            path: file.path().to_owned(),
            offset: end,
            fault: HeaderFault::Layout(what),
        });
    }
    Ok(tensors)
}

fn place(file: &MappedFile, start: usize, name: &str, entry: &Entry) -> Result<TensorInfo, TensorFault> {
    let encoding = encoding(&entry.dtype)?;
    let (shape, need) = checked_size(&entry.shape, encoding)?;
    let [from, to] = entry.data_offsets.map(|at| u128::from(at) + start as u128);
    if from > to || to > file.len() as u128 {
        return Err(TensorFault::OutOfFile { start: from, end: to, len: file.len() });
    }
    let given = (to - from) as usize;
    if given != need {
        return Err(TensorFault::Size { need, given });
    }
    let planes = vec![Plane { file: 0, bytes: from as usize..to as usize }];
    Ok(TensorInfo { name: name.to_owned(), shape, encoding, planes })
}

fn encoding(dtype: &str) -> Result<Encoding, TensorFault> {
    Ok(match dtype {
        "BOOL" => Encoding::Bool,
        "U8" => Encoding::U8,
        "I8" => Encoding::I8,
        "U16" => Encoding::U16,
        "I16" => Encoding::I16,
        "U32" => Encoding::U32,
        "I32" => Encoding::I32,
        "U64" => Encoding::U64,
        "I64" => Encoding::I64,
        "F16" => Encoding::F16,
        "BF16" => Encoding::BF16,
        "F32" => Encoding::F32,
        "F64" => Encoding::F64,
        "F8_E4M3" => Encoding::F8E4M3,
        "F8_E5M2" => Encoding::F8E5M2,
        "F8_E8M0" => Encoding::F8E8M0,
        _ => return Err(TensorFault::Unsupported { name: dtype.chars().take(40).collect() }),
    })
}

/// The format's name of an encoding, the inverse of [`encoding`]; `None` for packed ones.
fn dtype(encoding: Encoding) -> Option<&'static str> {
    Some(match encoding {
        Encoding::Bool => "BOOL",
        Encoding::U8 => "U8",
        Encoding::I8 => "I8",
        Encoding::U16 => "U16",
        Encoding::I16 => "I16",
        Encoding::U32 => "U32",
        Encoding::I32 => "I32",
        Encoding::U64 => "U64",
        Encoding::I64 => "I64",
        Encoding::F16 => "F16",
        Encoding::BF16 => "BF16",
        Encoding::F32 => "F32",
        Encoding::F64 => "F64",
        Encoding::F8E4M3 => "F8_E4M3",
        Encoding::F8E5M2 => "F8_E5M2",
        Encoding::F8E8M0 => "F8_E8M0",
        Encoding::Quant(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(header: &str, data: usize) -> MappedFile {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend((0..data).map(|i| i as u8));
        MappedFile::from_bytes(bytes, "test.safetensors")
    }

    fn fault(header: &str, data: usize) -> String {
        let error = Safetensors::parse(&file(header, data)).unwrap_err().to_string();
        assert!(error.starts_with("test.safetensors: "), "{error}");
        error
    }

    const GOOD: &str = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,2],"data_offsets":[4,20]},"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},"e":{"dtype":"U8","shape":[3,0],"data_offsets":[20,20]},"s":{"dtype":"I32","shape":[],"data_offsets":[20,24]}}   "#;

    #[test]
    fn reads_what_was_written() {
        let file = file(GOOD, 24);
        let parsed = Safetensors::parse(&file).unwrap();
        assert_eq!(parsed.metadata, [("format".to_owned(), "pt".to_owned())]);
        let names: Vec<_> = parsed.tensors.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["b", "a", "e", "s"]);
        let b = &parsed.tensors[0];
        assert_eq!((&b.shape[..], b.encoding), (&[2, 2][..], Encoding::F32));
        assert_eq!(file[b.planes[0].bytes.clone()], (4..20).collect::<Vec<u8>>()[..]);
        assert_eq!(parsed.tensors[2].bytes(), 0);
    }

    #[test]
    fn faults_are_named() {
        let one = |dtype: &str, shape: &str, offsets: &str, data| {
            fault(&format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#), data)
        };
        assert!(one("F4", "[2]", "[0,1]", 1).contains("type F4 is not supported"));
        assert!(one("F32", "[2]", "[0,4]", 4).contains("need 8 bytes, but it is given 4"));
        assert!(one("F32", "[2]", "[0,8]", 4).contains("the file has"));
        assert!(one("F32", "[2]", "[8,0]", 8).contains("`t`"));
        assert!(one("F32", "[4294967296,4294967296]", "[0,8]", 8).contains("overflows"));
        assert!(one("F32", "[1]", "[4,8]", 8).contains("4 bytes before its data belong to no tensor"));
        assert!(one("F32", "[1]", "[0,4]", 8).contains("4 bytes after the last tensor"));
        assert!(one("F32", "[-1]", "[0,4]", 4).contains("invalid"));
        assert!(one("F32", "[18446744073709551616]", "[0,4]", 4).contains("invalid"));
        assert!(
            one("F32", "[0,18446744073709551615,18446744073709551615]", "[0,0]", 0).contains("overflows")
        );
        let entry = r#"{"dtype":"U8","shape":[4],"data_offsets":[0,4]}"#;
        assert!(fault(&format!(r#"{{"a":{entry},"b":{entry}}}"#), 4).contains("overlaps that of tensor"));
        assert!(fault(&format!(r#"{{"a":{entry},"a":{entry}}}"#), 4).contains("second tensor has this name"));
        assert!(
            fault(r#"{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#, 0)
                .contains("duplicate")
        );
        assert!(fault(r#"{"a":{"dtype":"U8","shape":[0]}}"#, 0).contains("data_offsets"));
        assert!(fault(r#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1}}"#, 0).contains("`x`"));
        assert!(fault("[]", 0).contains("not a safetensors file"));
        assert!(fault(&"{\"a\":".repeat(1000), 0).contains("at byte 8"));
        let huge = MappedFile::from_bytes(u64::MAX.to_le_bytes().to_vec(), "test.safetensors");
        assert!(Safetensors::parse(&huge).unwrap_err().to_string().contains("at most"));
        let good = file(GOOD, 24);
        for len in 0..good.len() {
            let cut = MappedFile::from_bytes(good[..len].to_vec(), "test.safetensors");
            assert!(Safetensors::parse(&cut).is_err(), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn damaged_headers_never_panic(flips in prop::collection::vec((0usize..400, any::<u8>()), 1..6)) {
            let mut bytes = file(GOOD, 24).to_vec();
            for (at, value) in flips {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            let file = MappedFile::from_bytes(bytes, "test.safetensors");
            if let Ok(parsed) = Safetensors::parse(&file) {
                for tensor in &parsed.tensors {
                    prop_assert!(file.get(tensor.planes[0].bytes.clone()).is_some());
                }
            }
        }
    }
}
