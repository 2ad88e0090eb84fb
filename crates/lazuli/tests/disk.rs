//! What `--stats` says was read from disk, of a model whose pages were dropped from memory before.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lazuli::Model;
use lazuli::synth::{Synth, SynthFormat};
use lazuli_testkit::fixtures;
use rustix::fs::{Advice, fadvise};
use serde_json::{Value, json};

/// Bytes that this process made the system read from disks.
fn disk_read() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("read_bytes:")).unwrap().trim().parse().unwrap()
}

/// The weights' files in `folder`.
fn weights(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "safetensors")).collect()
}

/// Asks the system to forget what it keeps of the weights in memory.
fn drop_pages(folder: &Path) {
    for path in weights(folder) {
        let file = File::open(path).unwrap();
        // Pages that are yet to be written cannot be dropped.
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    }
}

/// Whether dropped pages come from a disk again, and the system says so: not in memory, nor under some hypervisors.
fn evicts(folder: &Path) -> bool {
    drop_pages(folder);
    let before = disk_read();
    let mut bytes = vec![0; 4 << 20];
    File::open(&weights(folder)[0]).unwrap().read_exact(&mut bytes).unwrap();
    disk_read() - before >= bytes.len() as u64
}

/// A model of which a token needs a small part, with a tokenizer of the alphabet.
fn write(folder: &Path, settings: &Path) {
    let config = json!({
        "model_type": "qwen3_moe", "hidden_size": 512, "intermediate_size": 512, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 512,
        "max_position_embeddings": 256, "moe_intermediate_size": 1024, "num_experts": 24,
        "num_experts_per_tok": 2, "norm_topk_prob": true, "rope_theta": 10000.0, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": false,
    });
    std::fs::write(settings, config.to_string()).unwrap();
    let synth = Synth::new(&settings.display().to_string(), SynthFormat::Bf16, None).unwrap();
    synth.write(folder, &mut |_| true).unwrap();
    std::fs::write(folder.join("tokenizer.json"), fixtures::letters_tokenizer()).unwrap();
}

/// What `--stats` says of one token after one letter.
fn stats(folder: &Path) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lazuli"));
    command.args(["run", &folder.display().to_string(), "a", "--raw", "-n", "1", "--json"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    answer["stats"].clone()
}

#[test]
fn stats_count_what_comes_from_disk() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let folder = dir.path().join("model");
    write(&folder, &dir.path().join("settings.json"));
    let spec = Model::open(&folder).unwrap().causal_lm().unwrap().spec().clone();
    assert!(spec.decode_bytes * 5 < spec.weight_bytes, "{} of {}", spec.decode_bytes, spec.weight_bytes);
    if !evicts(&folder) {
        eprintln!(
            "skipped: pages of {} that were dropped do not come from a disk again",
            dir.path().display()
        );
        return;
    }
    drop_pages(&folder);
    let cold = stats(&folder);
    let number = |stats: &Value, key: &str| stats[key].as_f64().unwrap();
    let (read, active) = (number(&cold, "disk_read_bytes"), spec.decode_bytes as f64);
    // The system reads up to 128 KB around what is touched, at both ends of each tensor; and the program itself.
    let slack = 24e6;
    println!("{read} bytes read from disk, {active} needed, {} in all", spec.weight_bytes);
    assert!(active * 0.95 <= read && read <= active + slack, "{read} bytes read, {active} needed");
    assert!(active + slack < spec.weight_bytes as f64 / 2.0, "the bound says something");
    // Now all that is needed lies in memory.
    let warm = number(&stats(&folder), "disk_read_bytes");
    assert!(warm < read / 4.0, "{warm} bytes read again, {read} before");
}
