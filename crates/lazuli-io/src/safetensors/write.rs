//! Writing safetensors files as a stream: declare all tensors first, then write their elements in order.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::pages::PageWriter;
use crate::tensor::Encoding;

/// An element type that can be written.
pub trait Element: Copy {
    /// The format's name of the type.
    const DTYPE: &'static str;
    /// Bytes of one element.
    const BYTES: usize;
    /// Appends the little-endian bytes.
    fn put(self, out: &mut Vec<u8>);
}

impl Element for f32 {
    const DTYPE: &'static str = "F32";
    const BYTES: usize = 4;
    fn put(self, out: &mut Vec<u8>) {
        out.extend(self.to_le_bytes());
    }
}

impl Element for i32 {
    const DTYPE: &'static str = "I32";
    const BYTES: usize = 4;
    fn put(self, out: &mut Vec<u8>) {
        out.extend(self.to_le_bytes());
    }
}

/// The header of a file to be written: tensors in the order in which their data will come.
#[derive(Debug)]
pub struct SafetensorsWriter {
    path: PathBuf,
    metadata: Map<String, Value>,
    header: Map<String, Value>,
    /// Dtype and bytes of each declared tensor.
    declared: Vec<(&'static str, usize)>,
    bytes: usize,
}

impl SafetensorsWriter {
    /// Starts a file at `path`; nothing is written before [`SafetensorsWriter::begin`].
    pub fn create(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_owned();
        Self { path, metadata: Map::new(), header: Map::new(), declared: Vec::new(), bytes: 0 }
    }

    fn fail(&self, what: String) -> Error {
        Error::Write { path: self.path.clone(), source: std::io::Error::other(what) }
    }

    /// Adds a line to the free-form `__metadata__` table, such as `format`: `mlx`.
    pub fn metadata(&mut self, key: &str, value: &str) {
        self.metadata.insert(key.to_owned(), value.into());
    }

    /// Declares the next tensor, of row-major `shape`, whose elements come as [`SafetensorsBody::write`] takes them.
    ///
    /// # Errors
    /// [`Error::Write`] if the name is taken or the size overflows.
    pub fn declare<T: Element>(&mut self, name: &str, shape: &[usize]) -> Result<()> {
        self.declare_sized(name, shape, T::DTYPE, T::BYTES)
    }

    /// Declares the next tensor, of row-major `shape`, whose bytes come as [`SafetensorsBody::write_bytes`] takes them.
    ///
    /// # Errors
    /// As for [`SafetensorsWriter::declare`], and if files of this kind cannot hold the encoding.
    pub fn declare_encoded(&mut self, name: &str, shape: &[usize], encoding: Encoding) -> Result<()> {
        match (super::dtype(encoding), encoding.element_bytes()) {
            (Some(dtype), Some(bytes)) => self.declare_sized(name, shape, dtype, bytes),
            _ => Err(self.fail(format!("tensor `{name}`: safetensors files do not hold {encoding}"))),
        }
    }

    fn declare_sized(
        &mut self,
        name: &str,
        shape: &[usize],
        dtype: &'static str,
        bytes: usize,
    ) -> Result<()> {
        let size = shape.iter().try_fold(bytes, |n, &d| n.checked_mul(d));
        let end = size.and_then(|size| self.bytes.checked_add(size));
        let (Some(size), Some(end)) = (size, end) else {
            return Err(self.fail(format!("tensor `{name}` of shape {shape:?} is too large")));
        };
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [self.bytes, end]});
        if name == "__metadata__" || self.header.contains_key(name) {
            return Err(self.fail(format!("the tensor name `{name}` is taken")));
        }
        self.header.insert(name.to_owned(), entry);
        self.declared.push((dtype, size));
        self.bytes = end;
        Ok(())
    }

    /// Bytes of the whole file with what is declared so far.
    pub fn file_bytes(&self) -> usize {
        self.header_text().len() + 8 + self.bytes
    }

    fn header_text(&self) -> String {
        let mut header = Map::new();
        if !self.metadata.is_empty() {
            header.insert("__metadata__".to_owned(), self.metadata.clone().into());
        }
        header.extend(self.header.iter().map(|(name, entry)| (name.clone(), entry.clone())));
        let mut text = Value::Object(header).to_string();
        // Readers may map the file, so the data starts at a multiple of eight bytes.
        text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
        text
    }

    /// Writes the header; the elements follow.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn begin(self) -> Result<SafetensorsBody> {
        let text = self.header_text();
        let fail = |source| Error::Write { path: self.path.clone(), source };
        let mut out = PageWriter::new(File::create(&self.path).map_err(fail)?, 0);
        out.write_all(&(text.len() as u64).to_le_bytes()).map_err(fail)?;
        out.write_all(text.as_bytes()).map_err(fail)?;
        Ok(SafetensorsBody { path: self.path, out, declared: self.declared, current: 0, written: 0 })
    }
}

