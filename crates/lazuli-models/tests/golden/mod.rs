//! Checks of a model against the results of a reference implementation, on any runtime: shared by the tests of
//! this crate (on the interpreter) and of the facade (on the backends it has).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "each test program uses a part of this")]

use lazuli_core::{Array, DType, Runtime};
use lazuli_io::Checkpoint;
use lazuli_models::{CausalLm, load};
use lazuli_nn::{Batch, KvPool, Logits, SequencePages};
use lazuli_testkit::fixtures;

/// What the reference implementation computed.
pub struct Reference {
    pub ids: Vec<u32>,
    pub logits: Vec<f32>,
    pub greedy: Vec<u32>,
}

impl Reference {
    pub fn open(name: &str) -> Self {
        let file = Checkpoint::open_tensors(fixtures::path(name).join("reference.safetensors")).unwrap();
        let ints = |name| -> Vec<u32> {
            // Some fixtures have no continuation whose every step is clear.
            let Ok(array) = file.array(name) else { return Vec::new() };
            array.as_slice::<i32>().unwrap().iter().map(|&id| id as u32).collect()
        };
        let logits = file.array("logits").unwrap().as_slice::<f32>().unwrap().to_vec();
        Self { ids: ints("input_ids"), logits, greedy: ints("greedy") }
    }
}

/// A model with a pool in f32 and a runtime: what an engine has, in its smallest form.
pub struct Session<'a> {
    pub runtime: &'a Runtime,
    pub model: Box<dyn CausalLm>,
    pub kv: KvPool,
}

impl<'a> Session<'a> {
    pub fn open(name: &str, runtime: &'a Runtime) -> Self {
        let checkpoint = Checkpoint::open(fixtures::path(name)).unwrap().group_planes().unwrap();
        Self::new(load(&checkpoint).unwrap(), runtime)
    }

    pub fn new(model: Box<dyn CausalLm>, runtime: &'a Runtime) -> Self {
        let spec = model.spec().kv_spec(DType::F32, 8, 128, 128);
        let kv = KvPool::new(spec, |bytes| runtime.backend().alloc(bytes)).unwrap();
        Self { runtime, model, kv }
    }

    /// Runs each sequence's next tokens in one batch and returns the rows of logits, one after the other.
    pub fn run(&mut self, runs: &mut [(&mut SequencePages, &[u32])], logits: Logits) -> Vec<f32> {
        let mut batch = Batch::new(self.kv.spec());
        for (pages, ids) in runs {
            let positions = pages.grow(ids.len()).unwrap();
            batch.push(pages, positions.start, ids, logits);
        }
        let out = self.model.forward(&batch.arrays(), &mut self.kv);
        let mut wanted: Vec<&Array> = vec![&out];
        wanted.extend(self.kv.pending());
        self.runtime.eval(&wanted).unwrap();
        out.as_slice::<f32>().unwrap().to_vec()
    }

    /// Runs `ids` as one sequence in chunks of at most `chunk` tokens; all rows of logits.
    pub fn in_chunks(&mut self, ids: &[u32], chunk: usize) -> Vec<f32> {
        let mut pages = self.kv.sequence();
        ids.chunks(chunk).flat_map(|ids| self.run(&mut [(&mut pages, ids)], Logits::All)).collect()
    }
}

/// The largest difference of two lists of numbers.
pub fn max_abs_diff(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    // Not a number compares as no difference, so it is looked for apart.
    assert!(a.iter().chain(b).all(|x| x.is_finite()));
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

/// The first index of the largest element.
pub fn argmax(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).reduce(|best, i| if logits[i] > logits[best] { i } else { best });
    best.unwrap() as u32
}

/// How far results of chunks of other sizes may be from those of one pass.
const CHUNKED: f32 = 1e-4;

/// The whole prompt in one pass, in chunks, and token by token.
pub fn logits_agree(name: &str, runtime: &Runtime, tolerance: f32) {
    let (reference, mut session) = (Reference::open(name), Session::open(name, runtime));
    let whole = session.in_chunks(&reference.ids, usize::MAX);
    let diff = max_abs_diff(&whole, &reference.logits);
    println!("{name}: max_abs_diff {diff:e}");
    assert!(diff <= tolerance, "{name}: max_abs_diff {diff}");
    for chunk in [64, 7, 1] {
        let diff = max_abs_diff(&session.in_chunks(&reference.ids, chunk), &whole);
        assert!(diff <= CHUNKED, "{name}: chunks of {chunk} are {diff} from one pass");
    }
}

/// The greedy continuation. After the prompt, which runs without asking for all logits, every decode step must
/// find its plan.
pub fn greedy_agrees(name: &str, runtime: &Runtime) {
    let (reference, mut session) = (Reference::open(name), Session::open(name, runtime));
    let mut pages = session.kv.sequence();
    let (last, before) = reference.ids.split_last().unwrap();
    assert!(session.run(&mut [(&mut pages, before)], Logits::None).is_empty());
    let (mut token, mut found, mut misses) = (*last, Vec::new(), Vec::new());
    for _ in 0..reference.greedy.len() {
        token = argmax(&session.run(&mut [(&mut pages, &[token])], Logits::Last));
        found.push(token);
        misses.push(runtime.stats().plan_misses);
    }
    assert_eq!(found, reference.greedy, "{name}");
    assert!(misses.iter().all(|m| *m == misses[0]), "{name}: a decode step was planned anew: {misses:?}");
}

/// Eight sequences of different lengths and beginnings in one batch, each in two pieces that are cut elsewhere, get
/// what each gets alone.
pub fn ragged_batches_agree(name: &str, runtime: &Runtime, tolerance: f32) {
    let (reference, mut session) = (Reference::open(name), Session::open(name, runtime));
    let vocabulary = session.model.spec().vocabulary;
    let lengths = [21, 13, 2, 24, 7, 16, 3, 9];
    let texts: Vec<&[u32]> = (0..8).map(|i| &reference.ids[3 * i..][..lengths[i]]).collect();
    let alone: Vec<Vec<f32>> = texts.iter().map(|ids| session.in_chunks(ids, usize::MAX)).collect();
    let mut pages: Vec<SequencePages> = texts.iter().map(|_| session.kv.sequence()).collect();
    let halves: Vec<_> =
        texts.iter().zip(1..).map(|(ids, i)| ids.split_at(1.max(ids.len() * i / 9))).collect();
    let mut together = vec![Vec::new(); texts.len()];
    for half in [0, 1] {
        let piece = |i: usize| if half == 0 { halves[i].0 } else { halves[i].1 };
        let mut runs: Vec<_> = pages.iter_mut().enumerate().map(|(i, pages)| (pages, piece(i))).collect();
        runs.rotate_left(3 * half);
        let logits = session.run(&mut runs, Logits::All);
        let mut rows = logits.chunks(vocabulary);
        for i in (0..texts.len()).map(|i| (i + 3 * half) % texts.len()) {
            together[i].extend(rows.by_ref().take(piece(i).len()).flatten());
        }
    }
    for (i, (alone, together)) in alone.iter().zip(&together).enumerate() {
        let diff = max_abs_diff(alone, together);
        assert!(diff <= tolerance, "{name}: sequence {i}: max_abs_diff {diff}");
    }
}
