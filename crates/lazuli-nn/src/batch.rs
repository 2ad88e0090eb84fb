//! [`Batch`]: what one forward pass works on, as plain data, and [`BatchArrays`], the arrays made from it.
//!
//! A batch is a ragged list of runs: consecutive tokens of a sequence, be it a chunk of a prompt or one token
//! of an answer. Everything that changes as sequences grow is the content of the arrays; their shapes depend
//! only on how many tokens, sequences and rows there are.

use std::ops::Range;

use lazuli_core::Array;

use crate::{KvSpec, SequencePages};

/// From so many tokens on a run is long: layers may do more for the whole run than a single token would pay for, as
/// latent attention does (measured in `docs/perf-log.md`).
pub const LONG_RUN: usize = 128;

/// Which tokens of a run need logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logits {
    /// None: the run only fills the pool.
    None,
    /// The last one.
    Last,
    /// All of them.
    All,
}

/// The runs of one forward pass.
#[derive(Debug, Clone)]
pub struct Batch {
    tokens: Vec<i32>,
    positions: Vec<i32>,
    sequence: Vec<i32>,
    /// For each group of the pool's layers.
    places: Vec<Lists>,
    pages_per_sequence: usize,
    context: usize,
    sequences: usize,
    long: usize,
    rows: Vec<i32>,
}

/// Slots and page tables of one group of layers.
#[derive(Debug, Clone, Default)]
struct Lists {
    slots: Vec<i32>,
    page_table: Vec<i32>,
}

impl Batch {
    /// An empty batch for a pool of this kind.
    pub fn new(pool: &KvSpec) -> Self {
        Self {
            tokens: Vec::new(),
            positions: Vec::new(),
            sequence: Vec::new(),
            places: vec![Lists::default(); pool.groups().len()],
            pages_per_sequence: pool.pages_per_sequence(),
            context: pool.context,
            sequences: 0,
            long: 0,
            rows: Vec::new(),
        }
    }

    /// Adds a run: `ids` stand at the positions from `first` on of a sequence that has been grown to hold them.
    /// Returns which rows of the logits are theirs. A sequence may have one run in a batch. Long runs (see
    /// [`LONG_RUN`]) count as such if they are added before all others.
    ///
    /// # Panics
    /// If the sequence does not reach the run's end.
    pub fn push(&mut self, pages: &SequencePages, first: usize, ids: &[u32], logits: Logits) -> Range<usize> {
        let start = self.tokens.len() as i32;
        let positions = first..first + ids.len();
        self.sequences += 1;
        for (group, place) in self.places.iter_mut().enumerate() {
            place.slots.extend(pages.slots(group, positions.clone()));
            place.page_table.extend(pages.table(group));
            place.page_table.resize(self.sequences * self.pages_per_sequence, -1);
        }
        self.tokens.extend(ids.iter().map(|&id| id as i32));
        self.positions.extend(positions.map(|p| p as i32));
        self.sequence.resize(self.tokens.len(), self.sequences as i32 - 1);
        if self.long == start as usize && ids.len() >= LONG_RUN {
            self.long = self.tokens.len();
        }
        let end = self.tokens.len() as i32;
        let first_row = self.rows.len();
        match logits {
            Logits::None => {}
            Logits::Last => self.rows.extend((start..end).last()),
            Logits::All => self.rows.extend(start..end),
        }
        first_row..self.rows.len()
    }

    /// Tokens in all runs.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Rows of logits that the runs ask for.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The batch as arrays.
    pub fn arrays(&self) -> BatchArrays {
        self.assemble(self.leaves())
    }

    /// The arrays alone, in the order that [`Batch::assemble`] takes.
    pub(crate) fn leaves(&self) -> Vec<Array> {
        let list = |values: &[i32]| Array::from_slice(values, [values.len()]);
        let table = [self.sequences, self.pages_per_sequence];
        let mut leaves =
            vec![list(&self.tokens), list(&self.positions), list(&self.sequence), list(&self.rows)];
        for place in &self.places {
            leaves.extend([list(&place.slots), Array::from_slice(&place.page_table, table)]);
        }
        leaves
    }

    /// Such arrays, of this batch or of one with the same [`Batch::structure`] and shapes, under their names.
    pub(crate) fn assemble(&self, leaves: Vec<Array>) -> BatchArrays {
        let mut leaves = leaves.into_iter();
        let mut next = || leaves.next().expect("a batch has as many arrays as it has leaves");
        let [tokens, positions, sequence, rows] = [next(), next(), next(), next()];
        let rows = match self.rows.len() {
            0 => Rows::None,
            // Rows are distinct and in order, so as many as there are tokens are all of them.
            n if n == self.tokens.len() => Rows::All,
            _ => Rows::These(rows),
        };
        let places = self.places.iter().map(|_| Place { slots: next(), page_table: next() }).collect();
        BatchArrays { tokens, positions, sequence, places, context: self.context, long: self.long, rows }
    }

    /// What of a batch layers may build graphs by, beside the shapes of its arrays.
    pub(crate) fn structure(&self) -> [usize; 2] {
        [self.context, self.long]
    }
}

