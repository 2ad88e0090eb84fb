//! Weights that a checkpoint keeps in several tensors, grouped into one tensor of a planar format.
//!
//! MLX writes `x.weight` (codes), `x.scales` and `x.biases`; DeepSeek `x.weight` and `x.weight_scale_inv`;
//! GPT-OSS `x_blocks` and `x_scales`. Which of these holds, and with which sizes, stands in `config.json`.

mod quantisation;

use std::collections::HashSet;

pub use quantisation::{MlxMode, Quantisation};

use lazuli_quant::{Format, ScaleType};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result, TensorFault};
use crate::tensor::{Encoding, TensorInfo};

impl Checkpoint {
    /// Groups tensors that together are one quantised weight. The grouped tensor has the name of its codes
    /// (`x.weight`, or `x` for `x_blocks`), its shape in elements, and [`Encoding::Quant`] with its planes.
    /// Other tensors, and checkpoints that are not quantised, stay as they are.
    ///
    /// # Errors
    /// [`Error::Json`] if the configuration's quantisation is not supported, [`Error::Tensor`] if the tensors
    /// do not have the shapes it calls for.
    pub fn group_planes(self) -> Result<Self> {
        let Some(config) = self.config() else { return Ok(self) };
        let quantisation = Quantisation::from_config(config)
            .map_err(|what| Error::Json { path: self.path().join("config.json"), what })?;
        let mut taken = HashSet::new();
        let mut grouped = Vec::with_capacity(self.tensors().len());
        for tensor in self.tensors() {
            let (name, others, format) = match partners(&self, &quantisation, tensor) {
                Some(Ok(found)) => found,
                Some(Err(fault)) => return Err(self.fault(tensor, fault)),
                None => {
                    grouped.push(tensor.clone());
                    continue;
                }
            };
            let group = join(tensor, &others, format).map_err(|fault| self.fault(tensor, fault))?;
            taken.extend(others.iter().map(|other| other.name.clone()));
            grouped.push(TensorInfo { name, ..group });
        }
        grouped.retain(|tensor| !taken.contains(&tensor.name));
        Ok(self.with_tensors(grouped))
    }

    fn fault(&self, tensor: &TensorInfo, fault: TensorFault) -> Error {
        let plane = &tensor.planes[0];
        let path = self.files()[plane.file].path().to_owned();
        Error::Tensor { path, tensor: tensor.name.clone(), offset: plane.bytes.start, fault }
    }
}

/// The name of a group, its planes after the codes, and its format.
type Group<'a> = (String, Vec<&'a TensorInfo>, Format);

/// If `tensor` holds the codes of a group: what belongs to it.
fn partners<'a>(
    checkpoint: &'a Checkpoint,
    quantisation: &Quantisation,
    tensor: &TensorInfo,
) -> Option<Result<Group<'a>, TensorFault>> {
    let find = |name: String| {
        checkpoint
            .tensor(&name)
            .ok_or_else(|| TensorFault::Group(format!("there is no tensor `{name}` to it")))
    };
    match quantisation {
        Quantisation::None => None,
        Quantisation::Fp8 { rows, cols } => {
            let scales = checkpoint.tensor(&format!("{}_scale_inv", tensor.name))?;
            let format = Format::Fp8Block { rows: *rows, cols: *cols };
            Some(Ok((tensor.name.clone(), vec![scales], format)))
        }
        Quantisation::Mxfp4 => {
            let stem = tensor.name.strip_suffix("_blocks")?;
            Some(find(format!("{stem}_scales")).map(|scales| (stem.to_owned(), vec![scales], Format::Mxfp4)))
        }
        Quantisation::Mlx { default, overrides } => {
            let module = tensor.name.strip_suffix(".weight")?;
            let scales = checkpoint.tensor(&format!("{module}.scales"))?;
            let mode = overrides.get(module).copied().unwrap_or(Some(*default));
            let found = match mode {
                None => {
                    Err(TensorFault::Group("it has scales, but config.json says it is not quantised".into()))
                }
                Some(MlxMode::Affine { bits, group }) => find(format!("{module}.biases"))
                    .and_then(|biases| Ok((vec![scales, biases], scale_type(scales)?)))
                    .map(|(others, scale)| (others, Format::Affine { bits, group, scale })),
                Some(MlxMode::Mxfp4) => Ok((vec![scales], Format::Mxfp4)),
                Some(MlxMode::Nvfp4) => Ok((vec![scales], Format::Nvfp4)),
                Some(MlxMode::Mxfp8) => Ok((vec![scales], Format::Mxfp8)),
            };
            Some(found.map(|(others, format)| (tensor.name.clone(), others, format)))
        }
    }
}

