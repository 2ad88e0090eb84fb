//! The I-quants: codes that index tables of vectors (IQ1, IQ2, IQ3) or of values (IQ4).
//!
//! Source: GGUF specification and ggml block definitions; the layouts are described in [`crate::blocks`]. Only
//! IQ4_NL and IQ4_XS are encoded: the others need a search over their grids with calibration data.

pub mod grids;
mod iq1;
mod iq2;
mod iq3;
mod iq4;

pub(crate) use iq1::{decode_iq1_m, decode_iq1_s};
pub(crate) use iq2::{decode_iq2_s, decode_iq2_xs, decode_iq2_xxs};
pub(crate) use iq3::{decode_iq3_s, decode_iq3_xxs};
pub(crate) use iq4::{decode_iq4_nl, decode_iq4_xs, encode_iq4_nl, encode_iq4_xs};

/// Eight sign bits from the seven that are stored: the eighth makes their number even.
fn even_signs(seven: u32) -> u8 {
    let seven = (seven & 127) as u8;
    seven | ((seven.count_ones() as u8 & 1) << 7)
}

/// Writes `scale * magnitude`, negated where the element's bit in `signs` is set. At most 8 elements.
fn put_signed(out: &mut [f32], scale: f32, magnitudes: impl Iterator<Item = u8>, signs: u8) {
    for (i, (value, magnitude)) in out.iter_mut().zip(magnitudes).enumerate() {
        let product = scale * f32::from(magnitude);
        *value = if signs >> i & 1 == 1 { -product } else { product };
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_eighth_sign_makes_the_count_even() {
        for seven in 0..128 {
            let signs = super::even_signs(seven);
            assert_eq!((signs & 127, signs.count_ones() % 2), (seven as u8, 0));
        }
    }
}
