//! Writing GGUF files (version 3) as a stream: settings and tensors are declared first, then the tensors' bytes come
//! in order. What the settings and tensors should be is the caller's business.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::value::{ARRAY, STRING};
use super::{Array, MAGIC, Value, ggml_type};
use crate::error::{Error, Result, TensorFault};
use crate::pages::PageWriter;
use crate::tensor::{Encoding, checked_size};

/// The header of a file to be written: metadata, and tensors in the order in which their data will come.
#[derive(Debug)]
pub struct GgufWriter {
    path: PathBuf,
    alignment: usize,
    keys: Vec<u8>,
    key_names: HashSet<String>,
    tensors: Vec<u8>,
    tensor_names: HashSet<String>,
    /// Bytes of each declared tensor.
    sizes: Vec<usize>,
    /// Where the next tensor's data begin in the data section.
    next: usize,
}

impl GgufWriter {
    /// Starts a file at `path` whose tensors begin at multiples of `alignment` bytes (a power of two, 32 by custom;
    /// the caller sets `general.alignment` where it is another). Nothing is written before [`GgufWriter::begin`].
    pub fn create(path: impl AsRef<Path>, alignment: usize) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            alignment: alignment.max(1),
            keys: Vec::new(),
            key_names: HashSet::new(),
            tensors: Vec::new(),
            tensor_names: HashSet::new(),
            sizes: Vec::new(),
            next: 0,
        }
    }

    fn fail(&self, what: String) -> Error {
        Error::Write { path: self.path.clone(), source: std::io::Error::other(what) }
    }

    /// Adds a setting.
    ///
    /// # Errors
    /// [`Error::Write`] if the key is taken.
    pub fn set(&mut self, key: &str, value: &Value) -> Result<()> {
        if !self.key_names.insert(key.to_owned()) {
            return Err(self.fail(format!("the metadata key `{key}` is taken")));
        }
        put_string(&mut self.keys, key.as_bytes());
        put_value(&mut self.keys, value);
        Ok(())
    }

    /// Declares the next tensor, of row-major `shape` (up to four axes, none empty); its size in bytes comes back.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the name is taken, the size overflows, or files of this kind cannot hold the encoding.
    pub fn declare(&mut self, name: &str, shape: &[usize], encoding: Encoding) -> Result<usize> {
        let path = self.path.clone();
        let fail = |fault| Error::Tensor { path: path.clone(), tensor: name.to_owned(), offset: 0, fault };
        if !self.tensor_names.insert(name.to_owned()) {
            return Err(fail(TensorFault::DuplicateName));
        }
        let number = ggml_type::number(encoding)
            .ok_or_else(|| fail(TensorFault::Unsupported { name: format!("{encoding} (in a GGUF file)") }))?;
        let rank = u32::try_from(shape.len()).unwrap_or(u32::MAX);
        if rank > super::MAX_RANK {
            return Err(fail(TensorFault::Rank(rank)));
        }
        let dims: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
        if dims.contains(&0) {
            return Err(fail(TensorFault::EmptyAxis(dims)));
        }
        let (_, size) = checked_size(&dims, encoding).map_err(fail)?;
        put_string(&mut self.tensors, name.as_bytes());
        self.tensors.extend(rank.to_le_bytes());
        // The file lists the contiguous axis first.
        self.tensors.extend(dims.iter().rev().flat_map(|n| n.to_le_bytes()));
        self.tensors.extend(number.to_le_bytes());
        self.tensors.extend((self.next as u64).to_le_bytes());
        let end = self.next.checked_add(size).and_then(|end| end.checked_next_multiple_of(self.alignment));
        self.next = end.ok_or_else(|| fail(TensorFault::ShapeOverflow(dims)))?;
        self.sizes.push(size);
        Ok(size)
    }

    /// Bytes of the whole file with what is declared so far.
    pub fn file_bytes(&self) -> usize {
        let header = 24 + self.keys.len() + self.tensors.len();
        header.next_multiple_of(self.alignment) + self.next
    }

    /// Writes the header; the tensors' bytes follow.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn begin(self) -> Result<GgufBody> {
        let mut header = [&MAGIC[..], &3u32.to_le_bytes()].concat();
        header.extend((self.sizes.len() as u64).to_le_bytes());
        header.extend((self.key_names.len() as u64).to_le_bytes());
        header.extend(&self.keys);
        header.extend(&self.tensors);
        header.resize(header.len().next_multiple_of(self.alignment), 0);
        let fail = |source| Error::Write { path: self.path.clone(), source };
        let mut out = PageWriter::new(File::create(&self.path).map_err(fail)?, 0);
        out.write_all(&header).map_err(fail)?;
        let (path, sizes, alignment) = (self.path, self.sizes, self.alignment);
        Ok(GgufBody { path, out, sizes, alignment, current: 0, written: 0 })
    }
}

