//! Q6_K: 6-bit codes in groups of 16, signed 8-bit scales, no minimum.

use super::search::{fit_symmetric, symmetric_code};
use crate::blocks::{f16_at, field, put_f16, q6_k};
use crate::legacy::signed_extreme;

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
    let mut fits = [0f32; 16];
    for (fit, group) in fits.iter_mut().zip(values.chunks_exact(16)) {
        let group: &[f32; 16] = group.try_into().expect("a chunk of 16");
        *fit = fit_symmetric(group, 32);
    }
    block.fill(0);
    let d = put_f16(block, q6_k::D, signed_extreme(&fits) / -128.0);
    for (group, fit) in fits.into_iter().enumerate() {
        let stored = symmetric_code(fit, d, 128);
        block[q6_k::SCALES + group] = stored as u8;
        let scale = d * f32::from(stored);
        for (i, &x) in values[16 * group..][..16].iter().enumerate() {
            let code = (symmetric_code(x, scale, 32) + 32) as u8;
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
