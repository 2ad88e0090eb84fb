//! The layout of each block format, one module each: `LEN` is elements, `BYTES` the block's size, the rest are the
//! byte offsets of its fields. Multi-byte fields are little-endian.

/// 4-bit codes, one scale: `w = d * (q - 8)`.
pub mod q4_0 {
    /// Elements of a block.
    pub const LEN: usize = 32;
    /// Bytes of a block.
    pub const BYTES: usize = 18;
    /// f16 scale.
    pub const D: usize = 0;
    /// 16 bytes: low nibbles are elements 0..16, high nibbles 16..32.
    pub const QS: usize = 2;
}

/// 4-bit codes, scale and minimum: `w = d * q + m`.
pub mod q4_1 {
    /// Elements of a block.
    pub const LEN: usize = 32;
    /// Bytes of a block.
    pub const BYTES: usize = 20;
    /// f16 scale.
    pub const D: usize = 0;
    /// f16 minimum.
    pub const M: usize = 2;
    /// 16 bytes: low nibbles are elements 0..16, high nibbles 16..32.
    pub const QS: usize = 4;
}

/// 5-bit codes, one scale: `w = d * (q - 16)`.
pub mod q5_0 {
    /// Elements of a block.
    pub const LEN: usize = 32;
    /// Bytes of a block.
    pub const BYTES: usize = 22;
    /// f16 scale.
    pub const D: usize = 0;
    /// u32: bit `i` is the fifth bit of element `i`.
    pub const QH: usize = 2;
    /// 16 bytes: low nibbles are elements 0..16, high nibbles 16..32.
    pub const QS: usize = 6;
}

/// 5-bit codes, scale and minimum: `w = d * q + m`.
pub mod q5_1 {
    /// Elements of a block.
    pub const LEN: usize = 32;
    /// Bytes of a block.
    pub const BYTES: usize = 24;
    /// f16 scale.
    pub const D: usize = 0;
    /// f16 minimum.
    pub const M: usize = 2;
    /// u32: bit `i` is the fifth bit of element `i`.
    pub const QH: usize = 4;
    /// 16 bytes: low nibbles are elements 0..16, high nibbles 16..32.
    pub const QS: usize = 8;
}

/// 8-bit codes: `w = d * q`, `q` signed.
pub mod q8_0 {
    /// Elements of a block.
    pub const LEN: usize = 32;
    /// Bytes of a block.
    pub const BYTES: usize = 34;
    /// f16 scale.
    pub const D: usize = 0;
    /// 32 signed bytes, in order.
    pub const QS: usize = 2;
}

/// 2-bit codes in groups of 16: `w = d * scale * q - dmin * min`.
pub mod q2_k {
    /// Elements of a block.
    pub const LEN: usize = 256;
    /// Bytes of a block.
    pub const BYTES: usize = 84;
    /// 16 bytes, one per group of 16 elements: scale in the low nibble, minimum in the high one.
    pub const SCALES: usize = 0;
    /// 64 bytes: byte `32 h + l` holds elements `128 h + 32 j + l` in bits `2 j ..`, `j` in 0..4.
    pub const QS: usize = 16;
    /// f16 scale of the scales.
    pub const D: usize = 80;
    /// f16 scale of the minima.
    pub const DMIN: usize = 82;
}

/// 3-bit codes in groups of 16: `w = d * scale * q`, `q` in -4..4.
pub mod q3_k {
    /// Elements of a block.
    pub const LEN: usize = 256;
    /// Bytes of a block.
    pub const BYTES: usize = 110;
    /// 32 bytes: bit `4 h + j` of byte `l` is clear where element `128 h + 32 j + l` has 4 subtracted.
    pub const HMASK: usize = 0;
    /// 64 bytes: the low two bits, laid out as in [`super::q2_k::QS`].
    pub const QS: usize = 32;
    /// 12 bytes: sixteen 6-bit scales, see [`crate::blocks::unpack_q3_k_scales`].
    pub const SCALES: usize = 96;
    /// f16 scale of the scales.
    pub const D: usize = 108;
}

/// 4-bit codes in groups of 32: `w = d * scale * q - dmin * min`.
pub mod q4_k {
    /// Elements of a block.
    pub const LEN: usize = 256;
    /// Bytes of a block.
    pub const BYTES: usize = 144;
    /// f16 scale of the scales.
    pub const D: usize = 0;
    /// f16 scale of the minima.
    pub const DMIN: usize = 2;
    /// 12 bytes: eight 6-bit scales and minima, see [`crate::blocks::unpack_scales_mins`].
    pub const SCALES: usize = 4;
    /// 128 bytes: byte `32 p + l` holds element `l` of group `2 p` low and of group `2 p + 1` high.
    pub const QS: usize = 16;
}

