//! A bounds-checked reader over the bytes of a GGUF header; all numbers are little-endian.

use std::ops::Range;
use std::path::Path;

use crate::error::{Error, HeaderFault, Result};

/// A position in the file's bytes.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    path: &'a Path,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], path: &'a Path) -> Self {
        Self { bytes, path, at: 0 }
    }

    /// Byte offset of what is read next.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// Bytes from here to the end of the file.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    /// `fault`, located at `offset`.
    pub(super) fn fail(&self, offset: usize, fault: HeaderFault) -> Error {
        Error::Header { path: self.path.to_owned(), offset, fault }
    }

    /// The next `need` bytes, as a range of the file.
    pub(super) fn take(&mut self, need: u64, what: &'static str) -> Result<Range<usize>> {
        let start = self.at;
        match usize::try_from(need) {
            Ok(n) if n <= self.left() => {
                self.at += n;
                Ok(start..self.at)
            }
            _ => Err(self.fail(start, HeaderFault::Truncated { what, need, len: self.bytes.len() })),
        }
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N]> {
        let range = self.take(N as u64, what)?;
        let mut out = [0; N];
        out.copy_from_slice(&self.bytes[range]);
        Ok(out)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// `N` raw bytes.
    pub(super) fn raw<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N]> {
        self.array(what)
    }

    /// A length-prefixed string that must be UTF-8.
    pub(super) fn string(&mut self, what: &'static str) -> Result<&'a str> {
        let start = self.at;
        let len = self.u64(what)?;
        let range = self.take(len, what)?;
        std::str::from_utf8(&self.bytes[range]).map_err(|_| self.fail(start, HeaderFault::Utf8(what)))
    }

    /// Skips a length-prefixed string of any bytes.
    pub(super) fn skip_string(&mut self, what: &'static str) -> Result<()> {
        let len = self.u64(what)?;
        self.take(len, what).map(|_| ())
    }
}
