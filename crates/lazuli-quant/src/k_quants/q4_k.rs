//! Q4_K: 4-bit codes in groups of 32, 6-bit scales and minima.

use super::search::raised_magnitudes;
use super::settle::AffineBlock;
use crate::blocks::{f16_at, field, pack_scales_mins, put_f16, q4_k, unpack_scales_mins};

pub(crate) fn decode_q4_k(block: &[u8; q4_k::BYTES], out: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(block, q4_k::D), f16_at(block, q4_k::DMIN));
    let (scales, mins) = unpack_scales_mins(field(block, q4_k::SCALES));
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, min) = (d * f32::from(scales[group]), dmin * f32::from(mins[group]));
        let codes = &block[q4_k::QS + 32 * (group / 2)..];
        for (value, byte) in out.iter_mut().zip(codes) {
            *value = scale * f32::from((byte >> (4 * (group % 2))) & 15) - min;
        }
    }
}

pub(crate) fn encode_q4_k(values: &[f32; 256], block: &mut [u8; q4_k::BYTES]) {
    let found = AffineBlock::<8, 32>::search(values, (15, 63), raised_magnitudes);
    put_f16(block, q4_k::D, found.d);
    put_f16(block, q4_k::DMIN, found.dmin);
    block[q4_k::SCALES..q4_k::QS].copy_from_slice(&pack_scales_mins(&found.scales, &found.mins));
    put_low_nibbles(&mut block[q4_k::QS..], found.codes.as_flattened());
}

/// Writes the low four bits of 256 codes as Q4_K and Q5_K lay them out.
pub(super) fn put_low_nibbles(bytes: &mut [u8], codes: &[u8]) {
    for (bytes, pair) in bytes.chunks_exact_mut(32).zip(codes.chunks_exact(64)) {
        for (l, byte) in bytes.iter_mut().enumerate() {
            *byte = (pair[l] & 15) | (pair[32 + l] << 4);
        }
    }
}
