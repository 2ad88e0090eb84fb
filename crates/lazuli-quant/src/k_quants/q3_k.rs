//! Q3_K: 3-bit codes in groups of 16, signed 6-bit scales, no minimum.

use super::q2_k::place;
use super::search::{fit_symmetric, symmetric_code};
use crate::blocks::{f16_at, field, pack_q3_k_scales, put_f16, q3_k, unpack_q3_k_scales};
use crate::legacy::signed_extreme;

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
    let mut fits = [0f32; 16];
    for (fit, group) in fits.iter_mut().zip(values.chunks_exact(16)) {
        let group: &[f32; 16] = group.try_into().expect("a chunk of 16");
        *fit = fit_symmetric(group, 4);
    }
    block.fill(0);
    let d = put_f16(block, q3_k::D, signed_extreme(&fits) / -32.0);
    let scales = fits.map(|fit| symmetric_code(fit, d, 32));
    block[q3_k::SCALES..q3_k::D].copy_from_slice(&pack_q3_k_scales(&scales));
    for (e, &x) in values.iter().enumerate() {
        let code = (symmetric_code(x, d * f32::from(scales[e / 16]), 4) + 4) as u8;
        let (at, shift) = place(e);
        block[q3_k::QS + at] |= (code & 3) << shift;
        block[q3_k::HMASK + e % 32] |= (code >> 2) << (e / 32);
    }
}
