//! The key-value section of a GGUF file, with getters that say which key is wrong and why.

use std::collections::HashMap;
use std::path::Path;

use super::cursor::Cursor;
use super::value::{Array, Numbers, Strings, Value, read_value};
use crate::error::{Error, HeaderFault, Result};
use crate::mmap::MappedFile;

/// All metadata of a file, in the file's order.
#[derive(Debug)]
pub struct Metadata {
    file: MappedFile,
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

impl Metadata {
    pub(super) fn read(cursor: &mut Cursor<'_>, file: &MappedFile, count: u64) -> Result<Self> {
        let mut metadata = Self { file: file.clone(), entries: Vec::new(), index: HashMap::new() };
        for _ in 0..count {
            let at = cursor.offset();
            let key = cursor.string("a metadata key")?;
            let kind = cursor.u32("a metadata value's type")?;
            let value = read_value(cursor, file, kind)?;
            if metadata.index.insert(key.to_owned(), metadata.entries.len()).is_some() {
                return Err(cursor.fail(at, HeaderFault::DuplicateKey(key.to_owned())));
            }
            metadata.entries.push((key.to_owned(), value));
        }
        Ok(metadata)
    }

    /// The file it was read from.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Keys and values in the file's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&index| &self.entries[index].1)
    }

    /// An error about `key`.
    pub fn error(&self, key: &str, what: impl Into<String>) -> Error {
        Error::Metadata { path: self.path().to_owned(), key: key.to_owned(), what: what.into() }
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match read(value) {
            Some(x) => Ok(Some(x)),
            None => Err(self.error(key, format!("it is {}, expected {expected}", value.describe()))),
        }
    }

    /// Turns an absent key into an error.
    ///
    /// # Errors
    /// [`Error::Metadata`] if `found` is empty, or the error that `found` is.
    pub fn require<T>(&self, key: &str, found: Result<Option<T>>) -> Result<T> {
        found?.ok_or_else(|| self.error(key, "it is missing"))
    }

    /// A string; `None` if the key is absent.
    pub fn str(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a string", |value| match value {
            Value::Str(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// An integer of any width that fits `u32`; `None` if the key is absent.
    pub fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.typed(key, "an integer from 0 to 2^32-1", |value| value.as_i128()?.try_into().ok())
    }

    /// An integer of any width that fits `usize`; `None` if the key is absent.
    pub fn usize(&self, key: &str) -> Result<Option<usize>> {
        self.typed(key, "a non-negative integer", |value| value.as_i128()?.try_into().ok())
    }

    /// A number as `f32`; `None` if the key is absent.
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.typed(key, "a number", |value| value.as_f64().map(|x| x as f32))
    }

    /// A boolean; `None` if the key is absent.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "a boolean", |value| match value {
            Value::Bool(x) => Some(*x),
            _ => None,
        })
    }

    /// An array of strings; `None` if the key is absent.
    pub fn strings(&self, key: &str) -> Result<Option<&Strings>> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Array(Array::Strings(strings)) => Some(strings),
            _ => None,
        })
    }

    /// An array of numbers; `None` if the key is absent.
    pub fn numbers(&self, key: &str) -> Result<Option<&Numbers>> {
        self.typed(key, "an array of numbers", |value| match value {
            Value::Array(Array::Numbers(numbers)) => Some(numbers),
            _ => None,
        })
    }

    /// An array of integers that fit `u32`, or one such integer standing for itself; `None` if absent.
    /// (Per-layer keys such as `attention.head_count_kv` come in both forms.)
    pub fn u32s(&self, key: &str) -> Result<Option<Vec<u32>>> {
        self.typed(key, "an integer or an array of integers from 0 to 2^32-1", |value| match value {
            Value::Array(Array::Numbers(numbers)) => numbers.integers(),
            other => Some(vec![other.as_i128()?.try_into().ok()?]),
        })
    }
}
