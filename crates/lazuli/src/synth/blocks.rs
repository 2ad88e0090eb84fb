//! Random blocks of GGUF's formats: codes are drawn, the block's own scale makes decoded weights as large as they should be.

use half::f16;
use lazuli_quant::Format;
use lazuli_quant::blocks::{
    gguf_mxfp4, gguf_nvfp4, iq1_m, iq1_s, iq2_s, iq2_xs, iq2_xxs, iq3_s, iq3_xxs, iq4_nl, iq4_xs, q2_k, q3_k,
    q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0, tq1_0, tq2_0,
};
use lazuli_quant::float8::{f32_to_e4m3, f32_to_e8m0};

/// Blocks from which the size of decoded weights is told.
const SAMPLE: usize = 64;

/// Appends a block whose scale is `scale`, of bits that `draw` gives.
pub fn put(format: Format, scale: f32, draw: &mut dyn FnMut() -> u64, out: &mut Vec<u8>) {
    let (start, bytes) = (out.len(), format.block_bytes().unwrap_or(0));
    while out.len() < start + bytes {
        out.extend(draw().to_le_bytes());
    }
    out.truncate(start + bytes);
    set_scale(format, scale, &mut out[start..]);
}

/// The root mean square of weights in blocks whose scale is 1, or 1 if the format has no blocks.
pub fn deviation(format: Format, draw: &mut dyn FnMut() -> u64) -> f32 {
    let (mut blocks, len) = (Vec::new(), SAMPLE * format.block_len());
    for _ in 0..SAMPLE {
        put(format, 1.0, draw, &mut blocks);
    }
    let mut values = vec![0.0; len];
    if format.decode(&[&blocks], 1, len, &mut values).is_err() {
        return 1.0;
    }
    (values.iter().map(|x| x * x).sum::<f32>() / len as f32).sqrt()
}

/// Writes a block's scale, and a minimum that makes the mean of its weights zero.
fn set_scale(format: Format, scale: f32, block: &mut [u8]) {
    // What the minimum is to be of the scale: half of the largest code.
    let (d, minimum) = match format {
        Format::Q4_1 => (q4_1::D, Some((q4_1::M, -7.5))),
        Format::Q5_1 => (q5_1::D, Some((q5_1::M, -15.5))),
        Format::Q2K => (q2_k::D, Some((q2_k::DMIN, 1.5))),
        Format::Q4K => (q4_k::D, Some((q4_k::DMIN, 7.5))),
        Format::Q5K => (q5_k::D, Some((q5_k::DMIN, 15.5))),
        Format::Q4_0 => (q4_0::D, None),
        Format::Q5_0 => (q5_0::D, None),
        Format::Q8_0 => (q8_0::D, None),
        Format::Q3K => (q3_k::D, None),
        Format::Q6K => (q6_k::D, None),
        Format::Iq4Nl => (iq4_nl::D, None),
        Format::Iq4Xs => (iq4_xs::D, None),
        Format::Iq2Xxs => (iq2_xxs::D, None),
        Format::Iq2Xs => (iq2_xs::D, None),
        Format::Iq2S => (iq2_s::D, None),
        Format::Iq3Xxs => (iq3_xxs::D, None),
        Format::Iq3S => (iq3_s::D, None),
        Format::Iq1S => (iq1_s::D, None),
        Format::Tq1_0 => (tq1_0::D, None),
        Format::Tq2_0 => (tq2_0::D, None),
        Format::Iq1M => {
            let d = f16::from_f32(scale).to_bits();
            // A nibble on top of each word of scales.
            for part in 0..4 {
                let top = &mut block[iq1_m::SCALES + 2 * part + 1];
                *top = *top & 15 | ((d >> (4 * part) & 15) as u8) << 4;
            }
            return;
        }
        Format::GgufMxfp4 => {
            block[gguf_mxfp4::E] = f32_to_e8m0(scale);
            return;
        }
        Format::GgufNvfp4 => {
            block[gguf_nvfp4::SCALES..gguf_nvfp4::QS].fill(f32_to_e4m3(scale));
            return;
        }
        Format::Affine { .. } | Format::Mxfp4 | Format::Nvfp4 | Format::Mxfp8 | Format::Fp8Block { .. } => {
            return;
        }
    };
    let mut half =
        |at: usize, value: f32| block[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
    half(d, scale);
    if let Some((at, of_scale)) = minimum {
        half(at, scale * of_scale);
    }
}
