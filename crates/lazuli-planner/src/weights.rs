//! [`Weights`]: how a model's tensors are packed, and the exact bytes of that.
//!
//! A *recipe* says which format each kind of tensor gets: MLX packs all matrices alike, llama.cpp's mixtures spend more
//! on some (`llama_tensor_get_type` of its quantisation tool), published FP8 and MXFP4 checkpoints leave some unpacked.

use lazuli_quant::{Format, ScaleType};

use crate::packing::{ByPacking, Packing};
use crate::shape::{Head, Part, Tensor};
use crate::{Error, ModelShape, Result};

/// How the weights of a model are packed.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    name: String,
    recipe: Recipe,
    /// Of a checkpoint's own bytes: which part of each kind of tensor is packed how.
    packings: [ByPacking; 4],
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Recipe {
    /// Everything in elements of so many bytes.
    Plain(usize),
    /// Every matrix in one format, small tensors and the router in bfloat16.
    Uniform(Format),
    /// The layers' matrices in one format, embedding and projection to logits in bfloat16.
    Layers(Format),
    /// Experts in one format, everything else in bfloat16 or as the second format.
    Experts(Format, Option<Format>),
    /// A mixture of GGUF.
    Gguf(Mix),
    /// A checkpoint's own bytes, spread over its tensors.
    Stored { bytes: u64, rates: Rates, unpacked: f64 },
}

/// Bytes of an element of the embedding, the projection to logits, the experts and the rest.
type Rates = [f64; 4];

/// A checkpoint's bytes by what they are read for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StoredBytes {
    /// Rows looked up by token.
    pub embedding: u64,
    /// Projection to logits, if it is a tensor of its own.
    pub head: u64,
    /// All experts.
    pub experts: u64,
    /// Everything else.
    pub rest: u64,
    /// Each of these by how it is packed.
    packed: [ByPacking; 4],
}

impl StoredBytes {
    /// Counts a tensor by its name, as Hugging Face, MLX or GGUF files spell it. Vision towers are not counted.
    pub fn add(&mut self, name: &str, bytes: u64, packing: Packing) {
        let is = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        let (sum, group) = if is(&["vision_tower.", "multi_modal_projector.", "vision_model."]) {
            return;
        } else if is(&["embed_tokens.", "token_embd."]) {
            (&mut self.embedding, 0)
        } else if is(&["lm_head."]) || name.starts_with("output.") {
            (&mut self.head, 1)
        } else if is(&["_exps.", ".experts.", ".switch_mlp."]) {
            (&mut self.experts, 2)
        } else {
            (&mut self.rest, 3)
        };
        *sum = sum.saturating_add(bytes);
        self.packed[group][packing.index()] += bytes as f64;
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        [self.embedding, self.head, self.experts, self.rest].into_iter().fold(0, u64::saturating_add)
    }
}

fn group(part: Part) -> usize {
    match part {
        Part::Embedding => 0,
        Part::Head => 1,
        Part::ExpertUp | Part::ExpertDown => 2,
        _ => 3,
    }
}

/// A mixture of block formats.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Mix {
    base: Format,
    head: Format,
    kind: MixKind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum MixKind {
    Even,
    Small4,
    Medium3,
    Medium4,
    Medium5,
}

/// What a tensor is stored as.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stored {
    Plain(usize),
    Packed(Format),
}

const BF16: Stored = Stored::Plain(2);

impl Weights {
    /// The packing of this name: `q4`, `q8`, .. (MLX: 4, 8, .. bits in groups of 64), `q4_k_m`, `q8_0`, .. (GGUF),
    /// `mxfp4` and `fp8` (as published for models of those formats), `f32`, `f16`, `bf16`, or any name of
    /// [`Format`]. Any case.
    ///
    /// # Errors
    /// [`Error::Value`] with names that exist.
    pub fn parse(text: &str) -> Result<Self> {
        let name = text.trim().to_ascii_lowercase().replace('-', "_");
        let expected = "expected one of bf16, f16, f32, q8, q6, q5, q4, q3, q2 (MLX), q8_0, q6_k, q5_k_m, q4_k_m, \
                        q4_k_s, q3_k_m, q4_0 (GGUF), fp8, mxfp4, or a format such as affine4g32";
        let recipe = recipe(&name).ok_or_else(|| Error::value("format of weights", text, expected))?;
        Ok(Self { name, recipe, packings: Default::default() })
    }

