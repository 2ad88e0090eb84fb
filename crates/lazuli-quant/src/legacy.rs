//! The first block formats: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0. 32 elements, one scale, perhaps a minimum.
//!
//! Source: GGUF specification and ggml block definitions. The encoders give the same bytes as the reference
//! quantiser: the scale comes from the extreme value(s) alone, with no search.

use crate::blocks::{f16_at, field, put_f16, q4_0, q4_1, q5_0, q5_1, q8_0};

pub(crate) fn decode_q4_0(block: &[u8; q4_0::BYTES], out: &mut [f32; 32]) {
    let d = f16_at(block, q4_0::D);
    let codes = nibbles(field(block, q4_0::QS));
    for (value, code) in out.iter_mut().zip(codes) {
        *value = d * f32::from(code as i8 - 8);
    }
}

pub(crate) fn decode_q4_1(block: &[u8; q4_1::BYTES], out: &mut [f32; 32]) {
    let (d, m) = (f16_at(block, q4_1::D), f16_at(block, q4_1::M));
    let codes = nibbles(field(block, q4_1::QS));
    for (value, code) in out.iter_mut().zip(codes) {
        *value = d * f32::from(code) + m;
    }
}

pub(crate) fn decode_q5_0(block: &[u8; q5_0::BYTES], out: &mut [f32; 32]) {
    let d = f16_at(block, q5_0::D);
    let codes = five_bits(field(block, q5_0::QS), *field(block, q5_0::QH));
    for (value, code) in out.iter_mut().zip(codes) {
        *value = d * f32::from(code as i8 - 16);
    }
}

pub(crate) fn decode_q5_1(block: &[u8; q5_1::BYTES], out: &mut [f32; 32]) {
    let (d, m) = (f16_at(block, q5_1::D), f16_at(block, q5_1::M));
    let codes = five_bits(field(block, q5_1::QS), *field(block, q5_1::QH));
    for (value, code) in out.iter_mut().zip(codes) {
        *value = d * f32::from(code) + m;
    }
}

pub(crate) fn decode_q8_0(block: &[u8; q8_0::BYTES], out: &mut [f32; 32]) {
    let d = f16_at(block, q8_0::D);
    for (value, code) in out.iter_mut().zip(&block[q8_0::QS..]) {
        *value = f32::from(*code as i8) * d;
    }
}

pub(crate) fn encode_q4_0(values: &[f32; 32], block: &mut [u8; q4_0::BYTES]) {
    let d = signed_extreme(values) / -8.0;
    put_f16(block, q4_0::D, d);
    let inverse = inverse(d);
    let codes = values.map(|x| ((x * inverse + 8.5) as u8).min(15));
    put_nibbles(&mut block[q4_0::QS..], &codes);
}

pub(crate) fn encode_q4_1(values: &[f32; 32], block: &mut [u8; q4_1::BYTES]) {
    let (min, max) = extremes(values);
    let d = (max - min) / 15.0;
    put_f16(block, q4_1::D, d);
    put_f16(block, q4_1::M, min);
    let inverse = inverse(d);
    let codes = values.map(|x| (((x - min) * inverse + 0.5) as u8).min(15));
    put_nibbles(&mut block[q4_1::QS..], &codes);
}

pub(crate) fn encode_q5_0(values: &[f32; 32], block: &mut [u8; q5_0::BYTES]) {
    let d = signed_extreme(values) / -16.0;
    put_f16(block, q5_0::D, d);
    let inverse = inverse(d);
    let codes = values.map(|x| ((x * inverse + 16.5) as u8).min(31));
    put_nibbles(&mut block[q5_0::QS..], &codes);
    block[q5_0::QH..q5_0::QS].copy_from_slice(&fifth_bits(&codes));
}

pub(crate) fn encode_q5_1(values: &[f32; 32], block: &mut [u8; q5_1::BYTES]) {
    let (min, max) = extremes(values);
    let d = (max - min) / 31.0;
    put_f16(block, q5_1::D, d);
    put_f16(block, q5_1::M, min);
    let inverse = inverse(d);
    let codes = values.map(|x| (((x - min) * inverse + 0.5) as u8).min(31));
    put_nibbles(&mut block[q5_1::QS..], &codes);
    block[q5_1::QH..q5_1::QS].copy_from_slice(&fifth_bits(&codes));
}

pub(crate) fn encode_q8_0(values: &[f32; 32], block: &mut [u8; q8_0::BYTES]) {
    let d = values.iter().fold(0f32, |peak, x| peak.max(x.abs())) / 127.0;
    put_f16(block, q8_0::D, d);
    let inverse = inverse(d);
    for (byte, x) in block[q8_0::QS..].iter_mut().zip(values) {
        *byte = (x * inverse).round() as i8 as u8;
    }
}

/// Sixteen bytes as 32 codes: the low nibbles first, then the high ones.
pub(crate) fn nibbles(bytes: &[u8; 16]) -> [u8; 32] {
    std::array::from_fn(|i| (bytes[i % 16] >> (4 * (i / 16))) & 15)
}

/// The inverse of [`nibbles`], from the low four bits of each code.
pub(crate) fn put_nibbles(bytes: &mut [u8], codes: &[u8; 32]) {
    let (low, high) = codes.split_at(16);
    for ((byte, low), high) in bytes.iter_mut().zip(low).zip(high) {
        *byte = (low & 15) | (high << 4);
    }
}

fn five_bits(low: &[u8; 16], high: [u8; 4]) -> [u8; 32] {
    let (low, high) = (nibbles(low), u32::from_le_bytes(high));
    std::array::from_fn(|i| low[i] | ((((high >> i) & 1) as u8) << 4))
}

fn fifth_bits(codes: &[u8; 32]) -> [u8; 4] {
    codes
        .iter()
        .enumerate()
        .fold(0u32, |bits, (i, code)| bits | (u32::from(code >> 4) & 1) << i)
        .to_le_bytes()
}

/// The value that is largest in magnitude (the first, if several are), with its sign.
pub(crate) fn signed_extreme(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |best: f32, &x| if x.abs() > best.abs() { x } else { best })
}

fn extremes(values: &[f32; 32]) -> (f32, f32) {
    values.iter().fold((values[0], values[0]), |(min, max), &x| (min.min(x), max.max(x)))
}

/// `1 / d`, or 0 where there is nothing to scale.
fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}
