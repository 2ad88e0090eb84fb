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

#[test]
#[cfg(target_os = "linux")]
fn resident_memory_stays_within_the_plan() {
    let folder = std::env::var_os("LAZULI_TEST_MODELS").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/lazuli-test-models"));
    let Some(folder) = folder.or_else(home).filter(|folder| folder.is_dir()) else {
        eprintln!("skipped: there is no folder of test models");
        return;
    };
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let small = files.filter(|file| {
        let gguf = file.path().extension().is_some_and(|e| e == "gguf");
        gguf && file.metadata().is_ok_and(|data| (50_000_000..1_500_000_000).contains(&data.len()))
    });
    let Some(file) = small.min_by_key(|file| file.metadata().map_or(0, |data| data.len())) else {
        eprintln!("skipped: there is no small GGUF file among the test models");
        return;
    };
    let model = file.path().display().to_string();
    let plan = lazuli(&["plan", &model, "--context", "1024", "--force"]);
    let prompt = "The quick brown fox jumps over the lazy dog. ".repeat(60);
    let answer = lazuli(&["run", &model, &prompt, "--raw", "-n", "16", "--context", "1024"]);
    let planned = plan["total_bytes"].as_u64().unwrap() as f64;
    let peak = answer["stats"]["peak_resident_bytes"].as_u64().unwrap() as f64;
    assert!(peak <= planned * 1.03 + 30e6, "{model}: {peak} resident, {planned} planned");
    assert!(peak >= planned * 0.5, "{model}: {peak} resident, {planned} planned");
}
