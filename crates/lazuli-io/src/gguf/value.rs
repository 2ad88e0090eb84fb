//! Metadata values of a GGUF file.
//!
//! Scalars are read out; arrays stay in the mapped file, because a vocabulary of a quarter million strings
//! must not become a quarter million allocations before the first token is made.

use std::sync::Arc;

use super::cursor::Cursor;
use crate::error::{HeaderFault, Result};
use crate::mmap::MappedFile;

/// Arrays of arrays may be this deep; real files have depth 1.
const MAX_DEPTH: usize = 4;

/// One metadata value.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // Named as the GGUF document names them.
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl Value {
    /// The value as an integer, if it is one.
    pub fn as_i128(&self) -> Option<i128> {
        Some(match *self {
            Self::U8(x) => x.into(),
            Self::I8(x) => x.into(),
            Self::U16(x) => x.into(),
            Self::I16(x) => x.into(),
            Self::U32(x) => x.into(),
            Self::I32(x) => x.into(),
            Self::U64(x) => x.into(),
            Self::I64(x) => x.into(),
            _ => return None,
        })
    }

    /// The value as a float, if it is a number.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(x) => Some(x.into()),
            Self::F64(x) => Some(x),
            _ => self.as_i128().map(|x| x as f64),
        }
    }

    /// A few words on what it is, for messages and listings.
    pub fn describe(&self) -> String {
        match self {
            Self::Str(text) if text.chars().count() > 60 => {
                format!("{:?}... ({} bytes)", text.chars().take(60).collect::<String>(), text.len())
            }
            Self::Str(text) => format!("{text:?}"),
            Self::Bool(x) => x.to_string(),
            Self::Array(array) => format!("an array of {} {}", array.len(), array.kind_name()),
            number => number.as_f64().map_or_else(String::new, |x| x.to_string()),
        }
    }
}

/// An array value; its elements stay in the file.
#[derive(Debug, Clone)]
pub enum Array {
    /// Strings.
    Strings(Strings),
    /// Numbers or booleans of one type.
    Numbers(Numbers),
    /// Arrays.
    Nested(Vec<Array>),
}

impl Array {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Strings(strings) => strings.len(),
            Self::Numbers(numbers) => numbers.len(),
            Self::Nested(arrays) => arrays.len(),
        }
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn kind_name(&self) -> &'static str {
        match self {
            Self::Strings(_) => "strings",
            Self::Numbers(_) => "numbers",
            Self::Nested(_) => "arrays",
        }
    }
}

/// An array of strings, each a range of the mapped file; cheap to clone.
#[derive(Clone)]
pub struct Strings {
    file: MappedFile,
    /// Where the first element (its length prefix) stands.
    start: usize,
    /// Offset of each element's length prefix from `start`.
    offsets: Arc<Vec<u32>>,
}

impl Strings {
    /// Number of strings.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The bytes of string `index`, which need not be UTF-8; `None` past the end.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let at = self.start + *self.offsets.get(index)? as usize;
        // The prefix was checked when the array was read. It is read again here, so a file that another
        // process rewrites meanwhile must still not lead outside: `get` gives up instead.
        let prefix = self.file.get(at..at + 8)?;
        let len = usize::try_from(u64::from_le_bytes(prefix.try_into().ok()?)).ok()?;
        self.file.get(at + 8..(at + 8).checked_add(len)?)
    }

    /// String `index` as text; `None` past the end or if it is not UTF-8.
    pub fn text(&self, index: usize) -> Option<&str> {
        std::str::from_utf8(self.get(index)?).ok()
    }

    /// All strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }
}

impl std::fmt::Debug for Strings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} strings", self.len())
    }
}

