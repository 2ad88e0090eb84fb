//! Names and GGUF type numbers of the formats, and the list of block formats.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::{Format, QuantError, ScaleType};

/// Block formats with their GGUF name and tensor type number (GGUF specification, `ggml_type`).
const BLOCK: [(Format, &str, u32); 23] = [
    (Format::Q4_0, "Q4_0", 2),
    (Format::Q4_1, "Q4_1", 3),
    (Format::Q5_0, "Q5_0", 6),
    (Format::Q5_1, "Q5_1", 7),
    (Format::Q8_0, "Q8_0", 8),
    (Format::Q2K, "Q2_K", 10),
    (Format::Q3K, "Q3_K", 11),
    (Format::Q4K, "Q4_K", 12),
    (Format::Q5K, "Q5_K", 13),
    (Format::Q6K, "Q6_K", 14),
    (Format::Iq4Nl, "IQ4_NL", 20),
    (Format::Iq4Xs, "IQ4_XS", 23),
    (Format::Iq2Xxs, "IQ2_XXS", 16),
    (Format::Iq2Xs, "IQ2_XS", 17),
    (Format::Iq2S, "IQ2_S", 22),
    (Format::Iq3Xxs, "IQ3_XXS", 18),
    (Format::Iq3S, "IQ3_S", 21),
    (Format::Iq1S, "IQ1_S", 19),
    (Format::Iq1M, "IQ1_M", 29),
    (Format::Tq1_0, "TQ1_0", 34),
    (Format::Tq2_0, "TQ2_0", 35),
    (Format::GgufMxfp4, "MXFP4", 39),
    (Format::GgufNvfp4, "NVFP4", 40),
];

const ALL_BLOCK: [Format; BLOCK.len()] = {
    let mut all = [Format::Q4_0; BLOCK.len()];
    let mut i = 0;
    while i < all.len() {
        all[i] = BLOCK[i].0;
        i += 1;
    }
    all
};

impl Format {
    /// Every block format of GGUF that this crate decodes.
    pub const ALL_BLOCK: &[Format] = &ALL_BLOCK;

