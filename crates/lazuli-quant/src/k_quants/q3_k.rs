//! Q3_K: 3-bit codes in groups of 16, signed 6-bit scales, no minimum.

use super::q2_k::place;
use super::search::magnitudes;
use super::settle::SymmetricBlock;
use crate::blocks::{f16_at, field, pack_q3_k_scales, put_f16, q3_k, unpack_q3_k_scales};

pub(crate) fn decode_q3_k(block: &[u8; q3_k::BYTES], out: &mut [f32; 256]) {
    let d = f16_at(block, q3_k::D);
    let scales = unpack_q3_k_scales(field(block, q3_k::SCALES));
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(scales[group]);
        let (at, shift) = place(16 * group);
        let low = &block[q3_k::QS + at..];
        let high = &block[q3_k::HMASK + at % 32..];
        for ((value, low), high) in out.iter_mut().zip(low).zip(high) {
            let code = ((low >> shift) & 3) | (((high >> (group / 2)) & 1) << 2);
            *value = scale * f32::from(code as i8 - 4);
        }
    }
}

pub(crate) fn encode_q3_k(values: &[f32; 256], block: &mut [u8; q3_k::BYTES]) {
    let found = SymmetricBlock::search(values, (4, 32), magnitudes);
    block.fill(0);
    put_f16(block, q3_k::D, found.d);
    block[q3_k::SCALES..q3_k::D].copy_from_slice(&pack_q3_k_scales(&found.scales));
    for (e, code) in found.codes.as_flattened().iter().enumerate() {
        let code = (code + 4) as u8;
        let (at, shift) = place(e);
        block[q3_k::QS + at] |= (code & 3) << shift;
        block[q3_k::HMASK + e % 32] |= (code >> 2) << (e / 32);
    }
}
