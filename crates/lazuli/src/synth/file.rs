//! A GGUF file with the settings and shapes of another one, and random weights in a format of choice.

use std::path::Path;

use lazuli_io::gguf::{Array, GgufWriter, Value};
use lazuli_io::{Checkpoint, Encoding, Kind};
use lazuli_quant::Format;

use super::SynthError;
use super::plan::{self, Planned};
use crate::quantize::{self, Container, Existing, Target};

/// A file to be written. What is never packed (norms, biases, routers) is copied.
#[derive(Debug)]
pub struct SynthFile {
    source: Checkpoint,
    settings: Vec<(String, Value)>,
    tensors: Vec<Tensor>,
}

#[derive(Debug)]
enum Tensor {
    /// The tensor of the source in this place, as it is.
    Copied(usize),
    Random(Planned),
}

impl SynthFile {
    /// A file like the GGUF file `source`, perhaps with only its first `layers`. `format` is the name of a block format, or
    /// F16 or BF16; rows that do not divide into its blocks get what `lazuli quantize` would give them.
    ///
    /// # Errors
    /// If the source cannot be read, the format is unknown, or the model cannot be cut to that many layers.
    pub fn new(source: &Path, format: &str, layers: Option<usize>) -> Result<Self, SynthError> {
        let format = encoding(format)?;
        let no_file = || {
            SynthError::Unsuitable(format!(
                "found `{}` as MODEL: a GGUF file takes its settings and shapes from another one, so give a GGUF file \
                 as MODEL, or an OUT that does not end in .gguf",
                source.display()
            ))
        };
        if !source.exists() {
            return Err(no_file());
        }
        let source = Checkpoint::open(source)?;
        let Kind::Gguf(metadata) = source.kind() else { return Err(no_file()) };
        let carried = metadata.iter().filter(|(key, _)| quantize::is_carried(key));
        let mut settings: Vec<_> = carried.map(|(key, value)| (key.to_owned(), value.clone())).collect();
        if let Some(layers) = layers {
            shorten(&mut settings, layers)?;
        }
        let keeps = |name: &str| quantize::layer(name).is_none_or(|layer| layers.is_none_or(|n| layer < n));
        let all = source.tensors().iter().enumerate();
        let tensors = all.filter(|(_, tensor)| keeps(&tensor.name)).map(|(place, tensor)| {
            if quantize::is_packed(&tensor.name, &tensor.shape) {
                Tensor::Random(plan::random(&tensor.name, &tensor.shape, format))
            } else {
                Tensor::Copied(place)
            }
        });
        let tensors = tensors.collect();
        Ok(Self { source, settings, tensors })
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        let of = |tensor: &Tensor| match tensor {
            Tensor::Copied(place) => self.stored(*place).len() as u64,
            Tensor::Random(planned) => planned.bytes(),
        };
        self.tensors.iter().map(of).sum()
    }

    /// The bytes of a tensor of the source.
    fn stored(&self, place: usize) -> &[u8] {
        self.source.plane(&self.source.tensors()[place], 0)
    }

    /// Writes the file `out` by way of one beside it. `progress` is as for [`super::Synth::write`].
    ///
    /// # Errors
    /// If there is something of this name, the disk is too small or refuses, or `progress` wants no more.
    pub fn write(&self, out: &Path, progress: &mut dyn FnMut(u64) -> bool) -> Result<(), SynthError> {
        if out.exists() {
            return Err(SynthError::Exists { path: out.to_owned() });
        }
        let target = Target::new(out);
        let writer = self.declare(target.part())?;
        let needed = writer.file_bytes() as u64 + super::RESERVE;
        quantize::check(out, self.source.path(), Container::Gguf, Existing::Refuse, needed)?;
        let (mut body, mut piece, mut done) = (writer.begin()?, Vec::new(), 0);
        let mut told = |bytes: usize| {
            done += bytes as u64;
            if progress(done) { Ok(()) } else { Err(SynthError::Interrupted) }
        };
        for tensor in &self.tensors {
            match tensor {
                Tensor::Copied(place) => {
                    body.write(self.stored(*place))?;
                    told(self.stored(*place).len())?;
                }
                Tensor::Random(planned) => {
                    let mut source = planned.source();
                    while source.next_piece(&mut piece) {
                        body.write(&piece)?;
                        told(piece.len())?;
                    }
                }
            }
        }
        body.finish()?;
        Ok(target.finish()?)
    }

