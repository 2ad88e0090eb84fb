//! TQ1_0 and TQ2_0: weights of -1, 0, 1 and one scale per 256.
//!
//! Source: GGUF specification and ggml block definitions. TQ1_0 puts five base-3 digits in a byte as the fraction
//! `n / 243` rounded up to 256ths, so that multiplying by 3 moves the next digit into the bits above the byte.

use crate::blocks::{f16_at, put_f16, tq1_0, tq2_0};

pub(crate) fn decode_tq1_0(block: &[u8; tq1_0::BYTES], out: &mut [f32; 256]) {
    let d = f16_at(block, tq1_0::D);
    for (e, value) in out.iter_mut().enumerate() {
        let (at, digit) = tq1_place(e);
        let shifted = block[at].wrapping_mul([1, 3, 9, 27, 81][digit]);
        let code = (u16::from(shifted) * 3) >> 8;
        *value = d * (f32::from(code) - 1.0);
    }
}

pub(crate) fn encode_tq1_0(values: &[f32; 256], block: &mut [u8; tq1_0::BYTES]) {
    let mut digits = [0u16; tq1_0::D];
    for (e, trit) in trits(values).into_iter().enumerate() {
        let (at, digit) = tq1_place(e);
        digits[at] += u16::from(trit) * [81, 27, 9, 3, 1][digit];
    }
    for (byte, number) in block.iter_mut().zip(digits) {
        *byte = (number * 256).div_ceil(243) as u8;
    }
    put_f16(block, tq1_0::D, peak(values));
}

pub(crate) fn decode_tq2_0(block: &[u8; tq2_0::BYTES], out: &mut [f32; 256]) {
    let d = f16_at(block, tq2_0::D);
    for (e, value) in out.iter_mut().enumerate() {
        let (at, shift) = tq2_place(e);
        *value = d * (f32::from(block[tq2_0::QS + at] >> shift & 3) - 1.0);
    }
}

pub(crate) fn encode_tq2_0(values: &[f32; 256], block: &mut [u8; tq2_0::BYTES]) {
    block.fill(0);
    for (e, trit) in trits(values).into_iter().enumerate() {
        let (at, shift) = tq2_place(e);
        block[tq2_0::QS + at] |= trit << shift;
    }
    put_f16(block, tq2_0::D, peak(values));
}

/// Byte and digit of element `e`: 32 bytes of 5 digits, 16 of 5, then 4 of 4; neighbours stand in neighbour bytes.
fn tq1_place(e: usize) -> (usize, usize) {
    match e {
        0..160 => (tq1_0::QS + e % 32, e / 32),
        160..240 => (tq1_0::QS + 32 + (e - 160) % 16, (e - 160) / 16),
        _ => (tq1_0::QH + (e - 240) % 4, (e - 240) / 4),
    }
}

/// Byte and shift of element `e`: as Q2_K lays out its codes.
fn tq2_place(e: usize) -> (usize, usize) {
    (32 * (e / 128) + e % 32, 2 * (e % 128 / 32))
}

fn peak(values: &[f32; 256]) -> f32 {
    values.iter().fold(0f32, |peak, x| peak.max(x.abs()))
}

/// Each value as 0, 1 or 2 for -1, 0 or 1 times the peak.
fn trits(values: &[f32; 256]) -> [u8; 256] {
    let peak = peak(values);
    let inverse = if peak == 0.0 { 0.0 } else { 1.0 / peak };
    values.map(|x| ((x * inverse).round().clamp(-1.0, 1.0) as i8 + 1) as u8)
}
