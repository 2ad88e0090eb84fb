//! IQ4_NL, IQ4_XS: 4-bit codes that index sixteen unevenly spaced values.

use crate::blocks::{IQ4_VALUES, f16_at, field, iq4_nl, iq4_xs, put_f16};
use crate::legacy::{nibbles, put_nibbles, signed_extreme};

pub(crate) fn decode_iq4_nl(block: &[u8; iq4_nl::BYTES], out: &mut [f32; 32]) {
    put_values(out, f16_at(block, iq4_nl::D), field(block, iq4_nl::QS));
}

pub(crate) fn decode_iq4_xs(block: &[u8; iq4_xs::BYTES], out: &mut [f32; 256]) {
    let d = f16_at(block, iq4_xs::D);
    let high = u16::from_le_bytes(*field(block, iq4_xs::SCALES_H));
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let low = block[iq4_xs::SCALES_L + group / 2] >> (4 * (group % 2)) & 15;
        let scale = low | ((high >> (2 * group) & 3) as u8) << 4;
        put_values(out, d * f32::from(scale as i8 - 32), field(block, iq4_xs::QS + 16 * group));
    }
}

pub(crate) fn encode_iq4_nl(values: &[f32; 32], block: &mut [u8; iq4_nl::BYTES]) {
    let d = put_f16(block, iq4_nl::D, fit(values));
    put_nibbles(&mut block[iq4_nl::QS..], &values.map(|x| nearest(x, d)));
}

pub(crate) fn encode_iq4_xs(values: &[f32; 256], block: &mut [u8; iq4_xs::BYTES]) {
    let mut fits = [0f32; 8];
    for (fitted, group) in fits.iter_mut().zip(values.chunks_exact(32)) {
        *fitted = fit(group);
    }
    block.fill(0);
    let d = put_f16(block, iq4_xs::D, signed_extreme(&fits) / -32.0);
    let mut high = 0u16;
    for (group, fitted) in fits.into_iter().enumerate() {
        let steps = if d == 0.0 { 0.0 } else { (fitted / d).round_ties_even().clamp(-32.0, 31.0) };
        let stored = (steps as i8 + 32) as u8;
        block[iq4_xs::SCALES_L + group / 2] |= (stored & 15) << (4 * (group % 2));
        high |= u16::from(stored >> 4) << (2 * group);
        let mut codes = [0; 32];
        for (code, &x) in codes.iter_mut().zip(&values[32 * group..]) {
            *code = nearest(x, d * steps);
        }
        put_nibbles(&mut block[iq4_xs::QS + 16 * group..][..16], &codes);
    }
    block[iq4_xs::SCALES_H..iq4_xs::SCALES_L].copy_from_slice(&high.to_le_bytes());
}

/// The scale with the least squared error, each value weighted by its square, near the one that maps the value of
/// largest magnitude to the table's end.
fn fit(values: &[f32]) -> f32 {
    let extreme = signed_extreme(values);
    if extreme.abs() < 1e-30 {
        return 0.0;
    }
    let (mut best_scale, mut best_gain) = (0.0, 0.0);
    for step in -10i8..=10 {
        for end in [IQ4_VALUES[0], IQ4_VALUES[15]] {
            let trial = extreme / (f32::from(end) + f32::from(step));
            let (mut along, mut length) = (0f32, 0f32);
            for &x in values {
                let q = f32::from(IQ4_VALUES[usize::from(nearest(x, trial))]);
                // Relative to the extreme, so that no square overflows.
                let (x, weight) = (x / extreme, (x / extreme) * (x / extreme));
                along += weight * x * q;
                length += weight * q * q;
            }
            if along * along > best_gain * length {
                (best_scale, best_gain) = (extreme * along / length, along * along / length);
            }
        }
    }
    best_scale
}

/// Halfway between neighbours of the table.
const MIDDLES: [f32; 15] = {
    let mut middles = [0.0; 15];
    let mut i = 0;
    while i < middles.len() {
        middles[i] = 0.5 * (IQ4_VALUES[i] as f32 + IQ4_VALUES[i + 1] as f32);
        i += 1;
    }
    middles
};

/// The code whose value times `scale` comes nearest to `x`; for a scale of 0, that of the value nearest 0.
fn nearest(x: f32, scale: f32) -> u8 {
    let target = if scale == 0.0 { 0.0 } else { x / scale };
    // The code is the number of midpoints between neighbours that lie below.
    MIDDLES.iter().map(|&middle| u8::from(target >= middle)).sum()
}

fn put_values(out: &mut [f32], scale: f32, codes: &[u8; 16]) {
    for (value, code) in out.iter_mut().zip(nibbles(codes)) {
        *value = scale * f32::from(IQ4_VALUES[usize::from(code)]);
    }
}
