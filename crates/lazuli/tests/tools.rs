//! The commands that open models, from outside: numbers, JSON, exit codes and the sentences of their failures.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use lazuli::io::{Checkpoint, SafetensorsWriter};
use lazuli_testkit::fixtures;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FIXTURES: [&str; 4] = ["llama3", "llama-tied", "qwen2", "gemma3"];

fn lazuli(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lazuli"));
    command.args(arguments).env("LAZULI_HOME", tmp().join("home")).env("HF_HUB_OFFLINE", "1");
    // What a user has calibrated on this machine is not for tests to see.
    command.env("LAZULI_CONFIG", tmp().join("no-config"));
    command.env("NO_COLOR", "1").env_remove("LAZULI_SIMD").stdin(Stdio::null());
    command
}

/// Exit code, stdout, stderr.
fn told(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    told(&mut lazuli(arguments))
}

/// The one JSON value of a command that succeeds.
fn json(arguments: &[&str]) -> Value {
    let (code, out, err) = run(&[arguments, &["--json"]].concat());
    assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}: {out}");
    assert_eq!(out.lines().count(), 1);
    serde_json::from_str(&out).unwrap()
}

fn fixture(name: &str) -> String {
    fixtures::path(name).display().to_string()
}

fn tmp() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// An empty folder for one test.
fn folder(name: &str) -> PathBuf {
    let path = tmp().join(format!("tools-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// A fixture's files in a folder of its own, to be damaged.
fn copy_of(name: &str, folder: &Path) {
    for file in ["config.json", "model.safetensors", "reference.safetensors"] {
        std::fs::copy(fixtures::path(name).join(file), folder.join(file)).unwrap();
    }
}

/// The same value with every number made 0, so that a snapshot shows keys, order and types.
fn shape_of(value: &Value) -> Value {
    match value {
        Value::Number(_) => 0.into(),
        Value::Array(list) => list.iter().map(shape_of).collect(),
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), shape_of(v))).collect(),
        other => other.clone(),
    }
}

/// Compares JSON text with its keys in the order in which they are printed.
fn snapshot(name: &str, value: &Value) {
    insta::assert_snapshot!(name.to_owned(), serde_json::to_string_pretty(value).unwrap());
}

#[test]
fn help_reads_well() {
    for command in ["verify", "logits", "perplexity", "bench", "inspect"] {
        let (code, out, err) = run(&[command, "--help"]);
        assert_eq!((code, err.as_str()), (0, ""));
        insta::assert_snapshot!(format!("help_{command}"), out);
    }
}

#[test]
fn all_fixtures_are_exact_in_both_passes() {
    for name in FIXTURES {
        let found = json(&["verify", &fixture(name), "--precision", "exact"]);
        for pass in ["prefill", "decode"] {
            let diff = found[pass]["max_abs_diff"].as_f64().unwrap();
            assert!(diff > 0.0 && diff <= 0.002, "{name}: {found}");
            assert_eq!(found[pass]["top1_agreement"], 1.0, "{name}");
            assert!(found[pass]["kl_mean"].as_f64().unwrap() < 1e-6, "{name}: {found}");
        }
        assert_eq!(found["greedy_match"], true, "{name}");
    }
}

#[test]
fn every_vector_level_is_exact() {
    for level in ["scalar", "avx2", "avx512", "neon"] {
        let mut command = lazuli(&["verify", &fixture("gemma3"), "--json"]);
        let (code, out, err) = told(command.env("LAZULI_SIMD", level));
        if code == 1 && err.contains("LAZULI_SIMD: vector level") {
            assert_ne!(level, "scalar", "{err}");
            continue;
        }
        let found: Value = serde_json::from_str(&out).unwrap();
        let worst = |pass: &str| found[pass]["max_abs_diff"].as_f64().unwrap();
        assert!(worst("prefill").max(worst("decode")) <= 0.002, "{level}: {out}");
    }
}

