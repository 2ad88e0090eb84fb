//! [`Format`]: the closed list of weight formats, and the geometry of each.

/// The float type of a planar format's scales (and biases).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScaleType {
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// Single precision.
    F32,
}

impl ScaleType {
    /// Bytes of one scale.
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }
}

/// How a quantised array packs its elements along the last axis.
///
/// *Block* formats (GGUF) have one plane: rows of fixed-size blocks that hold codes and scales together.
/// *Planar* formats have a plane of codes and one or two of scales, each with its own rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names are those of the GGUF document; the planar ones are described.
pub enum Format {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
    Iq2Xxs,
    Iq2Xs,
    Iq2S,
    Iq3Xxs,
    Iq3S,
    Iq1S,
    Iq1M,
    Tq1_0,
    Tq2_0,
    /// MXFP4 as GGUF stores it: 17-byte blocks, the shared exponent first.
    GgufMxfp4,
    /// NVFP4 as GGUF stores it: 36-byte blocks of four groups of 16, the four scales first.
    GgufNvfp4,
    /// MLX affine: `w = scale * code + bias` per group. Planes: codes (little-endian bit stream), scales, biases.
    Affine {
        bits: u8,
        group: u16,
        scale: ScaleType,
    },
    /// MXFP4 as MLX and GPT-OSS store it: groups of 32. Planes: codes (two per byte, low nibble first), e8m0 scales.
    Mxfp4,
    /// NVFP4: groups of 16. Planes: codes, e4m3 scales.
    Nvfp4,
    /// MXFP8 (e4m3): groups of 32. Planes: codes, e8m0 scales.
    Mxfp8,
    /// DeepSeek's block FP8: e4m3 codes, one f32 factor per `rows` x `cols` tile. Planes: codes, scales.
    Fp8Block {
        rows: u16,
        cols: u16,
    },
}

impl Format {
    /// Elements along a row that one block (or group) holds: a row's length must be a multiple of it.
    /// Tiled FP8 allows a ragged last tile and answers 1.
    pub fn block_len(self) -> usize {
        match self {
            Self::Q4_0
            | Self::Q4_1
            | Self::Q5_0
            | Self::Q5_1
            | Self::Q8_0
            | Self::Iq4Nl
            | Self::GgufMxfp4 => 32,
            Self::Q2K
            | Self::Q3K
            | Self::Q4K
            | Self::Q5K
            | Self::Q6K
            | Self::Iq4Xs
            | Self::Iq2Xxs
            | Self::Iq2Xs
            | Self::Iq2S
            | Self::Iq3Xxs
            | Self::Iq3S
            | Self::Iq1S
            | Self::Iq1M
            | Self::Tq1_0
            | Self::Tq2_0 => 256,
            Self::GgufNvfp4 => 64,
            Self::Affine { group, .. } => group as usize,
            Self::Mxfp4 | Self::Mxfp8 => 32,
            Self::Nvfp4 => 16,
            Self::Fp8Block { .. } => 1,
        }
    }

    /// Number of planes: 1 for block formats, 2 or 3 for planar ones.
    pub fn planes(self) -> usize {
        match self {
            Self::Affine { .. } => 3,
            Self::Mxfp4 | Self::Nvfp4 | Self::Mxfp8 | Self::Fp8Block { .. } => 2,
            _ => 1,
        }
    }

    /// Bytes of one block of a block format; `None` for planar formats.
    pub fn block_bytes(self) -> Option<usize> {
        Some(match self {
            Self::Q4_0 | Self::Iq4Nl => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
            Self::Iq4Xs => 136,
            Self::Iq2Xxs => 66,
            Self::Iq2Xs => 74,
            Self::Iq2S => 82,
            Self::Iq3Xxs => 98,
            Self::Iq3S => 110,
            Self::Iq1S => 50,
            Self::Iq1M => 56,
            Self::Tq1_0 => 54,
            Self::Tq2_0 => 66,
            Self::GgufMxfp4 => 17,
            Self::GgufNvfp4 => 36,
            Self::Affine { .. } | Self::Mxfp4 | Self::Nvfp4 | Self::Mxfp8 | Self::Fp8Block { .. } => {
                return None;
            }
        })
    }

    /// Whether the format's own parameters (bits, group, tile) name something that exists.
    pub(crate) fn parameters_exist(self) -> bool {
        match self {
            Self::Affine { bits, group, .. } => {
                matches!(bits, 2 | 3 | 4 | 5 | 6 | 8) && matches!(group, 32 | 64 | 128)
            }
            Self::Fp8Block { rows, cols } => rows > 0 && cols > 0,
            _ => true,
        }
    }

    /// Bytes that `plane` of a `[rows, cols]` array takes; `None` if `cols` does not divide into blocks,
    /// the size overflows, or the format's parameters do not exist.
    pub fn plane_bytes(self, plane: usize, rows: usize, cols: usize) -> Option<usize> {
        if !self.parameters_exist() || cols % self.block_len() != 0 {
            return None;
        }
        let groups = cols / self.block_len();
        let row_bytes = match (self, plane) {
            (Self::Affine { bits, .. }, 0) => cols.checked_mul(bits as usize)?.div_ceil(8),
            (Self::Affine { scale, .. }, 1 | 2) => groups.checked_mul(scale.bytes())?,
            (Self::Mxfp4 | Self::Nvfp4, 0) => cols / 2,
            (Self::Mxfp8 | Self::Fp8Block { .. }, 0) => cols,
            (Self::Mxfp4 | Self::Nvfp4 | Self::Mxfp8, 1) => groups,
            (Self::Fp8Block { rows: tile_rows, cols: tile_cols }, 1) => {
                let (across, down) = (cols.div_ceil(tile_cols as usize), rows.div_ceil(tile_rows as usize));
                return across.checked_mul(down)?.checked_mul(4);
            }
            (_, 0) => groups.checked_mul(self.block_bytes()?)?,
            _ => return None,
        };
        rows.checked_mul(row_bytes)
    }

    /// Bytes of all planes of a `[rows, cols]` array; `None` as for [`Format::plane_bytes`].
    pub fn bytes(self, rows: usize, cols: usize) -> Option<usize> {
        (0..self.planes())
            .try_fold(0usize, |sum, plane| sum.checked_add(self.plane_bytes(plane, rows, cols)?))
    }
}
