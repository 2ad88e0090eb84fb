//! Checks of the engine with a tiny published-style checkpoint, on any runtime: shared by the tests of this crate
//! (on the interpreter) and of the facade (on backends).

#![allow(clippy::unwrap_used)] // Test code, though these functions are no tests themselves.
#![allow(dead_code)] // Not every test binary runs every check.

use lazuli_core::{DType, Runtime};
use lazuli_engine::{Engine, EngineOptions, Event, FinishReason, Request};
use lazuli_io::Checkpoint;
use lazuli_models::load;
use lazuli_testkit::fixtures;

fn engine(name: &str, runtime: Runtime, context: usize) -> Engine {
    let model = load(&Checkpoint::open(fixtures::path(name)).unwrap().group_planes().unwrap()).unwrap();
    let options = EngineOptions {
        context,
        max_sequences: 8,
        prefill_chunk: 32,
        pool_tokens: Some(8 * context),
        kv_dtype: DType::F32,
    };
    Engine::start(model, runtime, options).unwrap()
}

fn greedy(prompt: &[u32], max: usize) -> Request {
    Request { max_tokens: Some(max), ..Request::new(prompt.to_vec()) }
}

/// The reference's prompt, and its greedy continuation.
fn reference(name: &str) -> (Vec<u32>, Vec<u32>) {
    let file = Checkpoint::open_tensors(fixtures::path(name).join("reference.safetensors")).unwrap();
    let ids = |name| -> Vec<u32> {
        file.array(name).unwrap().as_slice::<i32>().unwrap().iter().map(|&id| id as u32).collect()
    };
    (ids("input_ids"), ids("greedy"))
}

/// The engine says what the reference implementation says.
pub fn says_what_the_reference_says(name: &str, runtime: Runtime) {
    let (prompt, expected) = reference(name);
    let engine = engine(name, runtime, 128);
    let answer = engine.submit(greedy(&prompt, expected.len())).wait().unwrap();
    assert_eq!(answer.tokens, expected, "{name}");
    // The same prompt once more begins with all but its last token known.
    let again = engine.submit(greedy(&prompt, expected.len())).wait().unwrap();
    assert_eq!((again.tokens, again.stats.cached_tokens), (expected, prompt.len() - 1), "{name}");
}

/// Eight prompts of different lengths get together what each gets from an engine of its own.
pub fn together_is_alone(name: &str, runtime: impl Fn() -> Runtime) {
    let (ids, _) = reference(name);
    let prompts: Vec<&[u32]> = (0..8).map(|i| &ids[i..ids.len().min(i + 1 + 9 * i)]).collect();
    let together = engine(name, runtime(), 128);
    let streams: Vec<_> = prompts.iter().map(|prompt| together.submit(greedy(prompt, 8))).collect();
    let found: Vec<_> = streams.into_iter().map(|stream| stream.wait().unwrap().tokens).collect();
    assert!(together.stats().unwrap().steps < 8 * 8, "{name}: they were not together");
    for (found, prompt) in found.into_iter().zip(prompts) {
        let alone = engine(name, runtime(), 128).submit(greedy(prompt, 8)).wait().unwrap();
        assert_eq!(found, alone.tokens, "{name}: prompt of {} tokens", prompt.len());
    }
}

/// Over 300 generated tokens nothing is planned anew once a token was generated.
pub fn decoding_finds_its_plan(name: &str, runtime: Runtime) {
    let (prompt, _) = reference(name);
    let engine = engine(name, runtime, 384);
    let mut stream = engine.submit(greedy(&prompt[..20], 310));
    let warm = stream.by_ref().take(5).count();
    let misses = engine.stats().unwrap().runtime.plan_misses;
    let last = stream.last();
    assert!(matches!(last, Some(Event::Finished { reason: FinishReason::Length, .. })), "{last:?}");
    let runtime = engine.stats().unwrap().runtime;
    assert_eq!((warm, runtime.plan_misses), (5, misses), "{name}");
    assert!(misses <= 3 && runtime.plan_hits >= 300, "{name}: {runtime:?}");
}
