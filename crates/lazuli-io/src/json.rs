//! Reading the small JSON files that stand beside weights.

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::mmap::MappedFile;

/// Parses JSON bytes that must hold one object; `path` names them in messages.
///
/// # Errors
/// [`Error::Json`] with line and column.
pub fn parse_json_object(bytes: &[u8], path: &Path) -> Result<Value> {
    let fail = |what| Error::Json { path: path.to_owned(), what };
    let value: Value =
        serde_json::from_slice(bytes).map_err(|e| fail(format!("it is not valid JSON: {e}")))?;
    if value.is_object() { Ok(value) } else { Err(fail("it does not hold a JSON object".to_owned())) }
}

/// Reads a file that must hold one JSON object.
pub(crate) fn read_json(path: &Path) -> Result<Value> {
    parse_json_object(&MappedFile::open(path)?, path)
}
