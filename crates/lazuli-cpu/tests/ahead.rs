//! Weights of chosen experts, and dense ones after them, are asked for before they are read.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use lazuli_core::{Array, Buffer, DType, Mapped, Runtime};
use lazuli_cpu::simd::Level;
use lazuli_cpu::{Cpu, Precision};

const EXPERTS: usize = 8;
const HIDDEN: usize = 64;
const INNER: usize = 48;
/// Bytes of one expert's projection in f16.
const EXPERT: usize = HIDDEN * INNER * 2;

/// A file that notes what it is asked for.
struct File {
    bytes: Vec<u8>,
    asked: Mutex<Vec<Range<usize>>>,
    on_disk: AtomicBool,
}

impl AsRef<[u8]> for File {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Mapped for File {
    fn fetch(&self, range: Range<usize>) -> bool {
        self.asked.lock().expect("nobody panics").push(range);
        self.on_disk.load(Ordering::Relaxed)
    }
}

struct Layer {
    file: Arc<File>,
    gate: Array,
    up: Array,
    down: Array,
    dense: Array,
    runtime: Runtime,
}

impl Layer {
    fn new(on_disk: bool) -> Self {
        let bytes = 3 * EXPERTS * EXPERT + HIDDEN * HIDDEN * 2;
        let file = Arc::new(File {
            bytes: vec![0; bytes],
            asked: Mutex::default(),
            on_disk: AtomicBool::new(on_disk),
        });
        let buffer = Buffer::from_mapped(file.clone());
        let at = |offset: usize, shape: &[usize]| {
            Array::from_buffer(buffer.clone(), offset, shape, DType::F16).expect("it fits")
        };
        let whole = EXPERTS * EXPERT;
        // One worker, so that the order is that of the plan.
        let cpu = Cpu::new(Level::detect(), Precision::Fast, 1).expect("no thread to start");
        Self {
            gate: at(0, &[EXPERTS, INNER, HIDDEN]),
            up: at(whole, &[EXPERTS, INNER, HIDDEN]),
            down: at(2 * whole, &[EXPERTS, HIDDEN, INNER]),
            dense: at(3 * whole, &[HIDDEN, HIDDEN]),
            runtime: Runtime::new(Arc::new(cpu)),
            file,
        }
    }

    /// What a pass with these experts asks for.
    fn pass(&self, ids: &[i32]) -> Vec<Range<usize>> {
        let ids = Array::from_slice(ids, [1, ids.len()]);
        let x = Array::from_vec(vec![1.0f32; HIDDEN], [1, HIDDEN]);
        let inner = x.expert_matmul(&self.gate, &ids) * x.expert_matmul(&self.up, &ids);
        let y = inner.expert_matmul(&self.down, &ids).sum(1).reshape([1, HIDDEN]);
        self.runtime.eval(&[&y.matmul(&self.dense.t())]).expect("it runs");
        std::mem::take(&mut *self.file.asked.lock().expect("nobody panics"))
    }
}

#[test]
fn chosen_experts_are_asked_for_at_once_and_then_what_follows() {
    let layer = Layer::new(true);
    let expert = |projection: usize, expert: usize| {
        let start = (projection * EXPERTS + expert) * EXPERT;
        start..start + EXPERT
    };
    let dense = 3 * EXPERTS * EXPERT..3 * EXPERTS * EXPERT + HIDDEN * HIDDEN * 2;
    for ids in [[5, 1], [0, 7], [5, 1]] {
        let mut sorted = ids.map(|id| id as usize);
        sorted.sort_unstable();
        let mut wanted: Vec<Range<usize>> =
            (0..3).flat_map(|projection| sorted.map(|id| expert(projection, id))).collect();
        wanted.push(dense.clone());
        assert_eq!(layer.pass(&ids), wanted);
    }
}

#[test]
fn where_all_is_in_memory_few_passes_look() {
    let layer = Layer::new(false);
    let looks = |passes: usize| (0..passes).filter(|_| !layer.pass(&[2, 3]).is_empty()).count();
    assert_eq!(looks(20), 3, "the first two, and the seventeenth");
    // One look that finds something missing is enough for all later ones to look.
    layer.file.on_disk.store(true, Ordering::Relaxed);
    assert!(looks(32) > 16);
    assert_eq!(looks(5), 5);
}
