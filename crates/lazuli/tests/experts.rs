//! Experts at sizes that memory notices: of a model with many, a step touches those that its token uses.
#![cfg(target_os = "linux")]

use std::num::NonZeroUsize;
use std::path::Path;

use lazuli::backends::{Precision, RuntimeOptions};
use lazuli::core::{DType, HUGE_PAGE};
use lazuli::nn::Logits;
use lazuli::synth::{Synth, SynthFormat};
use lazuli::{DecodeTraffic, Model, Session};
use serde_json::json;

/// Bytes of the mapped weights below `folder` that this process has in its page table.
fn resident(folder: &Path) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").expect("Linux has it");
    let (mut inside, mut sum) = (false, 0);
    for line in maps.lines() {
        let field = line.split_whitespace().next().unwrap_or_default();
        if !field.ends_with(':') {
            inside = line.contains(&format!("{}/", folder.display())) && line.ends_with(".safetensors");
        } else if inside && field == "Rss:" {
            let kilobytes: u64 = line[4..].trim().trim_end_matches(" kB").parse().expect("a number");
            sum += kilobytes * 1024;
        }
    }
    sum
}

fn session(folder: &Path, context: usize) -> Session {
    let model = Model::open(folder).expect("it was just written").causal_lm().expect("a known architecture");
    let runtime = RuntimeOptions { threads: NonZeroUsize::new(2), precision: Precision::Fast, simd: None };
    Session::new(model, runtime.runtime().expect("this machine has it"), DType::F16, context).expect("small")
}

/// Bytes of this process that are no file's.
fn private() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("it says so");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// What one token reads: all weights but the experts that it does not use. `slack` bounds the bytes touched, as shares
/// of those wanted.
fn check(folder: &Path, experts: f64, slack: std::ops::Range<f64>) {
    let mut session = session(folder, 64);
    let spec = session.model().spec().clone();
    // Of each file the first pages, with as many neighbours as the system maps at once: what was just written lies in
    // the page cache in huge pages.
    let names =
        std::fs::read_dir(folder).expect("it was just written").map(|entry| entry.expect("a name").path());
    let files = names.filter(|path| path.extension().is_some_and(|end| end == "safetensors")).count() as u64;
    let opened = resident(folder);
    assert!(
        opened <= files * HUGE_PAGE as u64,
        "opening reads headers alone, and {opened} bytes of {files} files were read"
    );
    let logits = session.feed(&[7], Logits::Last).expect("it runs");
    assert!(logits.as_slice::<f32>().expect("logits").iter().all(|x| x.is_finite()));
    let touched = resident(folder) as f64;
    let wanted = spec.decode_bytes as f64;
    assert!(wanted < experts * spec.weight_bytes as f64, "{wanted} of {}", spec.weight_bytes);
    // The system maps the huge page that a page lies in, or up to half a megabyte of neighbours, which counts at the edges
    // of every expert's tensors; how much is read on purpose is what the plan says, below.
    assert!(slack.contains(&(touched / wanted)), "{touched} bytes touched, {wanted} wanted");
    let traffic = DecodeTraffic::of(&session.decode_plan().expect("it ran")).weights as f64;
    assert!((traffic / wanted - 1.0).abs() < 0.05, "{traffic} bytes by the plan, {wanted} by the shapes");
}

#[test]
fn a_step_touches_the_chosen_experts_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = json!({
        "model_type": "qwen3_moe", "hidden_size": 1024, "intermediate_size": 1024, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 512,
        "max_position_embeddings": 256, "moe_intermediate_size": 2048, "num_experts": 24,
        "num_experts_per_tok": 2, "norm_topk_prob": true, "rope_theta": 10000.0, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": false,
    });
    let settings = dir.path().join("settings.json");
    std::fs::write(&settings, config.to_string()).expect("room");
    for (name, format) in [("bf16", SynthFormat::Bf16), ("q8", SynthFormat::Q8)] {
        let folder = dir.path().join(name);
        let synth = Synth::new(&settings.display().to_string(), format, None).expect("a known architecture");
        synth.write(&folder, &mut |_| true).expect("room");
        assert!(matches!(synth.write(&folder, &mut |_| true), Err(lazuli::synth::SynthError::Exists { .. })));
        check(&folder, 0.2, 0.9..3.0);
    }
}

