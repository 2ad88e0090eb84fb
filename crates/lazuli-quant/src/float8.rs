//! The small floats: e4m3 and e2m1 elements, e8m0 scales.
//!
//! Source: OCP Microscaling Formats (MX) v1.0 and OCP 8-bit Floating Point (OFP8) v1.0: e4m3 has no infinities, one
//! NaN per sign, and 448 as its largest value; e2m1 reaches 6; e8m0 is a bare power of two, 255 its NaN.

/// The value of every e4m3 code.
pub static E4M3: [f32; 256] = {
    let mut values = [0.0; 256];
    let mut code = 0;
    while code < 256 {
        let (exponent, mantissa) = ((code >> 3) & 15, code & 7);
        let magnitude = match (exponent, mantissa) {
            (15, 7) => f32::NAN,
            (0, _) => mantissa as f32 / 512.0,
            _ => f32::from_bits((exponent as u32 + 120) << 23 | (mantissa as u32) << 20),
        };
        values[code] = if code >= 128 { -magnitude } else { magnitude };
        code += 1;
    }
    values
};

/// The value of every e2m1 code; code 8 is negative zero.
pub static E2M1: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// The value of an e4m3 code.
#[inline]
pub fn e4m3_to_f32(code: u8) -> f32 {
    E4M3[usize::from(code)]
}

/// The nearest e4m3 code, ties to even; beyond 448 it stays at 448, NaN stays NaN.
pub fn f32_to_e4m3(value: f32) -> u8 {
    let sign = if value.is_sign_negative() { 0x80 } else { 0 };
    let magnitude = value.abs();
    let code = if magnitude.is_nan() {
        0x7f
    } else if magnitude >= 448.0 {
        0x7e
    } else if magnitude < 1.0 / 64.0 {
        // Below the smallest normal the codes are multiples of 2^-9; 8 of them are that normal's code.
        (magnitude * 512.0).round_ties_even() as u8
    } else {
        let bits = magnitude.to_bits();
        let rounded = bits + 0x7_ffff + ((bits >> 20) & 1);
        ((rounded >> 20) - (120 << 3)) as u8
    };
    sign | code
}

/// The power of two that an e8m0 code stands for; 255 is NaN.
#[inline]
pub fn e8m0_to_f32(code: u8) -> f32 {
    match code {
        0 => f32::from_bits(1 << 22),
        255 => f32::NAN,
        _ => f32::from_bits(u32::from(code) << 23),
    }
}

/// The e8m0 code of the smallest power of two that is not below `value`, and of 1 for anything not above zero.
///
/// Rounding up keeps the largest element of a group inside the range of its element type.
pub fn f32_to_e8m0(value: f32) -> u8 {
    if value <= 0.0 || value.is_nan() {
        return 127;
    }
    let bits = value.min(f32::MAX).to_bits();
    let (exponent, mantissa) = (bits >> 23, bits & 0x7f_ffff);
    // A subnormal's own power of two is 2^-127, code 0, up to half the mantissa's range.
    let up = if exponent == 0 { mantissa > 1 << 22 } else { mantissa > 0 };
    (exponent + u32::from(up)).min(254) as u8
}

/// The value of an e2m1 code; only its low four bits count.
#[inline]
pub fn e2m1_to_f32(code: u8) -> f32 {
    E2M1[usize::from(code & 15)]
}

/// The nearest e2m1 code, ties to even; beyond 6 it stays at 6, and NaN, which e2m1 lacks, becomes 6.
pub fn f32_to_e2m1(value: f32) -> u8 {
    let magnitude = value.abs();
    let code = if magnitude <= 0.25 {
        0
    } else if magnitude < 0.75 {
        1
    } else if magnitude <= 1.25 {
        2
    } else if magnitude < 1.75 {
        3
    } else if magnitude <= 2.5 {
        4
    } else if magnitude < 3.5 {
        5
    } else if magnitude <= 5.0 {
        6
    } else {
        7
    };
    if value.is_sign_negative() { code | 8 } else { code }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nearest code by trying them all; of two as near, the even one.
    fn nearest(value: f32, codes: impl Iterator<Item = u8>, decode: fn(u8) -> f32) -> u8 {
        let key = |&code: &u8| ((decode(code) - value).abs(), code & 1);
        codes.min_by(|a, b| key(a).partial_cmp(&key(b)).expect("no NaN among the codes")).expect("some codes")
    }

    #[test]
    fn e4m3_codes_read_back_and_values_round_to_the_nearest() {
        for code in (0..=255u8).filter(|code| code & 0x7f != 0x7f) {
            assert_eq!(f32_to_e4m3(e4m3_to_f32(code)), code);
        }
        assert!(e4m3_to_f32(0x7f).is_nan() && e4m3_to_f32(0xff).is_nan());
        assert_eq!(f32_to_e4m3(f32::NAN) & 0x7f, 0x7f);
        assert_eq!(e4m3_to_f32(f32_to_e4m3(1e9)), 448.0);
        for step in 0..20_000 {
            let value = step as f32 * 0.001 * 2f32.powi(step % 5 - 4);
            assert_eq!(f32_to_e4m3(value), nearest(value, 0..0x7f, e4m3_to_f32), "{value}");
        }
    }

    #[test]
    fn e2m1_values_round_to_the_nearest() {
        for step in 0..4000 {
            let value = step as f32 * 0.002;
            assert_eq!(f32_to_e2m1(value), nearest(value, 0..8, e2m1_to_f32), "{value}");
            assert_eq!(f32_to_e2m1(-value), f32_to_e2m1(value) | 8);
        }
    }

    #[test]
    fn e8m0_rounds_up_to_a_power_of_two() {
        for code in 0..=254u8 {
            let power = e8m0_to_f32(code);
            assert_eq!(f32_to_e8m0(power), code);
            assert_eq!(f32_to_e8m0(power * 1.01), (code + 1).min(254));
        }
        assert!(e8m0_to_f32(255).is_nan());
        assert_eq!([f32_to_e8m0(0.0), f32_to_e8m0(f32::from_bits(1)), f32_to_e8m0(f32::MAX)], [127, 0, 254]);
    }
}
