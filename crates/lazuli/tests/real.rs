//! Published models, where they are on this machine: numbers that other programs found for the same files.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A model of the folder of test models, or a line that says why the test is skipped.
fn model(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("LAZULI_TEST_MODELS").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/lazuli-test-models"));
    let path = folder.or_else(home)?.join(name);
    if path.is_file() {
        return Some(path);
    }
    eprintln!("skipped: there is no {}", path.display());
    None
}

fn json(arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lazuli"));
    let output = command.args(arguments).arg("--json").stdin(Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {err}");
    serde_json::from_str(&out).unwrap()
}

/// What `lazuli perplexity` and `llama-perplexity -c 512` (the second argument) find on the text of the Apache
/// licence.
fn perplexity_is(model: &Path, expected: f64) {
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../LICENSE-APACHE");
    let found = json(&["perplexity", &model.display().to_string(), "--file", &text.display().to_string()]);
    let keys: Vec<_> = found.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["perplexity", "tokens", "seconds"]);
    assert_eq!(found["tokens"], 4 * 255);
    let perplexity = found["perplexity"].as_f64().unwrap();
    let close = (perplexity / expected - 1.0).abs() < 0.005;
    assert!(close, "{perplexity} is not within 0.5 % of {expected}");
}

#[test]
fn perplexity_of_the_default_model_is_what_llama_cpp_finds() {
    let Some(model) = model("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    perplexity_is(&model, 15.9289);
}

/// A model whose windows begin with BOS, with another tokenizer, other formats and sliding windows.
#[test]
fn perplexity_of_gemma_is_what_llama_cpp_finds() {
    let Some(model) = model("gemma-3-270m-q4_k_m.gguf") else { return };
    perplexity_is(&model, 10.1452);
}

/// The plan of a decode step reads every weight once, in place.
#[test]
fn a_step_of_the_default_model_reads_its_weights_once() {
    let Some(model) = model("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let found = json(&["inspect", &model.display().to_string(), "--plan"]);
    let (read, all) = (&found["plan"]["weight_bytes"], &found["totals"]["bytes"]);
    let share = read.as_f64().unwrap() / all.as_f64().unwrap();
    assert!((0.98..1.02).contains(&share), "{read} of {all} bytes");
}

/// mlx-lm and llama.cpp read what `lazuli quantize` writes. `LAZULI_PYTHON` names a Python that has mlx-lm; llama.cpp's
/// programs are looked for where programs are.
#[test]
fn other_programs_read_what_is_written() {
    let Some(model) = model("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let Some(python) = std::env::var_os("LAZULI_PYTHON").filter(|python| !python.is_empty()) else {
        eprintln!("skipped: LAZULI_PYTHON names no Python with mlx-lm");
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(python);
    command.arg(root.join("tools/interop.py")).arg(model).arg(root.join("LICENSE-APACHE"));
    command.args(["--lazuli", env!("CARGO_BIN_EXE_lazuli"), "--formats", "q4", "mxfp8", "Q8_0", "Q4_K_M"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && !out.contains("FAILED"), "{out}{err}");
    eprintln!("{out}");
}
