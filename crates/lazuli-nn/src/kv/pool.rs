//! [`KvPool`]: the memory of all keys and values, as one pair of arrays per layer.

use lazuli_core::{Array, Buffer, Shape};

use super::pages::FreePages;
use super::{KvSpec, LayerKv, PAGE_SIZE, SequencePages};
use crate::{Error, Result};

/// The keys and values of all sequences of one model: for each layer two arrays
/// `[pages, heads, PAGE_SIZE, dim]`. Layers that look back equally far have equally many pages and one page table,
/// see [`KvSpec::groups`].
///
/// A page of all layers of a group lies together in memory, and the lowest free pages are taken first. So what is in
/// use lies together too, in huge pages of the system where it has them, and nothing beyond it is touched: a pool that
/// could hold a long context costs no more than the short one in it.
///
/// A forward pass replaces the arrays by written ones and keeps no handle to the old ones, so that evaluation
/// writes in place. Whoever runs the pass must evaluate [`KvPool::pending`] with its results, every time.
#[derive(Debug)]
pub struct KvPool {
    spec: KvSpec,
    layers: Vec<LayerPool>,
    groups: Vec<usize>,
    free: FreePages,
}

#[derive(Debug)]
struct LayerPool {
    keys: Array,
    values: Array,
}

impl KvPool {
    /// Makes a pool of exactly [`KvSpec::bytes`] bytes, given by `alloc` (a backend's, which must give a buffer
    /// that nobody else holds).
    ///
    /// # Errors
    /// If the number of pages is impossible or memory cannot be had.
    pub fn new(spec: KvSpec, alloc: impl FnOnce(usize) -> lazuli_core::Result<Buffer>) -> Result<Self> {
        // Slots are 32-bit indices of tokens.
        let max = i32::MAX as usize / PAGE_SIZE;
        if spec.pages == 0 || spec.pages > max {
            return Err(Error::PoolSize { pages: spec.pages, max });
        }
        let parts = alloc(spec.bytes())?.split(&spec.parts());
        let groups = spec.group_of_layers();
        let mut arrays = Vec::new();
        for ((number, group), part) in spec.groups().iter().enumerate().zip(parts) {
            let members = spec.layers.iter().zip(&groups).filter(|&(_, &of)| of == number);
            let page = |l: &LayerKv, dim: usize| -> Shape { [l.heads, PAGE_SIZE, dim].into() };
            let shapes: Vec<Shape> =
                members.flat_map(|(l, _)| [page(l, l.key_dim), page(l, l.value_dim)]).collect();
            arrays.push(Array::interleaved(part, group.pages, &shapes, spec.dtype)?.into_iter());
        }
        let missing = || lazuli_core::Error::OutOfMemory { bytes: 0, what: "a layer of the KV pool" };
        let layer = |&group: &usize| {
            let mut next = || arrays[group].next().ok_or_else(missing);
            Ok(LayerPool { keys: next()?, values: next()? })
        };
        let layers = groups.iter().map(layer).collect::<Result<_>>()?;
        let free = FreePages::new(&spec);
        Ok(Self { spec, layers, groups, free })
    }

    /// What the pool was made for.
    pub fn spec(&self) -> &KvSpec {
        &self.spec
    }

    /// A new, empty sequence, which takes its pages from this pool and gives them back when it is dropped.
    pub fn sequence(&self) -> SequencePages {
        SequencePages::new(self.free.clone())
    }

    /// Which of [`KvSpec::groups`] a layer is in: whose slots and page table it uses.
    pub fn group(&self, layer: usize) -> usize {
        self.groups[layer]
    }

    /// Pages that no sequence has, in all groups together.
    pub fn free_pages(&self) -> usize {
        self.free.free()
    }

    /// Puts the writing of `keys` and `values` (`[tokens, heads, dim]`) at `slots` (i32 `[tokens]`, negative
    /// ones are skipped) before whatever reads `layer` next. Returns the layer's keys and values after it.
    #[track_caller]
    pub fn write(&mut self, layer: usize, keys: &Array, values: &Array, slots: &Array) -> (Array, Array) {
        let pool = &mut self.layers[layer];
        // The clone dies inside `kv_write` and the old handle by assignment: only the new node reads it then.
        pool.keys = pool.keys.clone().kv_write(keys, slots);
        pool.values = pool.values.clone().kv_write(values, slots);
        (pool.keys.clone(), pool.values.clone())
    }

    /// As [`KvPool::write`] for a layer without values of its own: they are a part of the keys.
    #[track_caller]
    pub fn write_keys(&mut self, layer: usize, keys: &Array, slots: &Array) -> Array {
        let pool = &mut self.layers[layer];
        pool.keys = pool.keys.clone().kv_write(keys, slots);
        pool.keys.clone()
    }

