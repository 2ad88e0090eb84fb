//! Where everything stands inside a block: offsets in bytes, and the unpacking of packed scales.
//!
//! This is the contract between this crate's decoders and the kernels that read the same bytes with SIMD. Each
//! module is one block format. Source: the GGUF specification and the ggml block definitions it names.

mod layout;

use half::f16;

pub use layout::*;

/// The values of IQ4 codes, ascending.
pub const IQ4_VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Twice the value of each e2m1 code (OCP MX v1.0), so that all are whole numbers.
pub const E2M1_DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The eight 6-bit scales and eight 6-bit minima that Q4_K and Q5_K pack into 12 bytes.
///
/// Byte `i` (0..4) has scale `i` in its low six bits and byte `4 + i` minimum `i`; byte `8 + i` has the low
/// nibbles of scale and minimum `4 + i`, whose high two bits top bytes `i` and `4 + i`.
#[inline]
pub fn unpack_scales_mins(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut mins) = ([0; 8], [0; 8]);
    for i in 0..4 {
        scales[i] = packed[i] & 63;
        mins[i] = packed[4 + i] & 63;
        scales[4 + i] = (packed[8 + i] & 15) | ((packed[i] >> 6) << 4);
        mins[4 + i] = (packed[8 + i] >> 4) | ((packed[4 + i] >> 6) << 4);
    }
    (scales, mins)
}

/// The inverse of [`unpack_scales_mins`]; bits above the sixth are dropped.
#[inline]
pub fn pack_scales_mins(scales: &[u8; 8], mins: &[u8; 8]) -> [u8; 12] {
    let mut packed = [0; 12];
    for i in 0..4 {
        packed[i] = (scales[i] & 63) | ((scales[4 + i] & 0x30) << 2);
        packed[4 + i] = (mins[i] & 63) | ((mins[4 + i] & 0x30) << 2);
        packed[8 + i] = (scales[4 + i] & 15) | (mins[4 + i] << 4);
    }
    packed
}

/// The sixteen 6-bit scales of a Q3_K block, made signed by subtracting 32.
///
/// Bytes 0..8 have the low nibbles of scales `i` and `8 + i`; bits `2 j ..` of byte `8 + i` the high two bits of
/// scale `4 j + i`.
#[inline]
pub fn unpack_q3_k_scales(packed: &[u8; 12]) -> [i8; 16] {
    std::array::from_fn(|i| {
        let low = (packed[i % 8] >> (4 * (i / 8))) & 15;
        let high = (packed[8 + i % 4] >> (2 * (i / 4))) & 3;
        (low | (high << 4)) as i8 - 32
    })
}

/// The inverse of [`unpack_q3_k_scales`]; scales must be in -32..32.
#[inline]
pub fn pack_q3_k_scales(scales: &[i8; 16]) -> [u8; 12] {
    let mut packed = [0; 12];
    for (i, &scale) in scales.iter().enumerate() {
        let code = scale.wrapping_add(32) as u8 & 63;
        packed[i % 8] |= (code & 15) << (4 * (i / 8));
        packed[8 + i % 4] |= (code >> 4) << (2 * (i / 4));
    }
    packed
}

/// The f16 at byte offset `at` of a block, as f32.
///
/// # Panics
/// If the block ends before `at + 2`: offsets are constants of this module, so that is a bug.
#[inline]
pub fn f16_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Writes `value` as f16 at byte offset `at`, at most the largest finite f16 in magnitude, and returns what was stored.
#[inline]
pub(crate) fn put_f16(block: &mut [u8], at: usize, value: f32) -> f32 {
    let limit = f16::MAX.to_f32();
    let stored = f16::from_f32(value.clamp(-limit, limit));
    block[at..at + 2].copy_from_slice(&stored.to_le_bytes());
    stored.to_f32()
}

/// The `N` bytes of a block from `at` on, as an array.
#[inline]
pub(crate) fn field<const N: usize>(block: &[u8], at: usize) -> &[u8; N] {
    block[at..at + N].try_into().expect("a slice of N bytes is an array of N bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_scales_read_back_at_every_place() {
        for i in 0..8 {
            for value in [1, 15, 16, 48, 63] {
                let (mut scales, mut mins) = ([0; 8], [0; 8]);
                scales[i] = value;
                mins[7 - i] = 63 - value;
                assert_eq!(unpack_scales_mins(&pack_scales_mins(&scales, &mins)), (scales, mins));
            }
        }
        for i in 0..16 {
            for value in [-32, -1, 0, 5, 31] {
                let mut scales = [3; 16];
                scales[i] = value;
                assert_eq!(unpack_q3_k_scales(&pack_q3_k_scales(&scales)), scales);
            }
        }
    }

    #[test]
    fn scales_stand_where_the_format_document_draws_them() {
        // Scale 5 = 0b11_0010: low nibble in byte 9's low half, high bits on top of byte 1.
        let mut packed = [0; 12];
        (packed[9], packed[1]) = (0x72, 0b1100_0111);
        let (scales, mins) = unpack_scales_mins(&packed);
        assert_eq!((scales[5], scales[1], mins[5]), (0b11_0010, 7, 7));
    }

    #[test]
    fn stored_scales_stay_finite() {
        let mut block = [0; 2];
        assert_eq!(put_f16(&mut block, 0, 1e9), 65504.0);
        assert_eq!(f16_at(&block, 0), 65504.0);
    }
}