/// The data section of a file being written.
#[derive(Debug)]
pub struct GgufBody {
    path: PathBuf,
    out: PageWriter<File>,
    sizes: Vec<usize>,
    alignment: usize,
    current: usize,
    written: usize,
}

impl GgufBody {
    fn fail(&self, source: std::io::Error) -> Error {
        Error::Write { path: self.path.clone(), source }
    }

    /// Writes the next bytes of the current tensor; a tensor may come in any number of pieces, but a piece may not
    /// run over into the next tensor.
    ///
    /// # Errors
    /// [`Error::Write`] if there are too many bytes or the system refuses.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(&size) = self.sizes.get(self.current) else {
            return Err(self.fail(std::io::Error::other("all tensors are written")));
        };
        if bytes.len() > size - self.written {
            let what =
                format!("{} bytes too many for tensor {}", bytes.len() + self.written - size, self.current);
            return Err(self.fail(std::io::Error::other(what)));
        }
        self.out.write_all(bytes).map_err(|source| self.fail(source))?;
        self.written += bytes.len();
        if self.written == size {
            let pad = size.next_multiple_of(self.alignment) - size;
            self.out.write_all(&vec![0; pad]).map_err(|source| self.fail(source))?;
            self.current += 1;
            self.written = 0;
        }
        Ok(())
    }

    /// Flushes the file.
    ///
    /// # Errors
    /// [`Error::Write`] if bytes are missing or the system refuses.
    pub fn finish(mut self) -> Result<()> {
        if self.current != self.sizes.len() {
            let what = format!("tensor {} is not complete", self.current);
            return Err(self.fail(std::io::Error::other(what)));
        }
        self.out.flush().map_err(|source| self.fail(source))
    }
}

fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text);
}

