//! The bytes of random weights: made piece by piece, the same for the same name on every machine.
//!
//! A tensor's first bytes, up to [`BLOCK`], are drawn; what follows are those again, each time from another place on, so that
//! writing goes at the speed of the disk.

use half::{bf16, f16};
use lazuli_quant::Format;

use super::blocks;

/// What a tensor is filled with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fill {
    /// bf16 numbers about `centre`.
    Floats { centre: f32, deviation: f32 },
    /// f16 numbers about zero.
    Halves { deviation: f32 },
    /// Blocks of one of GGUF's formats, so that decoded weights have `deviation` about zero.
    Blocks { format: Format, deviation: f32 },
    /// Any bits at all: packed codes, 4 bytes an element.
    Codes,
    /// The same, a byte an element.
    Bytes,
    /// bf16 scales or biases of affine groups, so that decoded weights have `deviation` about zero.
    Affine { bits: u8, deviation: f32, kind: Side },
    /// e8m0 scales, likewise for MXFP4.
    Exponents { deviation: f32 },
    /// e4m3 numbers below two.
    Float8,
    /// f32 factors, likewise for those.
    Factors { deviation: f32 },
}

/// Which plane of an affine weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Side {
    Scale,
    Bias,
}

/// The root mean square of e2m1's values.
const FP4: f32 = 2.9;
/// The same of e4m3 codes without their highest exponent bit.
const FP8: f32 = 0.55;

/// Bytes that are drawn, at most.
const BLOCK: usize = 1 << 16;

/// A tensor's bytes, from the first on.
pub struct Source {
    fill: Fill,
    state: u64,
    /// The scale of blocks.
    scale: f32,
    /// What was drawn, or nothing yet.
    block: Vec<u8>,
    /// Bytes that are left.
    left: u64,
}

impl Source {
    /// What makes `bytes` bytes.
    pub fn new(fill: Fill, seed: u64, bytes: u64) -> Self {
        // Planes of one weight must not repeat each other, but scales and biases must go together.
        let own = match fill {
            Fill::Codes | Fill::Bytes | Fill::Float8 => 1,
            _ => 2,
        };
        let state = (seed ^ own).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut source = Self { fill, state, scale: 1.0, block: Vec::new(), left: bytes };
        if let Fill::Blocks { format, deviation } = fill {
            source.scale = deviation / blocks::deviation(format, &mut || source.bits());
        }
        source
    }

    /// Bytes that are made together.
    fn unit(&self) -> usize {
        match self.fill {
            Fill::Blocks { format, .. } => format.block_bytes().unwrap_or(8),
            _ => 8,
        }
    }

