//! Many short texts by number, and a table that finds the number of a text.
//!
//! The texts stay where they are (a mapped file, or one arena), and the table is one flat array of numbers:
//! a vocabulary of a quarter million tokens is ready in milliseconds and costs four bytes a slot.

use std::hash::{BuildHasher, RandomState};

use crate::gguf::Strings;

/// Texts by number.
#[derive(Debug, Clone)]
pub(super) enum Texts {
    /// An array of a mapped GGUF file.
    Mapped(Strings),
    /// Texts one after another, and where each ends.
    Owned { bytes: Vec<u8>, ends: Vec<usize> },
}

impl Texts {
    pub(super) fn owned<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> Self {
        let mut all = Self::Owned { bytes: Vec::new(), ends: Vec::new() };
        texts.into_iter().for_each(|text| all.push(text.as_ref()));
        all
    }

    /// Appends a text to owned ones; those of a file are as many as they are.
    pub(super) fn push(&mut self, text: &[u8]) {
        if let Self::Owned { bytes, ends } = self {
            bytes.extend_from_slice(text);
            ends.push(bytes.len());
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Mapped(strings) => strings.len(),
            Self::Owned { ends, .. } => ends.len(),
        }
    }

    /// Text `index`; empty past the end.
    pub(super) fn get(&self, index: usize) -> &[u8] {
        match self {
            Self::Mapped(strings) => strings.get(index).unwrap_or_default(),
            Self::Owned { bytes, ends } => {
                let Some(&end) = ends.get(index) else { return &[] };
                let start = if index == 0 { 0 } else { ends[index - 1] };
                &bytes[start..end]
            }
        }
    }
}

/// Finds texts: open addressing with linear probing, at most half full.
#[derive(Debug)]
pub(super) struct Table {
    /// Number of a text plus one, or 0.
    slots: Vec<u32>,
    /// Secret, so that no file can be made to collide on purpose.
    seed: u64,
}

impl Table {
    /// How many slots a table of so many texts has, each four bytes.
    pub(super) fn slots(texts: usize) -> usize {
        (texts * 2).next_power_of_two().max(2)
    }

    pub(super) fn build(texts: &Texts) -> Self {
        let slots = vec![0u32; Self::slots(texts.len())];
        let mut table = Self { slots, seed: RandomState::new().hash_one(0u8) };
        let mask = table.slots.len() - 1;
        // Backwards, so that of equal texts the last is met first, as in a dictionary filled in order.
        for index in (0..texts.len()).rev() {
            let mut slot = hash(texts.get(index), table.seed) as usize & mask;
            while table.slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            table.slots[slot] = index as u32 + 1;
        }
        table
    }

    /// The number of `text`, the last one if it occurs more than once.
    pub(super) fn find(&self, texts: &Texts, text: &[u8]) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut slot = hash(text, self.seed) as usize & mask;
        loop {
            let index = self.slots[slot].checked_sub(1)?;
            if texts.get(index as usize) == text {
                return Some(index);
            }
            slot = (slot + 1) & mask;
        }
    }
}

/// A keyed hash for short strings: eight bytes at a time through a folded 128-bit product.
fn hash(bytes: &[u8], seed: u64) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let fold = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(MULTIPLIER ^ seed.rotate_left(32));
        (product as u64) ^ ((product >> 64) as u64)
    };
    let mut state = seed ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = chunk.iter().rev().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
        state = fold(state, word);
    }
    let tail = chunks.remainder().iter().rev().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
    fold(fold(state, tail), seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn finds_what_a_map_finds(words in prop::collection::vec(prop::collection::vec(0u8..4, 0..12), 0..200)) {
            let texts = Texts::owned(&words);
            let table = Table::build(&texts);
            let map: HashMap<_, _> = words.iter().cloned().zip(0u32..).collect();
            for word in &words {
                prop_assert_eq!(table.find(&texts, word), map.get(word).copied());
            }
            for absent in [&[9u8][..], &[0; 40]] {
                prop_assert_eq!(table.find(&texts, absent), None);
            }
        }
    }
}
