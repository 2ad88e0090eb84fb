//! Writing a plan as a folder in MLX's layout: `config.json`, safetensors with codes, scales and biases, and the files
//! that come with a model.

use std::path::{Path, PathBuf};

use lazuli_io::{Checkpoint, Encoding, SafetensorsWriter};
use lazuli_quant::{Format, ScaleType};
use serde_json::{Map, Value, json};

use super::draft::{Header, float_name};
use super::error::{QuantizeError, Result};
use super::formats::{Scheme, TensorFormat};
use super::plan::{Plan, Planned};
use super::stream::{Loss, Stream};

/// A file beside the weights.
#[derive(Debug, Clone)]
pub enum FolderFile {
    /// One of the source.
    Copy(PathBuf),
    /// A new one: name and text.
    Text(String, String),
}

/// The files of the source's folder that belong to the model and are no weights: tokenizer, templates, settings of
/// generation, licences.
pub fn files_beside(checkpoint: &Checkpoint) -> Result<Vec<FolderFile>> {
    const ENDINGS: &[&str] = &["json", "jinja", "txt", "model", "py", "tiktoken"];
    let folder = checkpoint.path();
    let fail = |source| lazuli_io::Error::Open { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let ending = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        let belongs = ENDINGS.contains(&ending) || name.starts_with("LICENSE") || name.starts_with("NOTICE");
        let is_ours = name == "config.json" || name.ends_with(".index.json") || name.starts_with('.');
        if path.is_file() && belongs && !is_ours {
            files.push(FolderFile::Copy(path));
        }
    }
    files.sort_by(|a, b| file_name(a).cmp(file_name(b)));
    Ok(files)
}

fn file_name(file: &FolderFile) -> &str {
    match file {
        FolderFile::Copy(path) => path.file_name().and_then(|name| name.to_str()).unwrap_or_default(),
        FolderFile::Text(name, _) => name,
    }
}

/// A tensor as the files hold it: one for each plane.
struct Part {
    name: String,
    shape: Vec<usize>,
    encoding: Encoding,
}

/// The planes of a tensor, in order.
fn parts(tensor: &Planned) -> Vec<Part> {
    let Encoding::Quant(format) = tensor.encoding else {
        return vec![Part {
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            encoding: tensor.encoding,
        }];
    };
    let module = tensor.name.strip_suffix(".weight").unwrap_or(&tensor.name);
    let (bits, scales) = match format {
        Format::Affine { bits, scale, .. } => {
            let encoding = match scale {
                ScaleType::F16 => Encoding::F16,
                ScaleType::Bf16 => Encoding::BF16,
                ScaleType::F32 => Encoding::F32,
            };
            (usize::from(bits), encoding)
        }
        Format::Mxfp8 => (8, Encoding::U8),
        _ => (4, Encoding::U8),
    };
    let part = |ending: &str, encoding, length: &dyn Fn(usize) -> usize| {
        let mut shape = tensor.shape.clone();
        if let Some(last) = shape.last_mut() {
            *last = length(*last);
        }
        Part { name: format!("{module}.{ending}"), shape, encoding }
    };
    let groups = |cols: usize| cols / format.block_len();
    let mut parts =
        vec![part("weight", Encoding::U32, &|cols| cols * bits / 32), part("scales", scales, &groups)];
    if format.planes() == 3 {
        parts.push(part("biases", scales, &groups));
    }
    parts
}

