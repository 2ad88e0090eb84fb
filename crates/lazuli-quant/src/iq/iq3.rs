//! IQ3_XXS, IQ3_S: vectors of four magnitudes out of eight, and signs.

use super::grids::{IQ3_S, IQ3_XXS};
use super::{even_signs, put_signed};
use crate::blocks::{f16_at, field, iq3_s, iq3_xxs};

pub(crate) fn decode_iq3_xxs(block: &[u8; iq3_xxs::BYTES], out: &mut [f32; 256]) {
    let d = f16_at(block, iq3_xxs::D);
    for (i, out) in out.chunks_exact_mut(8).enumerate() {
        let tail = u32::from_le_bytes(*field(block, iq3_xxs::SCALES + 4 * (i / 4)));
        let scale = d * (0.5 + (tail >> 28) as f32) * 0.5;
        let pair = [0, 1].map(|k| IQ3_XXS[usize::from(block[iq3_xxs::QS + 2 * i + k])]);
        let magnitudes = indices(pair).map(|index| [4, 12, 20, 28, 36, 44, 52, 62][index]);
        put_signed(out, scale, magnitudes, even_signs(tail >> (7 * (i % 4))));
    }
}

pub(crate) fn decode_iq3_s(block: &[u8; iq3_s::BYTES], out: &mut [f32; 256]) {
    let d = f16_at(block, iq3_s::D);
    for (i, out) in out.chunks_exact_mut(8).enumerate() {
        let nibble = block[iq3_s::SCALES + i / 8] >> (4 * (i / 4 % 2)) & 15;
        let scale = d * f32::from(1 + 2 * nibble);
        let pair = [2 * i, 2 * i + 1].map(|k| {
            let high = block[iq3_s::QH + k / 8] >> (k % 8) & 1;
            IQ3_S[usize::from(block[iq3_s::QS + k]) | usize::from(high) << 8]
        });
        let magnitudes = indices(pair).map(|index| 2 * index as u8 + 1);
        put_signed(out, scale, magnitudes, block[iq3_s::SIGNS + i]);
    }
}

/// The eight 3-bit indices of two vectors.
fn indices(pair: [u16; 2]) -> impl Iterator<Item = usize> {
    (0..8).map(move |i| usize::from(pair[i / 4] >> (3 * (i % 4)) & 7))
}
