//! What `config.json` says of quantisation, in the words of MLX, DeepSeek and GPT-OSS.

use std::collections::HashMap;

use serde_json::Value;

/// How a checkpoint's weights are quantised, by its `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub enum Quantisation {
    /// Not at all.
    None,
    /// By MLX: settings for all modules, and those of single ones.
    Mlx {
        /// For modules that have no entry of their own.
        default: MlxMode,
        /// By module path; `None` for one that is not quantised.
        overrides: HashMap<String, Option<MlxMode>>,
    },
    /// DeepSeek's float-8 tiles of this many rows and columns.
    Fp8 {
        /// Rows of a tile.
        rows: u16,
        /// Columns of a tile.
        cols: u16,
    },
    /// GPT-OSS's MXFP4 experts.
    Mxfp4,
}

/// How MLX quantised one module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MlxMode {
    /// `scale * code + bias` per group.
    Affine {
        /// Bits of a code.
        bits: u8,
        /// Elements of a group.
        group: u16,
    },
    /// Microscaling float-4, groups of 32.
    Mxfp4,
    /// NVIDIA's float-4, groups of 16.
    Nvfp4,
    /// Microscaling float-8, groups of 32.
    Mxfp8,
}

impl Quantisation {
    /// Reads `quantization` or `quantization_config` of a parsed `config.json`.
    ///
    /// # Errors
    /// What is not understood there, by name.
    pub fn from_config(config: &Value) -> Result<Self, String> {
        let settings = config.get("quantization").filter(|value| !value.is_null());
        let settings =
            settings.or_else(|| config.get("quantization_config").filter(|value| !value.is_null()));
        let Some(settings) = settings else { return Ok(Self::None) };
        match settings.get("quant_method").map(|method| (method, method.as_str())) {
            None => mlx(settings),
            Some((_, Some("mxfp4"))) => Ok(Self::Mxfp4),
            Some((_, Some("fp8"))) => fp8(settings),
            Some((_, Some(method @ ("gptq" | "awq")))) => Err(format!(
                "`quantization_config`: the method {method} is not supported: its codes are packed along the other axis, \
                 so the rows of a weight cannot be read where they lie. Use the model's original, which `lazuli quantize` \
                 packs, or a version of it in GGUF, or by MLX (affine, mxfp4, nvfp4, mxfp8), fp8 or mxfp4"
            )),
            Some((method, _)) => Err(format!(
                "`quantization_config`: the method {method} is not supported (mlx, fp8 and mxfp4 are)"
            )),
        }
    }
}

fn small(settings: &Value, key: &str) -> Result<Option<u16>, String> {
    let Some(value) = settings.get(key) else { return Ok(None) };
    let number = value.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|&n| n > 0);
    number
        .map(Some)
        .ok_or_else(|| format!("`quantization`: `{key}` is {value}, expected a small positive integer"))
}

fn mlx(settings: &Value) -> Result<Quantisation, String> {
    let default = mlx_mode(settings)?;
    let mut overrides = HashMap::new();
    for (key, value) in settings.as_object().into_iter().flatten() {
        match value {
            Value::Object(_) => overrides.insert(key.clone(), Some(mlx_mode(value)?)),
            Value::Bool(false) => overrides.insert(key.clone(), None),
            _ => None,
        };
    }
    Ok(Quantisation::Mlx { default, overrides })
}

fn mlx_mode(settings: &Value) -> Result<MlxMode, String> {
    let (bits, group) = (small(settings, "bits")?, small(settings, "group_size")?);
    if settings.get("global_scale").is_some_and(|scale| *scale != Value::Bool(false)) {
        return Err("`quantization`: a `global_scale` for a whole tensor is not supported".to_owned());
    }
    let fixed = |mode, bits_of_mode, group_of_mode| {
        if bits.is_some_and(|bits| bits != bits_of_mode) || group.is_some_and(|group| group != group_of_mode)
        {
            return Err(format!("`quantization`: {mode:?} with {bits:?} bits in groups of {group:?}"));
        }
        Ok(mode)
    };
    match settings.get("mode").map_or(Some("affine"), Value::as_str) {
        Some("affine") => match (bits.unwrap_or(4), group.unwrap_or(64)) {
            (bits @ (2 | 3 | 4 | 5 | 6 | 8), group @ (32 | 64 | 128)) => {
                Ok(MlxMode::Affine { bits: bits as u8, group })
            }
            (bits, group) => {
                Err(format!("`quantization`: {bits} bits in groups of {group} are not supported"))
            }
        },
        Some("mxfp4") => fixed(MlxMode::Mxfp4, 4, 32),
        Some("nvfp4") => fixed(MlxMode::Nvfp4, 4, 16),
        Some("mxfp8") => fixed(MlxMode::Mxfp8, 8, 32),
        _ => Err(format!("`quantization`: the mode {} is not supported", settings["mode"])),
    }
}

fn fp8(settings: &Value) -> Result<Quantisation, String> {
    let format = settings.get("fmt").and_then(Value::as_str).unwrap_or("e4m3");
    let block = settings.get("weight_block_size").and_then(Value::as_array).map(Vec::as_slice);
    let side = |value: &Value| value.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|&n| n > 0);
    match (format, block) {
        ("e4m3", Some([rows, cols])) => match (side(rows), side(cols)) {
            (Some(rows), Some(cols)) => Ok(Quantisation::Fp8 { rows, cols }),
            _ => Err(format!("`quantization_config`: `weight_block_size` is [{rows}, {cols}]")),
        },
        ("e4m3", _) => {
            Err("`quantization_config`: fp8 without a `weight_block_size` of two is not supported".into())
        }
        (format, _) => {
            Err(format!("`quantization_config`: fp8 of format {format} is not supported, only e4m3 is"))
        }
    }
}
