//! Which tensors are written, under which names, packed how: as the publishers of each format do it.

mod gpt_oss;

use std::collections::HashMap;

use lazuli_core::Shape;
use lazuli_io::Encoding;
use lazuli_quant::Format;
use serde_json::{Map, Value, json};

use super::SynthError;
use super::fill::{Fill, Source};
use crate::quantize;

/// The formats that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SynthFormat {
    /// As most models are published.
    Bf16,
    /// MLX: 4 bits, groups of 64.
    Q4,
    /// MLX: 8 bits, groups of 64.
    Q8,
    /// MLX: MXFP4.
    Mxfp4,
    /// DeepSeek: e4m3 with a factor for each 128 x 128 weights.
    Fp8,
}

impl SynthFormat {
    /// Reads a format's name, in any case.
    ///
    /// # Errors
    /// [`SynthError::Unsuitable`], which lists the names.
    pub fn parse(name: &str) -> Result<Self, SynthError> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "bf16" => Self::Bf16,
            "q4" => Self::Q4,
            "q8" => Self::Q8,
            "mxfp4" => Self::Mxfp4,
            "fp8" => Self::Fp8,
            _ => {
                let what = format!(
                    "--format: found `{name}`, expected bf16, q4, q8, mxfp4 or fp8 (formats of GGUF files need an OUT \
                     that ends in .gguf)"
                );
                return Err(SynthError::Unsuitable(what));
            }
        })
    }
}

/// Rows and columns of a tile of [`SynthFormat::Fp8`].
const TILE: usize = 128;
/// How far weights reach beside what keeps the size of rows.
const GAIN: f32 = 0.9;

/// A tensor of the file.
#[derive(Debug, Clone)]
pub struct Planned {
    pub name: String,
    pub shape: Vec<usize>,
    pub encoding: Encoding,
    fill: Fill,
    /// What its numbers depend on: the same for the planes of one weight.
    seed: u64,
}

impl Planned {
    /// Its bytes.
    pub fn bytes(&self) -> u64 {
        match self.encoding {
            Encoding::Quant(format) => {
                self.elements() / format.block_len() as u64 * format.block_bytes().unwrap_or(0) as u64
            }
            plain => self.elements() * plain.element_bytes().unwrap_or(1) as u64,
        }
    }

    fn elements(&self) -> u64 {
        self.shape.iter().map(|&dim| dim as u64).product()
    }

    /// What makes its bytes.
    pub fn source(&self) -> Source {
        Source::new(self.fill, self.seed, self.bytes())
    }
}

/// A weight of the model before it is packed.
struct Weight {
    name: String,
    shape: Vec<usize>,
}

/// The tensors of a file, for those that the model reads.
pub fn plan(
    config: &Map<String, Value>,
    listed: &[(String, Shape)],
    format: SynthFormat,
) -> Result<Vec<Planned>, SynthError> {
    let mut weights: Vec<Weight> =
        listed.iter().map(|(name, shape)| Weight { name: name.clone(), shape: shape.to_vec() }).collect();
    if is_gpt_oss(config) {
        return gpt_oss::plan(weights, format);
    }
    if matches!(format, SynthFormat::Q4 | SynthFormat::Q8 | SynthFormat::Mxfp4) {
        weights = in_mlx_names(config, weights)?;
    }
    Ok(weights.into_iter().flat_map(|weight| pack(weight, format)).collect())
}

fn is_gpt_oss(config: &Map<String, Value>) -> bool {
    config.get("model_type").and_then(Value::as_str) == Some("gpt_oss")
}

/// MLX keeps the experts of a layer in one tensor, and latent attention in its absorbed form.
fn in_mlx_names(config: &Map<String, Value>, weights: Vec<Weight>) -> Result<Vec<Weight>, SynthError> {
    let size = |key: &str| config.get(key).and_then(Value::as_u64).map(|x| x as usize);
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut out: Vec<Weight> = Vec::with_capacity(weights.len());
    for weight in weights {
        if let Some(name) = stacked_name(&weight.name) {
            if let Some(&at) = places.get(&name) {
                out[at].shape[0] += 1;
            } else {
                places.insert(name.clone(), out.len());
                out.push(Weight { name, shape: [&[1], &weight.shape[..]].concat() });
            }
            continue;
        }
        let Some(stem) = weight.name.strip_suffix("kv_b_proj.weight") else {
            out.push(weight);
            continue;
        };
        let sizes = (size("num_attention_heads"), size("qk_nope_head_dim"), size("v_head_dim"));
        let (Some(heads), Some(nope), Some(value)) = sizes else {
            return Err(SynthError::Unsuitable("the sizes of latent attention are missing".into()));
        };
        let rank = weight.shape[1];
        let up = |name: &str, shape: Vec<usize>| Weight { name: format!("{stem}{name}.weight"), shape };
        out.push(up("embed_q", vec![heads, rank, nope]));
        out.push(up("unembed_out", vec![heads, value, rank]));
    }
    Ok(out)
}

