//! IQ1_S, IQ1_M: vectors of eight values out of {-1, 0, 1}, shifted by an eighth up or down.

use super::grids::IQ1;
use crate::blocks::{f16_at, field, iq1_m, iq1_s};
use half::f16;

/// How far a group's values are shifted from -1, 0, 1.
const DELTA: f32 = 0.125;

pub(crate) fn decode_iq1_s(block: &[u8; iq1_s::BYTES], out: &mut [f32; 256]) {
    let d = f16_at(block, iq1_s::D);
    for (i, out) in out.chunks_exact_mut(8).enumerate() {
        let head = u16::from_le_bytes(*field(block, iq1_s::QH + 2 * (i / 4)));
        let scale = d * f32::from(2 * (head >> 12 & 7) + 1);
        let high = head >> (3 * (i % 4)) & 7;
        put_shifted(out, scale, block[iq1_s::QS + i], high as u8, head & 0x8000 != 0);
    }
}

pub(crate) fn decode_iq1_m(block: &[u8; iq1_m::BYTES], out: &mut [f32; 256]) {
    let words = [0, 2, 4, 6].map(|at| u16::from_le_bytes(*field(block, iq1_m::SCALES + at)));
    let d = words.iter().rev().fold(0, |bits, word| bits << 4 | word >> 12);
    let d = f16::from_bits(d).to_f32();
    for (i, out) in out.chunks_exact_mut(8).enumerate() {
        let code = words[i / 8] >> (3 * (i / 2 % 4)) & 7;
        let head = block[iq1_m::QH + i / 2] >> (4 * (i % 2));
        put_shifted(out, d * f32::from(2 * code + 1), block[iq1_m::QS + i], head & 7, head & 8 != 0);
    }
}

fn put_shifted(out: &mut [f32], scale: f32, low: u8, high: u8, down: bool) {
    let vector = IQ1[usize::from(low) | usize::from(high) << 8];
    let delta = if down { -DELTA } else { DELTA };
    for (i, value) in out.iter_mut().enumerate() {
        let element = (vector >> (2 * i) & 3) as f32 - 1.0;
        *value = scale * (element + delta);
    }
}
