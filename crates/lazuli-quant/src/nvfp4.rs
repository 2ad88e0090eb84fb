//! NVFP4 as GGUF stores it: 36-byte blocks of four groups of 16 e2m1 codes, each group with an unsigned e4m3 scale.
//!
//! Source: GGUF specification (type 40) and gguf-py's decoder. There is no scale for the whole tensor in a block; files
//! that have one keep it in a tensor of its own.

use crate::blocks::{E2M1_DOUBLED, gguf_nvfp4};
use crate::float8::{e2m1_to_f32, e4m3_to_f32, f32_to_e2m1, f32_to_e4m3};

pub(crate) fn decode_gguf_nvfp4(block: &[u8; gguf_nvfp4::BYTES], out: &mut [f32; 64]) {
    let (scales, codes) = block.split_at(gguf_nvfp4::QS);
    for ((out, codes), &scale) in out.chunks_exact_mut(16).zip(codes.chunks_exact(8)).zip(scales) {
        let half = half_scale(scale);
        let (low, high) = out.split_at_mut(8);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(codes) {
            *low = half * f32::from(E2M1_DOUBLED[usize::from(byte & 15)]);
            *high = half * f32::from(E2M1_DOUBLED[usize::from(byte >> 4)]);
        }
    }
}

/// Each group's scale is the better one of two: that which just covers its peak, and the one below, which cuts it.
pub(crate) fn encode_gguf_nvfp4(values: &[f32; 64], block: &mut [u8; gguf_nvfp4::BYTES]) {
    let (scales, codes) = block.split_at_mut(gguf_nvfp4::QS);
    for ((values, codes), stored) in values.chunks_exact(16).zip(codes.chunks_exact_mut(8)).zip(scales) {
        let peak = values.iter().fold(0f32, |peak, x| peak.max(x.abs()));
        let nearest = f32_to_e4m3(peak / 6.0);
        let error = |scale: u8| {
            let unit = unit(scale);
            values.iter().fold(0f64, |sum, &x| {
                let miss = f64::from(unit * e2m1_to_f32(code(x, unit))) - f64::from(x);
                sum + miss * miss
            })
        };
        *stored = [nearest, nearest.saturating_sub(1)]
            .into_iter()
            .min_by(|a, b| error(*a).total_cmp(&error(*b)))
            .unwrap_or(nearest);
        let unit = unit(*stored);
        let (low, high) = values.split_at(8);
        for ((low, high), byte) in low.iter().zip(high).zip(codes) {
            *byte = code(*low, unit) | code(*high, unit) << 4;
        }
    }
}

fn code(x: f32, unit: f32) -> u8 {
    if unit == 0.0 { 0 } else { f32_to_e2m1(x / unit) }
}

fn unit(scale: u8) -> f32 {
    2.0 * half_scale(scale)
}

/// Half of what a scale stands for: codes are doubled.
fn half_scale(scale: u8) -> f32 {
    // 0xff is not 0x7f: readers look at the whole byte, and then only at seven bits, where NaN would be 480.
    match scale {
        0x7f => 0.0,
        0xff => 240.0,
        _ => 0.5 * e4m3_to_f32(scale & 0x7f),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_scales_of_their_own() {
        let values: [f32; 64] = std::array::from_fn(|i| {
            [6.0, 0.75, 448.0 * 6.0, 0.0][i / 16] * if i % 2 == 0 { 1.0 } else { -0.5 }
        });
        let (mut block, mut decoded) = ([0; gguf_nvfp4::BYTES], [0.0; 64]);
        encode_gguf_nvfp4(&values, &mut block);
        decode_gguf_nvfp4(&block, &mut decoded);
        assert_eq!(decoded, values);
        assert_eq!(block[gguf_nvfp4::SCALES], 0x38);
    }
}
