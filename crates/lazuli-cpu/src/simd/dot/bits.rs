//! Tables by which a bit stream of codes becomes a byte each: 64 codes in four lanes of 16 bytes.
//!
//! Each lane holds the bytes of its 16 codes. For every second code a byte shuffle brings the two bytes it lies in
//! into a 16-bit word, and a multiplication by a power of two moves it to the word's upper byte.

/// The tables for codes `64 C ..` of a stream of `B`-bit codes.
pub(super) struct BitTables<const B: usize, const C: usize>;

impl<const B: usize, const C: usize> BitTables<B, C> {
    /// Where in the bytes of 256 codes the 16 bytes of each lane start: at the lane's first code, or as much before it
    /// as keeps them inside.
    pub const STARTS: [usize; 4] = {
        let mut starts = [0; 4];
        let mut lane = 0;
        while lane < 4 {
            let (first, last) = ((64 * C + 16 * lane) * B / 8, 32 * B - 16);
            starts[lane] = if first < last { first } else { last };
            lane += 1;
        }
        starts
    };
    /// The bytes of codes 0, 2, 4, ..
    pub const EVEN: [u8; 64] = Self::shuffle(0);
    /// The bytes of codes 1, 3, 5, ..
    pub const ODD: [u8; 64] = Self::shuffle(1);
    /// What brings codes 0, 2, 4, .. to the upper byte.
    pub const EVEN_FACTORS: [u16; 32] = Self::factors(0);
    /// What brings codes 1, 3, 5, .. there.
    pub const ODD_FACTORS: [u16; 32] = Self::factors(1);
    /// The bits of a code.
    pub const MASK: u8 = (1 << B) - 1;

    /// The bit of word `word`'s code in the 16 bytes of its lane.
    const fn bit(word: usize, odd: usize) -> usize {
        (64 * C + 2 * word + odd) * B - 8 * Self::STARTS[word / 8]
    }

    const fn shuffle(odd: usize) -> [u8; 64] {
        // A byte past the lane has no bit of the code: the shuffles make zero of an index with its top bit set.
        let mut table = [0x80; 64];
        let mut word = 0;
        while word < 32 {
            let byte = Self::bit(word, odd) / 8;
            table[2 * word] = byte as u8;
            if byte < 15 {
                table[2 * word + 1] = byte as u8 + 1;
            }
            word += 1;
        }
        table
    }

    const fn factors(odd: usize) -> [u16; 32] {
        let mut table = [0; 32];
        let mut word = 0;
        while word < 32 {
            table[word] = 1 << (8 - Self::bit(word, odd) % 8);
            word += 1;
        }
        table
    }
}
