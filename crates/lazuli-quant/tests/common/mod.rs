//! Reads the fixtures: enough of a safetensors parser for files of our own making.

use std::path::Path;

/// A safetensors file in memory.
pub struct Tensors {
    header: String,
    data: Vec<u8>,
}

impl Tensors {
    /// Reads `path`, relative to the crate's root.
    pub fn read(path: &str) -> Self {
        let file = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let header_len = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let (header, data) = file[8..].split_at(header_len);
        Self { header: String::from_utf8(header.to_vec()).unwrap(), data: data.to_vec() }
    }

    /// The bytes of tensor `name`.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        let entry = self.header.split_once(&format!("\"{name}\":"))?.1;
        let offsets = entry.split_once("\"data_offsets\":[")?.1.split_once(']')?.0;
        let (start, end) = offsets.split_once(',')?;
        Some(&self.data[start.trim().parse().unwrap()..end.trim().parse().unwrap()])
    }

    /// The elements of f32 tensor `name`.
    pub fn floats(&self, name: &str) -> Option<Vec<f32>> {
        let floats = self.bytes(name)?.chunks_exact(4);
        Some(floats.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect())
    }
}

/// Same bits, or both NaN.
pub fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}