/// The data section of a file being written.
#[derive(Debug)]
pub struct SafetensorsBody {
    path: PathBuf,
    out: PageWriter<File>,
    declared: Vec<(&'static str, usize)>,
    current: usize,
    written: usize,
}

impl SafetensorsBody {
    fn fail(&self, source: std::io::Error) -> Error {
        Error::Write { path: self.path.clone(), source }
    }

    /// Writes the next elements of the current tensor, which must be of type `T`; a tensor may come in any
    /// number of pieces, but a piece may not run over into the next tensor.
    ///
    /// # Errors
    /// [`Error::Write`] if the type differs from the declared one, if there are too many elements, or if the
    /// system refuses.
    pub fn write<T: Element>(&mut self, elements: &[T]) -> Result<()> {
        let mut bytes = Vec::with_capacity(elements.len() * T::BYTES);
        for &x in elements {
            x.put(&mut bytes);
        }
        self.put(&bytes, Some(T::DTYPE))
    }

    /// Writes the next bytes of the current tensor, whatever its type. The bounds are those of
    /// [`SafetensorsBody::write`].
    ///
    /// # Errors
    /// [`Error::Write`] if there are too many bytes, or if the system refuses.
    pub fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.put(bytes, None)
    }

    fn put(&mut self, bytes: &[u8], expected: Option<&str>) -> Result<()> {
        self.skip_finished();
        let fits = self.declared.get(self.current).is_some_and(|&(dtype, size)| {
            expected.is_none_or(|expected| dtype == expected) && bytes.len() <= size - self.written
        });
        if !fits && !bytes.is_empty() {
            let kind = expected.unwrap_or("any type");
            let what = format!("{} bytes of {kind} do not fit tensor {}", bytes.len(), self.current);
            return Err(self.fail(std::io::Error::other(what)));
        }
        self.out.write_all(bytes).map_err(|source| self.fail(source))?;
        self.written += bytes.len();
        Ok(())
    }

    fn skip_finished(&mut self) {
        while self.declared.get(self.current).is_some_and(|&(_, size)| size == self.written) {
            self.current += 1;
            self.written = 0;
        }
    }

    /// Flushes the file.
    ///
    /// # Errors
    /// [`Error::Write`] if elements are missing or the system refuses.
    pub fn finish(mut self) -> Result<()> {
        self.skip_finished();
        if self.current != self.declared.len() {
            let what = format!("tensor {} is not complete", self.current);
            return Err(self.fail(std::io::Error::other(what)));
        }
        self.out.flush().map_err(|source| self.fail(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmap::MappedFile;
    use crate::safetensors::Safetensors;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.safetensors");
        let mut writer = SafetensorsWriter::create(&path);
        writer.declare::<f32>("logits", &[2, 3]).unwrap();
        writer.declare::<i32>("none", &[0]).unwrap();
        writer.declare::<i32>("ids", &[2]).unwrap();
        writer.declare_encoded("codes", &[3], Encoding::BF16).unwrap();
        writer.metadata("format", "mlx");
        assert!(writer.declare_encoded("q", &[32], Encoding::Quant(lazuli_quant::Format::Q4_0)).is_err());
        let bytes = writer.file_bytes();
        assert!(writer.declare::<f32>("ids", &[1]).is_err());
        let mut body = writer.begin().unwrap();
        body.write(&[1.0f32, -2.0]).unwrap();
        assert!(body.write(&[0i32]).is_err(), "another type");
        assert!(body.write(&[0.0f32; 5]).is_err(), "too many");
        body.write(&[3.0f32, 4.0, 5.0, 6.0]).unwrap();
        body.write(&[7i32, -8]).unwrap();
        assert!(body.write_bytes(&[0; 7]).is_err(), "a byte too many");
        body.write_bytes(&[1, 2, 3]).unwrap();
        body.write_bytes(&[4, 5, 6]).unwrap();
        assert!(body.write(&[0i32]).is_err(), "past the end");
        body.finish().unwrap();

        let file = MappedFile::open(&path).unwrap();
        assert_eq!(file.len(), bytes);
        let parsed = Safetensors::parse(&file).unwrap();
        assert_eq!(parsed.metadata, [("format".to_owned(), "mlx".to_owned())]);
        let tensors = parsed.tensors;
        let bytes = |i: usize| file[tensors[i].planes[0].bytes.clone()].to_vec();
        assert_eq!(bytes(0), [1.0f32, -2.0, 3.0, 4.0, 5.0, 6.0].map(f32::to_le_bytes).concat());
        assert_eq!(bytes(2), [7i32, -8].map(i32::to_le_bytes).concat());
        assert_eq!(bytes(3), [1, 2, 3, 4, 5, 6]);
        assert_eq!(tensors[0].planes[0].bytes.start % 8, 0);
    }

    #[test]
    fn an_incomplete_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = SafetensorsWriter::create(dir.path().join("out.safetensors"));
        writer.declare::<f32>("a", &[2]).unwrap();
        let mut body = writer.begin().unwrap();
        body.write(&[1.0f32]).unwrap();
        assert!(body.finish().is_err());
    }
}
