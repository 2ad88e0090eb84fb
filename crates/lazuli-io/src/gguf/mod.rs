//! GGUF, versions 2 and 3, after the document "GGUF" of the ggml project.
//!
//! Owns the header: metadata, tensor descriptions, alignment, and the checks that make every byte range it
//! hands out lie inside the file and overlap no other. Split models are joined in [`crate::Checkpoint`]; [`GgufWriter`]
//! writes files as a stream.

mod cursor;
mod ggml_type;
mod metadata;
mod split;
#[cfg(test)]
pub(crate) mod tests;
mod value;
mod write;

use std::collections::HashSet;

pub use metadata::Metadata;
pub(crate) use split::join;
pub use value::{Array, NumberType, Numbers, Strings, Value};
pub use write::{GgufBody, GgufWriter};

use crate::error::{Error, HeaderFault, Result, TensorFault};
use crate::mmap::MappedFile;
use crate::tensor::{Plane, TensorInfo, checked_size};
use cursor::Cursor;

/// The first four bytes of a GGUF file.
pub const MAGIC: [u8; 4] = *b"GGUF";

const DEFAULT_ALIGNMENT: usize = 32;
/// Axes that a tensor may have (`GGML_MAX_DIMS`).
const MAX_RANK: u32 = 4;

/// The header of one GGUF file.
#[derive(Debug)]
pub struct Gguf {
    /// Version of the container format: 2 or 3.
    pub version: u32,
    /// The key-value section.
    pub metadata: Metadata,
    /// Tensors in the file's order; their planes point into file 0.
    pub tensors: Vec<TensorInfo>,
}

/// A tensor description as it stands in the file, its data not yet located.
struct Described {
    offset_in_header: usize,
    data_offset: u64,
    bytes: usize,
    info: TensorInfo,
}

impl Gguf {
    /// Reads and checks the header of `file`. Never panics and never allocates more than a small multiple of
    /// the file's size, whatever the bytes are.
    ///
    /// # Errors
    /// [`Error::Header`], [`Error::Tensor`] or [`Error::Metadata`], naming the place.
    pub fn parse(file: &MappedFile) -> Result<Self> {
        Self::parse_start(file, file.len())
    }

    /// As [`Gguf::parse`] of a file of `len` bytes of which `file` holds the first: its header at least, or the error
    /// is one of a truncated header.
    ///
    /// # Errors
    /// As [`Gguf::parse`].
    pub fn parse_start(file: &MappedFile, len: usize) -> Result<Self> {
        let mut cursor = Cursor::new(file, file.path());
        let version = read_version(&mut cursor)?;
        let counts_at = cursor.offset();
        let tensor_count = cursor.u64("the tensor count")?;
        let key_count = cursor.u64("the metadata count")?;
        // A tensor description takes 24 bytes at least, a metadata entry 13.
        let left = cursor.left() as u64;
        if tensor_count > left / 24 || key_count > left / 13 {
            let what = format!(
                "the header announces {tensor_count} tensors and {key_count} metadata keys, more than its {left} further bytes can hold"
            );
            return Err(cursor.fail(counts_at, HeaderFault::Layout(what)));
        }
        let metadata = Metadata::read(&mut cursor, file, key_count)?;
        let alignment = alignment(&metadata)?;
        let described = read_descriptions(&mut cursor, tensor_count)?;
        let data_start = cursor.offset().checked_next_multiple_of(alignment).unwrap_or(usize::MAX);
        let tensors = locate((file, len), described, data_start, alignment)?;
        Ok(Self { version, metadata, tensors })
    }
}

fn read_version(cursor: &mut Cursor<'_>) -> Result<u32> {
    let found: [u8; 4] = cursor.raw("the file's first four bytes")?;
    if found != MAGIC {
        return Err(cursor.fail(0, HeaderFault::Magic { expected: "GGUF", found: found.to_vec() }));
    }
    match cursor.u32("the version")? {
        version @ (2 | 3) => Ok(version),
        other if (1..=0xffff).contains(&other.swap_bytes()) => Err(cursor.fail(4, HeaderFault::BigEndian)),
        other => Err(cursor.fail(4, HeaderFault::Version(other))),
    }
}

