//! [`Plan`]: which tensor becomes what, decided and checked before anything is written.

use std::path::{Path, PathBuf};

use lazuli_io::{Checkpoint, Encoding};
use lazuli_quant::Format;

use super::draft::{Draft, DraftTensor, Header, Origin};
use super::error::{QuantizeError, Result};
use super::formats::{Container, Scheme, TensorFormat};
use super::gguf::facts;
use super::mixture::{self, Facts, Subject};
use super::overrides::Override;
use super::rows::matrix;
use super::target::Existing;

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Options {
    /// The format of the whole.
    pub scheme: Scheme,
    /// Formats of single tensors; the last that matches counts.
    pub overrides: Vec<Override>,
    /// Whether a packed source may be decoded and packed again.
    pub packed_source: PackedSource,
    /// What becomes of a target that exists.
    pub existing: Existing,
    /// Threads that encode.
    pub threads: usize,
    /// The most bytes of one safetensors file.
    pub shard_bytes: usize,
}

/// Whether a packed source may be decoded and packed again, which loses more than packing the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackedSource {
    /// It is refused.
    Refuse,
    /// It is decoded.
    Decode,
}

impl Options {
    /// The usual ones for a format.
    pub fn new(scheme: Scheme) -> Self {
        Self {
            scheme,
            overrides: Vec::new(),
            packed_source: PackedSource::Refuse,
            existing: Existing::Refuse,
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            shard_bytes: 5_000_000_000,
        }
    }
}

/// A target, decided on.
#[derive(Debug)]
pub struct Plan<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) target: PathBuf,
    pub(super) container: Container,
    pub(super) options: Options,
    pub(super) header: Header,
    pub(super) tensors: Vec<Planned>,
}

/// A tensor of the target.
#[derive(Debug)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// Its shape, the contiguous axis last.
    pub shape: Vec<usize>,
    /// How it is stored in the source.
    pub stored: Encoding,
    /// How it will be stored.
    pub encoding: Encoding,
    pub(super) origin: Origin,
}

impl Planned {
    /// Elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of all planes.
    pub fn bytes(&self) -> usize {
        let (rows, cols) = matrix(&self.shape);
        match self.encoding {
            Encoding::Quant(format) => format.bytes(rows, cols).unwrap_or(0),
            plain => plain.element_bytes().unwrap_or(0) * rows * cols,
        }
    }

    /// The name without the layer's number, which is what tensors of one kind share.
    pub fn kind(&self) -> String {
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let parts = self.name.split('.').map(|part| if is_number(part) { "*" } else { part });
        parts.collect::<Vec<_>>().join(".")
    }

    /// Whether the bytes are those of the source.
    pub(super) fn is_copy(&self) -> bool {
        let unchanged = match &self.origin {
            Origin::Stored { rows, add, .. } => {
                *rows == lazuli_models::convert::RowOrder::Same && *add == 0.0
            }
            Origin::Computed(_) => false,
        };
        unchanged && self.encoding == self.stored
    }
}

impl<'a> Plan<'a> {
    /// Decides what every tensor of `checkpoint` becomes in `target`. Nothing is written, and of the weights nothing
    /// read.
    ///
    /// # Errors
    /// If the source cannot become that, a tensor cannot have its format, or a pattern matches nothing.
    pub fn new(checkpoint: &'a Checkpoint, target: &Path, options: Options) -> Result<Self> {
        let container = Container::of(target);
        let draft = Draft::new(checkpoint, container)?;
        let facts = facts(&draft);
        let choice =
            Choice { scheme: options.scheme, container, facts, float: draft.float, others: draft.others };
        let mut used = vec![false; options.overrides.len()];
        let mut order: Vec<(usize, usize)> = draft
            .tensors
            .iter()
            .enumerate()
            .filter(|(_, tensor)| mixture::is_values(&tensor.name))
            .map(|(place, tensor)| (mixture::layer(&tensor.name).unwrap_or(0), place))
            .collect();
        order.sort_unstable();
        let mut tensors = Vec::with_capacity(draft.tensors.len());
        for (place, tensor) in draft.tensors.into_iter().enumerate() {
            let wish = wish(&options.overrides, &tensor, &mut used);
            let values_before = order.iter().position(|(_, value)| *value == place).unwrap_or(0);
            let planned = choice.plan(tensor, checkpoint, wish, values_before)?;
            if options.packed_source == PackedSource::Refuse {
                refuse_packed(&planned)?;
            }
            tensors.push(planned);
        }
        if let Some(unused) = used.iter().position(|used| !used) {
            let text = options.overrides[unused].text().to_owned();
            let example = tensors.iter().find(|t| t.shape.len() > 1).map_or("", |t| t.name.as_str());
            let what = format!("it matches no matrix of the target; names are such as `{example}`");
            return Err(QuantizeError::Pattern { text, what });
        }
        let target = target.to_owned();
        Ok(Self { checkpoint, target, container, options, header: draft.header, tensors })
    }

    /// The tensors, in the order in which they are written.
    pub fn tensors(&self) -> &[Planned] {
        &self.tensors
    }

    /// Bytes of all tensors.
    pub fn tensor_bytes(&self) -> usize {
        self.tensors.iter().map(Planned::bytes).sum()
    }

    /// Elements of all tensors.
    pub fn elements(&self) -> usize {
        self.tensors.iter().map(Planned::elements).sum()
    }
}

