//! What is planned is what is allocated: for every fixture, for the shapes of an 8B model and of DeepSeek-R1, and as
//! resident memory for a published model.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use lazuli::backends::RuntimeOptions;
use lazuli::core::{Buffer, DType, Runtime};
use lazuli::nn::{KvPool, LONG_RUN, Logits};
use lazuli::planner::memory::kv_bytes;
use lazuli::planner::{KvFormat, Weights, Workload};
use lazuli::planning::{Subject, allocation};
use lazuli::{Model, Session};
use lazuli_testkit::fixtures;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

mod hollow;
use hollow::hollow;

fn runtime() -> Runtime {
    RuntimeOptions::default().runtime().unwrap()
}

fn load(context: usize) -> Workload {
    Workload { context, concurrency: 1, kv: KvFormat::F16 }
}

/// Every folder of the fixtures that holds a model.
fn all_fixtures() -> Vec<PathBuf> {
    let root = fixtures::path("");
    let folders = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = folders.filter(|path| path.join("config.json").is_file()).collect();
    found.sort();
    found
}

#[test]
fn planned_is_allocated_for_every_fixture() {
    let folders = all_fixtures();
    assert!(folders.len() >= 20);
    for folder in folders {
        for context in [100, 700] {
            let name = folder.display();
            let model = Model::open(&folder).unwrap();
            let network = model.causal_lm().unwrap_or_else(|error| panic!("{name}: {error}"));
            let planned = allocation(&*network, &runtime(), DType::F16, context).unwrap();
            let subject = Subject::files(&model, "fixture").unwrap();
            assert_eq!(subject.weights.bytes(&subject.shape), planned.weights, "{name}: weights");
            assert_eq!(kv_bytes(&subject.shape, &load(context)), planned.kv, "{name}: keys and values");

            let mut session = Session::new(network, runtime(), DType::F16, context).unwrap();
            assert_eq!(session.kv().bytes() as u64, planned.kv, "{name}: the pool");
            let chunk = context.min(512);
            for tokens in [chunk, chunk.min(LONG_RUN - 1), 1] {
                session.feed(&vec![1; tokens], Logits::Last).unwrap();
                assert_eq!(session.rewind(0), 0);
            }
            let stats = session.runtime().stats();
            assert_eq!(stats.arena_bytes as u64, planned.arena, "{name}: the arena");
            assert_eq!(stats.workspace_bytes as u64, planned.scratch, "{name}: scratch");
            // Memory of results is given out in whole pages of the system.
            let results = planned.results.next_multiple_of(4096);
            assert!(stats.idle_bytes as u64 <= 2 * results, "{name}: {stats:?}");
        }
    }
}

/// What is planned for a model of a published shape against what the planner says of that shape, at several lengths; and
/// what one token in truth allocates.
fn planned_is_allocated(entry: &str, contexts: &[usize]) {
    let (shape, model) = hollow(entry);
    let weights = Weights::parse("q4").unwrap();
    for &context in contexts {
        let planned = allocation(&*model, &runtime(), DType::F16, context).unwrap();
        assert_eq!(planned.weights, weights.bytes(&shape), "{entry}: weights");
        assert_eq!(planned.kv, kv_bytes(&shape, &load(context)), "{entry}: keys and values");
        let estimate = lazuli::planner::memory::workspace_bytes(&shape, &load(context)) as f64;
        let exact = (planned.arena + planned.scratch + planned.results) as f64;
        let near = (0.5..2.0).contains(&(estimate / exact));
        assert!(near, "{entry}, {context}: about {estimate}, exactly {exact}");
    }
    let planned = allocation(&*model, &runtime(), DType::F16, 1).unwrap();
    let mut session = Session::new(model, runtime(), DType::F16, 1).unwrap();
    session.feed(&[0], Logits::Last).unwrap();
    let stats = session.runtime().stats();
    assert_eq!((stats.arena_bytes as u64, stats.workspace_bytes as u64), (planned.arena, planned.scratch));
    assert_eq!(session.kv().bytes() as u64, planned.kv);
}

#[test]
fn planned_is_allocated_for_the_shape_of_an_8b_model() {
    planned_is_allocated("llama-3.1-8b", &[1, 8192, 131_072]);
}

#[test]
fn planned_is_allocated_for_all_61_layers_of_deepseek_r1() {
    planned_is_allocated("deepseek-r1", &[1, 8192, 163_840]);
    // The pool of 8192 tokens, allocated as the engine does.
    let (shape, model) = hollow("deepseek-r1");
    let mut allocated = 0;
    KvPool::new(model.spec().kv_spec(DType::F16, 1, 8192, lazuli::PREFILL_CHUNK), |bytes| {
        allocated = bytes as u64;
        Buffer::zeroed(bytes)
    })
    .unwrap();
    assert_eq!(allocated, kv_bytes(&shape, &load(8192)));
}

fn lazuli(arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lazuli"));
    let output = command.args(arguments).arg("--json").stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The published models that are here: `LAZULI_TEST_MODELS`, or the usual folder.
#[cfg(target_os = "linux")]
fn published() -> Vec<PathBuf> {
    let folder = std::env::var_os("LAZULI_TEST_MODELS").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/lazuli-test-models"));
    let Some(folder) = folder.or_else(home).filter(|folder| folder.is_dir()) else { return Vec::new() };
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let small = files.filter(|file| {
        let gguf = file.path().extension().is_some_and(|e| e == "gguf");
        gguf && file.metadata().is_ok_and(|data| (50_000_000..1_500_000_000).contains(&data.len()))
    });
    let mut found: Vec<PathBuf> = small.map(|file| file.path()).collect();
    found.sort();
    found
}

/// Bytes of the embedding where another tensor projects to logits: of it, only rows are read.
#[cfg(target_os = "linux")]
fn unread(model: &Path) -> f64 {
    let model = Model::open(model).unwrap();
    let bytes = |name: &str| model.checkpoint().tensor(name).map(|tensor| tensor.bytes() as f64);
    bytes("output.weight").and_then(|_| bytes("token_embd.weight")).unwrap_or(0.0)
}

#[test]
#[cfg(target_os = "linux")]
fn resident_memory_is_what_was_planned() {
    let models = published();
    if models.is_empty() {
        eprintln!("skipped: there is no GGUF file of up to 1.5 GB among the test models");
    }
    for model in models {
        let name = model.display().to_string();
        let plan = lazuli(&["plan", &name, "--context", "1024"]);
        // All but a few of the context's tokens, so that each page of keys and values was written.
        let prompt = "The quick brown fox jumps over the lazy dog. ".repeat(96);
        let answer = lazuli(&["run", &name, &prompt, "--raw", "-n", "16", "--context", "1024"]);
        let number = |value: &Value| value.as_f64().unwrap();
        let [planned, weights, fixed] =
            ["total_bytes", "weights_bytes", "fixed_bytes"].map(|key| number(&plan[key]));
        let stats = &answer["stats"];
        assert!((900.0..1024.0).contains(&number(&stats["prompt_tokens"])), "{name}: {stats}");
        let [peak, private] = ["peak_resident_bytes", "private_bytes"].map(|key| number(&stats[key]));
        let expected = planned - unread(&model);
        assert!(
            (peak - expected).abs() <= expected * 0.03 + 30e6,
            "{name}: {peak} resident, {expected} planned"
        );
        // Without the file's pages: of what the process takes besides, 10 to 20 MB are code and headers, which have
        // files behind them.
        let (most, least) = (planned - weights, planned - weights - fixed);
        assert!(
            (least..most + 10e6).contains(&private),
            "{name}: {private} private, {least} to {most} planned"
        );
    }
}
