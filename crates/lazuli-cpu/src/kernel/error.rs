//! What a kernel can find wrong with data that is only known when it runs.

use std::fmt;

/// An index in an array of indices (token ids, KV slots, page tables) points outside of what it indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexError {
    /// What the indices are.
    pub what: &'static str,
    /// Where in the array the bad one stands.
    pub at: usize,
    /// The bad index.
    pub found: i64,
    /// How many things there are to index.
    pub bound: usize,
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, at, found, bound } = self;
        write!(f, "{what} {found} (entry {at}) is out of range: it must be at least 0 and below {bound}")
    }
}

impl std::error::Error for IndexError {}

/// `index` as an offset below `bound`.
#[inline]
pub(crate) fn checked(what: &'static str, at: usize, index: i32, bound: usize) -> Result<usize, IndexError> {
    match usize::try_from(index) {
        Ok(index) if index < bound => Ok(index),
        _ => Err(IndexError { what, at, found: i64::from(index), bound }),
    }
}