fn alignment(metadata: &Metadata) -> Result<usize> {
    const KEY: &str = "general.alignment";
    match metadata.usize(KEY)? {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(n) if n.is_power_of_two() && n <= 1 << 30 => Ok(n),
        Some(n) => Err(metadata.error(KEY, format!("it is {n}, expected a power of two"))),
    }
}

fn read_descriptions(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<Described>> {
    let mut described = Vec::new();
    let mut seen = HashSet::new();
    for _ in 0..count {
        let next = read_description(cursor)?;
        if !seen.insert(next.info.name.clone()) {
            let (tensor, offset) = (next.info.name, next.offset_in_header);
            let fault = TensorFault::DuplicateName;
            return Err(Error::Tensor { path: cursor.path().to_owned(), tensor, offset, fault });
        }
        described.push(next);
    }
    Ok(described)
}

fn read_description(cursor: &mut Cursor<'_>) -> Result<Described> {
    let offset = cursor.offset();
    let name = cursor.string("a tensor's name")?;
    let path = cursor.path();
    let fail = |fault| Error::Tensor { path: path.to_owned(), tensor: name.to_owned(), offset, fault };
    let rank = cursor.u32("a tensor's rank")?;
    if rank > MAX_RANK {
        return Err(fail(TensorFault::Rank(rank)));
    }
    let mut shape = Vec::with_capacity(rank as usize);
    for _ in 0..rank {
        shape.push(cursor.u64("a tensor's shape")?);
    }
    // The file lists the contiguous axis first.
    shape.reverse();
    let encoding = ggml_type::encoding(cursor.u32("a tensor's type")?).map_err(fail)?;
    let data_offset = cursor.u64("a tensor's data offset")?;
    if shape.contains(&0) {
        return Err(fail(TensorFault::EmptyAxis(shape)));
    }
    let (shape, bytes) = checked_size(&shape, encoding).map_err(fail)?;
    let info = TensorInfo { name: name.to_owned(), shape, encoding, planes: Vec::new() };
    Ok(Described { offset_in_header: offset, data_offset, bytes, info })
}

/// Gives every tensor its byte range, inside the file, aligned, and overlapping no other.
fn locate(
    (file, len): (&MappedFile, usize),
    mut described: Vec<Described>,
    data_start: usize,
    alignment: usize,
) -> Result<Vec<TensorInfo>> {
    let fail = |tensor: &Described, fault| {
        Err(Error::Tensor {
            path: file.path().to_owned(),
            tensor: tensor.info.name.clone(),
            offset: tensor.offset_in_header,
            fault,
        })
    };
    for tensor in &mut described {
        if tensor.data_offset % alignment as u64 != 0 {
            let fault = TensorFault::Misaligned { offset: tensor.data_offset, alignment };
            return fail(tensor, fault);
        }
        let start = data_start as u128 + u128::from(tensor.data_offset);
        let end = start + tensor.bytes as u128;
        if end > len as u128 {
            return fail(tensor, TensorFault::OutOfFile { start, end, len });
        }
        tensor.info.planes.push(Plane { file: 0, bytes: start as usize..end as usize });
    }
    let mut order: Vec<usize> = (0..described.len()).collect();
    order.sort_by_key(|&index| described[index].info.planes[0].bytes.start);
    for pair in order.windows(2) {
        let (before, after) = (&described[pair[0]], &described[pair[1]]);
        if after.info.planes[0].bytes.start < before.info.planes[0].bytes.end {
            return fail(after, TensorFault::Overlap(before.info.name.clone()));
        }
    }
    Ok(described.into_iter().map(|tensor| tensor.info).collect())
}
