//! Long runs attend to expanded keys and values, others to latent rows, and nobody can tell by the results.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::num::NonZeroUsize;

use lazuli::Model;
use lazuli::backends::{Precision, RuntimeOptions};
use lazuli::core::{Array, DType, Runtime};
use lazuli::engine::{Engine, EngineOptions, Request};
use lazuli::models::CausalLm;
use lazuli::nn::{Batch, KvPool, LONG_RUN, Logits, SequencePages};
use lazuli_testkit::fixtures;

const FIXTURES: [&str; 5] =
    ["deepseek-v2", "deepseek-v2-lite", "deepseek-v3", "deepseek-v3-fp8", "mlx-deepseek-v3-q4"];
const CONTEXT: usize = 512;

fn model(name: &str) -> Box<dyn CausalLm> {
    Model::open(fixtures::path(name)).unwrap().causal_lm().unwrap()
}

fn runtime() -> Runtime {
    let options = RuntimeOptions { threads: NonZeroUsize::new(2), precision: Precision::Exact, simd: None };
    options.runtime().unwrap()
}

/// Tokens without a pattern that a model could know.
fn prompt(seed: u64, len: usize) -> Vec<u32> {
    let next = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    std::iter::successors(next(&(seed + 7)), next).map(|state| (state >> 33) as u32 % 256).take(len).collect()
}

/// A model with a pool.
struct Run {
    model: Box<dyn CausalLm>,
    runtime: Runtime,
    pool: KvPool,
}

impl Run {
    fn new(name: &str) -> Self {
        let (model, runtime) = (model(name), runtime());
        let spec = model.spec().kv_spec(DType::F32, 4, CONTEXT, CONTEXT);
        let pool = KvPool::new(spec, |bytes| runtime.backend().alloc(bytes)).unwrap();
        Self { model, runtime, pool }
    }

    /// Logits of all tokens of the runs, and how many layers expanded rows.
    fn pass(&mut self, runs: &mut [(&mut SequencePages, &[u32])]) -> (Vec<f32>, usize) {
        let mut batch = Batch::new(self.pool.spec());
        for (pages, ids) in runs {
            let positions = pages.grow(ids.len()).unwrap();
            batch.push(pages, positions.start, ids, Logits::All);
        }
        let rows = self.model.forward(&batch.arrays(), &mut self.pool);
        let mut wanted: Vec<&Array> = self.pool.pending();
        wanted.push(&rows);
        let plan = self.runtime.plan(&wanted);
        let expanded = plan.steps.iter().filter(|step| step.name() == "latent_attention").count();
        self.runtime.eval(&wanted).unwrap();
        (rows.as_slice::<f32>().unwrap().to_vec(), expanded)
    }

    fn in_chunks(&mut self, ids: &[u32], chunk: usize) -> Vec<f32> {
        let mut pages = self.pool.sequence();
        ids.chunks(chunk).flat_map(|ids| self.pass(&mut [(&mut pages, ids)]).0).collect()
    }
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().chain(b).all(|x| x.is_finite()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_long_chunk_is_token_by_token() {
    for name in FIXTURES {
        let (ids, mut run) = (prompt(1, 2 * LONG_RUN + 45), Run::new(name));
        let layers = run.model.spec().kv.len();
        let mut pages = run.pool.sequence();
        // The second chunk continues a context.
        let (first, second) = ids.split_at(LONG_RUN);
        let (mut logits, expanded) = run.pass(&mut [(&mut pages, first)]);
        assert_eq!(expanded, layers, "{name}");
        logits.extend(run.pass(&mut [(&mut pages, second)]).0);
        drop(pages);
        for chunk in [LONG_RUN - 1, 1] {
            let diff = difference(&logits, &run.in_chunks(&ids, chunk));
            println!("{name}: chunks of {chunk} are {diff:e} from long ones");
            assert!(diff <= 1e-4, "{name}: chunks of {chunk} are {diff} from long ones");
        }
    }
}

#[test]
fn long_and_short_runs_share_a_batch() {
    for name in FIXTURES {
        let mut run = Run::new(name);
        let texts = [LONG_RUN, LONG_RUN + 60, 1, 20].map(|len| prompt(len as u64, len));
        let alone: Vec<f32> = texts.iter().flat_map(|ids| run.in_chunks(ids, usize::MAX)).collect();
        let mut pages: Vec<SequencePages> = texts.iter().map(|_| run.pool.sequence()).collect();
        let mut runs: Vec<_> = pages.iter_mut().zip(&texts).map(|(pages, ids)| (pages, &ids[..])).collect();
        let (together, expanded) = run.pass(&mut runs);
        assert!(expanded > 0, "{name}");
        let diff = difference(&together, &alone);
        assert!(diff <= 1e-4, "{name}: {diff}");
    }
}

#[test]
fn the_engine_answers_long_prompts_beside_others() {
    let name = "deepseek-v3";
    let engine = || {
        let options = EngineOptions {
            context: CONTEXT,
            max_sequences: 4,
            prefill_chunk: CONTEXT,
            pool_tokens: Some(4 * CONTEXT),
            kv_dtype: DType::F32,
        };
        Engine::start(model(name), runtime(), options).unwrap()
    };
    // The short ones come first and end first, in the middle of the others' prompts.
    let request = |len: usize, answer| Request { max_tokens: Some(answer), ..Request::new(prompt(3, len)) };
    let requests = || [request(5, 3), request(150, 6), request(3, 1), request(300, 4)];
    let together = engine();
    let streams: Vec<_> = requests().into_iter().map(|request| together.submit(request)).collect();
    for (stream, request) in streams.into_iter().zip(requests()) {
        let found = stream.wait().unwrap().tokens;
        assert_eq!(found, engine().submit(request).wait().unwrap().tokens);
    }
}