    fn declare(&self, path: &Path) -> Result<GgufWriter, SynthError> {
        let mut writer = quantize::begin(&self.settings, path)?;
        for tensor in &self.tensors {
            match tensor {
                Tensor::Copied(place) => {
                    let stored = &self.source.tensors()[*place];
                    writer.declare(&stored.name, &stored.shape, stored.encoding)?
                }
                Tensor::Random(planned) => writer.declare(&planned.name, &planned.shape, planned.encoding)?,
            };
        }
        Ok(writer)
    }
}

/// The encoding that `name` names, in any case.
fn encoding(name: &str) -> Result<Encoding, SynthError> {
    match name.to_ascii_uppercase().as_str() {
        "BF16" => return Ok(Encoding::BF16),
        "F16" => return Ok(Encoding::F16),
        // Names of planar formats are in small letters.
        name => {
            if let Ok(format) = name.parse::<Format>() {
                return Ok(Encoding::Quant(format));
            }
        }
    }
    let names: Vec<_> = Format::ALL_BLOCK.iter().map(|format| format.name()).collect();
    let what = format!("--format: found `{name}`, expected for a GGUF file BF16, F16, {}", names.join(", "));
    Err(SynthError::Unsuitable(what))
}

fn find<'a>(settings: &'a [(String, Value)], key: &str) -> Option<&'a Value> {
    settings.iter().find(|(other, _)| other == key).map(|(_, value)| value)
}

/// Settings for fewer layers; of a model whose first layers have no experts one that has some stays.
fn shorten(settings: &mut [(String, Value)], layers: usize) -> Result<(), SynthError> {
    let unsuitable = |what: String| Err(SynthError::Unsuitable(what));
    let Some(Value::Str(architecture)) = find(settings, "general.architecture").cloned() else {
        return unsuitable("the source does not say its architecture (general.architecture)".into());
    };
    let key = |name: &str| format!("{architecture}.{name}");
    let number = |settings: &[(String, Value)], name: &str| {
        find(settings, &key(name)).and_then(Value::as_i128).and_then(|value| usize::try_from(value).ok())
    };
    let Some(all) = number(settings, "block_count") else {
        return unsuitable(format!(
            "the source does not say how many layers it has ({})",
            key("block_count")
        ));
    };
    if layers == 0 || layers > all {
        return unsuitable(format!("--layers: found {layers}, the source has {all}: choose 1 to {all}"));
    }
    if number(settings, "nextn_predict_layers").is_some_and(|count| count > 0) {
        let what =
            "the source has layers that predict further tokens behind its others: write it without --layers";
        return unsuitable(what.into());
    }
    let (experts, dense) = (key("expert_count"), number(settings, "leading_dense_block_count"));
    let has_experts = find(settings, &experts).and_then(Value::as_i128).is_some_and(|count| count > 0);
    if let Some(dense) = dense.filter(|&dense| has_experts && dense >= layers) {
        let what = format!("--layers: found {layers}, but the first {dense} have no experts: choose more");
        return unsuitable(what);
    }
    let own = format!("{architecture}.");
    for (name, value) in settings.iter_mut().filter(|(name, _)| name.starts_with(&own)) {
        match value {
            _ if name[own.len()..] == *"block_count" => *value = Value::U32(layers as u32),
            // A number for each layer.
            Value::Array(Array::Numbers(list)) if list.len() == all => *list = list.first(layers),
            _ => {}
        }
    }
    Ok(())
}