/// Type number and value.
fn put_value(out: &mut Vec<u8>, value: &Value) {
    let mut scalar = |id: u32, bytes: &[u8]| {
        out.extend(id.to_le_bytes());
        out.extend(bytes);
    };
    match value {
        Value::U8(x) => scalar(0, &x.to_le_bytes()),
        Value::I8(x) => scalar(1, &x.to_le_bytes()),
        Value::U16(x) => scalar(2, &x.to_le_bytes()),
        Value::I16(x) => scalar(3, &x.to_le_bytes()),
        Value::U32(x) => scalar(4, &x.to_le_bytes()),
        Value::I32(x) => scalar(5, &x.to_le_bytes()),
        Value::F32(x) => scalar(6, &x.to_le_bytes()),
        Value::Bool(x) => scalar(7, &[u8::from(*x)]),
        Value::U64(x) => scalar(10, &x.to_le_bytes()),
        Value::I64(x) => scalar(11, &x.to_le_bytes()),
        Value::F64(x) => scalar(12, &x.to_le_bytes()),
        Value::Str(text) => {
            scalar(STRING, &[]);
            put_string(out, text.as_bytes());
        }
        Value::Array(array) => {
            scalar(ARRAY, &[]);
            put_array(out, array);
        }
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    let id = match array {
        Array::Strings(_) => STRING,
        Array::Numbers(numbers) => numbers.kind().id(),
        Array::Nested(_) => ARRAY,
    };
    out.extend(id.to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::Strings(strings) => strings.iter().for_each(|text| put_string(out, text)),
        Array::Numbers(numbers) => out.extend(numbers.bytes()),
        Array::Nested(arrays) => arrays.iter().for_each(|array| put_array(out, array)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Gguf, Numbers, Strings};
    use super::*;
    use crate::mmap::MappedFile;
    use lazuli_quant::Format;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.gguf");
        let mut writer = GgufWriter::create(&path, 64);
        let tokens = Array::Strings(Strings::new([&b"a"[..], b"", b"\xff"]));
        let nested = Array::Nested(vec![Array::Numbers(Numbers::from_i32s(&[-1, 2])), tokens.clone()]);
        let values = [
            ("general.alignment", Value::U32(64)),
            ("u8", Value::U8(200)),
            ("i8", Value::I8(-3)),
            ("u16", Value::U16(60_000)),
            ("i16", Value::I16(-5)),
            ("i32", Value::I32(-6)),
            ("f32", Value::F32(1.5)),
            ("bool", Value::Bool(true)),
            ("text", Value::Str("é".to_owned())),
            ("u64", Value::U64(1 << 40)),
            ("i64", Value::I64(-(1 << 40))),
            ("f64", Value::F64(0.1)),
            ("tokens", Value::Array(tokens)),
            ("scores", Value::Array(Array::Numbers(Numbers::from_f32s(&[0.5, -2.0])))),
            ("nested", Value::Array(nested)),
        ];
        for (key, value) in &values {
            writer.set(key, value).unwrap();
        }
        assert!(writer.set("u8", &Value::U8(1)).is_err(), "a key twice");
        assert_eq!(writer.declare("q", &[3, 64], Encoding::Quant(Format::Q4_0)).unwrap(), 108);
        assert_eq!(writer.declare("f", &[2, 1, 2], Encoding::F16).unwrap(), 8);
        let refused = |writer: &mut GgufWriter, name: &str, shape: &[usize], encoding| {
            writer.declare(name, shape, encoding).unwrap_err().to_string()
        };
        assert!(refused(&mut writer, "q", &[1], Encoding::F32).contains("second tensor"));
        assert!(refused(&mut writer, "r", &[1; 5], Encoding::F32).contains("5 axes"));
        assert!(refused(&mut writer, "s", &[33], Encoding::Quant(Format::Q4_0)).contains("32-element"));
        assert!(refused(&mut writer, "t", &[32], Encoding::Quant(Format::Mxfp4)).contains("not supported"));
        assert!(refused(&mut writer, "u", &[0], Encoding::F32).contains("length 0"));
        let bytes = writer.file_bytes();
        let mut body = writer.begin().unwrap();
        assert!(body.write(&[0; 109]).is_err(), "too many");
        body.write(&[1; 100]).unwrap();
        body.write(&[2; 8]).unwrap();
        body.write(&[3; 8]).unwrap();
        assert!(body.write(&[3]).is_err(), "past the end");
        body.finish().unwrap();

        let file = MappedFile::open(&path).unwrap();
        assert_eq!(file.len(), bytes);
        let gguf = Gguf::parse(&file).unwrap();
        let shown = |value: &Value| format!("{value:?}");
        for ((key, expected), (found_key, found)) in values.iter().zip(gguf.metadata.iter()) {
            assert_eq!((*key, shown(expected)), (found_key, shown(found)));
        }
        let strings = gguf.metadata.strings("tokens").unwrap().unwrap();
        assert_eq!(strings.iter().collect::<Vec<_>>(), [&b"a"[..], b"", b"\xff"]);
        assert_eq!(gguf.metadata.numbers("scores").unwrap().unwrap().floats(), Some(vec![0.5, -2.0]));
        let [q, f] = &gguf.tensors[..] else { panic!() };
        assert_eq!((&q.shape[..], q.encoding), (&[3, 64][..], Encoding::Quant(Format::Q4_0)));
        assert_eq!((&f.shape[..], f.encoding), (&[2, 1, 2][..], Encoding::F16));
        assert_eq!(file[f.planes[0].bytes.clone()], [3; 8]);
        assert_eq!(f.planes[0].bytes.start % 64, 0);
    }

    #[test]
    fn an_incomplete_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = GgufWriter::create(dir.path().join("out.gguf"), 32);
        writer.declare("a", &[2], Encoding::F32).unwrap();
        let mut body = writer.begin().unwrap();
        body.write(&[0; 4]).unwrap();
        assert!(body.finish().is_err());
    }
}