    /// The name: GGUF's spelling for block formats (`Q4_K`; `MXFP4` and `NVFP4` in capitals are GGUF's layouts), and for planar
    /// ones `affine4g64` (bits and group; bfloat16 scales, others with a suffix: `affine4g64-f16`), `mxfp4`,
    /// `nvfp4`, `mxfp8`, `fp8block128x128` (tile rows and columns). [`Format::from_str`] reads it back.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Self::Affine { bits, group, scale } => {
                let suffix = match scale {
                    ScaleType::Bf16 => "",
                    ScaleType::F16 => "-f16",
                    ScaleType::F32 => "-f32",
                };
                format!("affine{bits}g{group}{suffix}").into()
            }
            Self::Mxfp4 => "mxfp4".into(),
            Self::Nvfp4 => "nvfp4".into(),
            Self::Mxfp8 => "mxfp8".into(),
            Self::Fp8Block { rows, cols } => format!("fp8block{rows}x{cols}").into(),
            block => BLOCK
                .iter()
                .find(|(format, ..)| *format == block)
                .map_or("unnamed", |(_, name, _)| name)
                .into(),
        }
    }

    /// The format that GGUF tensor type `id` names; `None` for unquantised and unknown types.
    pub fn from_gguf_type(id: u32) -> Option<Format> {
        BLOCK.iter().find(|(.., number)| *number == id).map(|(format, ..)| *format)
    }

    /// The GGUF tensor type number of a block format; `None` for planar formats.
    pub fn gguf_type(self) -> Option<u32> {
        BLOCK.iter().find(|(format, ..)| *format == self).map(|(.., number)| *number)
    }

    /// Bits a weight takes, scales included (for tiled FP8: with full tiles).
    pub fn bits_per_weight(self) -> f64 {
        let per_group = |code_bits: u32, overhead_bits: usize| {
            f64::from(code_bits) + overhead_bits as f64 / self.block_len().max(1) as f64
        };
        match self {
            Self::Affine { bits, scale, .. } => per_group(bits.into(), 16 * scale.bytes()),
            Self::Mxfp4 | Self::Nvfp4 => per_group(4, 8),
            Self::Mxfp8 => per_group(8, 8),
            Self::Fp8Block { rows, cols } => 8.0 + 32.0 / (f64::from(rows) * f64::from(cols)).max(1.0),
            block => block.block_bytes().map_or(0.0, |bytes| (8 * bytes) as f64 / block.block_len() as f64),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

impl FromStr for Format {
    type Err = QuantError;

    /// Reads [`Format::name`]. GGUF names may be written in any case, except `MXFP4` and `NVFP4`, whose lower
    /// case is the planar layout.
    fn from_str(name: &str) -> Result<Self, QuantError> {
        parse(name).ok_or_else(|| QuantError::UnknownName { name: name.to_owned() })
    }
}

fn parse(name: &str) -> Option<Format> {
    match name {
        "mxfp4" => return Some(Format::Mxfp4),
        "nvfp4" => return Some(Format::Nvfp4),
        "mxfp8" => return Some(Format::Mxfp8),
        _ => {}
    }
    if let Some(rest) = name.strip_prefix("affine") {
        let (bits, rest) = rest.split_once('g')?;
        let (group, scale) = match rest.split_once('-') {
            None => (rest, ScaleType::Bf16),
            Some((group, "f16")) => (group, ScaleType::F16),
            Some((group, "f32")) => (group, ScaleType::F32),
            Some(_) => return None,
        };
        return Some(Format::Affine { bits: bits.parse().ok()?, group: group.parse().ok()?, scale })
            .filter(|format| format.parameters_exist());
    }
    if let Some(rest) = name.strip_prefix("fp8block") {
        let (rows, cols) = rest.split_once('x')?;
        return Some(Format::Fp8Block { rows: rows.parse().ok()?, cols: cols.parse().ok()? })
            .filter(|format| format.parameters_exist());
    }
    let mut found = BLOCK.iter().filter(|(format, spelling, _)| {
        let has_planar_twin = matches!(format, Format::GgufMxfp4 | Format::GgufNvfp4);
        *spelling == name || (spelling.eq_ignore_ascii_case(name) && !has_planar_twin)
    });
    found.next().map(|(format, ..)| *format)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_format() -> Vec<Format> {
        let mut all = Format::ALL_BLOCK.to_vec();
        for bits in [2, 3, 4, 5, 6, 8] {
            for group in [32, 64, 128] {
                for scale in [ScaleType::F16, ScaleType::Bf16, ScaleType::F32] {
                    all.push(Format::Affine { bits, group, scale });
                }
            }
        }
        let fp8 = Format::Fp8Block { rows: 128, cols: 64 };
        all.extend([Format::Mxfp4, Format::Nvfp4, Format::Mxfp8, fp8]);
        all
    }

    #[test]
    fn names_and_numbers_read_back() {
        for format in every_format() {
            assert_eq!(format.name().parse(), Ok(format));
            assert_eq!(
                format.gguf_type().and_then(Format::from_gguf_type),
                format.block_bytes().map(|_| format)
            );
        }
        assert_eq!("q4_k".parse(), Ok(Format::Q4K));
        assert_eq!("MXFP4".parse(), Ok(Format::GgufMxfp4));
        assert_eq!("mxfp4".parse(), Ok(Format::Mxfp4));
        assert_eq!(("NVFP4".parse(), "nvfp4".parse()), (Ok(Format::GgufNvfp4), Ok(Format::Nvfp4)));
        for bad in
            ["", "Mxfp4", "Nvfp4", "Q4", "affine7g64", "affine4g0", "affine4g64-f8", "fp8block0x1", "affine4"]
        {
            assert!(bad.parse::<Format>().is_err(), "{bad}");
        }
        assert_eq!(format!("{:>8}", Format::Q6K), "    Q6_K");
    }

    #[test]
    fn bits_per_weight_agree_with_the_bytes_of_a_large_array() {
        for format in every_format() {
            let bytes = format.bytes(512, 1024).expect("the shape divides into every format's blocks");
            let expected = (8 * bytes) as f64 / (512.0 * 1024.0);
            assert!((format.bits_per_weight() - expected).abs() < 1e-9, "{format}");
        }
        assert!((Format::Q4K.bits_per_weight() - 4.5).abs() < 1e-12);
    }
}