/// The name of the tensor that holds this projection of all experts.
fn stacked_name(name: &str) -> Option<String> {
    let (layer, rest) = name.split_once(".experts.")?;
    let (number, projection) = rest.split_once('.')?;
    number.parse::<usize>().ok()?;
    let projection = match projection.strip_suffix(".weight")? {
        "w1" => "gate_proj",
        "w2" => "down_proj",
        "w3" => "up_proj",
        other => other,
    };
    Some(format!("{layer}.switch_mlp.{projection}.weight"))
}

fn seed_of(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// A tensor of bf16 numbers, of a weight with so many inputs.
fn plain(name: String, shape: Vec<usize>, inputs: usize) -> Planned {
    let (centre, deviation) = match shape.len() {
        // Norms are about one, biases small.
        1 if name.contains("norm") => (1.0, 0.05),
        1 => (0.0, 0.01),
        _ => (0.0, GAIN / (inputs as f32).sqrt()),
    };
    let seed = seed_of(&name);
    Planned { name, shape, encoding: Encoding::BF16, fill: Fill::Floats { centre, deviation }, seed }
}

/// A weight of a GGUF file in `encoding`, one of half precision, or in blocks where its rows divide into them.
pub fn random(name: &str, shape: &[usize], encoding: Encoding) -> Planned {
    let cols = shape.last().copied().unwrap_or(1);
    let encoding = match encoding {
        Encoding::Quant(format) => quantize::fitting(format, cols),
        plain => plain,
    };
    let deviation = GAIN / (cols as f32).sqrt();
    let fill = match encoding {
        Encoding::Quant(format) => Fill::Blocks { format, deviation },
        Encoding::F16 => Fill::Halves { deviation },
        _ => Fill::Floats { centre: 0.0, deviation },
    };
    Planned { name: name.to_owned(), shape: shape.to_vec(), encoding, fill, seed: seed_of(name) }
}

/// The tensors that hold a weight.
fn pack(weight: Weight, format: SynthFormat) -> Vec<Planned> {
    let Weight { name, shape } = weight;
    let seed = seed_of(&name);
    let cols = shape.last().copied().unwrap_or(1);
    let planned =
        |name: String, shape: Vec<usize>, encoding, fill| Planned { name, shape, encoding, fill, seed };
    let module = name.strip_suffix(".weight").filter(|_| shape.len() >= 2);
    let router = [".gate.weight", ".router.weight", "_gate.weight"].iter().any(|end| name.ends_with(end));
    let deviation = GAIN / (cols as f32).sqrt();
    let plain = |name: String, shape: Vec<usize>| vec![plain(name, shape, cols)];
    let Some(module) = module.filter(|_| !router).map(str::to_owned) else { return plain(name, shape) };
    let with_last =
        |last: usize| -> Vec<usize> { shape[..shape.len() - 1].iter().copied().chain([last]).collect() };
    match format {
        SynthFormat::Bf16 => plain(name, shape),
        SynthFormat::Fp8 if name.contains("embed_tokens") || name.contains("lm_head") => plain(name, shape),
        SynthFormat::Fp8 => {
            let tiles = shape.iter().map(|dim| dim.div_ceil(TILE)).collect();
            let scales = format!("{name}_scale_inv");
            vec![
                planned(name, shape.clone(), Encoding::F8E4M3, Fill::Float8),
                planned(scales, tiles, Encoding::F32, Fill::Factors { deviation }),
            ]
        }
        SynthFormat::Q4 | SynthFormat::Q8 => {
            let bits = if format == SynthFormat::Q4 { 4 } else { 8 };
            if cols % 64 != 0 {
                return plain(name, shape);
            }
            let side = |kind| Fill::Affine { bits, deviation, kind };
            let scales = with_last(cols / 64);
            vec![
                planned(name, with_last(cols * bits as usize / 32), Encoding::U32, Fill::Codes),
                planned(
                    format!("{module}.scales"),
                    scales.clone(),
                    Encoding::BF16,
                    side(super::fill::Side::Scale),
                ),
                planned(format!("{module}.biases"), scales, Encoding::BF16, side(super::fill::Side::Bias)),
            ]
        }
        SynthFormat::Mxfp4 => {
            if cols % Format::Mxfp4.block_len() != 0 {
                return plain(name, shape);
            }
            vec![
                planned(name, with_last(cols / 8), Encoding::U32, Fill::Codes),
                planned(
                    format!("{module}.scales"),
                    with_last(cols / 32),
                    Encoding::U8,
                    Fill::Exponents { deviation },
                ),
            ]
        }
    }
}

/// Says in the settings how weights are packed.
pub fn announce(config: &mut Map<String, Value>, format: SynthFormat) {
    let (key, value) = match format {
        SynthFormat::Bf16 => return,
        SynthFormat::Mxfp4 if is_gpt_oss(config) => ("quantization_config", gpt_oss::announcement()),
        SynthFormat::Q4 => ("quantization", json!({"group_size": 64, "bits": 4, "mode": "affine"})),
        SynthFormat::Q8 => ("quantization", json!({"group_size": 64, "bits": 8, "mode": "affine"})),
        SynthFormat::Mxfp4 => ("quantization", json!({"group_size": 32, "bits": 4, "mode": "mxfp4"})),
        SynthFormat::Fp8 => (
            "quantization_config",
            json!({
                "activation_scheme": "dynamic",
                "fmt": "e4m3",
                "quant_method": "fp8",
                "weight_block_size": [TILE, TILE],
            }),
        ),
    };
    config.insert(key.to_owned(), value);
}

/// A tokenizer of single bytes, and names for all other tokens of the vocabulary.
pub fn tokenizer(vocabulary: usize) -> Value {
    let mut tokens = Map::new();
    // Bytes that are no printable characters stand for those from 256 on, in order, as byte-level BPE has it.
    let printable = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut next = 256;
    for byte in 0..256u32 {
        let code = if printable(byte) {
            byte
        } else {
            next += 1;
            next - 1
        };
        if let Some(character) = char::from_u32(code) {
            tokens.insert(character.to_string(), json!(byte));
        }
    }
    for id in 256..vocabulary {
        tokens.insert(format!("<{id}>"), json!(id));
    }
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": bytes,
        "post_processor": null,
        "decoder": bytes,
        "model": {"type": "BPE", "vocab": tokens, "merges": []},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(format: SynthFormat) -> Vec<(String, Vec<usize>, Encoding)> {
        let config = json!({"num_attention_heads": 2, "qk_nope_head_dim": 64, "v_head_dim": 32});
        let Value::Object(config) = config else { return Vec::new() };
        let tensor = |name: &str, shape: &[usize]| (name.to_owned(), Shape::from(shape));
        let listed = [
            tensor("l.norm.weight", &[64]),
            tensor("l.mlp.gate.weight", &[2, 64]),
            tensor("l.mlp.experts.0.up_proj.weight", &[192, 128]),
            tensor("l.mlp.experts.1.up_proj.weight", &[192, 128]),
            tensor("l.kv_b_proj.weight", &[192, 128]),
        ];
        let planned = plan(&config, &listed, format).unwrap();
        planned.into_iter().map(|p| (p.name, p.shape, p.encoding)).collect()
    }

    #[test]
    fn weights_are_named_and_packed_as_published() {
        let plain = names(SynthFormat::Bf16);
        assert!(plain.len() == 5 && plain.iter().all(|(_, _, encoding)| *encoding == Encoding::BF16));
        let fp8 = names(SynthFormat::Fp8);
        assert_eq!(fp8[2], ("l.mlp.experts.0.up_proj.weight".into(), vec![192, 128], Encoding::F8E4M3));
        assert_eq!(fp8[3], ("l.mlp.experts.0.up_proj.weight_scale_inv".into(), vec![2, 1], Encoding::F32));
        let q4 = names(SynthFormat::Q4);
        let list: Vec<_> = q4.iter().map(|(name, shape, _)| (name.as_str(), &shape[..])).collect();
        assert_eq!(
            list,
            [
                ("l.norm.weight", &[64][..]),
                ("l.mlp.gate.weight", &[2, 64]),
                ("l.mlp.switch_mlp.up_proj.weight", &[2, 192, 16]),
                ("l.mlp.switch_mlp.up_proj.scales", &[2, 192, 2]),
                ("l.mlp.switch_mlp.up_proj.biases", &[2, 192, 2]),
                ("l.embed_q.weight", &[2, 128, 8]),
                ("l.embed_q.scales", &[2, 128, 1]),
                ("l.embed_q.biases", &[2, 128, 1]),
                ("l.unembed_out.weight", &[2, 32, 16]),
                ("l.unembed_out.scales", &[2, 32, 2]),
                ("l.unembed_out.biases", &[2, 32, 2]),
            ]
        );
        assert!(names(SynthFormat::Mxfp4).iter().any(|(name, shape, encoding)| {
            (name.as_str(), &shape[..], *encoding)
                == ("l.mlp.switch_mlp.up_proj.scales", &[2, 192, 4][..], Encoding::U8)
        }));
    }
}
