//! Q2_K: 2-bit codes in groups of 16, 4-bit scales and minima.

use super::search::raised_magnitudes;
use super::settle::AffineBlock;
use crate::blocks::{f16_at, field, put_f16, q2_k};

pub(crate) fn decode_q2_k(block: &[u8; q2_k::BYTES], out: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(block, q2_k::D), f16_at(block, q2_k::DMIN));
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let packed = block[q2_k::SCALES + group];
        let (scale, min) = (d * f32::from(packed & 15), dmin * f32::from(packed >> 4));
        let (at, shift) = place(16 * group);
        let codes: &[u8; 16] = field(block, q2_k::QS + at);
        for (value, byte) in out.iter_mut().zip(codes) {
            *value = scale * f32::from((byte >> shift) & 3) - min;
        }
    }
}

pub(crate) fn encode_q2_k(values: &[f32; 256], block: &mut [u8; q2_k::BYTES]) {
    let found = AffineBlock::<16, 16>::search(values, (3, 15), raised_magnitudes);
    block.fill(0);
    put_f16(block, q2_k::D, found.d);
    put_f16(block, q2_k::DMIN, found.dmin);
    for (group, codes) in found.codes.iter().enumerate() {
        block[q2_k::SCALES + group] = found.scales[group] | (found.mins[group] << 4);
        let (at, shift) = place(16 * group);
        for (byte, code) in block[q2_k::QS + at..].iter_mut().zip(codes) {
            *byte |= code << shift;
        }
    }
}

/// Byte and shift of element `e`'s two bits; the elements of a group of 16 stand in consecutive bytes.
pub(super) fn place(e: usize) -> (usize, usize) {
    let (half, rest) = (e / 128, e % 128);
    (32 * half + rest % 32, 2 * (rest / 32))
}