impl Strings {
    /// Strings of one's own, in the form in which a file holds them.
    pub fn new<T: AsRef<[u8]>>(strings: impl IntoIterator<Item = T>) -> Self {
        let (mut bytes, mut offsets) = (Vec::new(), Vec::new());
        for text in strings {
            offsets.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            bytes.extend((text.as_ref().len() as u64).to_le_bytes());
            bytes.extend(text.as_ref());
        }
        Self { file: MappedFile::from_bytes(bytes, "strings"), start: 0, offsets: Arc::new(offsets) }
    }
}

/// The number types an array can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum NumberType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    U64,
    I64,
    F64,
}

impl NumberType {
    fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// The number by which files name it.
    pub(super) fn id(self) -> u32 {
        match self {
            Self::U8 => 0,
            Self::I8 => 1,
            Self::U16 => 2,
            Self::I16 => 3,
            Self::U32 => 4,
            Self::I32 => 5,
            Self::F32 => 6,
            Self::Bool => 7,
            Self::U64 => 10,
            Self::I64 => 11,
            Self::F64 => 12,
        }
    }

    fn from_id(id: u32) -> Option<Self> {
        Some(match id {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }
}

/// An array of numbers or booleans, a range of the mapped file; cheap to clone.
#[derive(Clone)]
pub struct Numbers {
    file: MappedFile,
    start: usize,
    len: usize,
    kind: NumberType,
}

impl Numbers {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements' type.
    pub fn kind(&self) -> NumberType {
        self.kind
    }

    /// Element `index`; `None` past the end.
    pub fn get(&self, index: usize) -> Option<Value> {
        if index >= self.len {
            return None;
        }
        let size = self.kind.bytes();
        let at = self.start + index * size;
        let raw = self.file.get(at..at + size)?;
        scalar(self.kind, raw)
    }

    /// Element `index` as a float; `None` past the end or for booleans.
    pub fn f32(&self, index: usize) -> Option<f32> {
        self.get(index)?.as_f64().map(|x| x as f32)
    }

    /// The elements as integers that fit `T`; `None` if one does not, or if they are floats.
    pub fn integers<T: TryFrom<i128>>(&self) -> Option<Vec<T>> {
        let raw = self.file.get(self.start..self.start + self.len * self.kind.bytes())?;
        // A vocabulary has a quarter million kinds of tokens, all of this type.
        if self.kind == NumberType::I32 {
            let values = raw.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            return values.map(|value| T::try_from(value.into()).ok()).collect();
        }
        (0..self.len).map(|index| T::try_from(self.get(index)?.as_i128()?).ok()).collect()
    }

    /// The elements as floats; `None` if they are booleans.
    pub fn floats(&self) -> Option<Vec<f32>> {
        (0..self.len).map(|index| self.get(index)?.as_f64().map(|x| x as f32)).collect()
    }
}

impl Numbers {
    /// Integers of one's own.
    pub fn from_i32s(values: &[i32]) -> Self {
        Self::of(NumberType::I32, values.len(), values.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    /// Floats of one's own.
    pub fn from_f32s(values: &[f32]) -> Self {
        Self::of(NumberType::F32, values.len(), values.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    fn of(kind: NumberType, len: usize, bytes: Vec<u8>) -> Self {
        Self { file: MappedFile::from_bytes(bytes, "numbers"), start: 0, len, kind }
    }

    /// The first `len` elements, or all if there are fewer.
    pub fn first(&self, len: usize) -> Self {
        Self { len: len.min(self.len), ..self.clone() }
    }

    /// The elements' bytes, little-endian.
    pub(super) fn bytes(&self) -> &[u8] {
        self.file.get(self.start..self.start + self.len * self.kind.bytes()).unwrap_or_default()
    }
}

impl std::fmt::Debug for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {:?}", self.len, self.kind)
    }
}

fn scalar(kind: NumberType, raw: &[u8]) -> Option<Value> {
    Some(match kind {
        NumberType::U8 => Value::U8(raw[0]),
        NumberType::I8 => Value::I8(raw[0] as i8),
        NumberType::Bool => Value::Bool(raw[0] != 0),
        NumberType::U16 => Value::U16(u16::from_le_bytes(raw.try_into().ok()?)),
        NumberType::I16 => Value::I16(i16::from_le_bytes(raw.try_into().ok()?)),
        NumberType::U32 => Value::U32(u32::from_le_bytes(raw.try_into().ok()?)),
        NumberType::I32 => Value::I32(i32::from_le_bytes(raw.try_into().ok()?)),
        NumberType::F32 => Value::F32(f32::from_le_bytes(raw.try_into().ok()?)),
        NumberType::U64 => Value::U64(u64::from_le_bytes(raw.try_into().ok()?)),
        NumberType::I64 => Value::I64(i64::from_le_bytes(raw.try_into().ok()?)),
        NumberType::F64 => Value::F64(f64::from_le_bytes(raw.try_into().ok()?)),
    })
}

pub(super) const STRING: u32 = 8;
pub(super) const ARRAY: u32 = 9;

/// Reads a value of type number `id`.
pub(super) fn read_value(cursor: &mut Cursor<'_>, file: &MappedFile, id: u32) -> Result<Value> {
    let at = cursor.offset();
    if let Some(kind) = NumberType::from_id(id) {
        let range = cursor.take(kind.bytes() as u64, "a metadata value")?;
        let raw = &file[range];
        if kind == NumberType::Bool && raw[0] > 1 {
            return Err(cursor.fail(at, HeaderFault::Bool(raw[0])));
        }
        return scalar(kind, raw).ok_or_else(|| cursor.fail(at, HeaderFault::ValueType(id)));
    }
    match id {
        STRING => Ok(Value::Str(cursor.string("a metadata string")?.to_owned())),
        ARRAY => Ok(Value::Array(read_array(cursor, file, 1)?)),
        _ => Err(cursor.fail(at, HeaderFault::ValueType(id))),
    }
}

fn read_array(cursor: &mut Cursor<'_>, file: &MappedFile, depth: usize) -> Result<Array> {
    let at = cursor.offset();
    let id = cursor.u32("an array's element type")?;
    let len = cursor.u64("an array's length")?;
    if let Some(kind) = NumberType::from_id(id) {
        let bytes = len.saturating_mul(kind.bytes() as u64);
        let range = cursor.take(bytes, "an array of numbers")?;
        let numbers = Numbers { file: file.clone(), start: range.start, len: len as usize, kind };
        return Ok(Array::Numbers(numbers));
    }
    match id {
        STRING => read_strings(cursor, file, len).map(Array::Strings),
        ARRAY if depth >= MAX_DEPTH => Err(cursor.fail(at, HeaderFault::TooDeep(MAX_DEPTH))),
        ARRAY => {
            // No reservation: the count is only believed as far as elements are found.
            let mut arrays = Vec::new();
            for _ in 0..len {
                arrays.push(read_array(cursor, file, depth + 1)?);
            }
            Ok(Array::Nested(arrays))
        }
        _ => Err(cursor.fail(at, HeaderFault::ValueType(id))),
    }
}

fn read_strings(cursor: &mut Cursor<'_>, file: &MappedFile, len: u64) -> Result<Strings> {
    let start = cursor.offset();
    // Each string takes eight bytes at least, so the file's size bounds the allocation.
    if len > (cursor.left() / 8) as u64 {
        let need = len.saturating_mul(8);
        let fault = HeaderFault::Truncated { what: "an array of strings", need, len: file.len() };
        return Err(cursor.fail(start, fault));
    }
    let mut offsets = Vec::with_capacity(len as usize);
    for _ in 0..len {
        let offset = u32::try_from(cursor.offset() - start).map_err(|_| {
            let what = "an array of strings takes more than 4 GiB".to_owned();
            cursor.fail(start, HeaderFault::Layout(what))
        })?;
        offsets.push(offset);
        cursor.skip_string("a string of an array")?;
    }
    Ok(Strings { file: file.clone(), start, offsets: Arc::new(offsets) })
}