/// The tensors of each file, by place in the plan: files of at most `limit` bytes, and in each those last whose bytes
/// would make what follows lie unaligned.
fn shards(plan: &Plan) -> Vec<Vec<usize>> {
    let mut shards: Vec<Vec<usize>> = vec![Vec::new()];
    let mut bytes = 0;
    for (place, tensor) in plan.tensors.iter().enumerate() {
        let size = tensor.bytes();
        let full = bytes > 0 && bytes + size > plan.options.shard_bytes;
        if full {
            shards.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(shard) = shards.last_mut() {
            shard.push(place);
        }
    }
    let is_odd = |part: &Part| {
        let elements: usize = part.shape.iter().product();
        elements * part.encoding.element_bytes().unwrap_or(1) % 4 != 0
    };
    for shard in &mut shards {
        shard.sort_by_key(|&place| parts(&plan.tensors[place]).iter().any(is_odd));
    }
    shards
}

fn shard_name(number: usize, count: usize) -> String {
    if count == 1 {
        "model.safetensors".into()
    } else {
        format!("model-{:05}-of-{count:05}.safetensors", number + 1)
    }
}

/// The header of one file.
fn declare(plan: &Plan, shard: &[usize], path: &Path) -> Result<SafetensorsWriter> {
    let mut writer = SafetensorsWriter::create(path);
    writer.metadata("format", "mlx");
    for &place in shard {
        for part in parts(&plan.tensors[place]) {
            writer.declare_encoded(&part.name, &part.shape, part.encoding)?;
        }
    }
    Ok(writer)
}

/// Bytes that the folder will take.
pub fn bytes(plan: &Plan) -> Result<usize> {
    let mut sum = 0;
    for shard in shards(plan) {
        sum += declare(plan, &shard, Path::new(""))?.file_bytes();
    }
    let Header::Folder { files, .. } = &plan.header else { return Ok(sum) };
    for file in files {
        sum += match file {
            FolderFile::Copy(path) => std::fs::metadata(path).map_or(0, |metadata| metadata.len() as usize),
            FolderFile::Text(_, text) => text.len(),
        };
    }
    Ok(sum)
}

/// Writes the folder; the losses come back in the order of the plan's tensors.
pub fn write(plan: &Plan, folder: &Path, stream: &Stream) -> Result<Vec<Loss>> {
    let refuse = |path: &Path, source| lazuli_io::Error::Write { path: path.to_owned(), source };
    std::fs::create_dir(folder).map_err(|error| refuse(folder, error))?;
    let Header::Folder { config, files } = &plan.header else { return Ok(Vec::new()) };
    for file in files {
        let path = folder.join(file_name(file));
        let result = match file {
            FolderFile::Copy(from) => std::fs::copy(from, &path).map(drop),
            FolderFile::Text(_, text) => std::fs::write(&path, text),
        };
        result.map_err(|error| refuse(&path, error))?;
    }
    let mut losses = vec![Loss::default(); plan.tensors.len()];
    let shards = shards(plan);
    let mut names = Map::new();
    for (number, shard) in shards.iter().enumerate() {
        let name = shard_name(number, shards.len());
        let mut body = declare(plan, shard, &folder.join(&name))?.begin()?;
        for &place in shard {
            let tensor = &plan.tensors[place];
            let encoded = stream.tensor(tensor, &mut |bytes| Ok(body.write_bytes(bytes)?))?;
            for plane in &encoded.planes {
                body.write_bytes(plane)?;
            }
            losses[place] = encoded.loss;
            names.extend(parts(tensor).into_iter().map(|part| (part.name, json!(name))));
        }
        body.finish()?;
    }
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by(|a, b| a.0.cmp(&b.0));
    let index = json!({
        "metadata": {"total_size": plan.tensor_bytes(), "total_parameters": plan.elements()},
        "weight_map": names.into_iter().collect::<Map<_, _>>(),
    });
    let config = Value::Object(settings(plan, config.clone()));
    for (name, value) in [("config.json", config), ("model.safetensors.index.json", index)] {
        let path = folder.join(name);
        let text = serde_json::to_string_pretty(&value).unwrap_or_default() + "\n";
        std::fs::write(&path, text).map_err(|error| refuse(&path, error))?;
    }
    Ok(losses)
}

/// `config.json` with what the formats are.
fn settings(plan: &Plan, mut config: Map<String, Value>) -> Map<String, Value> {
    config.remove("quantization");
    config.remove("quantization_config");
    let default = match plan.options.scheme {
        Scheme::Mlx(mode) => Some(TensorFormat::Mlx(mode).encoding(Encoding::BF16)),
        Scheme::Plain(plain) => {
            let key = if config.contains_key("dtype") { "dtype" } else { "torch_dtype" };
            config.insert(key.to_owned(), json!(float_name(plain)));
            None
        }
        Scheme::Gguf(_) => None,
    };
    let packed: Vec<&Planned> =
        plan.tensors.iter().filter(|t| matches!(t.encoding, Encoding::Quant(_))).collect();
    // Where only single layers are packed, the first of them gives the numbers for all.
    let Some(default) = default.or_else(|| packed.first().map(|t| t.encoding)).and_then(mode) else {
        return config;
    };
    let mut quantization = default.clone();
    for tensor in packed {
        let module = tensor.name.strip_suffix(".weight").unwrap_or(&tensor.name);
        match mode(tensor.encoding) {
            Some(own) if own != default => drop(quantization.insert(module.to_owned(), Value::Object(own))),
            _ => {}
        }
    }
    // Both names are in use by readers.
    config.insert("quantization".to_owned(), Value::Object(quantization.clone()));
    config.insert("quantization_config".to_owned(), Value::Object(quantization));
    config
}

/// A format as `config.json` describes it.
fn mode(encoding: Encoding) -> Option<Map<String, Value>> {
    let (group, bits, mode) = match encoding {
        Encoding::Quant(Format::Affine { bits, group, .. }) => (group, bits, "affine"),
        Encoding::Quant(Format::Mxfp4) => (32, 4, "mxfp4"),
        Encoding::Quant(Format::Nvfp4) => (16, 4, "nvfp4"),
        Encoding::Quant(Format::Mxfp8) => (32, 8, "mxfp8"),
        _ => return None,
    };
    let pairs = [("group_size", json!(group)), ("bits", json!(bits)), ("mode", json!(mode))];
    Some(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Refuses what would be written twice.
pub fn check(plan: &Plan) -> Result<()> {
    let mut names = std::collections::HashSet::new();
    for tensor in &plan.tensors {
        for part in parts(tensor) {
            if !names.insert(part.name.clone()) {
                let what = format!("the source has two tensors that would be called `{}`", part.name);
                return Err(QuantizeError::Direction(what));
            }
        }
    }
    Ok(())
}
