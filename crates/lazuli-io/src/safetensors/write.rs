//! Writing safetensors files as a stream: declare all tensors first, then write their elements in order.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

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
    header: Map<String, Value>,
    /// Dtype and bytes of each declared tensor.
    declared: Vec<(&'static str, usize)>,
    bytes: usize,
}

impl SafetensorsWriter {
    /// Starts a file at `path`; nothing is written before [`SafetensorsWriter::begin`].
    pub fn create(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), header: Map::new(), declared: Vec::new(), bytes: 0 }
    }

    fn fail(&self, what: String) -> Error {
        Error::Write { path: self.path.clone(), source: std::io::Error::other(what) }
    }

    /// Declares the next tensor, of row-major `shape`.
    ///
    /// # Errors
    /// [`Error::Write`] if the name is taken or the size overflows.
    pub fn declare<T: Element>(&mut self, name: &str, shape: &[usize]) -> Result<()> {
        let size = shape.iter().try_fold(T::BYTES, |n, &d| n.checked_mul(d));
        let end = size.and_then(|size| self.bytes.checked_add(size));
        let (Some(size), Some(end)) = (size, end) else {
            return Err(self.fail(format!("tensor `{name}` of shape {shape:?} is too large")));
        };
        let entry = json!({"dtype": T::DTYPE, "shape": shape, "data_offsets": [self.bytes, end]});
        if name == "__metadata__" || self.header.contains_key(name) {
            return Err(self.fail(format!("the tensor name `{name}` is taken")));
        }
        self.header.insert(name.to_owned(), entry);
        self.declared.push((T::DTYPE, size));
        self.bytes = end;
        Ok(())
    }

    /// Writes the header; the elements follow.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn begin(self) -> Result<SafetensorsBody> {
        let mut text = Value::Object(self.header).to_string();
        // Readers may map the file, so the data starts at a multiple of eight bytes.
        while text.len() % 8 != 0 {
            text.push(' ');
        }
        let fail = |source| Error::Write { path: self.path.clone(), source };
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&self.path).map_err(fail)?);
        out.write_all(&(text.len() as u64).to_le_bytes()).map_err(fail)?;
        out.write_all(text.as_bytes()).map_err(fail)?;
        Ok(SafetensorsBody { path: self.path, out, declared: self.declared, current: 0, written: 0 })
    }
}

/// The data section of a file being written.
#[derive(Debug)]
pub struct SafetensorsBody {
    path: PathBuf,
    out: BufWriter<File>,
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
        self.skip_finished();
        let mut bytes = Vec::with_capacity(elements.len() * T::BYTES);
        for &x in elements {
            x.put(&mut bytes);
        }
        let fits = self
            .declared
            .get(self.current)
            .is_some_and(|&(dtype, size)| dtype == T::DTYPE && bytes.len() <= size - self.written);
        if !fits && !bytes.is_empty() {
            let what =
                format!("{} elements of {} do not fit tensor {}", elements.len(), T::DTYPE, self.current);
            return Err(self.fail(std::io::Error::other(what)));
        }
        self.out.write_all(&bytes).map_err(|source| self.fail(source))?;
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
        assert!(writer.declare::<f32>("ids", &[1]).is_err());
        let mut body = writer.begin().unwrap();
        body.write(&[1.0f32, -2.0]).unwrap();
        assert!(body.write(&[0i32]).is_err(), "another type");
        assert!(body.write(&[0.0f32; 5]).is_err(), "too many");
        body.write(&[3.0f32, 4.0, 5.0, 6.0]).unwrap();
        body.write(&[7i32, -8]).unwrap();
        assert!(body.write(&[0i32]).is_err(), "past the end");
        body.finish().unwrap();

        let file = MappedFile::open(&path).unwrap();
        let tensors = Safetensors::parse(&file).unwrap().tensors;
        let bytes = |i: usize| file[tensors[i].planes[0].bytes.clone()].to_vec();
        assert_eq!(bytes(0), [1.0f32, -2.0, 3.0, 4.0, 5.0, 6.0].map(f32::to_le_bytes).concat());
        assert_eq!(bytes(2), [7i32, -8].map(i32::to_le_bytes).concat());
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
