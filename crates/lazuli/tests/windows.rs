//! Layers with a window keep no more than it and a chunk, and nobody can tell by the results: the same logits as from a
//! pool that keeps everything, for every way in which a sequence grows, is cut, and shares its beginning.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use lazuli::backends::RuntimeOptions;
use lazuli::core::{Array, DType, Runtime};
use lazuli::engine::{Engine, EngineOptions, Request};
use lazuli::models::CausalLm;
use lazuli::nn::{Batch, KvPool, KvSpec, Logits, SequencePages};
use lazuli::{Model, Session};
use lazuli_testkit::fixtures;

/// Fixtures with a window of 16 tokens, in all or in some layers.
const WINDOWED: [&str; 5] = ["gemma2", "gemma3", "gpt-oss", "cohere2", "mistral-window"];
const CONTEXT: usize = 512;

fn model(name: &str) -> Box<dyn CausalLm> {
    Model::open(fixtures::path(name)).unwrap().causal_lm().unwrap()
}

fn runtime() -> Runtime {
    RuntimeOptions::default().runtime().unwrap()
}

/// A pool for one sequence that forgets nothing.
fn whole(spec: &KvSpec) -> KvSpec {
    let layers = spec.layers.iter().map(|&layer| lazuli::nn::LayerKv { window: None, ..layer }).collect();
    KvSpec { layers, ..spec.clone() }
}

/// A model with a pool and one sequence.
struct Run {
    model: Box<dyn CausalLm>,
    runtime: Runtime,
    pool: KvPool,
    pages: SequencePages,
}

impl Run {
    fn new(name: &str, keep: impl Fn(&KvSpec) -> KvSpec, chunk: usize) -> Self {
        let (model, runtime) = (model(name), runtime());
        let spec = keep(&model.spec().kv_spec(DType::F16, 1, CONTEXT, chunk));
        let pool = KvPool::new(spec, |bytes| runtime.backend().alloc(bytes)).unwrap();
        let pages = pool.sequence();
        Self { model, runtime, pool, pages }
    }

    fn feed(&mut self, ids: &[u32]) -> Vec<f32> {
        let positions = self.pages.grow(ids.len()).unwrap();
        let mut batch = Batch::new(self.pool.spec());
        batch.push(&self.pages, positions.start, ids, Logits::All);
        let rows = self.model.forward(&batch.arrays(), &mut self.pool);
        let mut wanted: Vec<&Array> = self.pool.pending();
        wanted.push(&rows);
        self.runtime.eval(&wanted).unwrap();
        rows.as_slice::<f32>().unwrap().to_vec()
    }

    /// `count` tokens, each the likeliest one.
    fn greedy(&mut self, prompt: &[u32], chunk: usize, count: usize) -> Vec<u32> {
        let vocabulary = self.model.spec().vocabulary;
        let mut logits: Vec<f32> = prompt.chunks(chunk).flat_map(|ids| self.feed(ids)).collect();
        let mut found = Vec::new();
        while found.len() < count {
            let row = &logits[logits.len() - vocabulary..];
            let best = (0..vocabulary).reduce(|best, i| if row[i] > row[best] { i } else { best });
            found.push(best.unwrap() as u32);
            if found.len() < count {
                logits = self.feed(&found[found.len() - 1..]);
            }
        }
        found
    }
}

/// Tokens without a pattern that a model could know.
fn prompt(name: &str, seed: u64, len: usize) -> Vec<u32> {
    let vocabulary = model(name).spec().vocabulary as u64;
    let next = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    std::iter::successors(next(&(seed + 7)), next)
        .map(|s| ((s >> 33) % vocabulary) as u32)
        .take(len)
        .collect()
}

#[test]
fn a_ring_gives_the_logits_of_a_pool_that_forgets_nothing() {
    for name in WINDOWED {
        for chunk in [50, 7] {
            let mut ring = Run::new(name, KvSpec::clone, chunk);
            let mut all = Run::new(name, whole, chunk);
            assert!(ring.pool.spec().bytes() < all.pool.spec().bytes(), "{name}");
            let ids = prompt(name, 1, 330);
            let feed = |run: &mut Run, ids: &[u32]| -> Vec<f32> {
                ids.chunks(chunk).flat_map(|ids| run.feed(ids)).collect()
            };
            assert!(feed(&mut ring, &ids) == feed(&mut all, &ids), "{name}: prompt");
            for &id in &ids[..100] {
                assert!(ring.feed(&[id]) == all.feed(&[id]), "{name}: decode");
            }
            // What has been given up cannot be gone back to; a little can.
            assert_eq!(ring.pages.truncate(420), all.pages.truncate(420), "{name}");
            assert!(feed(&mut ring, &ids[..40]) == feed(&mut all, &ids[..40]), "{name}: after a cut");
            assert_eq!(ring.pages.truncate(100), 0, "{name}");
            let pages: usize = ring.pool.spec().groups().iter().map(|group| group.pages).sum();
            assert_eq!(ring.pool.free_pages(), pages, "{name}");
        }
    }
}

#[test]
fn an_engine_reuses_a_beginning_only_while_its_window_is_there() {
    for name in WINDOWED {
        let options = EngineOptions { context: CONTEXT, prefill_chunk: 32, ..EngineOptions::default() };
        let engine = Engine::start(model(name), runtime(), options).unwrap();
        let ask = |prompt: &[u32]| {
            let request = Request { max_tokens: Some(12), ..Request::new(prompt.to_vec()) };
            let sampling = lazuli::engine::sample::SamplingParams { temperature: 0.0, ..request.sampling };
            engine.submit(Request { sampling, ..request }).wait().unwrap()
        };
        let expected = |prompt: &[u32]| Run::new(name, whole, 32).greedy(prompt, 32, 12);
        let mut talk = prompt(name, 2, 200);
        for turn in 0..3 {
            let answer = ask(&talk);
            assert_eq!(answer.tokens, expected(&talk), "{name}: turn {turn}");
            let known = if turn == 0 { 0 } else { talk.len() - 5 - 1 };
            assert_eq!(answer.stats.cached_tokens, known, "{name}: turn {turn}");
            talk.extend(answer.tokens);
            talk.extend(prompt(name, 50 + turn, 5));
        }
        // The first page's window went long ago: nothing is reused, and the answer is right.
        let other = [&talk[..70], &prompt(name, 99, 60)[..]].concat();
        let answer = ask(&other);
        assert_eq!((answer.stats.cached_tokens, answer.tokens), (0, expected(&other)), "{name}");
    }
}

#[test]
fn sessions_measure_with_the_same_ring() {
    // Two passes of 512 and one of 176, in a model made for 512 tokens: what it says is no matter here.
    let mut session = Session::new(model("gemma3"), runtime(), DType::F16, 1300).unwrap();
    let ids = prompt("gemma3", 3, 1200);
    let rows = session.feed(&ids, Logits::All).unwrap();
    assert_eq!(rows.shape()[0], 1200);
    let last = rows.as_slice::<f32>().unwrap()[1199 * rows.shape()[1]..].to_vec();
    assert_eq!(session.rewind(1199), 1199);
    let again = session.feed(&ids[1199..], Logits::Last).unwrap();
    let again = again.as_slice::<f32>().unwrap();
    let diff = last.iter().zip(again).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(diff < 1e-3, "{diff}");
    assert_eq!(session.rewind(10), 0);
}