fn scale_type(scales: &TensorInfo) -> Result<ScaleType, TensorFault> {
    match scales.encoding {
        Encoding::F16 => Ok(ScaleType::F16),
        Encoding::BF16 => Ok(ScaleType::Bf16),
        Encoding::F32 => Ok(ScaleType::F32),
        other => Err(TensorFault::Group(format!("its scales are {other}, expected a float type"))),
    }
}

/// Checks types and shapes of the planes against the format and makes one tensor of them.
fn join(codes: &TensorInfo, others: &[&TensorInfo], format: Format) -> Result<TensorInfo, TensorFault> {
    let wrong = |what: String| TensorFault::Group(format!("as {format:?}: {what}"));
    let mut shape = codes.shape.clone();
    let (code_type, bits) = match format {
        Format::Affine { bits, .. } => (Encoding::U32, usize::from(bits)),
        Format::Mxfp8 => (Encoding::U32, 8),
        Format::Fp8Block { .. } => (Encoding::F8E4M3, 8),
        // GPT-OSS writes the bytes of each group on an axis of their own.
        _ if codes.encoding == Encoding::U8 && shape.len() >= 2 && shape.last() == Some(&16) => {
            shape.pop();
            if let Some(last) = shape.last_mut() {
                *last = last.saturating_mul(16);
            }
            (Encoding::U8, 4)
        }
        _ => (Encoding::U32, 4),
    };
    let scale_type = match format {
        Format::Affine { .. } => others[0].encoding,
        Format::Fp8Block { .. } => Encoding::F32,
        _ => Encoding::U8,
    };
    if codes.encoding != code_type || others.iter().any(|other| other.encoding != scale_type) {
        let found: Vec<_> = others.iter().map(|other| other.encoding.to_string()).collect();
        let found = format!("{} codes with {}", codes.encoding, found.join(" and "));
        return Err(wrong(format!("found {found}, expected {code_type} with {scale_type}")));
    }
    // [.., words] to [.., elements]
    let last = shape.last_mut().ok_or_else(|| wrong("a scalar".to_owned()))?;
    let word_bits = code_type.element_bytes().unwrap_or(1) * 8;
    let all_bits = last.checked_mul(word_bits).filter(|all| all % bits == 0);
    *last = all_bits.ok_or_else(|| wrong(format!("rows of {last} words hold no whole codes")))? / bits;
    let cols = *last;
    let rows: usize = shape[..shape.len() - 1].iter().product();
    if matches!(format, Format::Fp8Block { .. }) && shape.len() != 2 {
        return Err(wrong(format!("its shape is {shape:?}, expected two axes")));
    }
    if format.plane_bytes(0, rows, cols) != Some(codes.planes[0].bytes.len()) {
        return Err(wrong(format!("rows of {cols} elements do not divide into its groups")));
    }
    let mut planes = vec![codes.planes[0].clone()];
    for (index, other) in others.iter().enumerate() {
        let expected = plane_shape(format, &shape);
        if other.shape != expected {
            let what = format!("`{}` has shape {:?}, expected {expected:?}", other.name, other.shape);
            return Err(wrong(what));
        }
        let need = format.plane_bytes(index + 1, rows, cols);
        if need != Some(other.planes[0].bytes.len()) {
            return Err(wrong(format!("`{}` has another size than {need:?} bytes", other.name)));
        }
        planes.push(other.planes[0].clone());
    }
    Ok(TensorInfo { name: codes.name.clone(), shape, encoding: Encoding::Quant(format), planes })
}