/// 5-bit codes in groups of 32: `w = d * scale * q - dmin * min`.
pub mod q5_k {
    /// Elements of a block.
    pub const LEN: usize = 256;
    /// Bytes of a block.
    pub const BYTES: usize = 176;
    /// f16 scale of the scales.
    pub const D: usize = 0;
    /// f16 scale of the minima.
    pub const DMIN: usize = 2;
    /// 12 bytes: eight 6-bit scales and minima, see [`crate::blocks::unpack_scales_mins`].
    pub const SCALES: usize = 4;
    /// 32 bytes: bit `g` of byte `l` is the fifth bit of element `l` of group `g`.
    pub const QH: usize = 16;
    /// 128 bytes: the low four bits, laid out as in [`super::q4_k::QS`].
    pub const QS: usize = 48;
}

/// 6-bit codes in groups of 16: `w = d * scale * (q - 32)`.
pub mod q6_k {
    /// Elements of a block.
    pub const LEN: usize = 256;
    /// Bytes of a block.
    pub const BYTES: usize = 210;
    /// 128 bytes: byte `64 h + 32 i + l` holds the low four bits of element `128 h + 32 i + l` in its low nibble
    /// and of `128 h + 32 i + l + 64` in its high one; `h`, `i` in 0..2.
    pub const QL: usize = 0;
    /// 64 bytes: bits `2 j ..` of byte `32 h + l` are the high two bits of element `128 h + 32 j + l`.
    pub const QH: usize = 128;
    /// 16 signed bytes: one scale per group of 16 elements.
    pub const SCALES: usize = 192;
    /// f16 scale of the scales.
    pub const D: usize = 208;
}

/// 4-bit codes into [`IQ4_VALUES`](super::IQ4_VALUES): `w = d * value`.
pub mod iq4_nl {
    /// Elements of a block.
    pub const LEN: usize = 32;
    /// Bytes of a block.
    pub const BYTES: usize = 18;
    /// f16 scale.
    pub const D: usize = 0;
    /// 16 bytes: low nibbles are elements 0..16, high nibbles 16..32.
    pub const QS: usize = 2;
}

/// 4-bit codes into [`IQ4_VALUES`](super::IQ4_VALUES) in groups of 32: `w = d * (scale - 32) * value`.
pub mod iq4_xs {
    /// Elements of a block.
    pub const LEN: usize = 256;
    /// Bytes of a block.
    pub const BYTES: usize = 136;
    /// f16 scale of the scales.
    pub const D: usize = 0;
    /// u16: bits `2 g ..` are the high two bits of group `g`'s scale.
    pub const SCALES_H: usize = 2;
    /// 4 bytes: nibble `g` is the low four bits of group `g`'s scale.
    pub const SCALES_L: usize = 4;
    /// 128 bytes: 16 per group, low nibbles elements 0..16, high nibbles 16..32.
    pub const QS: usize = 8;
}

/// Vectors of 8 with even signs: `w = d * (scale + 1/2) / 4 * ±magnitude`.
pub mod iq2_xxs {
    /// Elements of a block.
    pub const LEN: usize = 256;
    /// Bytes of a block.
    pub const BYTES: usize = 66;
    /// f16 scale.
    pub const D: usize = 0;
    /// 8 bytes per group of 32: four vector indices, then a u32 of four 7-bit signs and, on top, a 4-bit scale.
    pub const QS: usize = 2;
}

/// Vectors of 8 with even signs: `w = d * (scale + 1/2) / 4 * ±magnitude`.
pub mod iq2_xs {
    /// Elements of a block.
    pub const LEN: usize = 256;
    /// Bytes of a block.
    pub const BYTES: usize = 74;
    /// f16 scale.
    pub const D: usize = 0;
    /// 32 u16, one per vector: 9-bit index, 7-bit signs.
    pub const QS: usize = 2;
    /// 8 bytes: one 4-bit scale per 16 elements, low nibble first.
    pub const SCALES: usize = 66;
}

/// Vectors of 8: `w = d * (scale + 1/2) / 4 * ±magnitude`.
pub mod iq2_s {
    /// Elements of a block.
    pub const LEN: usize = 256;
    /// Bytes of a block.
    pub const BYTES: usize = 82;
    /// f16 scale.
    pub const D: usize = 0;
    /// 32 bytes: the low eight bits of each vector's index.
    pub const QS: usize = 2;
    /// 32 bytes: one sign bit per element.
    pub const SIGNS: usize = 34;
    /// 8 bytes: two high bits of each vector's index, four vectors a byte.
    pub const QH: usize = 66;
    /// 8 bytes: one 4-bit scale per 16 elements, low nibble first.
    pub const SCALES: usize = 74;
}