#[test]
fn gpt_oss_is_written_in_its_own_form_and_runs() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = json!({
        "model_type": "gpt_oss", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 320,
        "num_local_experts": 6, "num_experts_per_tok": 2, "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention"],
    });
    let settings = dir.path().join("settings.json");
    std::fs::write(&settings, config.to_string()).expect("room");
    let settings = settings.display().to_string();
    for (name, format) in [("bf16", SynthFormat::Bf16), ("mxfp4", SynthFormat::Mxfp4)] {
        let folder = dir.path().join(name);
        Synth::new(&settings, format, None)
            .expect("a known architecture")
            .write(&folder, &mut |_| true)
            .expect("room");
        let logits = session(&folder, 64).feed(&[7, 8, 9], Logits::All).expect("it runs");
        let logits = logits.as_slice::<f32>().expect("logits");
        let spread = logits.iter().map(|x| x * x).sum::<f32>() / logits.len() as f32;
        assert!(spread.is_finite() && spread > 0.01, "{name}: logits say something: {spread}");
    }
    let refusal = Synth::new(&settings, SynthFormat::Q4, None).expect_err("no such form").to_string();
    assert!(refusal.contains("--format mxfp4"), "{refusal}");
}

#[test]
fn what_is_written_by_half_is_removed() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("model");
    let synth = Synth::new("llama-3.2-1b", SynthFormat::Q4, Some(1)).expect("a known model");
    let mut calls = 0;
    let stopped = synth.write(&out, &mut |_| {
        calls += 1;
        calls < 3
    });
    assert!(matches!(stopped, Err(lazuli::synth::SynthError::Interrupted)));
    assert_eq!(std::fs::read_dir(dir.path()).expect("it is there").count(), 0);
    assert!(Synth::new("llama-3.2-1b", SynthFormat::Q4, Some(0)).is_err());
}

#[test]
#[ignore = "needs 10 GB of disk and some minutes"]
fn four_layers_of_r1_at_their_true_size() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("r1");
    let synth = Synth::new("deepseek-r1", SynthFormat::Q4, Some(4)).expect("a known model");
    synth.write(&folder, &mut |_| true).expect("10 GB of disk");
    let model = Model::open(&folder).expect("it was just written").causal_lm().expect("known");
    let kv = model.spec().kv_bytes_per_token(DType::F16);
    // Of all 61 layers: one latent row of 512 and 64 numbers each, whatever the number of heads.
    assert_eq!((kv, kv / 4 * 61), (4 * 1152, 70_272));
    drop(model);
    check(&folder, 0.5, 0.95..1.25);
}

#[test]
#[ignore = "needs 5 GB of disk and of memory, and a minute"]
fn eight_billion_parameters_in_four_bits_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("8b");
    let synth = Synth::new("llama-3.1-8b", SynthFormat::Q4, None).expect("a known model");
    synth.write(&folder, &mut |_| true).expect("5 GB of disk");
    let mut session = session(&folder, 256);
    let ids: Vec<u32> = (0..100).collect();
    let logits = session.feed(&ids, Logits::Last).expect("it runs");
    assert!(logits.as_slice::<f32>().expect("logits").iter().all(|x| x.is_finite()));
    session.feed(&[5], Logits::Last).expect("it runs");
    // The weights are the mapped file's pages and nothing else, and the process adds little to them.
    let (weights, mapped, own) = (session.model().spec().weight_bytes as u64, resident(&folder), private());
    assert!(mapped <= weights + (64 << 20), "{mapped} bytes mapped of {weights}");
    assert!(own < 1 << 30, "{own} bytes besides the weights");
}