    /// Takes the arrays of all layers out of the pool, which no layer can use until [`KvPool::put_arrays`].
    pub(crate) fn take_arrays(&mut self) -> Vec<Array> {
        std::mem::take(&mut self.layers).into_iter().flat_map(|l| [l.keys, l.values]).collect()
    }

    /// Puts such arrays, in their order, into the pool.
    pub(crate) fn put_arrays(&mut self, arrays: Vec<Array>) {
        let mut arrays = arrays.into_iter();
        while let (Some(keys), Some(values)) = (arrays.next(), arrays.next()) {
            self.layers.push(LayerPool { keys, values });
        }
    }

    /// The arrays with writes that have not been evaluated: evaluate them together with a pass's logits.
    pub fn pending(&self) -> Vec<&Array> {
        self.layers.iter().flat_map(|l| [&l.keys, &l.values]).filter(|a| !a.is_evaluated()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lazuli_core::{DType, Runtime};

    fn spec() -> KvSpec {
        let layers = vec![
            LayerKv { heads: 2, key_dim: 4, value_dim: 3, window: None },
            LayerKv { heads: 1, key_dim: 5, value_dim: 5, window: None },
        ];
        KvSpec { layers, dtype: DType::F16, pages: 3, context: 100, chunk: 64 }
    }

    #[test]
    fn the_spec_is_what_is_allocated() {
        let mut asked = 0;
        let pool = KvPool::new(spec(), |bytes| {
            asked = bytes;
            Buffer::zeroed(bytes)
        })
        .unwrap();
        assert_eq!(spec().bytes_per_token(), (2 * 7 + 10) * 2);
        assert_eq!(asked, 3 * 64 * 48);
        assert_eq!(pool.layers.iter().map(|l| l.keys.bytes() + l.values.bytes()).sum::<usize>(), asked);
        assert_eq!((pool.spec().pages_per_sequence(), pool.free_pages()), (2, 3));
    }

    #[test]
    fn a_page_of_all_layers_lies_together() {
        let mut home = 0;
        let pool = KvPool::new(spec(), |bytes| {
            let buffer = Buffer::zeroed(bytes)?;
            home = buffer.as_ptr() as usize;
            Ok(buffer)
        })
        .unwrap();
        let page = PAGE_SIZE * spec().bytes_per_token();
        let mut next = home;
        for array in pool.layers.iter().flat_map(|l| [&l.keys, &l.values]) {
            let view = array.view().unwrap();
            assert_eq!(view.planes[0].buffer.as_ptr() as usize, next);
            assert_eq!(view.layout.strides[0] * 2, page);
            next += array.bytes() / 3;
        }
        assert_eq!(next, home + page);
        let mut sequence = pool.sequence();
        sequence.grow(PAGE_SIZE + 1).unwrap();
        assert_eq!(sequence.table(0).collect::<Vec<_>>(), [0, 1], "the lowest pages");
    }

    #[test]
    fn writes_are_in_place_every_time() {
        let rt = Runtime::reference();
        let mut pool = KvPool::new(spec(), |bytes| rt.backend().alloc(bytes)).unwrap();
        let address = |a: &Array| a.view().unwrap().planes[0].buffer.as_ptr();
        let before: Vec<_> =
            pool.layers.iter().flat_map(|l| [address(&l.keys), address(&l.values)]).collect();
        for step in 0..3 {
            let slots = Array::from_slice(&[64 + step], [1]);
            for (layer, kv) in spec().layers.into_iter().enumerate() {
                let rows = |dim: usize| Array::full([1, kv.heads, dim], step as f32, DType::F32);
                pool.write(layer, &rows(kv.key_dim), &rows(kv.value_dim), &slots);
            }
            assert_eq!(pool.pending().len(), 4);
            rt.eval(&pool.pending()).unwrap();
            assert!(pool.pending().is_empty());
        }
        let after: Vec<_> = pool.layers.iter().flat_map(|l| [address(&l.keys), address(&l.values)]).collect();
        assert_eq!(before, after);
        let keys = pool.layers[1].keys.cast(DType::F32);
        rt.eval(&[&keys]).unwrap();
        assert_eq!(keys.as_slice::<f32>().unwrap()[64 * 5 + 10..][..6], [2.0, 2.0, 2.0, 2.0, 2.0, 0.0]);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for pages in [0, usize::MAX] {
            let error = KvPool::new(KvSpec { pages, ..spec() }, Buffer::zeroed).unwrap_err();
            assert!(matches!(error, Error::PoolSize { .. }), "{error}");
        }
    }
}
