//! [`Packing`]: formats that kernels decode at much the same cost, so that a calibration measures one of each.

use lazuli_quant::Format;

/// A kind of format of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Floats.
    Plain,
    /// Blocks of eight bits.
    Eight,
    /// Small blocks of four or five bits.
    Four,
    /// Blocks of 256 with scales within scales, and codebooks.
    K,
    /// The same in six bits.
    K6,
    /// Codes with a scale and a bias for each group.
    Affine,
}

/// A number for each [`Packing`], in the order of [`Packing::ALL`].
pub type ByPacking = [f64; Packing::ALL.len()];

impl Packing {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Plain, Self::Eight, Self::Four, Self::K, Self::K6, Self::Affine];

    /// That of a format; `None` for floats.
    pub fn of(format: Option<Format>) -> Self {
        match format {
            None => Self::Plain,
            Some(Format::Q8_0 | Format::Mxfp8 | Format::Fp8Block { .. }) => Self::Eight,
            Some(Format::Affine { .. }) => Self::Affine,
            Some(Format::Q6K) => Self::K6,
            Some(format) if format.block_len() == 256 => Self::K,
            Some(_) => Self::Four,
        }
    }

    /// Its place in [`Packing::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_list() {
        for (index, packing) in Packing::ALL.into_iter().enumerate() {
            assert_eq!(packing.index(), index);
        }
        let of = |name: &str| Packing::of(name.parse().ok());
        assert_eq!(
            [of("q4_0"), of("q4_k"), of("q6_k"), of("q8_0")],
            [Packing::Four, Packing::K, Packing::K6, Packing::Eight]
        );
        assert_eq!((of("affine4g64"), Packing::of(None)), (Packing::Affine, Packing::Plain));
    }
}