/// The shape of the planes after the codes, for a weight of `shape`.
fn plane_shape(format: Format, shape: &[usize]) -> Vec<usize> {
    let mut out = shape.to_vec();
    match (format, &mut out[..]) {
        (Format::Fp8Block { rows, cols }, [r, c]) => {
            (*r, *c) = (r.div_ceil(usize::from(rows)), c.div_ceil(usize::from(cols)));
        }
        (_, [.., last]) => *last /= format.block_len(),
        _ => {}
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// A folder of one safetensors file with zero bytes for each tensor.
    fn open(config: &Value, tensors: &[(&str, &str, &[usize])]) -> Result<Checkpoint> {
        let dir = tempfile::tempdir().unwrap();
        let (mut header, mut end) = (serde_json::Map::new(), 0);
        for (name, dtype, shape) in tensors {
            let size = match *dtype {
                "U8" | "F8_E4M3" | "F8_E5M2" => 1,
                "BF16" => 2,
                _ => 4,
            };
            let start = end;
            end += size * shape.iter().product::<usize>();
            header.insert(
                (*name).to_owned(),
                json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]}),
            );
        }
        let header = Value::Object(header).to_string();
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; end]].concat();
        std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        Checkpoint::open(dir.path())?.group_planes()
    }

    fn list(checkpoint: &Checkpoint) -> Vec<(&str, Vec<usize>, Encoding, usize)> {
        let tensors = checkpoint.tensors().iter();
        tensors.map(|t| (t.name.as_str(), t.shape.clone(), t.encoding, t.planes.len())).collect()
    }

    #[test]
    fn mlx_triples_with_overrides() {
        let config = json!({"quantization": {"group_size": 64, "bits": 4, "a": {"bits": 3, "group_size": 32}, "n": false}});
        let checkpoint = open(
            &config,
            &[
                ("a.weight", "U32", &[8, 6]),
                ("a.scales", "BF16", &[8, 2]),
                ("a.biases", "BF16", &[8, 2]),
                ("a.bias", "F32", &[8]),
                ("e.weight", "U32", &[2, 8, 16]),
                ("e.scales", "F32", &[2, 8, 2]),
                ("e.biases", "F32", &[2, 8, 2]),
                ("n.weight", "BF16", &[4, 4]),
            ],
        )
        .unwrap();
        let affine = |bits, group, scale| Encoding::Quant(Format::Affine { bits, group, scale });
        assert_eq!(
            list(&checkpoint),
            [
                ("a.weight", vec![8, 64], affine(3, 32, ScaleType::Bf16), 3),
                ("a.bias", vec![8], Encoding::F32, 1),
                ("e.weight", vec![2, 8, 128], affine(4, 64, ScaleType::F32), 3),
                ("n.weight", vec![4, 4], Encoding::BF16, 1),
            ]
        );
        assert_eq!(checkpoint.array("a.weight").unwrap().shape(), &[8, 64].into());
        assert!(checkpoint.tensor("a.scales").is_none());
    }

    #[test]
    fn float_formats() {
        let config = json!({"quantization": {"group_size": 16, "bits": 4, "mode": "nvfp4"}});
        let checkpoint = open(&config, &[("a.weight", "U32", &[8, 8]), ("a.scales", "U8", &[8, 4])]).unwrap();
        assert_eq!(list(&checkpoint), [("a.weight", vec![8, 64], Encoding::Quant(Format::Nvfp4), 2)]);
        let config = json!({"quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}});
        let checkpoint =
            open(&config, &[("w", "F8_E4M3", &[200, 130]), ("w_scale_inv", "F32", &[2, 2])]).unwrap();
        let format = Format::Fp8Block { rows: 128, cols: 128 };
        assert_eq!(list(&checkpoint), [("w", vec![200, 130], Encoding::Quant(format), 2)]);
        let config = json!({"quantization_config": {"quant_method": "mxfp4"}});
        let checkpoint =
            open(&config, &[("x_blocks", "U8", &[2, 4, 3, 16]), ("x_scales", "U8", &[2, 4, 3])]).unwrap();
        assert_eq!(list(&checkpoint), [("x", vec![2, 4, 96], Encoding::Quant(Format::Mxfp4), 2)]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let config = json!({"quantization": {"group_size": 64, "bits": 4}});
        let refused = |tensors: &[(&str, &str, &[usize])], words: &str| {
            let error = open(&config, tensors).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        refused(&[("a.weight", "U32", &[8, 8]), ("a.scales", "BF16", &[8, 1])], "no tensor `a.biases`");
        refused(
            &[("a.weight", "U32", &[8, 8]), ("a.scales", "BF16", &[8, 2]), ("a.biases", "BF16", &[8, 2])],
            "expected [8, 1]",
        );
        refused(
            &[("a.weight", "F32", &[8, 8]), ("a.scales", "BF16", &[8, 1]), ("a.biases", "BF16", &[8, 1])],
            "found F32 codes",
        );
        refused(
            &[("a.weight", "U32", &[8, 4]), ("a.scales", "BF16", &[8, 0]), ("a.biases", "BF16", &[8, 0])],
            "as Affine",
        );
        refused(
            &[("a.weight", "U32", &[8, 8]), ("a.scales", "U8", &[8, 1]), ("a.biases", "U8", &[8, 1])],
            "expected a float type",
        );
        let config = json!({"quantization": {"group_size": 64, "bits": 3}});
        let refused = |tensors: &[(&str, &str, &[usize])], words: &str| {
            let error = open(&config, tensors).unwrap_err().to_string();
            assert!(error.contains("model.safetensors") && error.contains(words), "{error}");
        };
        // Words that hold no whole codes, rows that end inside a group, and planes with axes of their own.
        refused(
            &[("a.weight", "U32", &[8, 4]), ("a.scales", "BF16", &[8, 1]), ("a.biases", "BF16", &[8, 1])],
            "no whole codes",
        );
        refused(
            &[("a.weight", "U32", &[8, 3]), ("a.scales", "BF16", &[8, 0]), ("a.biases", "BF16", &[8, 0])],
            "do not divide",
        );
        refused(
            &[("a.weight", "U32", &[8, 6]), ("a.scales", "BF16", &[8]), ("a.biases", "BF16", &[8])],
            "expected [8, 1]",
        );
        refused(
            &[("a.weight", "U32", &[8, 6]), ("a.scales", "BF16", &[8, 1]), ("a.biases", "F32", &[8, 1])],
            "BF16 and F32",
        );
        let config = json!({"quantization_config": {"quant_method": "mxfp4"}});
        let refused = |tensors: &[(&str, &str, &[usize])], words: &str| {
            let error = open(&config, tensors).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        refused(&[("x_blocks", "U8", &[2, 4, 3, 16])], "no tensor `x_scales`");
        refused(&[("x_blocks", "U8", &[2, 4, 3, 16]), ("x_scales", "U8", &[2, 4, 2])], "expected [2, 4, 3]");
        refused(&[("x_blocks", "U8", &[2, 4, 3, 8]), ("x_scales", "U8", &[2, 4, 3])], "found U8 codes");
        let config = json!({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 64]}});
        let refused = |tensors: &[(&str, &str, &[usize])], words: &str| {
            let error = open(&config, tensors).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        refused(&[("w", "F8_E4M3", &[200, 130]), ("w_scale_inv", "F32", &[2, 2])], "expected [2, 3]");
        refused(
            &[("w", "F8_E4M3", &[200, 130]), ("w_scale_inv", "BF16", &[2, 3])],
            "expected F8E4M3 with F32",
        );
        refused(&[("w", "F8_E5M2", &[200, 130]), ("w_scale_inv", "F32", &[2, 3])], "found F8E5M2 codes");
        refused(&[("w", "F8_E4M3", &[2, 200, 130]), ("w_scale_inv", "F32", &[2, 2, 3])], "two axes");
        for (settings, words) in [
            (
                json!({"quant_method": "gptq", "bits": 4}),
                "gptq is not supported: its codes are packed along the other axis",
            ),
            (json!({"quant_method": "awq"}), "awq"),
            (json!({"quant_method": "compressed-tensors"}), "compressed-tensors"),
            (json!({"mode": "nvfp4", "global_scale": true}), "global_scale"),
            (json!({"bits": 7, "group_size": 64}), "7 bits"),
            (json!({"bits": 4, "group_size": 0}), "group_size"),
            (json!({"bits": 4, "group_size": 16}), "4 bits in groups of 16"),
            (json!({"bits": 4, "group_size": 100}), "4 bits in groups of 100"),
            (json!({"quant_method": "fp8", "fmt": "e5m2", "weight_block_size": [128, 128]}), "only e4m3 is"),
            (json!({"quant_method": "fp8"}), "without a `weight_block_size`"),
            (json!({"mode": "mxfp4", "bits": 8}), "Mxfp4"),
            (json!({"mode": "new"}), "new"),
            (json!({"quant_method": "fp8", "weight_block_size": [0, 1]}), "weight_block_size"),
        ] {
            let error = Quantisation::from_config(&json!({"quantization_config": settings})).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(Quantisation::from_config(&json!({"quantization": null})), Ok(Quantisation::None));
    }

    /// A file whose planes do not lie as its header says is refused before anything is grouped.
    #[test]
    fn planes_must_lie_in_the_file() {
        let config = json!({"quantization": {"group_size": 64, "bits": 4}});
        let open = |[codes, scales, biases]: [[u64; 2]; 3], len: usize| {
            let dir = tempfile::tempdir().unwrap();
            let header = json!({
                "a.weight": {"dtype": "U32", "shape": [8, 8], "data_offsets": codes},
                "a.scales": {"dtype": "BF16", "shape": [8, 1], "data_offsets": scales},
                "a.biases": {"dtype": "BF16", "shape": [8, 1], "data_offsets": biases},
            })
            .to_string();
            let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; len]].concat();
            std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
            std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
            Checkpoint::open(dir.path()).and_then(Checkpoint::group_planes).map_err(|error| error.to_string())
        };
        let good = [[0, 256], [256, 272], [272, 288]];
        assert_eq!(open(good, 288).unwrap().tensors().len(), 1);
        let refused = |planes, len, words: &str| {
            let error = open(planes, len).unwrap_err();
            assert!(error.contains("model.safetensors") && error.contains(words), "{error}");
        };
        refused(good, 287, "truncated or damaged");
        refused(good, 289, "belong to none");
        refused([[0, 256], [256, 272], [u64::MAX - 16, u64::MAX]], 288, "truncated or damaged");
        refused([[0, 256], [256, 272], [264, 280]], 280, "overlaps");
        refused([[0, 256], [256, 272], [280, 296]], 296, "belong to no tensor");
        refused([[0, 255], [255, 271], [271, 287]], 287, "given 255");
    }

    proptest! {
        /// Whatever planes are called and however they are shaped: they are refused, or lie in the file and fit.
        #[test]
        fn any_planes_are_grouped_or_refused(
            method in 0usize..7,
            shapes in prop::collection::vec((0usize..5, prop::collection::vec(0usize..70, 0..4)), 3),
            (bits, group) in (0u64..10, 0u64..140),
        ) {
            let config = [
                json!({"quantization": {"group_size": group, "bits": bits}}),
                json!({"quantization": {"group_size": 32, "bits": 4}}),
                json!({"quantization": {"mode": "mxfp4"}}),
                json!({"quantization": {"mode": "nvfp4"}}),
                json!({"quantization": {"mode": "mxfp8"}}),
                json!({"quantization_config": {"quant_method": "fp8", "weight_block_size": [bits, group]}}),
                json!({"quantization_config": {"quant_method": "mxfp4"}}),
            ][method].clone();
            let names = match method {
                5 => ["a.weight", "a.weight_scale_inv", "b"],
                6 => ["a_blocks", "a_scales", "b"],
                _ => ["a.weight", "a.scales", "a.biases"],
            };
            let dtypes = ["U32", "BF16", "F32", "U8", "F8_E4M3"];
            let tensors: Vec<(&str, &str, &[usize])> =
                names.iter().zip(&shapes).map(|(name, (dtype, shape))| (*name, dtypes[*dtype], &shape[..])).collect();
            if let Ok(checkpoint) = open(&config, &tensors) {
                for tensor in checkpoint.tensors() {
                    if let Encoding::Quant(format) = tensor.encoding {
                        let cols = tensor.shape.last().copied().unwrap_or(1);
                        let rows = tensor.shape.iter().rev().skip(1).product();
                        for plane in 0..format.planes() {
                            prop_assert_eq!(
                                Some(checkpoint.plane(tensor, plane).len()),
                                format.plane_bytes(plane, rows, cols)
                            );
                        }
                    }
                    let _ = checkpoint.array_of(tensor);
                }
            }
        }
    }
}