#[test]
fn verification_tells_and_judges() {
    let folder = folder("verify");
    copy_of("llama-tied", &folder);
    let model = folder.display().to_string();
    snapshot("verify", &shape_of(&json(&["verify", &model, "--precision", "fast"])));

    // A reference that is wrong by one half in one logit, and without a continuation.
    let reference = Checkpoint::open_tensors(folder.join("reference.safetensors")).unwrap();
    let ids = reference.array("input_ids").unwrap().as_slice::<i32>().unwrap().to_vec();
    let mut logits = reference.array("logits").unwrap().as_slice::<f32>().unwrap().to_vec();
    logits[5] += 0.5;
    let wrong = folder.join("wrong.safetensors");
    write_reference(&wrong, &ids, &logits, logits.len() / ids.len());
    let wrong = wrong.display().to_string();
    let check = |more: &[&str]| run(&[&["verify", &model, "--reference", &wrong, "--json"], more].concat());
    let (code, out, err) = check(&[]);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &found["greedy_match"]), (1, &Value::Null));
    assert!((found["prefill"]["max_abs_diff"].as_f64().unwrap() - 0.5).abs() < 0.01, "{out}");
    assert!(err.contains("more than the tolerance 0.01"), "{err}");
    assert_eq!(check(&["--tolerance", "0.6"]).0, 0);
    assert_eq!(check(&["--precision", "fast"]).0, 0);
    assert_eq!(check(&["--precision", "fast", "--tolerance", "0.4"]).0, 1);

    // What does not fit the model is refused by name.
    write_reference(Path::new(&wrong), &ids[..2], &logits[..20], 10);
    let (code, _, err) = check(&[]);
    assert!(code == 1 && err.contains("a vocabulary of 10, but the model has 320 tokens"), "{err}");
    write_reference(Path::new(&wrong), &[320], &logits[..320], 320);
    let (code, _, err) = check(&[]);
    assert!(code == 1 && err.contains("token 320 does not exist"), "{err}");
    std::fs::remove_file(&wrong).unwrap();
    let (code, _, err) = check(&[]);
    assert!(code == 1 && err.contains("there is no reference"), "{err}");
}

fn write_reference(path: &Path, ids: &[i32], logits: &[f32], vocabulary: usize) {
    let mut writer = SafetensorsWriter::create(path);
    writer.declare::<i32>("input_ids", &[ids.len()]).unwrap();
    writer.declare::<f32>("logits", &[ids.len(), vocabulary]).unwrap();
    let mut body = writer.begin().unwrap();
    body.write(ids).unwrap();
    body.write(logits).unwrap();
    body.finish().unwrap();
}

#[test]
fn logits_are_a_file_that_verify_agrees_with() {
    let out = folder("logits").join("out.safetensors");
    let (model, path) = (fixture("qwen2"), out.display().to_string());
    let reference = Checkpoint::open_tensors(fixtures::path("qwen2").join("reference.safetensors")).unwrap();
    let ids = reference.array("input_ids").unwrap().as_slice::<i32>().unwrap().to_vec();
    let list = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let found = json(&["logits", &model, "--tokens", &list, "--out", &path, "--precision", "exact"]);
    let expected = serde_json::json!({ "path": path, "tokens": ids.len(), "vocabulary": 320 });
    assert_eq!(found, expected);
    let written = Checkpoint::open_tensors(&out).unwrap();
    assert_eq!(written.tensor("logits").unwrap().shape, [ids.len(), 320]);
    let (ours, theirs) = (written.array("logits").unwrap(), reference.array("logits").unwrap());
    let pairs = ours.as_slice::<f32>().unwrap().iter().zip(theirs.as_slice::<f32>().unwrap());
    assert!(pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) <= 0.002);

    let (code, _, err) = run(&["logits", &model, "--tokens", "1,320", "--out", &path]);
    let expected = "error: token 320 does not exist: the model's vocabulary has 320 tokens, 0 to 319\n";
    assert_eq!((code, err.as_str()), (1, expected));
    let (code, _, err) = run(&["logits", &model, "--tokens", "1", "--out", "/no/such/folder/x"]);
    assert!(code == 1 && err.contains("/no/such/folder"), "{err}");
    // Neither failure left anything behind, and the file is still the first one.
    let names: Vec<_> = std::fs::read_dir(out.parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 1);
    assert_eq!(Checkpoint::open_tensors(&out).unwrap().tensor("logits").unwrap().shape[0], ids.len());
}

#[test]
fn bench_measures_what_was_asked_for() {
    let arguments = ["--prefill", "8,3", "--decode", "4", "--depth", "0,70", "--reps", "2", "--threads", "2"];
    let mut found = json(&[&["bench", &fixture("gemma3")], &arguments[..]].concat());
    let huge = found.as_object_mut().unwrap().remove("huge_page_share").expect("the key is there");
    if cfg!(target_os = "linux") {
        assert!((0.0..=1.0).contains(&huge.as_f64().unwrap()), "{huge}");
    }
    snapshot("bench", &shape_of(&found));
    let lengths: Vec<_> = found["prefill"].as_array().unwrap().iter().map(|p| p["tokens"].clone()).collect();
    assert_eq!(lengths, [8, 3]);
    assert_eq!(found["threads"], 2);
    let decode = found["decode"].as_array().unwrap();
    for one in decode {
        let number = |key: &str| one[key].as_f64().unwrap();
        let speed = one["tok_s"]["median"].as_f64().unwrap();
        assert!((number("gb_s") - speed * number("bytes_per_token") / 1e9).abs() <= 1e-9 * number("gb_s"));
        let share = number("gb_s") / found["bandwidth_gb_s"].as_f64().unwrap();
        assert!((number("bandwidth_share") - share).abs() < 1e-9, "{one}");
    }
    let bytes = |index: usize| decode[index]["bytes_per_token"].as_f64().unwrap();
    assert!(bytes(1) > bytes(0), "keys and values of 70 more tokens are read");
}

