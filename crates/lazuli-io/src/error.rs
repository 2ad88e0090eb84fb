//! Every way in which reading a model's files can fail, each naming the file and the place in it.

use std::path::PathBuf;

use crate::tensor::Encoding;

/// The result of this crate's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and what was expected there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened, read, mapped or written.
    #[error("cannot read {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Writing a file failed.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file has no bytes.
    #[error("{} is empty: was its download interrupted?", path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// The path holds nothing that looks like a model.
    #[error("{} is not a checkpoint: {found}; expected a GGUF file, or a folder with config.json and safetensors files or with one GGUF file", path.display())]
    NotACheckpoint {
        /// The path as given.
        path: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// The file's header does not follow its format.
    #[error("{}: at byte {offset}: {fault}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// Byte offset in the file at which the fault was noticed.
        offset: usize,
        /// What is wrong there.
        fault: HeaderFault,
    },
    /// One tensor's description is wrong or cannot be honoured.
    #[error("{}: tensor `{tensor}` (described at byte {offset}): {fault}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name as the file gives it.
        tensor: String,
        /// Byte offset of its description in the file.
        offset: usize,
        /// What is wrong with it.
        fault: TensorFault,
    },
    /// There is no tensor of this name.
    #[error("{} has no tensor `{tensor}`", path.display())]
    MissingTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The name looked for.
        tensor: String,
    },
    /// A tensor does not make an array.
    #[error("tensor `{tensor}`: {source}")]
    Array {
        /// The tensor.
        tensor: String,
        /// What does not fit.
        source: lazuli_core::Error,
    },
    /// A metadata key is missing or holds something else than its meaning needs.
    #[error("{}: metadata key `{key}`: {what}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What was found and what was expected.
        what: String,
    },
    /// A JSON file beside the weights does not hold what it should.
    #[error("{}: {what}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        what: String,
    },
    /// The files of a split model do not fit together.
    #[error("{}: {what}", path.display())]
    Split {
        /// The file, or the folder of the files.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// The tokenizer's description is incomplete, inconsistent or of a kind that is not supported.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The chat template does not compile, does not render, or refused the conversation.
    #[error("chat template: {0}")]
    Template(String),
}

/// A fault in a file's header outside any one tensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// The file ends inside something that its header says is there.
    #[error(
        "the file ends after {len} bytes, but {what} needs {need} more here: it is truncated or damaged, fetch it again"
    )]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes that it needs from the offset on.
        need: u64,
        /// Length of the file.
        len: usize,
    },
    /// The first bytes are not the format's.
    #[error("not a {expected} file: it starts with {found:02x?}")]
    Magic {
        /// The format expected.
        expected: &'static str,
        /// The first bytes found.
        found: Vec<u8>,
    },
    /// A version that is not read.
    #[error(
        "GGUF version {0} is not supported: versions 2 and 3 are; convert the model again with a current tool"
    )]
    Version(u32),
    /// A file written on (or for) a machine of the other byte order.
    #[error("this is a big-endian GGUF file: convert the model to little-endian")]
    BigEndian,
    /// Text that is not UTF-8.
    #[error("{0} is not valid UTF-8")]
    Utf8(&'static str),
    /// A value type number that the format does not define.
    #[error("unknown metadata value type {0}: the format defines 0 to 12")]
    ValueType(u32),
    /// Arrays of arrays deeper than any real file has.
    #[error("metadata arrays are nested more than {0} deep")]
    TooDeep(usize),
    /// The same metadata key twice.
    #[error("metadata key `{0}` appears twice")]
    DuplicateKey(String),
    /// A boolean that is neither 0 nor 1.
    #[error("a boolean holds {0}, expected 0 or 1")]
    Bool(u8),
    /// A header length or count that the rest of the file contradicts.
    #[error("{0}")]
    Layout(String),
}

/// A fault in one tensor's description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorFault {
    /// Two tensors of one name.
    #[error("a second tensor has this name")]
    DuplicateName,
    /// More axes than the format allows.
    #[error("it has {0} axes, at most 4 are allowed")]
    Rank(u32),
    /// An axis without elements.
    #[error("its shape {0:?} has an axis of length 0")]
    EmptyAxis(Vec<u64>),
    /// The number of elements or bytes does not fit this machine's address space.
    #[error("its shape {0:?} overflows: the header is damaged")]
    ShapeOverflow(Vec<u64>),
    /// A row that does not consist of whole blocks.
    #[error("its rows of {cols} elements do not divide into the {block}-element blocks of {encoding}")]
    RaggedRow {
        /// Elements in a row.
        cols: usize,
        /// Elements in a block.
        block: usize,
        /// The encoding.
        encoding: Encoding,
    },
    /// A tensor type that this crate does not read.
    #[error("its type {name} is not supported")]
    Unsupported {
        /// The type's name, and number where the file has one.
        name: String,
    },
    /// An offset that is not a multiple of the file's alignment.
    #[error("its data offset {offset} is not a multiple of the file's alignment {alignment}")]
    Misaligned {
        /// Offset within the data section.
        offset: u64,
        /// The file's alignment.
        alignment: usize,
    },
    /// Data beyond the end of the file.
    #[error(
        "its data would take bytes {start} to {end}, but the file has {len}: it is truncated or damaged, fetch it again"
    )]
    OutOfFile {
        /// First byte.
        start: u128,
        /// Byte after the last.
        end: u128,
        /// Length of the file.
        len: usize,
    },
    /// Data that another tensor claims too.
    #[error("its data overlaps that of tensor `{0}`")]
    Overlap(String),
    /// Bytes between this tensor and the one before that belong to none.
    #[error("{0} bytes before its data belong to no tensor")]
    Gap(usize),
    /// Tensors that should make one quantised weight do not fit together.
    #[error("{0}")]
    Group(String),
    /// The bytes given and the bytes that shape and type need differ.
    #[error("its shape and type need {need} bytes, but it is given {given}")]
    Size {
        /// Bytes by shape and encoding.
        need: usize,
        /// Bytes by the header.
        given: usize,
    },
}