/// The format that the last matching pattern asks for. Vectors take no part.
fn wish(overrides: &[Override], tensor: &DraftTensor, used: &mut [bool]) -> Option<TensorFormat> {
    if tensor.shape.len() < 2 {
        return None;
    }
    let mut found = None;
    for (one, used) in overrides.iter().zip(used) {
        if let Some(format) = one.format(&tensor.name) {
            (found, *used) = (Some(format), true);
        }
    }
    found
}

fn refuse_packed(planned: &Planned) -> Result<()> {
    match planned.stored {
        Encoding::Quant(format) if !planned.is_copy() => {
            Err(QuantizeError::Packed { tensor: planned.name.clone(), encoding: format.name().into_owned() })
        }
        _ => Ok(()),
    }
}

/// Everything that decides about a tensor, except the tensor.
struct Choice {
    scheme: Scheme,
    container: Container,
    facts: Facts,
    float: Encoding,
    others: Option<Encoding>,
}

impl Choice {
    fn plan(
        &self,
        tensor: DraftTensor,
        checkpoint: &Checkpoint,
        wish: Option<TensorFormat>,
        values_before: usize,
    ) -> Result<Planned> {
        let stored = tensor.stored(checkpoint);
        let encoding = self.encoding(&tensor, stored, wish, values_before);
        let planned =
            Planned { name: tensor.name, shape: tensor.shape, stored, encoding, origin: tensor.origin };
        self.check(&planned)?;
        Ok(planned)
    }

    fn encoding(
        &self,
        tensor: &DraftTensor,
        stored: Encoding,
        wish: Option<TensorFormat>,
        values_before: usize,
    ) -> Encoding {
        let float = if is_float(stored) { stored } else { self.float };
        if !is_float(stored) && !matches!(stored, Encoding::Quant(_)) {
            return stored;
        }
        if let Some(format) = wish {
            return format.encoding(float);
        }
        let (name, shape) = (&tensor.name, &tensor.shape[..]);
        let packed = match self.container {
            Container::Folder => is_packed_in_folder(name, shape),
            Container::Gguf => mixture::is_packed(name, shape),
        };
        match self.scheme {
            Scheme::Plain(plain) if packed || self.container == Container::Folder => plain,
            Scheme::Mlx(mode) if packed => TensorFormat::Mlx(mode).encoding(float),
            Scheme::Gguf(mixture) if packed => {
                mixture.encoding(Subject { name, shape, values_before }, self.facts)
            }
            _ => self.others.unwrap_or(if self.container == Container::Folder { float } else { stored }),
        }
    }

    /// Whether the tensor can be written so.
    fn check(&self, planned: &Planned) -> Result<()> {
        let Encoding::Quant(format) = planned.encoding else { return Ok(()) };
        let refuse = |what: String| QuantizeError::Tensor {
            tensor: planned.name.clone(),
            shape: planned.shape.clone(),
            format: format.name().into_owned(),
            what,
        };
        let module = planned.name.strip_suffix(".weight").unwrap_or(&planned.name);
        let (rows, cols) = matrix(&planned.shape);
        if format.bytes(rows, cols).is_none() {
            let block = format.block_len();
            return Err(refuse(format!(
                "its rows of {cols} do not divide into groups of {block}: choose a smaller group, or leave it out with \
                 --layer '{module}=bf16'"
            )));
        }
        if self.container == Container::Folder && module.len() == planned.name.len() {
            return Err(refuse("only tensors whose names end in .weight are packed in a folder".to_owned()));
        }
        if !planned.is_copy() && !can_encode(format) {
            return Err(refuse("this format can be read, but not written".to_owned()));
        }
        Ok(())
    }
}

fn is_float(encoding: Encoding) -> bool {
    matches!(encoding, Encoding::F32 | Encoding::F16 | Encoding::BF16)
}

fn can_encode(format: Format) -> bool {
    let block = vec![0.0; format.block_len()];
    format.encode(&block, 1, block.len()).is_ok()
}

/// Whether MLX's loaders expect the tensor packed: matrices of linear layers, experts and embeddings, but no norms,
/// routers, convolutions and nothing of a vision part.
fn is_packed_in_folder(name: &str, shape: &[usize]) -> bool {
    const LEFT_ALONE: &[&str] = &["norm", "conv", "vision_tower", "visual.", "multi_modal_projector", "lora"];
    const ROUTERS: &[&str] = &[".gate.weight", ".router.weight", ".shared_expert_gate.weight"];
    let is_stack = name.contains("switch_mlp") || name.contains("experts");
    name.ends_with(".weight")
        && (shape.len() == 2 || (shape.len() == 3 && is_stack))
        && !LEFT_ALONE.iter().any(|part| name.contains(part))
        && !ROUTERS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_pack_matrices_of_layers() {
        assert!(is_packed_in_folder("model.embed_tokens.weight", &[8, 8]));
        assert!(is_packed_in_folder("model.layers.0.mlp.switch_mlp.up_proj.weight", &[4, 8, 8]));
        assert!(is_packed_in_folder("model.layers.0.mlp.gate_proj.weight", &[8, 8]));
        for (name, shape) in [
            ("model.norm.weight", &[8][..]),
            ("model.layers.0.mlp.gate.weight", &[4, 8]),
            ("model.layers.0.conv1d.weight", &[8, 4]),
            ("model.layers.0.self_attn.q_proj.bias", &[8]),
            ("vision_tower.x.weight", &[8, 8]),
            ("model.layers.0.x.weight", &[2, 8, 8]),
        ] {
            assert!(!is_packed_in_folder(name, shape), "{name}");
        }
    }
}