/// A [`Batch`] as i32 arrays: the leaves of a forward pass.
#[derive(Debug, Clone)]
pub struct BatchArrays {
    /// Token ids `[tokens]`.
    pub tokens: Array,
    /// The place of each token in its sequence, `[tokens]`.
    pub positions: Array,
    /// The row of the page table that each token belongs to, `[tokens]`.
    pub sequence: Array,
    /// For each group of the pool's layers, where its keys and values lie.
    pub places: Vec<Place>,
    /// The most tokens that a sequence of the pool may have.
    pub context: usize,
    /// How many of the tokens, from the first on, belong to long runs: a part of the shapes, as the number of tokens is.
    pub long: usize,
    rows: Rows,
}

/// Where the layers of one group (see [`KvSpec::groups`]) keep what they know of the batch's sequences.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where each token is kept, `[tokens]`: `page * PAGE_SIZE + row`.
    pub slots: Array,
    /// The pages of each sequence, `[sequences, pages_per_sequence]`; -1 for none.
    pub page_table: Array,
}

#[derive(Debug, Clone)]
enum Rows {
    None,
    All,
    These(Array),
}

impl BatchArrays {
    /// The rows of `x` (`[tokens, ..]`) that need logits; `None` if no row does.
    pub fn wanted_rows(&self, x: &Array) -> Option<Array> {
        match &self.rows {
            Rows::None => None,
            Rows::All => Some(x.clone()),
            Rows::These(rows) => Some(x.gather(rows)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KvPool, LayerKv};
    use lazuli_core::{Buffer, DType, Runtime};

    #[test]
    fn runs_become_flat_lists() {
        let layers = vec![LayerKv { heads: 1, key_dim: 1, value_dim: 1, window: None }];
        let pool =
            KvPool::new(KvSpec::for_sequences(layers, DType::F16, 2, 190, 64), Buffer::zeroed).unwrap();
        let (mut a, mut b) = (pool.sequence(), pool.sequence());
        a.grow(64).unwrap();
        b.grow(2).unwrap();
        a.grow(1).unwrap();
        let mut batch = Batch::new(pool.spec());
        assert_eq!(batch.push(&b, 0, &[7, 8], Logits::Last), 0..1);
        assert_eq!(batch.push(&a, 64, &[9], Logits::All), 1..2);
        assert_eq!((batch.len(), batch.rows()), (3, 2));
        let arrays = batch.arrays();
        let ints = |a: &Array| a.as_slice::<i32>().unwrap().to_vec();
        assert_eq!(ints(&arrays.tokens), [7, 8, 9]);
        assert_eq!(ints(&arrays.positions), [0, 1, 64]);
        assert_eq!(ints(&arrays.sequence), [0, 0, 1]);
        assert_eq!(ints(&arrays.places[0].slots), [64, 65, 128]);
        assert_eq!(arrays.places[0].page_table.shape()[..], [2, 3]);
        assert_eq!(ints(&arrays.places[0].page_table), [1, -1, -1, 0, 2, -1]);
        let rows = arrays.wanted_rows(&Array::from_slice(&[0.5f32, 1.5, 2.5], [3, 1])).unwrap();
        Runtime::reference().eval(&[&rows]).unwrap();
        assert_eq!(rows.as_slice::<f32>().unwrap(), [1.5, 2.5]);
    }

    #[test]
    fn long_runs_count_while_they_lead() {
        let layers = vec![LayerKv { heads: 1, key_dim: 1, value_dim: 1, window: None }];
        let pool =
            KvPool::new(KvSpec::for_sequences(layers, DType::F16, 4, 256, 64), Buffer::zeroed).unwrap();
        let mut batch = Batch::new(pool.spec());
        let mut long = Vec::new();
        for len in [LONG_RUN, LONG_RUN + 9, LONG_RUN - 1, LONG_RUN] {
            let mut pages = pool.sequence();
            pages.grow(len).unwrap();
            batch.push(&pages, 0, &vec![0; len], Logits::None);
            long.push(batch.arrays().long);
        }
        assert_eq!(long, [LONG_RUN, 2 * LONG_RUN + 9, 2 * LONG_RUN + 9, 2 * LONG_RUN + 9]);
    }

    #[test]
    fn no_rows_and_all_rows_need_no_gather() {
        let layers = vec![LayerKv { heads: 1, key_dim: 1, value_dim: 1, window: None }];
        let pool = KvPool::new(KvSpec::for_sequences(layers, DType::F16, 1, 64, 64), Buffer::zeroed).unwrap();
        let mut a = pool.sequence();
        a.grow(2).unwrap();
        let x = Array::from_slice(&[1.0f32, 2.0], [2, 1]);
        let rows = |logits| {
            let mut batch = Batch::new(pool.spec());
            batch.push(&a, 0, &[1, 2], logits);
            batch.arrays().wanted_rows(&x)
        };
        assert!(rows(Logits::None).is_none());
        assert!(rows(Logits::All).unwrap().is_evaluated());
    }
}
