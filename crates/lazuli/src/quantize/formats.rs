//! The names of formats that a checkpoint can be written in: those of MLX's folders and those of GGUF files.
//!
//! Turns a name into a [`Scheme`]; which tensor gets which format under a GGUF mixture stands in `mixture`.

use lazuli_io::{Encoding, MlxMode};
use lazuli_quant::{Format, ScaleType};

use super::error::QuantizeError;
use super::mixture::Mixture;

/// What a checkpoint is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// A folder in MLX's layout: `config.json`, safetensors, the tokenizer's files.
    Folder,
    /// A GGUF file.
    Gguf,
}

impl Container {
    /// By the target's name: what ends in `.gguf` is a file, everything else a folder.
    pub fn of(path: &std::path::Path) -> Self {
        let is_file = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"));
        if is_file { Self::Gguf } else { Self::Folder }
    }
}

/// The format of a whole checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Nothing is packed: F32, F16 or BF16.
    Plain(Encoding),
    /// One of MLX's formats for all matrices.
    Mlx(MlxMode),
    /// GGUF block formats by llama.cpp's rules.
    Gguf(Mixture),
}

/// The format that one tensor was asked to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorFormat {
    /// F32, F16 or BF16.
    Plain(Encoding),
    /// One of MLX's formats.
    Mlx(MlxMode),
    /// A GGUF block format.
    Block(Format),
}

/// What a folder can be written in, for messages.
const FOLDER_NAMES: &str = "q4, q8, <bits>g<group> (such as 4g64), mxfp4, nvfp4, mxfp8, bf16, f16 and f32";
/// What a GGUF file can be written in, for messages.
const GGUF_NAMES: &str = "Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q2_K_S, Q3_K_S, Q3_K_M, Q3_K_L, Q4_K_S, Q4_K_M, Q5_K_S, \
                          Q5_K_M, Q6_K, IQ4_NL, IQ4_XS, TQ1_0, TQ2_0, MXFP4, NVFP4, BF16, F16 and F32";

impl Scheme {
    /// Reads a format's name, in any case.
    ///
    /// # Errors
    /// [`QuantizeError::Format`], which lists the names, or says which kind of target the name belongs to.
    pub fn parse(name: &str, container: Container) -> Result<Self, QuantizeError> {
        if let Some(plain) = plain(name) {
            return Ok(Self::Plain(plain));
        }
        let mlx = mlx(name).map(Self::Mlx);
        let gguf = Mixture::parse(name).map(Self::Gguf);
        let (found, other) = match container {
            Container::Folder => (mlx, gguf),
            Container::Gguf => (gguf, mlx),
        };
        found.ok_or_else(|| refuse(name, container, other.is_some()))
    }
}

impl TensorFormat {
    /// Reads the format of one tensor, in any case: as [`Scheme::parse`], without mixtures.
    ///
    /// # Errors
    /// As [`Scheme::parse`].
    pub fn parse(name: &str, container: Container) -> Result<Self, QuantizeError> {
        if let Some(plain) = plain(name) {
            return Ok(Self::Plain(plain));
        }
        let mlx = mlx(name).map(Self::Mlx);
        let block = name.to_ascii_uppercase().parse::<Format>().ok().filter(|f| f.gguf_type().is_some());
        let block = block.map(Self::Block);
        let (found, other) = match container {
            Container::Folder => (mlx, block),
            Container::Gguf => (block, mlx),
        };
        found.ok_or_else(|| refuse(name, container, other.is_some()))
    }

    /// The encoding of a tensor whose unpacked form is of the type `source`, which MLX's scales have too.
    pub fn encoding(self, source: Encoding) -> Encoding {
        match self {
            Self::Plain(plain) => plain,
            Self::Block(format) => Encoding::Quant(format),
            Self::Mlx(MlxMode::Mxfp4) => Encoding::Quant(Format::Mxfp4),
            Self::Mlx(MlxMode::Nvfp4) => Encoding::Quant(Format::Nvfp4),
            Self::Mlx(MlxMode::Mxfp8) => Encoding::Quant(Format::Mxfp8),
            Self::Mlx(MlxMode::Affine { bits, group }) => {
                let scale = match source {
                    Encoding::F32 => ScaleType::F32,
                    Encoding::F16 => ScaleType::F16,
                    _ => ScaleType::Bf16,
                };
                Encoding::Quant(Format::Affine { bits, group, scale })
            }
        }
    }
}