#[test]
fn inspect_lists_tensors_and_plans() {
    let found = json(&["inspect", &fixture("llama-tied"), "--plan"]);
    let tensors = found["tensors"].as_array().unwrap();
    let checkpoint = Checkpoint::open(fixtures::path("llama-tied")).unwrap();
    assert_eq!(tensors.len(), checkpoint.tensors().len());
    assert_eq!(found["totals"]["bytes"], checkpoint.tensor_bytes());
    snapshot("inspect_tensor", &tensors[0]);
    snapshot("inspect_totals", &found["totals"]);
    let keys: Vec<_> = found.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["path", "format", "metadata", "tensors", "totals", "plan"]);
    // A step reads every weight once: the table is the head too, and one row of it is looked up besides.
    let read = found["plan"]["weight_bytes"].as_u64().unwrap();
    let all = found["totals"]["bytes"].as_u64().unwrap();
    assert!(read <= all + 4096 && read >= all * 9 / 10, "{read} of {all}");

    let (code, out, err) = run(&["inspect", &fixture("llama-tied"), "--plan"]);
    assert_eq!((code, err.as_str()), (0, ""));
    for expected in
        ["model.embed_tokens.weight", "[320, 64]", "BF16", "model_type", "paged_attention", "arena"]
    {
        assert!(out.contains(expected), "{expected} is missing:\n{out}");
    }
}

#[test]
fn broken_models_are_one_sentence_each() {
    let folder = folder("broken");
    let model = folder.display().to_string();
    let sentence = |arguments: &[&str]| {
        let (code, out, err) = run(arguments);
        assert_eq!((code, out.as_str(), err.lines().count()), (1, "", 1), "{arguments:?}: {err}");
        err
    };
    copy_of("llama3", &folder);
    let edit = |from: &str, to: &str| {
        let text = std::fs::read_to_string(fixtures::path("llama3").join("config.json")).unwrap();
        assert!(text.contains(from));
        std::fs::write(folder.join("config.json"), text.replace(from, to)).unwrap();
    };
    edit("\"llama\"", "\"mamba7\"");
    let err = sentence(&["verify", &model]);
    assert!(err.contains("architecture `mamba7` is not supported") && err.contains("qwen2"), "{err}");
    edit("\"llama\"", "\"llama\"");
    let weights = std::fs::read(folder.join("model.safetensors")).unwrap();
    std::fs::write(folder.join("model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    let err = sentence(&["bench", &model]);
    assert!(err.contains("model.safetensors") && err.contains("truncated"), "{err}");
    let text = folder.join("text.txt");
    std::fs::write(&text, "Some text.").unwrap();
    let gguf = folder.join("x.gguf");
    std::fs::write(&gguf, b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0").unwrap();
    let err = sentence(&["inspect", &gguf.display().to_string()]);
    assert!(err.contains("x.gguf") && err.contains("truncated"), "{err}");
    let err = sentence(&["perplexity", &fixture("llama3"), "--file", &text.display().to_string()]);
    assert!(err.contains("tokenizer.json"), "{err}");
    let err = sentence(&["perplexity", &fixture("llama3"), "--file", "absent.txt"]);
    assert!(err.contains("absent.txt"), "{err}");
}

#[test]
fn unknown_levels_and_wrong_usage() {
    let model = fixture("llama3");
    let (code, _, err) = told(lazuli(&["verify", &model]).env("LAZULI_SIMD", "mmx"));
    assert!(
        code == 1 && err.starts_with("error: LAZULI_SIMD: vector level \"mmx\" is not available"),
        "{err}"
    );
    let usage: [&[&str]; 10] = [
        &["verify"],
        &["verify", &model, "--precision", "half"],
        &["verify", &model, "--tolerance", "-1"],
        &["logits", &model, "--tokens", "1,x", "--out", "y"],
        &["logits", &model, "--tokens", "1"],
        &["perplexity", &model],
        &["perplexity", &model, "--file", "x", "--context", "1"],
        &["bench", &model, "--threads", "0"],
        &["bench", &model, "--reps", "0"],
        &["bench", &model, "--prefill", "0", "--decode", "0"],
    ];
    for arguments in usage {
        let (code, out, err) = run(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(!err.is_empty());
    }
}