    fn bits(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Replaces `piece` by the next bytes, at most [`BLOCK`]; `false` at the end.
    pub fn next_piece(&mut self, piece: &mut Vec<u8>) -> bool {
        piece.clear();
        let unit = self.unit();
        let wanted = self.left.min((BLOCK / unit * unit) as u64) as usize;
        self.left -= wanted as u64;
        let from = if self.block.is_empty() {
            let mut block = Vec::with_capacity(BLOCK);
            while block.len() < wanted {
                self.put(&mut block);
            }
            self.block = block;
            0
        } else {
            (self.bits() >> 32) as usize % (self.block.len() / unit) * unit
        };
        piece.extend(&self.block[from..][..wanted.min(self.block.len() - from)]);
        piece.extend(&self.block[..wanted - piece.len()]);
        wanted > 0
    }

    /// A unit.
    fn put(&mut self, piece: &mut Vec<u8>) {
        let bits = self.bits();
        let shorts = || [bits as u16, (bits >> 16) as u16, (bits >> 32) as u16, (bits >> 48) as u16];
        // Uniform in -1..1, with a deviation of the root of a third.
        let unit = |short: u16| f32::from(short as i16) / 32768.0;
        match self.fill {
            Fill::Blocks { format, .. } => blocks::put(format, self.scale, &mut || self.bits(), piece),
            Fill::Halves { deviation } => {
                let reach = deviation * 3f32.sqrt();
                for short in shorts() {
                    piece.extend(f16::from_f32(reach * unit(short)).to_le_bytes());
                }
            }
            Fill::Codes | Fill::Bytes => piece.extend(bits.to_le_bytes()),
            // Without the highest exponent bit there is no NaN, and no number dwarfs the others.
            Fill::Float8 => piece.extend((bits & 0xbfbf_bfbf_bfbf_bfbf).to_le_bytes()),
            Fill::Floats { centre, deviation } => {
                let reach = deviation * 3f32.sqrt();
                for short in shorts() {
                    piece.extend(bf16::from_f32(centre + reach * unit(short)).to_le_bytes());
                }
            }
            Fill::Affine { bits: width, deviation, kind } => {
                let top = ((1u32 << width) - 1) as f32;
                for short in shorts() {
                    // Codes are uniform in 0..=top; groups differ by a quarter.
                    let scale = deviation * 12f32.sqrt() / top * (1.0 + unit(short) / 4.0);
                    let number = if kind == Side::Scale { scale } else { -scale * top / 2.0 };
                    piece.extend(bf16::from_f32(number).to_le_bytes());
                }
            }
            Fill::Exponents { deviation } => {
                let exponent = (127.0 + (deviation / FP4).log2().round()).clamp(1.0, 253.0) as u8;
                // One in four groups is twice as large.
                piece.extend(bits.to_le_bytes().map(|byte| exponent + u8::from(byte < 64)));
            }
            Fill::Factors { deviation } => {
                let reach = |short: u16| deviation / FP8 * (1.0 + unit(short) / 4.0);
                piece.extend(reach(bits as u16).to_le_bytes());
                piece.extend(reach((bits >> 16) as u16).to_le_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lazuli_quant::ScaleType;

    fn all(fill: Fill, elements: u64) -> Vec<u8> {
        let bytes = match fill {
            Fill::Codes | Fill::Factors { .. } => 4 * elements,
            Fill::Floats { .. } | Fill::Halves { .. } | Fill::Affine { .. } => 2 * elements,
            Fill::Bytes | Fill::Exponents { .. } | Fill::Float8 => elements,
            Fill::Blocks { format, .. } => {
                elements / format.block_len() as u64 * format.block_bytes().unwrap() as u64
            }
        };
        let (mut source, mut out, mut piece) = (Source::new(fill, 5, bytes), Vec::new(), Vec::new());
        while source.next_piece(&mut piece) {
            out.extend(&piece);
        }
        out
    }

    fn deviation(values: &[f32]) -> f32 {
        assert!(values.iter().all(|x| x.is_finite()));
        (values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32).sqrt()
    }

    #[test]
    fn decoded_weights_have_the_deviation_that_was_asked_for() {
        let (rows, cols) = (40, 256);
        let decode = |format: Format, planes: &[Vec<u8>]| {
            let planes: Vec<&[u8]> = planes.iter().map(Vec::as_slice).collect();
            let mut values = vec![0.0; rows * cols];
            format.decode(&planes, rows, cols, &mut values).unwrap();
            deviation(&values)
        };
        let count = (rows * cols) as u64;
        for bits in [4, 8] {
            let side = |kind| all(Fill::Affine { bits, deviation: 0.02, kind }, count / 64);
            let codes = all(Fill::Codes, count * u64::from(bits) / 32);
            let format = Format::Affine { bits, group: 64, scale: ScaleType::Bf16 };
            let found = decode(format, &[codes, side(Side::Scale), side(Side::Bias)]);
            assert!((found / 0.02 - 1.0).abs() < 0.15, "{bits} bits: {found}");
        }
        let codes = all(Fill::Codes, count / 8);
        let found = decode(Format::Mxfp4, &[codes, all(Fill::Exponents { deviation: 0.02 }, count / 32)]);
        assert!((0.012..0.04).contains(&found), "mxfp4: {found}");
        let tiles = all(Fill::Factors { deviation: 0.02 }, 2);
        let found = decode(Format::Fp8Block { rows: 128, cols: 128 }, &[all(Fill::Float8, count), tiles]);
        assert!((0.012..0.03).contains(&found), "fp8: {found}");
        for &format in Format::ALL_BLOCK {
            let found = decode(format, &[all(Fill::Blocks { format, deviation: 0.02 }, count)]);
            // The scales of two formats are powers of two, or have three bits.
            assert!((0.012..0.04).contains(&found), "{format:?}: {found}");
        }
        let halves = all(Fill::Halves { deviation: 0.02 }, count);
        let halves: Vec<f32> = halves.chunks(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
        assert!((deviation(&halves) / 0.02 - 1.0).abs() < 0.05);
        let floats = all(Fill::Floats { centre: 0.0, deviation: 0.02 }, count);
        let floats: Vec<f32> = floats.chunks(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
        assert!((deviation(&floats) / 0.02 - 1.0).abs() < 0.05);
    }

    #[test]
    fn what_follows_the_first_block_is_no_copy_of_it() {
        let whole = all(Fill::Codes, 3 * BLOCK as u64 / 4 + 3);
        assert_eq!(whole.len(), 3 * BLOCK + 12);
        assert_ne!(whole[..BLOCK], whole[BLOCK..2 * BLOCK]);
        assert_ne!(whole[BLOCK..2 * BLOCK], whole[2 * BLOCK..3 * BLOCK]);
        assert_eq!(all(Fill::Float8, 13).len(), 13);
        // Pieces of blocks are whole blocks.
        let fill = Fill::Blocks { format: Format::Q6K, deviation: 0.02 };
        let whole = all(fill, 256 * 700);
        assert_eq!(whole.len(), 210 * 700);
        let scale = &whole[208..210];
        assert!(whole.chunks(210).all(|block| &block[208..] == scale));
    }

    #[test]
    fn scales_and_biases_go_together() {
        let side = |kind| {
            let bytes = all(Fill::Affine { bits: 4, deviation: 1.0, kind }, BLOCK as u64 + 5);
            bytes.chunks(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect::<Vec<_>>()
        };
        let pairs = side(Side::Scale).into_iter().zip(side(Side::Bias));
        assert!(pairs.into_iter().all(|(scale, bias)| (scale * 7.5 + bias).abs() < 0.1 * scale));
    }
}