    /// A checkpoint as it is: its own bytes. `unpacked` is the share of its elements that stand in formats whose
    /// decoding costs arithmetic (K- and IQ-quants).
    pub fn stored(name: &str, model: &ModelShape, bytes: StoredBytes, unpacked: f64) -> Self {
        let tied = model.head == Head::Tied;
        let StoredBytes { embedding, head, experts, rest, mut packed } = bytes;
        let whole = embedding.saturating_add(head).saturating_add(experts).saturating_add(rest);
        // A tied table is the projection; a second copy of it in the file is not read.
        let head = if tied && head == 0 {
            packed[1] = packed[0];
            embedding
        } else {
            head
        };
        let packings = packed.map(shares);
        let mut elements = [0u64; 4];
        for tensor in model.tensors() {
            let sum = &mut elements[group(tensor.part)];
            *sum = sum.saturating_add(tensor.elements());
        }
        let given = [embedding, head, experts, rest];
        let rates = std::array::from_fn(|i| given[i] as f64 / elements[i].max(1) as f64);
        Self { name: name.to_owned(), recipe: Recipe::Stored { bytes: whole, rates, unpacked }, packings }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of all weights of a model.
    pub fn bytes(&self, model: &ModelShape) -> u64 {
        match self.recipe {
            Recipe::Stored { bytes, .. } => bytes,
            _ => model.tensors().iter().map(|t| self.tensor_bytes(model, t)).sum(),
        }
    }

    /// Bytes of weights that a decode step of `sequences` sequences together reads.
    pub fn read_bytes(&self, model: &ModelShape, sequences: usize) -> f64 {
        let tensors = model.tensors();
        let read = tensors.iter().map(|t| self.tensor_bytes(model, t) as f64 * share(t, sequences));
        read.sum()
    }

    /// The same bytes by how they are packed.
    pub fn packed_bytes(&self, model: &ModelShape, sequences: usize) -> ByPacking {
        let mut sums = ByPacking::default();
        for tensor in model.tensors() {
            let read = self.tensor_bytes(model, &tensor) as f64 * share(&tensor, sequences);
            match (self.recipe, self.stored_as(model, &tensor)) {
                (Recipe::Stored { .. }, _) => {
                    let shares = self.packings[group(tensor.part)];
                    sums.iter_mut().zip(shares).for_each(|(sum, share)| *sum += read * share);
                }
                (_, Stored::Plain(_)) => sums[Packing::Plain.index()] += read,
                (_, Stored::Packed(format)) => sums[Packing::of(Some(format)).index()] += read,
            }
        }
        sums
    }

    /// Elements read by a decode step whose decoding costs arithmetic.
    pub fn unpacked_elements(&self, model: &ModelShape, sequences: usize) -> f64 {
        let costs = |t: &Tensor| match (self.recipe, self.stored_as(model, t)) {
            (Recipe::Stored { unpacked, .. }, _) => unpacked,
            (_, Stored::Packed(format)) if format.block_len() == 256 => 1.0,
            _ => 0.0,
        };
        model.tensors().iter().map(|t| t.elements() as f64 * share(t, sequences) * costs(t)).sum()
    }

    /// Mean bits of a weight.
    pub fn bits(&self, model: &ModelShape) -> f64 {
        self.bytes(model) as f64 * 8.0 / model.parameters().max(1) as f64
    }

    fn tensor_bytes(&self, model: &ModelShape, tensor: &Tensor) -> u64 {
        if let Recipe::Stored { rates, .. } = self.recipe {
            return (tensor.elements() as f64 * rates[group(tensor.part)]) as u64;
        }
        match self.stored_as(model, tensor) {
            Stored::Plain(size) => tensor.elements() * size as u64,
            Stored::Packed(format) => {
                let one = packed_bytes(format, tensor.rows, tensor.cols);
                one * tensor.copies as u64
            }
        }
    }

    fn stored_as(&self, model: &ModelShape, tensor: &Tensor) -> Stored {
        let gguf = matches!(self.recipe, Recipe::Gguf(_));
        match (self.recipe, tensor.part) {
            (Recipe::Plain(size), _) => Stored::Plain(size),
            // GGUF keeps what is small in single precision.
            (_, Part::Small | Part::Router) => Stored::Plain(if gguf { 4 } else { 2 }),
            (Recipe::Uniform(format), _) => Stored::Packed(format),
            (Recipe::Layers(_), Part::Embedding | Part::Head) => BF16,
            (Recipe::Layers(format), _) => Stored::Packed(format),
            (Recipe::Experts(format, _), Part::ExpertUp | Part::ExpertDown) => Stored::Packed(format),
            (Recipe::Experts(_, other), _) => other.map_or(BF16, Stored::Packed),
            (Recipe::Gguf(mix), part) => Stored::Packed(mix.format(model, part, tensor.layer)),
            (Recipe::Stored { .. }, _) => BF16,
        }
    }
}

/// Parts of their sum; floats where there is nothing.
fn shares(bytes: ByPacking) -> ByPacking {
    let sum: f64 = bytes.iter().sum();
    if sum > 0.0 { bytes.map(|part| part / sum) } else { [1.0, 0.0, 0.0, 0.0, 0.0, 0.0] }
}

/// The share of a tensor that a step of several sequences reads: each of them chooses experts anew.
fn share(tensor: &Tensor, sequences: usize) -> f64 {
    match tensor.part {
        Part::Embedding => tensor.share * sequences as f64,
        _ => 1.0 - (1.0 - tensor.share).powi(sequences.clamp(1, 1 << 20) as i32),
    }
}

/// Bytes of one matrix; where its rows do not divide into blocks, in the format that converters fall back to.
fn packed_bytes(format: Format, rows: usize, cols: usize) -> u64 {
    let next = match format {
        Format::Q4K => Some(Format::Q5_0),
        Format::Q5K => Some(Format::Q5_1),
        Format::Q6K => Some(Format::Q8_0),
        f if f.block_len() == 256 => Some(Format::Iq4Nl),
        _ => None,
    };
    let found = format.bytes(rows, cols).or_else(|| next.and_then(|f| f.bytes(rows, cols)));
    found.map_or(2 * rows as u64 * cols as u64, |bytes| bytes as u64)
}

fn recipe(name: &str) -> Option<Recipe> {
    let affine = |bits| Recipe::Uniform(Format::Affine { bits, group: 64, scale: ScaleType::Bf16 });
    let gguf = |base, head, kind| Recipe::Gguf(Mix { base, head, kind });
    let fp8 = Format::Fp8Block { rows: 128, cols: 128 };
    let bits =
        name.strip_prefix('q').or_else(|| name.strip_suffix("bit")).or_else(|| name.strip_suffix("_bit"));
    if let Some(bits) = bits.and_then(|bits| bits.parse::<u8>().ok()) {
        return matches!(bits, 2..=6 | 8).then(|| affine(bits));
    }
    Some(match name {
        "f32" | "fp32" => Recipe::Plain(4),
        "f16" | "fp16" | "bf16" => Recipe::Plain(2),
        "fp8" => Recipe::Layers(fp8),
        "mxfp4" => Recipe::Experts(Format::Mxfp4, None),
        "mxfp4_q8" => Recipe::Experts(Format::Mxfp4, Some(Format::Q8_0)),
        "q3_k_m" => gguf(Format::Q3K, Format::Q6K, MixKind::Medium3),
        "q4_k_s" => gguf(Format::Q4K, Format::Q6K, MixKind::Small4),
        "q4_k_m" => gguf(Format::Q4K, Format::Q6K, MixKind::Medium4),
        "q5_k_m" => gguf(Format::Q5K, Format::Q6K, MixKind::Medium5),
        "q8_0" => gguf(Format::Q8_0, Format::Q8_0, MixKind::Even),
        other => match other.parse::<Format>().ok()? {
            format if format.block_bytes().is_some() => gguf(format, Format::Q6K, MixKind::Even),
            format => Recipe::Uniform(format),
        },
    })
}

impl Mix {
    /// The format of a kind of tensor in a layer.
    fn format(self, model: &ModelShape, part: Part, layer: usize) -> Format {
        let layers = model.layers.len();
        // The first and last eighth of the layers, and every third between.
        let eighth = layers / 8;
        let more = layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
        // Eight queries for each key: a better format for values costs next to nothing.
        let grouped = model.group() >= 8 && layers == 80;
        match (self.kind, part) {
            (_, Part::Head) => self.head,
            (MixKind::Medium4, Part::Value | Part::Down | Part::ExpertDown) if more => Format::Q6K,
            (MixKind::Medium5, Part::Value | Part::Down | Part::ExpertDown) if more => Format::Q6K,
            (MixKind::Medium4 | MixKind::Small4, Part::Value) if grouped => Format::Q5K,
            (MixKind::Small4, Part::Value) if layer < 4 => Format::Q5K,
            (MixKind::Small4, Part::Down | Part::ExpertDown) if layer < eighth => Format::Q5K,
            (MixKind::Medium3, Part::Value) if grouped || layer < 2 => Format::Q5K,
            (MixKind::Medium3, Part::Down | Part::ExpertDown) if layer < layers / 16 => Format::Q5K,
            (MixKind::Medium3, Part::Value | Part::Down | Part::ExpertDown | Part::AttentionOut) => {
                Format::Q4K
            }
            _ => self.base,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;

    fn gib(model: &str, format: &str) -> f64 {
        let shape = catalogue::find(model).unwrap().shape().unwrap();
        Weights::parse(format).unwrap().bytes(&shape) as f64 / f64::from(1 << 30)
    }

    #[test]
    fn files_of_published_sizes() {
        // GiB as llama.cpp and its users print them for Llama 2 7B, Llama 3 8B and Llama 3 70B.
        let cases = [
            ("llama-2-7b", "Q8_0", 6.67),
            ("llama-2-7b", "Q4_0", 3.56),
            ("llama-2-7b", "F16", 12.55),
            ("llama-3-8b", "Q4_K_M", 4.58),
            ("llama-3-8b", "F16", 14.96),
            ("llama-3-70b", "Q3_K_M", 31.91),
            ("llama-3-70b", "Q4_K_S", 37.58),
            ("llama-3-70b", "Q4_K_M", 39.60),
            ("llama-3-70b", "Q5_K_M", 46.52),
            ("llama-3-70b", "Q6_K", 53.91),
            ("llama-3-70b", "Q8_0", 69.83),
            ("llama-3-70b", "F16", 131.43),
            // Published checkpoints: MLX's 4, 5, 6 and 8 bits of Qwen3 4B, and GPT-OSS as it was released.
            ("qwen3-4b", "q4", 2.11),
            ("qwen3-4b", "q5", 2.58),
            ("qwen3-4b", "q6", 3.05),
            ("qwen3-4b", "q8", 3.98),
            ("qwen3-4b", "bf16", 7.49),
            ("gpt-oss-20b", "mxfp4", 12.82),
        ];
        for (model, format, published) in cases {
            let found = gib(model, format);
            assert!(
                (found / published - 1.0).abs() < 0.008,
                "{model} {format}: {found:.2} GiB, not {published}"
            );
        }
    }

    #[test]
    fn names_that_do_not_exist_are_refused() {
        for name in ["", "q7", "q9", "4", "banana", "q4_k_x"] {
            assert!(Weights::parse(name).is_err(), "{name}");
        }
        assert_eq!(Weights::parse("4bit").unwrap().recipe, Weights::parse("Q4").unwrap().recipe);
    }

    #[test]
    fn a_checkpoints_own_bytes_are_what_is_planned_and_read() {
        let shape = catalogue::find("qwen3-30b-a3b").unwrap().shape().unwrap();
        let mut stored = StoredBytes::default();
        stored.add("model.embed_tokens.weight", 100_000_000, Packing::K);
        stored.add("lm_head.weight", 200_000_000, Packing::K);
        stored.add("blk.0.ffn_up_exps.weight", 16_000_000_000, Packing::K);
        stored.add("model.layers.0.self_attn.q_proj.weight", 1_000_000_000, Packing::K);
        stored.add("vision_tower.patch.weight", 5, Packing::K);
        let weights = Weights::stored("file", &shape, stored, 0.0);
        assert_eq!(weights.bytes(&shape), 17_300_000_000);
        let read = weights.read_bytes(&shape, 1);
        assert!((read - (200e6 + 1e9 + 16e9 / 16.0)).abs() < 1e6, "{read}");
        let packed = weights.packed_bytes(&shape, 1);
        assert!((packed[Packing::K.index()] / read - 1.0).abs() < 1e-6, "{packed:?}");
        let tied = catalogue::find("llama-3.2-1b").unwrap().shape().unwrap();
        let one = StoredBytes { embedding: 500, rest: 1000, ..StoredBytes::default() };
        assert_eq!(Weights::stored("file", &tied, one, 0.0).bytes(&tied), 1500);
    }

    #[test]
    fn bytes_by_packing_are_all_bytes() {
        for (model, format) in [("llama-3-8b", "q4_k_m"), ("deepseek-r1", "q4"), ("gpt-oss-20b", "mxfp4")] {
            let (shape, weights) =
                (catalogue::find(model).unwrap().shape().unwrap(), Weights::parse(format).unwrap());
            let sum: f64 = weights.packed_bytes(&shape, 1).iter().sum();
            assert!((sum / weights.read_bytes(&shape, 1) - 1.0).abs() < 1e-9, "{model} {format}");
        }
    }

    #[test]
    fn several_sequences_read_more_experts() {
        let shape = catalogue::find("qwen3-30b-a3b").unwrap().shape().unwrap();
        let weights = Weights::parse("q4").unwrap();
        let read = [1, 8, 1000].map(|n| weights.read_bytes(&shape, n));
        assert!(read[0] < 0.12 * weights.bytes(&shape) as f64);
        assert!(read[0] < read[1] && read[1] < read[2]);
        assert!((read[2] / weights.bytes(&shape) as f64 - 1.0).abs() < 0.02);
    }
}
