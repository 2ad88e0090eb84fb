//! Q2_K: 2-bit codes in groups of 16, 4-bit scales and minima.

use super::search::{AffineFit, affine_code, fit_affine, magnitude_weights};
use crate::blocks::{f16_at, field, put_f16, q2_k};

pub(crate) fn decode_q2_k(block: &[u8; q2_k::BYTES], out: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(block, q2_k::D), f16_at(block, q2_k::DMIN));
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let packed = block[q2_k::SCALES + group];
        let (scale, min) = (d * f32::from(packed & 15), dmin * f32::from(packed >> 4));
        let (at, shift) = place(16 * group);
        let codes: &[u8; 16] = field(block, q2_k::QS + at);
        for (value, byte) in out.iter_mut().zip(codes) {
            *value = scale * f32::from((byte >> shift) & 3) - min;
        }
    }
}

pub(crate) fn encode_q2_k(values: &[f32; 256], block: &mut [u8; q2_k::BYTES]) {
    let mut fits = [AffineFit::default(); 16];
    for (fit, group) in fits.iter_mut().zip(values.chunks_exact(16)) {
        let group: &[f32; 16] = group.try_into().expect("a chunk of 16");
        *fit = fit_affine(group, &magnitude_weights(group), 3);
    }
    let peak = |of: fn(&AffineFit) -> f32| fits.iter().map(of).fold(0f32, f32::max);
    block.fill(0);
    let d = put_f16(block, q2_k::D, peak(|fit| fit.scale) / 15.0);
    let dmin = put_f16(block, q2_k::DMIN, peak(|fit| fit.min) / 15.0);
    for (group, fit) in fits.into_iter().enumerate() {
        let nibble = |value: f32, unit: f32| affine_code(value, AffineFit { scale: unit, min: 0.0 }, 15);
        let (scale, min) = (nibble(fit.scale, d), nibble(fit.min, dmin));
        block[q2_k::SCALES + group] = scale | (min << 4);
        let stored = AffineFit { scale: d * f32::from(scale), min: dmin * f32::from(min) };
        let (at, shift) = place(16 * group);
        for (byte, &x) in block[q2_k::QS + at..].iter_mut().zip(&values[16 * group..][..16]) {
            *byte |= affine_code(x, stored, 3) << shift;
        }
    }
}

/// Byte and shift of element `e`'s two bits; the elements of a group of 16 stand in consecutive bytes.
pub(super) fn place(e: usize) -> (usize, usize) {
    let (half, rest) = (e / 128, e % 128);
    (32 * half + rest % 32, 2 * (rest / 32))
}
