//! [`Draft`]: what a target will hold, before anybody says in which formats: tensors by their new names, and the
//! settings and files that come with them.

use std::collections::HashMap;

use lazuli_io::gguf::{Metadata, Value as Setting};
use lazuli_io::{Checkpoint, Encoding, Kind, TensorInfo, tokenizer_files, tokenizer_settings};
use lazuli_models::convert::{self, Computed, Renamed, RowOrder};
use serde_json::{Map, Value};

use super::error::{QuantizeError, Result};
use super::experts::stack_experts;
use super::folder::{FolderFile, files_beside};
use super::formats::Container;

/// A checkpoint in the target's words.
#[derive(Debug)]
pub struct Draft {
    pub tensors: Vec<DraftTensor>,
    pub header: Header,
    /// The type of the source's matrices, or what packed ones unpack to.
    pub float: Encoding,
    /// The type of tensors that are not packed, if it is not the one in which they are stored.
    pub others: Option<Encoding>,
}

/// What stands beside the tensors.
#[derive(Debug)]
pub enum Header {
    Folder { config: Map<String, Value>, files: Vec<FolderFile> },
    Gguf { settings: Vec<(String, Setting)> },
}

/// A tensor of the target, and where its numbers come from.
#[derive(Debug, Clone)]
pub struct DraftTensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub origin: Origin,
}

/// Where the numbers of a tensor come from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// Tensors of the source (by place), one after the other along the first axis.
    Stored { tensors: Vec<usize>, rows: RowOrder, add: f32 },
    /// Nowhere in the source.
    Computed(Vec<f32>),
}

impl DraftTensor {
    /// A tensor that is one of the source's as it stands there.
    fn same(place: usize, tensor: &TensorInfo) -> Self {
        let origin = Origin::Stored { tensors: vec![place], rows: RowOrder::Same, add: 0.0 };
        Self { name: tensor.name.clone(), shape: tensor.shape.clone(), origin }
    }

    /// The encoding in the source, that of the first part if there are several.
    pub fn stored(&self, checkpoint: &Checkpoint) -> Encoding {
        match &self.origin {
            Origin::Stored { tensors, .. } => checkpoint.tensors()[tensors[0]].encoding,
            Origin::Computed(_) => Encoding::F32,
        }
    }
}

impl Draft {
    /// What `checkpoint` becomes in a `container`.
    ///
    /// # Errors
    /// If there is no way from the one to the other, or the source is damaged.
    pub fn new(checkpoint: &Checkpoint, container: Container) -> Result<Self> {
        let float = float_type(checkpoint);
        let all = || checkpoint.tensors().iter().enumerate();
        let same = || all().map(|(place, tensor)| DraftTensor::same(place, tensor)).collect::<Vec<_>>();
        let (tensors, header) = match (checkpoint.kind(), container) {
            (Kind::Gguf(metadata), Container::Gguf) => {
                let settings = metadata.iter().filter(|(key, _)| is_carried(key));
                let settings = settings.map(|(key, value)| (key.to_owned(), value.clone())).collect();
                (same(), Header::Gguf { settings })
            }
            (Kind::HuggingFace(Value::Object(config)), Container::Folder) => {
                let header = Header::Folder { config: config.clone(), files: files_beside(checkpoint)? };
                (stack_experts(&same(), checkpoint), header)
            }
            (Kind::HuggingFace(_), Container::Gguf) => return to_file(checkpoint, float),
            (Kind::Gguf(metadata), Container::Folder) => return to_folder(checkpoint, metadata, float),
            (Kind::HuggingFace(_) | Kind::Tensors, _) => {
                return Err(QuantizeError::Direction(
                    "the source is no model: it has no settings".to_owned(),
                ));
            }
        };
        Ok(Self { tensors, header, float, others: None })
    }
}

/// A folder as a GGUF file.
fn to_file(checkpoint: &Checkpoint, float: Encoding) -> Result<Draft> {
    let converted = convert::to_gguf(checkpoint)?;
    let tensors = rename(checkpoint, converted.tensors, converted.computed)?;
    let table = tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
    let vocabulary = table.and_then(|table| table.shape.first().copied()).unwrap_or(0);
    let mut settings = converted.header;
    settings.extend(tokenizer_settings(checkpoint.path(), vocabulary)?);
    // Readers of these files expect vectors in single precision.
    Ok(Draft { tensors, header: Header::Gguf { settings }, float, others: Some(Encoding::F32) })
}

/// A GGUF file as a folder.
fn to_folder(checkpoint: &Checkpoint, metadata: &Metadata, float: Encoding) -> Result<Draft> {
    let converted = convert::to_folder(checkpoint)?;
    let tensors = rename(checkpoint, converted.tensors, converted.computed)?;
    let files = tokenizer_files(metadata)?.into_iter().map(|(name, text)| FolderFile::Text(name, text));
    let mut config = converted.header;
    config.insert("torch_dtype".to_owned(), float_name(float).into());
    let header = Header::Folder { config, files: files.collect() };
    Ok(Draft { tensors, header, float, others: Some(float) })
}

/// The name that `config.json` has for a float type.
pub fn float_name(float: Encoding) -> &'static str {
    match float {
        Encoding::F32 => "float32",
        Encoding::F16 => "float16",
        _ => "bfloat16",
    }
}

/// The tensors that `renamed` lists, and those that the source has as settings.
fn rename(
    checkpoint: &Checkpoint,
    renamed: Vec<Renamed>,
    computed: Vec<Computed>,
) -> Result<Vec<DraftTensor>> {
    let places: HashMap<&str, usize> = checkpoint
        .tensors()
        .iter()
        .enumerate()
        .map(|(place, tensor)| (tensor.name.as_str(), place))
        .collect();
    let one = |tensor: Renamed| {
        let place = *places.get(tensor.from.as_str()).ok_or_else(|| checkpoint.missing(&tensor.from))?;
        let shape = checkpoint.tensors()[place].shape.clone();
        let origin = Origin::Stored { tensors: vec![place], rows: tensor.rows, add: tensor.add };
        Ok(DraftTensor { name: tensor.name, shape, origin })
    };
    let mut tensors = renamed.into_iter().map(one).collect::<Result<Vec<_>>>()?;
    tensors.extend(computed.into_iter().map(|tensor| {
        let origin = Origin::Computed(tensor.values);
        DraftTensor { name: tensor.name, shape: tensor.shape, origin }
    }));
    Ok(tensors)
}

/// The float type that most elements of matrices have; BF16 where all matrices are packed.
fn float_type(checkpoint: &Checkpoint) -> Encoding {
    let matrices = |encoding: Encoding| {
        let those = checkpoint.tensors().iter().filter(|t| t.encoding == encoding && t.shape.len() > 1);
        those.map(TensorInfo::elements).sum::<usize>()
    };
    let found = [Encoding::BF16, Encoding::F16, Encoding::F32].map(|e| (matrices(e), e));
    let most = found.into_iter().max_by_key(|(count, _)| *count).filter(|(count, _)| *count > 0);
    most.map_or(Encoding::BF16, |(_, encoding)| encoding)
}

/// Settings of a GGUF file that hold for another format of the same model; the writer sets the rest.
pub fn is_carried(key: &str) -> bool {
    let set_anew = ["general.file_type", "general.quantization_version"];
    !set_anew.contains(&key) && !key.starts_with("split.") && !key.starts_with("quantize.imatrix.")
}
