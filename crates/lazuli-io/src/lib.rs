//! Model files: GGUF and safetensors, mapped; checkpoints; tokenizers; chat templates.
//!
//! Owns everything between the bytes of a published model and the named tensors, token ids and prompts that
//! the rooms above work with. It computes nothing with the weights. All parsers work on plain byte slices and
//! treat them as hostile: a malformed file is an [`Error`] that names file, tensor and offset.
#![deny(unsafe_code)] // `mmap` alone is excepted.

mod array;
mod checkpoint;
mod error;
pub mod gguf;
mod json;
mod mmap;
mod pages;
mod planar;
pub mod safetensors;
mod template;
mod tensor;
mod tokenizer;

pub use checkpoint::{Checkpoint, Kind};
pub use error::{Error, HeaderFault, Result, TensorFault};
pub use json::parse_json_object;
pub use mmap::{MappedFile, Resident};
pub use pages::PageWriter;
pub use planar::{MlxMode, Quantisation};
pub use safetensors::{SafetensorsBody, SafetensorsWriter};
pub use template::{ChatTemplate, Message, RenderOptions};
pub use tensor::{Encoding, Plane, TensorInfo};
pub use tokenizer::{
    Position, Specials, StreamDecoder, Tokenizer, tokenizer_bytes, tokenizer_files, tokenizer_settings,
};
