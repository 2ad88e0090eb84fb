//! The tensor type numbers of GGUF files (`ggml_type` in the GGUF document) and the encodings they mean.

use lazuli_quant::Format;

use crate::error::TensorFault;
use crate::tensor::Encoding;

/// The encoding of type number `id`.
///
/// # Errors
/// [`TensorFault::Unsupported`] that names the type.
pub(super) fn encoding(id: u32) -> Result<Encoding, TensorFault> {
    Ok(match id {
        0 => Encoding::F32,
        1 => Encoding::F16,
        24 => Encoding::I8,
        25 => Encoding::I16,
        26 => Encoding::I32,
        27 => Encoding::I64,
        28 => Encoding::F64,
        30 => Encoding::BF16,
        _ => match Format::from_gguf_type(id) {
            Some(format) => Encoding::Quant(format),
            None => return Err(TensorFault::Unsupported { name: unsupported_name(id) }),
        },
    })
}

/// The type number of an encoding, the inverse of [`encoding`]; `None` for those that GGUF files cannot hold.
pub(super) fn number(encoding: Encoding) -> Option<u32> {
    Some(match encoding {
        Encoding::F32 => 0,
        Encoding::F16 => 1,
        Encoding::I8 => 24,
        Encoding::I16 => 25,
        Encoding::I32 => 26,
        Encoding::I64 => 27,
        Encoding::F64 => 28,
        Encoding::BF16 => 30,
        Encoding::Quant(format) => return format.gguf_type(),
        _ => return None,
    })
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
        41 => "Q1_0",
        42 => "Q2_0",
        _ => return format!("number {id} (unknown)"),
    };
    format!("{name} (number {id})")
}
