//! `lazuli plan` and `lazuli hardware` from outside: keys, figures and refusals, without a network.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use lazuli_testkit::fixtures;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lazuli"));
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plan-home");
    command.args(arguments).env_clear().env("HOME", &home).env("HF_HUB_OFFLINE", "1").stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn json(arguments: &[&str]) -> Value {
    let (code, out, err) = run(&[arguments, &["--json"]].concat());
    assert_eq!(code, 0, "{arguments:?}: {err}");
    serde_json::from_str(&out).unwrap()
}

/// Refused by a sentence, under `--json` by the same one as a value.
fn refused_with(code: i32, arguments: &[&str]) -> String {
    let (found, out, err) = run(arguments);
    assert_eq!(found, code, "{arguments:?}: {out}{err}");
    assert!(out.is_empty() && err.starts_with("error: "), "{arguments:?}: {out}{err}");
    let (found, out, json) = run(&[arguments, &["--json"]].concat());
    assert_eq!((found, out.as_str()), (code, ""), "{arguments:?}: {json}");
    let json: Value = serde_json::from_str(&json).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {json}"));
    assert_eq!(json["error"].as_str(), err.strip_prefix("error: ").map(str::trim_end), "{arguments:?}");
    err
}

fn refused(arguments: &[&str]) -> String {
    refused_with(1, arguments)
}

#[test]
fn the_catalogue_is_planned_offline() {
    let at = |more: &[&str]| json(&[&["plan", "llama-3.3-70b", "--machine", "M4 Max 128GB"], more].concat());
    let plan = at(&["--format", "q4", "--context", "131072"]);
    assert_eq!(plan["kv_bytes_per_token"], 327_680);
    assert_eq!(plan["kv_bytes"], 40_u64 << 30);
    let keys = ["weights_bytes", "workspace_bytes", "total_bytes", "budget_bytes", "max_context"];
    assert!(keys.iter().all(|key| plan[key].is_u64()), "{plan}");
    assert!(plan["fits"].is_boolean() && plan["bound_by"] == "bandwidth", "{plan}");
    for speed in ["decode_tok_s", "prefill_tok_s"] {
        let [low, middle, high] = ["low", "p50", "high"].map(|key| plan[speed][key].as_f64().unwrap());
        assert!(low < middle && middle < high, "{plan}");
    }
    let total = |format| at(&["--format", format])["total_bytes"].as_f64().unwrap() / 1e9;
    assert!((75.0..85.0).contains(&total("q8")) && (40.0..45.0).contains(&total("q4")));
    let deepseek = json(&["plan", "deepseek-r1", "--format", "q4", "--machine", "M3 Ultra"]);
    assert_eq!(deepseek["kv_bytes_per_token"], 70_272);
    assert!((350e9..400e9).contains(&deepseek["total_bytes"].as_f64().unwrap()), "{deepseek}");
}

#[test]
fn nonsense_is_refused_with_a_way_out() {
    let at = |code, more: &[&str]| refused_with(code, &[&["plan", "llama-3.1-8b"], more].concat());
    let model = |more: &[&str]| at(2, more);
    let error = model(&["--machine", "M4 Ultra"]);
    assert!(error.contains("there is no M4 Ultra") && error.contains("M3 Ultra (819 GB/s"), "{error}");
    assert!(model(&["--machine", "M4 Mxa"]).contains("M4 Max"));
    let beyond = at(1, &["--context", "200k"]);
    assert!(beyond.contains("131072") && beyond.contains("--force"), "{beyond}");
    for bad in ["0", "-1", "many"] {
        assert!(model(&["--context", bad]).contains(bad), "{bad}");
        model(&["--concurrency", bad]);
        model(&["--prompt", bad]);
        model(&["--memory", bad]);
        model(&["--bandwidth", bad]);
    }
    assert!(model(&["--format", "q9"]).contains("q8_0"));
    assert!(model(&["--kv-format", "q5"]).contains("q4_0"));
    assert!(model(&["--engine", "vllm"]).contains("llama.cpp"));
    assert!(at(1, &["--engine", "lazuli"]).contains("--calibrate"));
    assert!(model(&["--want", "fast"]).contains("20 tok/s at 32k"));
    assert!(refused(&["plan", "lama-3.1-8b"]).contains("llama-3.1-8b"));
    assert!(refused(&["plan", "someone/unknown"]).contains("HF_HUB_OFFLINE"));
    let forced = json(&["plan", "llama-3.1-8b", "--context", "200k", "--force", "--machine", "M3 Ultra"]);
    assert_eq!(forced["context"], 204_800);
}

#[test]
fn files_are_planned_by_their_headers() {
    let folder = fixtures::path("gemma3");
    let plan = json(&["plan", &folder.display().to_string(), "--context", "64,128"]);
    assert_eq!(plan["engine"], "lazuli");
    assert_eq!(plan["table"].as_array().unwrap().len(), 2);
    assert!(plan["fits"] == true && plan["decode_tok_s"].is_null(), "{plan}");
    let weights = plan["weights_bytes"].as_u64().unwrap();
    let file = folder.join("model.safetensors").metadata().unwrap().len();
    assert!(weights < file && file - weights < 20_000, "{weights} of {file}");

    let empty = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plan-without-weights");
    std::fs::create_dir_all(&empty).unwrap();
    std::fs::copy(folder.join("config.json"), empty.join("config.json")).unwrap();
    refused(&["plan", &empty.display().to_string()]);
}

#[test]
fn wishes_and_machines_are_listed() {
    let list = json(&["plan", "llama-3.3-70b", "--want", "8 tok/s at 32k"]);
    let list = list.as_array().unwrap();
    assert!(list.len() > 3);
    assert!(list.windows(2).all(|pair| pair[0]["memory_bytes"].as_u64() <= pair[1]["memory_bytes"].as_u64()));
    let error = refused(&["plan", "deepseek-r1", "--want", "500 tok/s"]);
    assert!(error.contains("nothing in the tables"), "{error}");
    let machines = json(&["hardware"]);
    let machines = machines.as_array().unwrap();
    assert_eq!(machines.len(), 31);
    let missing = machines.iter().find(|m| m["machine"] == "M4 Ultra").unwrap();
    assert_eq!(missing["status"], "does not exist");
    let (code, out, _) = run(&["hardware"]);
    assert!(code == 0 && out.contains("M4 Max (40-core)") && out.contains("second-hand"), "{out}");
}

#[test]
fn a_picture_shows_the_parts_to_scale() {
    let (code, out, err) =
        run(&["plan", "llama-3.3-70b", "--format", "q8", "--machine", "M4 Max 64GB", "--context", "8k,32k"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("██") && out.contains('|') && out.contains("it does not fit"), "{out}");
    assert!(out.contains("--format q4") && out.contains("what would help"), "{out}");
}
