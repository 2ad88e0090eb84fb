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
            let array = file.array(name).unwrap();
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
        Self::new(load(&Checkpoint::open(fixtures::path(name)).unwrap()).unwrap(), runtime)
    }

    pub fn new(model: Box<dyn CausalLm>, runtime: &'a Runtime) -> Self {
        let spec = model.spec().kv_spec(DType::F32, 2, 128);
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

/// The whole prompt in one pass, in chunks, and token by token.
pub fn logits_agree(name: &str, runtime: &Runtime, tolerance: f32) {
    let (reference, mut session) = (Reference::open(name), Session::open(name, runtime));
    for chunk in [usize::MAX, 7, 1] {
        let found = session.in_chunks(&reference.ids, chunk);
        let diff = max_abs_diff(&found, &reference.logits);
        println!("{name}: chunks of {chunk}: max_abs_diff {diff:e}");
        assert!(diff <= tolerance, "{name}: chunks of {chunk}: max_abs_diff {diff}");
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

/// Two sequences of different lengths in one batch get what each gets alone.
pub fn ragged_batches_agree(name: &str, runtime: &Runtime, tolerance: f32) {
    let (reference, mut session) = (Reference::open(name), Session::open(name, runtime));
    let vocabulary = session.model.spec().vocabulary;
    let (a, b) = (&reference.ids[..21], &reference.ids[21..34]);
    let alone = [session.in_chunks(a, usize::MAX), session.in_chunks(b, usize::MAX)].concat();
    let (mut pa, mut pb) = (session.kv.sequence(), session.kv.sequence());
    let first = session.run(&mut [(&mut pa, &a[..17]), (&mut pb, &b[..1])], Logits::All);
    let second = session.run(&mut [(&mut pb, &b[1..]), (&mut pa, &a[17..])], Logits::All);
    let rows = |logits: &[f32], rows: std::ops::Range<usize>| {
        logits[rows.start * vocabulary..rows.end * vocabulary].to_vec()
    };
    let together =
        [rows(&first, 0..17), rows(&second, 12..16), rows(&first, 17..18), rows(&second, 0..12)].concat();
    let diff = max_abs_diff(&alone, &together);
    assert!(diff <= tolerance, "{name}: max_abs_diff {diff}");
}
