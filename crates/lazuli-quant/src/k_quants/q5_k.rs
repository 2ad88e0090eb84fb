//! Q5_K: 5-bit codes in groups of 32, 6-bit scales and minima.

use super::q4_k::put_low_nibbles;
use super::search::raised_magnitudes;
use super::settle::AffineBlock;
use crate::blocks::{f16_at, field, pack_scales_mins, put_f16, q5_k, unpack_scales_mins};

pub(crate) fn decode_q5_k(block: &[u8; q5_k::BYTES], out: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(block, q5_k::D), f16_at(block, q5_k::DMIN));
    let (scales, mins) = unpack_scales_mins(field(block, q5_k::SCALES));
    let high: &[u8; 32] = field(block, q5_k::QH);
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, min) = (d * f32::from(scales[group]), dmin * f32::from(mins[group]));
        let low = &block[q5_k::QS + 32 * (group / 2)..];
        for ((value, low), high) in out.iter_mut().zip(low).zip(high) {
            let code = ((low >> (4 * (group % 2))) & 15) | (((high >> group) & 1) << 4);
            *value = scale * f32::from(code) - min;
        }
    }
}

pub(crate) fn encode_q5_k(values: &[f32; 256], block: &mut [u8; q5_k::BYTES]) {
    let found = AffineBlock::<8, 32>::search(values, (31, 63), raised_magnitudes);
    put_f16(block, q5_k::D, found.d);
    put_f16(block, q5_k::DMIN, found.dmin);
    block[q5_k::SCALES..q5_k::QH].copy_from_slice(&pack_scales_mins(&found.scales, &found.mins));
    let codes = found.codes.as_flattened();
    put_low_nibbles(&mut block[q5_k::QS..], codes);
    for (l, byte) in block[q5_k::QH..q5_k::QS].iter_mut().enumerate() {
        *byte = (0..8).fold(0, |bits, group| bits | ((codes[32 * group + l] >> 4) << group));
    }
}
