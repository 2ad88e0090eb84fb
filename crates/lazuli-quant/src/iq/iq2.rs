//! IQ2_XXS, IQ2_XS, IQ2_S: vectors of eight magnitudes out of {8, 25, 43}, and signs.

use super::grids::{IQ2_S, IQ2_XS, IQ2_XXS};
use super::{even_signs, put_signed};
use crate::blocks::{f16_at, field, iq2_s, iq2_xs, iq2_xxs};

pub(crate) fn decode_iq2_xxs(block: &[u8; iq2_xxs::BYTES], out: &mut [f32; 256]) {
    let d = f16_at(block, iq2_xxs::D);
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let at = iq2_xxs::QS + 8 * group;
        let indices: &[u8; 4] = field(block, at);
        let tail = u32::from_le_bytes(*field(block, at + 4));
        let scale = d * (0.5 + (tail >> 28) as f32) * 0.25;
        for (i, out) in out.chunks_exact_mut(8).enumerate() {
            let vector = IQ2_XXS[usize::from(indices[i])];
            put_signed(out, scale, magnitudes(vector), even_signs(tail >> (7 * i)));
        }
    }
}

pub(crate) fn decode_iq2_xs(block: &[u8; iq2_xs::BYTES], out: &mut [f32; 256]) {
    let d = f16_at(block, iq2_xs::D);
    for (i, out) in out.chunks_exact_mut(8).enumerate() {
        let code = u16::from_le_bytes(*field(block, iq2_xs::QS + 2 * i));
        let vector = IQ2_XS[usize::from(code & 511)];
        let scale = sixteenth_scale(d, block[iq2_xs::SCALES + i / 4], i);
        put_signed(out, scale, magnitudes(vector), even_signs(u32::from(code >> 9)));
    }
}

pub(crate) fn decode_iq2_s(block: &[u8; iq2_s::BYTES], out: &mut [f32; 256]) {
    let d = f16_at(block, iq2_s::D);
    for (i, out) in out.chunks_exact_mut(8).enumerate() {
        let high = block[iq2_s::QH + i / 4] >> (2 * (i % 4)) & 3;
        let index = usize::from(block[iq2_s::QS + i]) | usize::from(high) << 8;
        let scale = sixteenth_scale(d, block[iq2_s::SCALES + i / 4], i);
        put_signed(out, scale, magnitudes(IQ2_S[index]), block[iq2_s::SIGNS + i]);
    }
}

/// The scale of vector `i`: each byte of scales serves four vectors, a nibble for two.
fn sixteenth_scale(d: f32, packed: u8, i: usize) -> f32 {
    d * (0.5 + f32::from(packed >> (4 * (i / 2 % 2)) & 15)) * 0.25
}

fn magnitudes(vector: u16) -> impl Iterator<Item = u8> {
    (0..8).map(move |i| [8, 25, 43, 0][usize::from(vector >> (2 * i) & 3)])
}
