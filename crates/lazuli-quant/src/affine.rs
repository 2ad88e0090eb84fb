//! MLX affine: `w = scale * code + bias` per group of 32, 64 or 128, codes of 2, 3, 4, 5, 6 or 8 bits.
//!
//! Source: the documentation of MLX's `quantize`, and its results. A row's codes are one little-endian bit stream:
//! code `i` stands in bits `bits * i ..`, bit `n` being bit `n % 8` of byte `n / 8`. The encoder gives MLX's bytes.

use half::{bf16, f16};

use crate::ScaleType;

/// Decodes one row. `codes`, `scales` and `biases` are that row's bytes.
pub(crate) fn decode_row(
    (bits, group, scale_type): (u8, u16, ScaleType),
    codes: &[u8],
    scales: &[u8],
    biases: &[u8],
    out: &mut [f32],
) {
    // With the width a constant, shifts are too, and eight codes go through the vector unit together.
    let decode = match bits {
        2 => decode_groups::<2>,
        3 => decode_groups::<3>,
        4 => decode_groups::<4>,
        5 => decode_groups::<5>,
        6 => decode_groups::<6>,
        _ => decode_groups::<8>,
    };
    decode((group, scale_type), codes, scales, biases, out);
}

fn decode_groups<const BITS: usize>(
    (group, scale_type): (u16, ScaleType),
    codes: &[u8],
    scales: &[u8],
    biases: &[u8],
    out: &mut [f32],
) {
    let width = scale_type.bytes();
    let group_bytes = usize::from(group) * BITS / 8;
    let factors = scales.chunks_exact(width).zip(biases.chunks_exact(width));
    let groups = out.chunks_exact_mut(usize::from(group)).zip(codes.chunks_exact(group_bytes));
    for ((out, codes), (scale, bias)) in groups.zip(factors) {
        let (scale, bias) = (read_scale(scale_type, scale), read_scale(scale_type, bias));
        // Eight codes are a whole number of bytes whatever their width.
        for (out, packed) in out.chunks_exact_mut(8).zip(codes.chunks_exact(BITS)) {
            let mut word = [0; 8];
            word[..BITS].copy_from_slice(packed);
            let word = u64::from_le_bytes(word);
            for (i, value) in out.iter_mut().enumerate() {
                // Through i32, which every processor converts in one instruction.
                let code = (word >> (i * BITS)) as i32 & ((1 << BITS) - 1);
                *value = scale * code as f32 + bias;
            }
        }
    }
}

/// Encodes one row into that row's bytes of the three planes.
pub(crate) fn encode_row(
    (bits, group, scale_type): (u8, u16, ScaleType),
    values: &[f32],
    codes: &mut [u8],
    scales: &mut [u8],
    biases: &mut [u8],
) {
    let width = scale_type.bytes();
    let group_bytes = usize::from(group) * usize::from(bits) / 8;
    let factors = scales.chunks_exact_mut(width).zip(biases.chunks_exact_mut(width));
    let groups = values.chunks_exact(usize::from(group)).zip(codes.chunks_exact_mut(group_bytes));
    for ((values, codes), (scale_bytes, bias_bytes)) in groups.zip(factors) {
        let top = ((1u16 << bits) - 1) as f32;
        let (scale, bias) = fit(values, top);
        for (values, packed) in values.chunks_exact(8).zip(codes.chunks_exact_mut(usize::from(bits))) {
            let word = values.iter().enumerate().fold(0u64, |word, (i, x)| {
                let code = ((x - bias) / scale).round_ties_even().clamp(0.0, top) as u64;
                word | code << (i * usize::from(bits))
            });
            packed.copy_from_slice(&word.to_le_bytes()[..packed.len()]);
        }
        write_scale(scale_type, scale, scale_bytes);
        write_scale(scale_type, bias, bias_bytes);
    }
}

/// Scale and bias of a group: the extreme of larger magnitude is met exactly, and so is zero.
fn fit(values: &[f32], top: f32) -> (f32, f32) {
    let (min, max) =
        values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(min, max), &x| (min.min(x), max.max(x)));
    let span = ((max - min) / top).max(1e-7);
    let (scale, edge) = if min.abs() > max.abs() { (span, min) } else { (-span, max) };
    let steps = (edge / scale).round_ties_even();
    if steps == 0.0 { (scale, 0.0) } else { (edge / steps, edge) }
}

fn read_scale(scale_type: ScaleType, bytes: &[u8]) -> f32 {
    match scale_type {
        ScaleType::F16 => f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        ScaleType::Bf16 => bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        ScaleType::F32 => f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
    }
}

/// Stores a scale, held to the finite range of its type.
fn write_scale(scale_type: ScaleType, value: f32, bytes: &mut [u8]) {
    let held = |limit: f32| value.clamp(-limit, limit);
    match scale_type {
        ScaleType::F16 => bytes.copy_from_slice(&f16::from_f32(held(f16::MAX.to_f32())).to_le_bytes()),
        ScaleType::Bf16 => bytes.copy_from_slice(&bf16::from_f32(held(bf16::MAX.to_f32())).to_le_bytes()),
        ScaleType::F32 => bytes.copy_from_slice(&held(f32::MAX).to_le_bytes()),
    }
}
