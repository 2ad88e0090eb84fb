//! Q6_K: 6-bit codes in groups of 16, signed 8-bit scales, no minimum.

use super::search::magnitudes;
use super::settle::SymmetricBlock;
use crate::blocks::{f16_at, field, put_f16, q6_k};

pub(crate) fn decode_q6_k(block: &[u8; q6_k::BYTES], out: &mut [f32; 256]) {
    let d = f16_at(block, q6_k::D);
    let low: &[u8; 128] = field(block, q6_k::QL);
    let high: &[u8; 64] = field(block, q6_k::QH);
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(block[q6_k::SCALES + group] as i8);
        for (i, value) in out.iter_mut().enumerate() {
            let (low_at, low_shift, high_at, high_shift) = places(16 * group + i);
            let code = ((low[low_at] >> low_shift) & 15) | (((high[high_at] >> high_shift) & 3) << 4);
            *value = scale * f32::from(code as i8 - 32);
        }
    }
}

pub(crate) fn encode_q6_k(values: &[f32; 256], block: &mut [u8; q6_k::BYTES]) {
    let found = SymmetricBlock::search(values, (32, 128), magnitudes);
    block.fill(0);
    put_f16(block, q6_k::D, found.d);
    for (group, codes) in found.codes.iter().enumerate() {
        block[q6_k::SCALES + group] = found.scales[group] as u8;
        for (i, code) in codes.iter().enumerate() {
            let code = (code + 32) as u8;
            let (low_at, low_shift, high_at, high_shift) = places(16 * group + i);
            block[q6_k::QL + low_at] |= (code & 15) << low_shift;
            block[q6_k::QH + high_at] |= (code >> 4) << high_shift;
        }
    }
}

/// Byte and shift of element `e`'s low four bits in `QL`, and of its high two in `QH`.
fn places(e: usize) -> (usize, usize, usize, usize) {
    let (half, rest) = (e / 128, e % 128);
    (64 * half + rest % 64, 4 * (rest / 64), 32 * half + rest % 32, 2 * (rest / 32))
}
