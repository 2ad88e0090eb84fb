//! [`KvSpec`]: the exact size of a pool, by arithmetic alone.

use lazuli_core::DType;

use super::PAGE_SIZE;

/// What one layer keeps of each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LayerKv {
    /// Heads of keys and values.
    pub heads: usize,
    /// Length of a head's key.
    pub key_dim: usize,
    /// Length of a head's value; 0 where values are a part of the keys.
    pub value_dim: usize,
}

impl LayerKv {
    /// Elements of one token's keys and values.
    pub fn elements(&self) -> usize {
        self.heads * (self.key_dim + self.value_dim)
    }
}

/// A pool: what is kept, of how many tokens. What it says is what [`super::KvPool`] allocates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvSpec {
    /// Each layer of the model.
    pub layers: Vec<LayerKv>,
    /// Type of the stored elements: a float type.
    pub dtype: DType,
    /// Pages for all sequences together.
    pub pages: usize,
    /// The most tokens that one sequence may have.
    pub context: usize,
}

impl KvSpec {
    /// A pool that holds `sequences` sequences of `context` tokens each.
    pub fn for_sequences(layers: Vec<LayerKv>, dtype: DType, sequences: usize, context: usize) -> Self {
        Self { layers, dtype, pages: sequences * context.div_ceil(PAGE_SIZE), context }
    }

    /// Bytes that one token takes in all layers together.
    pub fn bytes_per_token(&self) -> usize {
        let size = self.dtype.size().unwrap_or(0);
        self.layers.iter().map(|layer| layer.elements() * size).sum()
    }

    /// Bytes of the whole pool.
    pub fn bytes(&self) -> usize {
        self.pages * PAGE_SIZE * self.bytes_per_token()
    }

    /// Length of a row of the page table: fixed, so that a longer sequence has the same plan.
    pub fn pages_per_sequence(&self) -> usize {
        self.context.div_ceil(PAGE_SIZE)
    }

    /// Bytes of each part of the pool: keys and values of each layer, in order.
    pub(super) fn parts(&self) -> Vec<usize> {
        let size = self.dtype.size().unwrap_or(0);
        let bytes = |heads: usize, dim: usize| self.pages * heads * PAGE_SIZE * dim * size;
        self.layers.iter().flat_map(|l| [bytes(l.heads, l.key_dim), bytes(l.heads, l.value_dim)]).collect()
    }
}
