//! MXFP4, MXFP8 and NVFP4: groups of small floats with a small-float scale.
//!
//! Sources: OCP Microscaling Formats (MX) v1.0 (MXFP4, MXFP8: groups of 32, e8m0 scales), NVIDIA's NVFP4 (groups of
//! 16, e4m3 scales), MLX's `quantize` for the planes of both, GGUF specification for MXFP4's 17-byte blocks.

use crate::blocks::{E2M1_DOUBLED, field, gguf_mxfp4};
use crate::float8::{e2m1_to_f32, e4m3_to_f32, e8m0_to_f32, f32_to_e2m1, f32_to_e4m3, f32_to_e8m0};
use crate::legacy::{nibbles, put_nibbles};

pub(crate) fn decode_gguf_mxfp4(block: &[u8; gguf_mxfp4::BYTES], out: &mut [f32; 32]) {
    let half = half_scale(block[gguf_mxfp4::E]);
    for (value, code) in out.iter_mut().zip(nibbles(field(block, gguf_mxfp4::QS))) {
        *value = half * f32::from(E2M1_DOUBLED[usize::from(code)]);
    }
}

/// The shared exponent is the largest value's, less e2m1's own: values up to a third beyond the range are cut.
pub(crate) fn encode_gguf_mxfp4(values: &[f32; 32], block: &mut [u8; gguf_mxfp4::BYTES]) {
    let peak = values.iter().fold(0f32, |peak, x| peak.max(x.abs()));
    let exponent = (peak.to_bits() >> 23).saturating_sub(2) as u8;
    block[gguf_mxfp4::E] = exponent;
    let half = half_scale(exponent);
    let codes = values.map(|x| {
        let miss = |code: &usize| (half * f32::from(E2M1_DOUBLED[*code]) - x).abs();
        // The first of equally near codes, as the reference quantiser chooses.
        (0..16).min_by(|a, b| miss(a).total_cmp(&miss(b))).unwrap_or(0) as u8
    });
    put_nibbles(&mut block[gguf_mxfp4::QS..], &codes);
}

/// Half of the scale that an e8m0 code stands for, as GGUF readers take it: 255 is 2^127, not NaN.
fn half_scale(code: u8) -> f32 {
    match code {
        0 | 1 => f32::from_bits(0x20_0000 << code),
        _ => f32::from_bits(u32::from(code - 1) << 23),
    }
}

/// Decodes a row of e2m1 codes, two a byte, in groups of `group`.
pub(crate) fn decode_fp4_row(
    codes: &[u8],
    scales: &[u8],
    group: usize,
    scale: fn(u8) -> f32,
    out: &mut [f32],
) {
    for ((out, codes), &code) in out.chunks_exact_mut(group).zip(codes.chunks_exact(group / 2)).zip(scales) {
        let scale = scale(code);
        for (pair, byte) in out.chunks_exact_mut(2).zip(codes) {
            pair[0] = scale * e2m1_to_f32(byte & 15);
            pair[1] = scale * e2m1_to_f32(byte >> 4);
        }
    }
}

pub(crate) fn decode_mxfp4_row(codes: &[u8], scales: &[u8], out: &mut [f32]) {
    decode_fp4_row(codes, scales, 32, e8m0_to_f32, out);
}

pub(crate) fn decode_nvfp4_row(codes: &[u8], scales: &[u8], out: &mut [f32]) {
    decode_fp4_row(codes, scales, 16, e4m3_to_f32, out);
}

pub(crate) fn decode_mxfp8_row(codes: &[u8], scales: &[u8], out: &mut [f32]) {
    for ((out, codes), &code) in out.chunks_exact_mut(32).zip(codes.chunks_exact(32)).zip(scales) {
        let scale = e8m0_to_f32(code);
        for (value, &code) in out.iter_mut().zip(codes) {
            *value = scale * e4m3_to_f32(code);
        }
    }
}

pub(crate) fn encode_mxfp4_row(values: &[f32], codes: &mut [u8], scales: &mut [u8]) {
    for ((values, codes), scale) in values.chunks_exact(32).zip(codes.chunks_exact_mut(16)).zip(scales) {
        // From 2^126 on, six times the scale would not be finite.
        *scale = f32_to_e8m0(peak(values) / 6.0).min(127 + 125);
        put_fp4(values, e8m0_to_f32(*scale), codes);
    }
}

pub(crate) fn encode_nvfp4_row(values: &[f32], codes: &mut [u8], scales: &mut [u8]) {
    for ((values, codes), scale) in values.chunks_exact(16).zip(codes.chunks_exact_mut(8)).zip(scales) {
        *scale = f32_to_e4m3(peak(values) / 6.0);
        put_fp4(values, e4m3_to_f32(*scale), codes);
    }
}

pub(crate) fn encode_mxfp8_row(values: &[f32], codes: &mut [u8], scales: &mut [u8]) {
    for ((values, codes), scale) in values.chunks_exact(32).zip(codes.chunks_exact_mut(32)).zip(scales) {
        // From 2^120 on, 448 times the scale would not be finite.
        *scale = f32_to_e8m0(peak(values) / 448.0).min(127 + 119);
        let unit = e8m0_to_f32(*scale);
        for (code, x) in codes.iter_mut().zip(values) {
            *code = f32_to_e4m3(x / unit);
        }
    }
}

/// Writes e2m1 codes, two a byte; where the scale is too small to be stored, every code is 0.
fn put_fp4(values: &[f32], scale: f32, codes: &mut [u8]) {
    let code = |x: f32| if scale == 0.0 { 0 } else { f32_to_e2m1(x / scale) };
    for (byte, pair) in codes.iter_mut().zip(values.chunks_exact(2)) {
        *byte = code(pair[0]) | code(pair[1]) << 4;
    }
}

fn peak(values: &[f32]) -> f32 {
    values.iter().fold(0f32, |peak, x| peak.max(x.abs()))
}
