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
    /// How many positions back a query sees, itself included; `None` for all.
    pub window: Option<usize>,
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
    /// Pages for all sequences together, in layers that see everything.
    pub pages: usize,
    /// The most tokens that one sequence may have.
    pub context: usize,
    /// The most tokens that one pass appends to a sequence: what layers with a window keep besides the window.
    pub chunk: usize,
}

/// Layers that share page tables, as they look back equally far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// How far; `None` for everything.
    pub window: Option<usize>,
    /// The most pages of one sequence.
    pub per_sequence: usize,
    /// Pages for all sequences together.
    pub pages: usize,
}

/// The most pages that a sequence of at most `context` tokens has in a layer that looks back `window` positions, if no
/// pass appends more than `chunk` tokens: those of the chunk and of what its first token sees, wherever they begin.
pub fn pages_kept(window: Option<usize>, context: usize, chunk: usize) -> usize {
    let whole = context.div_ceil(PAGE_SIZE);
    let Some(window) = window else { return whole };
    let span = window.max(1).saturating_add(chunk.max(1)) - 1;
    whole.min((span - 1).div_ceil(PAGE_SIZE) + 1)
}

impl KvSpec {
    /// A pool that holds `sequences` sequences of `context` tokens each, which grow by at most `chunk` tokens a pass.
    pub fn for_sequences(
        layers: Vec<LayerKv>,
        dtype: DType,
        sequences: usize,
        context: usize,
        chunk: usize,
    ) -> Self {
        Self { layers, dtype, pages: sequences * context.div_ceil(PAGE_SIZE), context, chunk }
    }

    /// The groups of layers, in the order in which layers name them. A window that holds the whole context is none.
    pub fn groups(&self) -> Vec<Group> {
        let mut windows = Vec::new();
        for window in self.layers.iter().map(|layer| self.window(layer)) {
            if !windows.contains(&window) {
                windows.push(window);
            }
        }
        windows.into_iter().map(|window| self.group(window)).collect()
    }

    /// Which of [`KvSpec::groups`] each layer is in.
    pub fn group_of_layers(&self) -> Vec<usize> {
        let groups = self.groups();
        let place = |layer| {
            let window = self.window(layer);
            groups.iter().position(|group| group.window == window).unwrap_or(0)
        };
        self.layers.iter().map(place).collect()
    }

    /// Bytes that one token takes in all layers together, as long as no window is full.
    pub fn bytes_per_token(&self) -> usize {
        let size = self.dtype.size().unwrap_or(0);
        self.layers.iter().map(|layer| layer.elements() * size).sum()
    }

    /// Bytes of keys and values that the next token after `tokens` others reads.
    pub fn read_bytes(&self, tokens: usize) -> usize {
        let size = self.dtype.size().unwrap_or(0);
        let seen = |layer: &LayerKv| layer.window.map_or(tokens, |window| window.min(tokens));
        self.layers.iter().map(|layer| layer.elements() * size * seen(layer)).sum()
    }

    /// Bytes of the whole pool.
    pub fn bytes(&self) -> usize {
        self.parts().iter().sum()
    }

    /// Elements of a page in all layers of a group together.
    fn page_elements(&self, group: &Group) -> usize {
        let layers = self.layers.iter().filter(|layer| self.window(layer) == group.window);
        layers.map(|layer| layer.elements() * PAGE_SIZE).sum()
    }

    /// Length of a row of the page table: fixed, so that a longer sequence has the same plan.
    pub fn pages_per_sequence(&self) -> usize {
        self.context.div_ceil(PAGE_SIZE)
    }

    /// Bytes of each part of the pool: one for each of [`KvSpec::groups`].
    pub(super) fn parts(&self) -> Vec<usize> {
        let size = self.dtype.size().unwrap_or(0);
        self.groups().iter().map(|group| group.pages * self.page_elements(group) * size).collect()
    }

    fn window(&self, layer: &LayerKv) -> Option<usize> {
        layer.window.filter(|window| *window < self.context)
    }

    fn group(&self, window: Option<usize>) -> Group {
        let per_sequence = pages_kept(window, self.context, self.chunk);
        // As many whole contexts as the pool holds, so many windows.
        let sequences = self.pages.div_ceil(self.pages_per_sequence().max(1));
        Group { window, per_sequence, pages: self.pages.min(sequences * per_sequence) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_takes_its_pages_wherever_it_begins() {
        assert_eq!(pages_kept(None, 1000, 512), 16);
        assert_eq!(pages_kept(Some(512), 8192, 512), 17);
        assert_eq!(pages_kept(Some(512), 100, 512), 2);
        assert_eq!(pages_kept(Some(1), 8192, 1), 1);
        for (window, chunk) in [(1, 1), (2, 1), (64, 1), (65, 1), (64, 64), (100, 30), (1, 66)] {
            let spans = (0..2 * PAGE_SIZE).map(|first| {
                let last = first + window - 1 + chunk - 1;
                last / PAGE_SIZE - first / PAGE_SIZE + 1
            });
            assert_eq!(Some(pages_kept(Some(window), 1 << 20, chunk)), spans.max(), "{window} {chunk}");
        }
    }

    #[test]
    fn layers_that_look_back_equally_far_share_tables() {
        let layer = |window| LayerKv { heads: 1, key_dim: 2, value_dim: 2, window };
        let layers = vec![layer(Some(100)), layer(None), layer(Some(100)), layer(Some(5000))];
        let spec = KvSpec::for_sequences(layers, DType::F16, 2, 4096, 64);
        assert_eq!(spec.group_of_layers(), [0, 1, 0, 1]);
        let pages: Vec<_> = spec.groups().iter().map(|g| (g.window, g.per_sequence, g.pages)).collect();
        assert_eq!(pages, [(Some(100), 4, 8), (None, 64, 128)]);
        assert_eq!(spec.bytes(), (2 * 8 + 2 * 128) * PAGE_SIZE * 4 * 2);
        assert_eq!(spec.read_bytes(1000), (2 * 100 + 2 * 1000) * 8);
    }
}