fn refuse(name: &str, container: Container, belongs_to_other: bool) -> QuantizeError {
    let hint = match (container, belongs_to_other) {
        (Container::Folder, true) => {
            "it is a format of GGUF files: give a target that ends in .gguf".to_owned()
        }
        (Container::Gguf, true) => {
            "it is a format of MLX's folders: give a target that does not end in .gguf".to_owned()
        }
        (Container::Folder, false) => format!("folders are written in {FOLDER_NAMES}"),
        (Container::Gguf, false) => format!("GGUF files are written in {GGUF_NAMES}"),
    };
    QuantizeError::Format { name: name.to_owned(), hint }
}

fn plain(name: &str) -> Option<Encoding> {
    Some(match name.to_ascii_lowercase().as_str() {
        "f32" => Encoding::F32,
        "f16" => Encoding::F16,
        "bf16" => Encoding::BF16,
        _ => return None,
    })
}

fn mlx(name: &str) -> Option<MlxMode> {
    let name = name.to_ascii_lowercase();
    Some(match name.as_str() {
        "q4" => MlxMode::Affine { bits: 4, group: 64 },
        "q8" => MlxMode::Affine { bits: 8, group: 64 },
        "mxfp4" => MlxMode::Mxfp4,
        "nvfp4" => MlxMode::Nvfp4,
        "mxfp8" => MlxMode::Mxfp8,
        other => {
            let (bits, group) = other.strip_prefix("affine").unwrap_or(other).split_once('g')?;
            let (bits, group) = (bits.parse::<u8>().ok()?, group.parse::<u16>().ok()?);
            // The one list of what exists is the format's own.
            format!("affine{bits}g{group}").parse::<Format>().ok()?;
            MlxMode::Affine { bits, group }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_the_target_can_hold() {
        let folder = |name: &str| Scheme::parse(name, Container::Folder);
        let file = |name: &str| Scheme::parse(name, Container::Gguf);
        assert_eq!(folder("q4").unwrap(), Scheme::Mlx(MlxMode::Affine { bits: 4, group: 64 }));
        assert_eq!(folder("3g128").unwrap(), Scheme::Mlx(MlxMode::Affine { bits: 3, group: 128 }));
        assert_eq!(folder("MXFP4").unwrap(), Scheme::Mlx(MlxMode::Mxfp4));
        assert_eq!(file("mxfp4").unwrap(), Scheme::Gguf(Mixture::parse("MXFP4").unwrap()));
        assert_eq!(file("q4_k_m").unwrap(), Scheme::Gguf(Mixture::parse("Q4_K_M").unwrap()));
        assert_eq!(file("BF16").unwrap(), Scheme::Plain(Encoding::BF16));
        let said = |result: Result<Scheme, QuantizeError>| result.unwrap_err().to_string();
        assert!(said(folder("Q4_K_M")).contains("ends in .gguf"));
        assert!(said(file("4g64")).contains("does not end in .gguf"));
        assert!(said(file("IQ2_XXS")).contains("Q4_K_M"));
        assert!(said(folder("7g64")).contains("<bits>g<group>"));
        let one = |name: &str| TensorFormat::parse(name, Container::Gguf).unwrap();
        assert_eq!(one("q6_k"), TensorFormat::Block(Format::Q6K));
        assert_eq!(one("mxfp4"), TensorFormat::Block(Format::GgufMxfp4));
        assert!(TensorFormat::parse("Q4_K_M", Container::Gguf).is_err(), "a mixture is no tensor's format");
    }

    #[test]
    fn the_target_is_known_by_its_ending() {
        assert_eq!(Container::of("a/b.GGUF".as_ref()), Container::Gguf);
        assert_eq!(Container::of("a/b".as_ref()), Container::Folder);
        assert_eq!(Container::of("a/b-v1.2".as_ref()), Container::Folder);
    }
}