/// Vectors of 4 with even signs: `w = d * (scale + 1/2) / 2 * ±magnitude`.
pub mod iq3_xxs {
    /// Elements of a block.
    pub const LEN: usize = 256;
    /// Bytes of a block.
    pub const BYTES: usize = 98;
    /// f16 scale.
    pub const D: usize = 0;
    /// 64 bytes: one index per vector.
    pub const QS: usize = 2;
    /// A u32 per group of 32: four 7-bit signs, one per 8 elements, and, on top, a 4-bit scale.
    pub const SCALES: usize = 66;
}

/// Vectors of 4: `w = d * (2 * scale + 1) * ±magnitude`.
pub mod iq3_s {
    /// Elements of a block.
    pub const LEN: usize = 256;
    /// Bytes of a block.
    pub const BYTES: usize = 110;
    /// f16 scale.
    pub const D: usize = 0;
    /// 64 bytes: the low eight bits of each vector's index.
    pub const QS: usize = 2;
    /// 8 bytes: the ninth bit of each vector's index, eight vectors a byte.
    pub const QH: usize = 66;
    /// 32 bytes: one sign bit per element.
    pub const SIGNS: usize = 74;
    /// 4 bytes: one 4-bit scale per 32 elements, low nibble first.
    pub const SCALES: usize = 106;
}

/// Vectors of 8 in -1, 0, 1: `w = d * (2 * scale + 1) * (element ± 1/8)`.
pub mod iq1_s {
    /// Elements of a block.
    pub const LEN: usize = 256;
    /// Bytes of a block.
    pub const BYTES: usize = 50;
    /// f16 scale.
    pub const D: usize = 0;
    /// 32 bytes: the low eight bits of each vector's index.
    pub const QS: usize = 2;
    /// A u16 per 32 elements: four times the index's high three bits, a 3-bit scale, and on top the shift's sign.
    pub const QH: usize = 34;
}

/// Vectors of 8 in -1, 0, 1: `w = d * (2 * scale + 1) * (element ± 1/8)`.
pub mod iq1_m {
    /// Elements of a block.
    pub const LEN: usize = 256;
    /// Bytes of a block.
    pub const BYTES: usize = 56;
    /// 32 bytes: the low eight bits of each vector's index.
    pub const QS: usize = 0;
    /// 16 bytes, a nibble per vector: the index's high three bits, then the shift's sign.
    pub const QH: usize = 32;
    /// Four u16: four 3-bit scales each, one per 16 elements; their top nibbles together are the f16 scale `d`,
    /// lowest nibble first.
    pub const SCALES: usize = 48;
}

/// Base-3 digits: `w = d * (digit - 1)`.
pub mod tq1_0 {
    /// Elements of a block.
    pub const LEN: usize = 256;
    /// Bytes of a block.
    pub const BYTES: usize = 54;
    /// 48 bytes of five digits, first digit most significant: 32 bytes for elements 0..160 (byte `l`, digit `n` is
    /// element `32 n + l`), then 16 for 160..240.
    pub const QS: usize = 0;
    /// 4 bytes of four digits: elements 240..256.
    pub const QH: usize = 48;
    /// f16 scale.
    pub const D: usize = 52;
}

/// 2-bit codes: `w = d * (q - 1)`.
pub mod tq2_0 {
    /// Elements of a block.
    pub const LEN: usize = 256;
    /// Bytes of a block.
    pub const BYTES: usize = 66;
    /// 64 bytes, laid out as in [`super::q2_k::QS`].
    pub const QS: usize = 0;
    /// f16 scale.
    pub const D: usize = 64;
}

/// MXFP4 as GGUF stores it: e2m1 codes (see [`E2M1_DOUBLED`](super::E2M1_DOUBLED)) and a shared e8m0 exponent.
pub mod gguf_mxfp4 {
    /// Elements of a block.
    pub const LEN: usize = 32;
    /// Bytes of a block.
    pub const BYTES: usize = 17;
    /// e8m0 scale.
    pub const E: usize = 0;
    /// 16 bytes: low nibbles are elements 0..16, high nibbles 16..32.
    pub const QS: usize = 1;
}

/// NVFP4 as GGUF stores it: e2m1 codes (see [`E2M1_DOUBLED`](super::E2M1_DOUBLED)) in groups of 16, each with an
/// unsigned e4m3 scale.
pub mod gguf_nvfp4 {
    /// Elements of a block.
    pub const LEN: usize = 64;
    /// Bytes of a block.
    pub const BYTES: usize = 36;
    /// 4 unsigned e4m3 scales, one for each group; 0 and 127 both stand for 0, and the top bit of others counts nothing.
    pub const SCALES: usize = 0;
    /// 8 bytes for each group: low nibbles are its elements 0..8, high nibbles 8..16.
    pub const QS: usize = 4;
}
