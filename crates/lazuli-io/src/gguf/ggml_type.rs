//! The tensor type numbers of GGUF files (`ggml_type` in the GGUF document) and the encodings they mean.

use lazuli_quant::Format;

use crate::error::TensorFault;
use crate::tensor::Encoding;

/// The encoding of type number `id`.
///
/// # Errors
/// [`TensorFault::Unsupported`] that names the type.
pub(super) fn encoding(id: u32) -> Result<Encoding, TensorFault> {
    let quant = |format| Ok(Encoding::Quant(format));
    match id {
        0 => Ok(Encoding::F32),
        1 => Ok(Encoding::F16),
        2 => quant(Format::Q4_0),
        3 => quant(Format::Q4_1),
        6 => quant(Format::Q5_0),
        7 => quant(Format::Q5_1),
        8 => quant(Format::Q8_0),
        10 => quant(Format::Q2K),
        11 => quant(Format::Q3K),
        12 => quant(Format::Q4K),
        13 => quant(Format::Q5K),
        14 => quant(Format::Q6K),
        16 => quant(Format::Iq2Xxs),
        17 => quant(Format::Iq2Xs),
        18 => quant(Format::Iq3Xxs),
        19 => quant(Format::Iq1S),
        20 => quant(Format::Iq4Nl),
        21 => quant(Format::Iq3S),
        22 => quant(Format::Iq2S),
        23 => quant(Format::Iq4Xs),
        24 => Ok(Encoding::I8),
        25 => Ok(Encoding::I16),
        26 => Ok(Encoding::I32),
        27 => Ok(Encoding::I64),
        28 => Ok(Encoding::F64),
        29 => quant(Format::Iq1M),
        30 => Ok(Encoding::BF16),
        34 => quant(Format::Tq1_0),
        35 => quant(Format::Tq2_0),
        39 => quant(Format::GgufMxfp4),
        _ => Err(TensorFault::Unsupported { name: unsupported_name(id) }),
    }
}

fn unsupported_name(id: u32) -> String {
    let name = match id {
        4 => "Q4_2",
        5 => "Q4_3",
        9 => "Q8_1",
        15 => "Q8_K",
        31 => "Q4_0_4_4",
        32 => "Q4_0_4_8",
        33 => "Q4_0_8_8",
        36 => "IQ4_NL_4_4",
        37 => "IQ4_NL_4_8",
        38 => "IQ4_NL_8_8",
        40 => "NVFP4",
        41 => "Q1_0",
        42 => "Q2_0",
        _ => return format!("number {id} (unknown)"),
    };
    format!("{name} (number {id})")
}
