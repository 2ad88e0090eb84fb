//! Checkpoints in the words of the other kind of file: a Hugging Face folder as GGUF has it, and back.
//!
//! Names, settings and what must be done to the tensors; the tensors' bytes are moved by whoever writes the file.

mod to_folder;
mod to_gguf;

pub use to_folder::to_folder;
pub use to_gguf::to_gguf;

/// A checkpoint in the other world's words.
#[derive(Debug)]
pub struct Converted<H> {
    /// Settings.
    pub header: H,
    /// The source's tensors.
    pub tensors: Vec<Renamed>,
    /// Tensors that the source has as settings.
    pub computed: Vec<Computed>,
}

/// A tensor that is not in the source.
#[derive(Debug, Clone, PartialEq)]
pub struct Computed {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements.
    pub values: Vec<f32>,
}

/// A tensor under its name in the other kind of file.
#[derive(Debug, Clone, PartialEq)]
pub struct Renamed {
    /// Its name in the source.
    pub from: String,
    /// Its name in the target.
    pub name: String,
    /// The order of its rows in the target.
    pub rows: RowOrder,
    /// A number to add to each element.
    pub add: f32,
}

/// Where the rows of a target's tensor stand in the source's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// In the same places.
    Same,
    /// In each head of this many rows, the source has two halves that rotate together, the target neighbours.
    PairsFromHalves(usize),
    /// The other way round.
    HalvesFromPairs(usize),
}

impl RowOrder {
    /// The row of the source that row `row` of the target is.
    pub fn source(self, row: usize) -> usize {
        match self {
            Self::Same => row,
            Self::PairsFromHalves(head) => {
                let (first, place) = (row / head * head, row % head);
                first + place % 2 * (head / 2) + place / 2
            }
            Self::HalvesFromPairs(head) => {
                let (first, place) = (row / head * head, row % head);
                first + place % (head / 2) * 2 + place / (head / 2)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_orders_undo_each_other() {
        let pairs: Vec<usize> = (0..12).map(|row| RowOrder::PairsFromHalves(6).source(row)).collect();
        assert_eq!(pairs, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
        for row in 0..64 {
            let there = RowOrder::PairsFromHalves(16).source(row);
            assert_eq!(RowOrder::HalvesFromPairs(16).source(there), row);
        }
    }
}
