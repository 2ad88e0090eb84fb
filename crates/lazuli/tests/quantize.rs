//! `lazuli quantize` from outside: what it writes is read again, and what it refuses leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use lazuli::Model;
use lazuli::io::{Checkpoint, Encoding, SafetensorsWriter};
use lazuli::quant::{Format, ScaleType};
use lazuli::quantize::{Container, Options, Plan, QuantizeError, Scheme};
use lazuli::store::Progress;
use lazuli_testkit::fixtures;
use serde_json::{Value, json};
use std::cell::Cell;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Exit code, stdout, stderr.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lazuli"));
    command.args(arguments).env("HF_HUB_OFFLINE", "1").env("NO_COLOR", "1").env_remove("LAZULI_SIMD");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// The one JSON value of a command that succeeds.
fn json_of(arguments: &[&str]) -> Value {
    let (code, out, err) = run(&[arguments, &["--json"]].concat());
    assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}: {out}");
    serde_json::from_str(&out).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A byte-level tokenizer of 260 tokens.
fn tokenizer() -> Value {
    let mut vocab = serde_json::Map::new();
    let printable = |b: u32| (33..=126).contains(&b) || (161..=172).contains(&b) || (174..=255).contains(&b);
    let mut next = 256;
    for byte in 0..256u32 {
        let code = if printable(byte) { byte } else { next };
        next += u32::from(!printable(byte));
        vocab.insert(char::from_u32(code).unwrap().to_string(), json!(byte));
    }
    for (id, token) in ["th", "he", "the"].iter().enumerate() {
        vocab.insert((*token).to_owned(), json!(256 + id));
    }
    json!({
        "added_tokens": [{"id": 259, "content": "<end>", "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": [["t", "h"], ["h", "e"], ["th", "e"]]},
    })
}

/// A fixture in a folder of its own, with a tokenizer; `change` may edit its settings.
fn source(name: &str, change: impl Fn(&mut Value)) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for file in std::fs::read_dir(fixtures::path(name)).unwrap() {
        let file = file.unwrap().path();
        std::fs::copy(&file, model.join(file.file_name().unwrap())).unwrap();
    }
    let config = std::fs::read_to_string(fixtures::path(name).join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    change(&mut config);
    std::fs::write(model.join("config.json"), config.to_string()).unwrap();
    std::fs::write(model.join("tokenizer.json"), tokenizer().to_string()).unwrap();
    std::fs::write(model.join("tokenizer_config.json"), r#"{"eos_token": "<end>"}"#).unwrap();
    std::fs::write(model.join("generation_config.json"), "{}").unwrap();
    dir
}

/// The largest difference from the reference of a fixture, and KL, one pass in f32.
fn verified(model: &Path, fixture: &str) -> (f64, f64) {
    let reference = fixtures::path(fixture).join("reference.safetensors");
    let arguments = ["verify", text(model), "--reference", text(&reference), "--precision", "exact"];
    let found = json_of(&[&arguments[..], &["--tolerance", "1000"]].concat());
    (found["prefill"]["max_abs_diff"].as_f64().unwrap(), found["prefill"]["kl_mean"].as_f64().unwrap())
}

fn encoding(checkpoint: &Checkpoint, name: &str) -> Encoding {
    checkpoint.tensor(name).unwrap_or_else(|| panic!("no tensor {name}")).encoding
}

const Q4: Encoding = Encoding::Quant(Format::Affine { bits: 4, group: 64, scale: ScaleType::Bf16 });

#[test]
fn folders_in_mlx_layout() {
    let dir = source("llama3", |_| {});
    let (from, out) = (dir.path().join("model"), dir.path().join("out"));
    let report = json_of(&[
        "quantize",
        text(&from),
        text(&out),
        "--format",
        "q4",
        "--layer",
        "*.1.mlp.down_proj=8g32",
        "--layer",
        "lm_head=bf16",
    ]);
    let model = Model::open(&out).unwrap();
    let checkpoint = model.checkpoint();
    assert_eq!(encoding(checkpoint, "model.embed_tokens.weight"), Q4);
    assert_eq!(encoding(checkpoint, "model.layers.0.mlp.down_proj.weight"), Q4);
    let eight = Format::Affine { bits: 8, group: 32, scale: ScaleType::Bf16 };
    assert_eq!(encoding(checkpoint, "model.layers.1.mlp.down_proj.weight"), Encoding::Quant(eight));
    assert_eq!(encoding(checkpoint, "lm_head.weight"), Encoding::BF16);
    assert_eq!(encoding(checkpoint, "model.norm.weight"), Encoding::BF16);
    let config = checkpoint.config().unwrap();
    assert_eq!(config["quantization"], config["quantization_config"]);
    let expected = json!({"group_size": 64, "bits": 4, "mode": "affine",
        "model.layers.1.mlp.down_proj": {"group_size": 32, "bits": 8, "mode": "affine"}});
    assert_eq!(config["quantization"], expected);
    for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        assert_eq!(std::fs::read(out.join(name)).unwrap(), std::fs::read(from.join(name)).unwrap(), "{name}");
    }
    let index = std::fs::read_to_string(out.join("model.safetensors.index.json")).unwrap();
    let index: Value = serde_json::from_str(&index).unwrap();
    assert_eq!(index["weight_map"]["model.layers.0.mlp.up_proj.biases"], "model.safetensors");
    assert_eq!(index["metadata"]["total_size"].as_u64(), Some(checkpoint.tensor_bytes() as u64));
    let (_, kl) = verified(&out, "llama3");
    assert!(kl > 0.01 && kl < 0.25, "{kl}");

    // The report knows what was written: the codes are those of the encoder, the error is that of decoding.
    let name = "model.layers.0.mlp.down_proj.weight";
    let (before, after) = (Checkpoint::open(&from).unwrap(), checkpoint.tensor(name).unwrap());
    let rows = before.tensor(name).unwrap();
    let values: Vec<f32> = before
        .plane(rows, 0)
        .chunks_exact(2)
        .map(|b| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16))
        .collect();
    let Encoding::Quant(format) = Q4 else { panic!() };
    let planes = format.encode(&values, rows.shape[0], rows.shape[1]).unwrap();
    for (plane, expected) in planes.iter().enumerate() {
        assert_eq!(checkpoint.plane(after, plane), expected, "plane {plane}");
    }
    let planes: Vec<&[u8]> = planes.iter().map(Vec::as_slice).collect();
    let mut decoded = vec![0.0; values.len()];
    format.decode(&planes, rows.shape[0], rows.shape[1], &mut decoded).unwrap();
    let power: f64 = values.iter().map(|x| f64::from(*x).powi(2)).sum();
    let missed: f64 = values.iter().zip(&decoded).map(|(x, y)| f64::from(x - y).powi(2)).sum();
    let kinds = report["kinds"].as_array().unwrap();
    let kind = kinds
        .iter()
        .find(|k| k["kind"] == "model.layers.*.mlp.down_proj.weight" && k["format"] == "affine4g64");
    let kind = kind.unwrap();
    assert_eq!((kind["tensors"].as_u64(), kind["bits_per_weight"].as_f64()), (Some(2), Some(4.5)));
    assert!((kind["mean_error"].as_f64().unwrap() / (missed / power).sqrt() - 1.0).abs() < 0.2);
    assert!(report["worst"][0]["error"].as_f64() >= kind["mean_error"].as_f64());
}

#[test]
fn every_format_of_folders_is_read_again() {
    let dir = source("llama3", |_| {});
    let from = dir.path().join("model");
    for (format, most) in [
        ("q8", 0.002),
        ("6g32", 0.014),
        ("5g64", 0.065),
        ("3g32", 0.6),
        ("2g32", 1.5),
        ("mxfp4", 0.35),
        ("nvfp4", 0.25),
        ("mxfp8", 0.026),
        ("bf16", 1e-9),
        ("f32", 1e-9),
        ("f16", 1e-9),
    ] {
        let out = dir.path().join(format);
        json_of(&["quantize", text(&from), text(&out), "--format", format]);
        let (_, kl) = verified(&out, "llama3");
        assert!(kl <= most, "{format}: {kl}");
    }
}

#[test]
fn shards_are_cut_where_they_are_full() {
    let dir = source("qwen2", |_| {});
    let (from, out) = (dir.path().join("model"), dir.path().join("out"));
    let model = Model::open(&from).unwrap();
    let mut options = Options::new(Scheme::parse("q4", Container::Folder).unwrap());
    options.shard_bytes = 30_000;
    let plan = Plan::new(model.checkpoint(), &out, options).unwrap();
    let bytes = plan.file_bytes().unwrap();
    plan.write(&Silent::default()).unwrap();
    let files: Vec<_> = std::fs::read_dir(&out).unwrap().map(|f| f.unwrap().path()).collect();
    let shards = files.iter().filter(|path| path.extension().is_some_and(|e| e == "safetensors"));
    let sizes: Vec<u64> = shards.map(|path| path.metadata().unwrap().len()).collect();
    assert!(sizes.len() > 2 && sizes.iter().all(|&size| size < 36_000), "{sizes:?}");
    let written: u64 = files.iter().map(|path| path.metadata().unwrap().len()).sum();
    // Only the settings and the index are not counted.
    assert!(bytes <= written && written < bytes + 20_000, "{bytes} {written}");
    assert!(out.join(format!("model-00001-of-{:05}.safetensors", sizes.len())).is_file());
    let (_, kl) = verified(&out, "qwen2");
    assert!(kl < 0.35, "{kl}");
}

#[test]
fn folders_become_gguf_files_and_folders_again() {
    // What is in these settings but not in GGUF files is made what readers of such files take.
    let gemma = |config: &mut Value| config["query_pre_attn_scalar"] = json!(32);
    for (fixture, change) in [
        ("llama3", &(|_: &mut Value| {}) as &dyn Fn(&mut Value)),
        ("llama-tied", &|_: &mut Value| {}),
        ("qwen2", &|_: &mut Value| {}),
        ("qwen3", &|_: &mut Value| {}),
        ("gemma3", &gemma),
    ] {
        let dir = source(fixture, change);
        let from = dir.path().join("model");
        let (file, folder) = (dir.path().join("m.gguf"), dir.path().join("folder"));
        json_of(&["quantize", text(&from), text(&file), "--format", "bf16"]);
        json_of(&["quantize", text(&file), text(&folder), "--format", "f32"]);
        let expected = verified(&from, fixture);
        for made in [&file, &folder] {
            let found = verified(made, fixture);
            assert!(
                (found.0 - expected.0).abs() < 1e-4 && found.0 < 10.0,
                "{fixture}: {found:?} {expected:?}"
            );
        }
        let count = |path: &Path| Model::open(path).unwrap().tokenizer().unwrap().vocab_size();
        assert_eq!((count(&from), count(&file), count(&folder)), (260, 320, 320), "{fixture}");
    }
}

#[test]
fn every_gguf_format_is_read_again() {
    let dir = source("llama3", |_| {});
    let (from, plain) = (dir.path().join("model"), dir.path().join("bf16.gguf"));
    json_of(&["quantize", text(&from), text(&plain), "--format", "bf16"]);
    let names = [
        "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q2_K_S", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S",
        "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4",
    ];
    for name in names {
        let out = dir.path().join(format!("{name}.gguf"));
        let report = json_of(&["quantize", text(&plain), text(&out), "--format", name]);
        assert_eq!(report["bytes"].as_u64(), Some(out.metadata().unwrap().len()), "{name}");
        let checkpoint = Checkpoint::open(&out).unwrap();
        let metadata = checkpoint.metadata().unwrap();
        assert_eq!(metadata.u32("general.quantization_version").unwrap(), Some(2));
        let kept = metadata.iter().filter(|(key, _)| key.starts_with("tokenizer.")).count();
        assert!(kept > 5, "{name}: {kept}");
        let (_, kl) = verified(&out, "llama3");
        assert!(kl < 2.0 && (kl > 1e-7), "{name}: {kl}");
    }
    // Rows of 256 are blocks of the K formats; others fall back.
    let checkpoint = Checkpoint::open(dir.path().join("Q4_K_M.gguf")).unwrap();
    assert_eq!(encoding(&checkpoint, "blk.1.ffn_down.weight"), Encoding::Quant(Format::Q4K));
    assert_eq!(encoding(&checkpoint, "blk.1.ffn_up.weight"), Encoding::Quant(Format::Q5_0));
    assert_eq!(encoding(&checkpoint, "output.weight"), Encoding::Quant(Format::Q8_0));
    assert_eq!(encoding(&checkpoint, "blk.1.attn_norm.weight"), Encoding::F32);
    assert_eq!(checkpoint.metadata().unwrap().u32("general.file_type").unwrap(), Some(15));
}

#[test]
fn the_estimate_comes_before_anything_is_written() {
    let dir = source("qwen2", |_| {});
    let (from, out) = (dir.path().join("model"), dir.path().join("out"));
    let report = json_of(&["quantize", text(&from), text(&out), "--format", "q4", "--dry-run"]);
    assert!(report.get("worst").is_none() && !out.exists());
    let bits = report["bits_per_weight"].as_f64().unwrap();
    assert!((4.5..5.0).contains(&bits), "{report}");
    let keys: Vec<_> = report.as_object().unwrap().keys().cloned().collect();
    let expected = [
        "source",
        "target",
        "format",
        "tensors",
        "weights",
        "source_bytes",
        "source_bits_per_weight",
        "bytes",
        "bits_per_weight",
        "kinds",
    ];
    assert_eq!(keys, expected);
    let (code, out, _) = run(&["quantize", text(&from), text(&out), "--format", "q4", "--dry-run"]);
    assert!(code == 0 && out.contains("affine4g64") && out.contains("bits per weight"), "{out}");
}

#[test]
fn measuring_compares_with_the_source() {
    let dir = source("llama3", |_| {});
    let (from, out, file) = (dir.path().join("model"), dir.path().join("out"), dir.path().join("text.txt"));
    std::fs::write(&file, "the quick brown fox jumps over the lazy dog. ".repeat(60)).unwrap();
    let arguments =
        ["quantize", text(&from), text(&out), "--format", "q4", "--measure", "--text", text(&file)];
    let report = json_of(&[&arguments[..], &["--precision", "exact"]].concat());
    let measured = &report["measured"];
    let number = |key: &str| measured[key].as_f64().unwrap();
    assert!(number("kl_mean") > 0.01 && number("kl_mean") < 0.25, "{measured}");
    assert!((number("perplexity") / number("source_perplexity") - 1.0).abs() < 0.3, "{measured}");
    let alone = json_of(&["perplexity", text(&out), "--file", text(&file), "--precision", "exact"]);
    assert_eq!(alone["tokens"], measured["tokens"]);
    assert!((alone["perplexity"].as_f64().unwrap() / number("perplexity") - 1.0).abs() < 1e-6);
    assert_eq!(run(&["quantize", text(&from), text(&out), "--format", "q4", "--measure"]).0, 2);
}

#[test]
fn what_cannot_be_written_is_refused_and_leaves_nothing() {
    let dir = source("llama3", |_| {});
    let (from, out) = (dir.path().join("model"), dir.path().join("out"));
    let refused = |target: &Path, more: &[&str], words: &[&str]| {
        let (code, said, err) = run(&[&["quantize", text(&from), text(target)], more].concat());
        assert_eq!((code, said.as_str()), (1, ""), "{more:?}: {err}");
        for word in words {
            assert!(err.contains(word), "{more:?}: {err}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1 + usize::from(out.exists()), "{more:?}");
    };
    let gguf = dir.path().join("out.gguf");
    refused(&out, &["--format", "Q4_K_M"], &["ends in .gguf"]);
    refused(&out, &["--format", "7g64"], &["`7g64`", "q4"]);
    refused(&gguf, &["--format", "q4"], &["does not end in .gguf"]);
    refused(&gguf, &["--format", "IQ2_XXS"], &["Q4_K_M"]);
    refused(&gguf, &["--format", "Q8_0", "--layer", "*ffn_up*=Q4_K"], &["blk.0.ffn_up.weight", "256"]);
    refused(&gguf, &["--format", "Q8_0", "--layer", "*ffn_down*=IQ2_S"], &["not written"]);
    refused(&out, &["--format", "q4", "--layer", "mlp=q8"], &["matches no matrix", "lm_head.weight"]);
    refused(&dir.path().join("none/out"), &["--format", "q4"], &["does not exist"]);
    std::fs::create_dir(&out).unwrap();
    refused(&out, &["--format", "q4"], &["exists already", "--force"]);
    refused(&out, &["--format", "q4", "--force"], &["holds no model"]);
    refused(&from, &["--format", "q4", "--force"], &["it is the source"]);

    // 64 elements do not divide into groups of 128.
    let dir = source("qwen2", |_| {});
    let (from, out) = (dir.path().join("model"), dir.path().join("out"));
    let (code, _, err) = run(&["quantize", text(&from), text(&out), "--format", "4g128"]);
    assert!(
        code == 1 && err.contains("rows of 64") && err.contains("groups of 128") && !out.exists(),
        "{err}"
    );
}

#[test]
fn packed_sources_need_a_word() {
    let dir = source("llama3", |_| {});
    let (from, four, two) = (dir.path().join("model"), dir.path().join("four"), dir.path().join("two"));
    json_of(&["quantize", text(&from), text(&four), "--format", "q4"]);
    let (code, _, err) = run(&["quantize", text(&four), text(&two), "--format", "2g32"]);
    assert!(code == 1 && err.contains("packed already") && err.contains("--requantize"), "{err}");
    json_of(&["quantize", text(&four), text(&two), "--format", "2g32", "--requantize"]);
    let two = Model::open(&two).unwrap();
    let config = two.checkpoint().config().unwrap();
    assert_eq!(config["quantization"], json!({"group_size": 32, "bits": 2, "mode": "affine"}));
    // The same format again is a copy, which loses nothing.
    let again = dir.path().join("again");
    json_of(&["quantize", text(&four), text(&again), "--format", "q4"]);
    let files = [&four, &again].map(|folder| std::fs::read(folder.join("model.safetensors")).unwrap());
    assert!(files[0] == files[1]);
    // A target that exists is replaced if that is asked for.
    json_of(&["quantize", text(&from), text(&again), "--format", "q8", "--force"]);
    let again = Model::open(&again).unwrap();
    assert_eq!(again.checkpoint().config().unwrap()["quantization"]["bits"], 8);
}

#[test]
fn experts_are_stacked() {
    let dir = tempfile::tempdir().unwrap();
    let (from, out) = (dir.path().join("model"), dir.path().join("out"));
    std::fs::create_dir(&from).unwrap();
    std::fs::write(from.join("config.json"), r#"{"model_type": "qwen3_moe"}"#).unwrap();
    let mut writer = SafetensorsWriter::create(from.join("model.safetensors"));
    for expert in [1, 0, 2] {
        writer
            .declare::<f32>(&format!("model.layers.0.mlp.experts.{expert}.up_proj.weight"), &[2, 64])
            .unwrap();
    }
    writer.declare::<f32>("model.layers.0.mlp.gate.weight", &[3, 64]).unwrap();
    let mut body = writer.begin().unwrap();
    for expert in [1f32, 0.0, 2.0, 7.0] {
        let rows = if expert == 7.0 { 3 } else { 2 };
        body.write(&vec![expert; rows * 64]).unwrap();
    }
    body.finish().unwrap();
    json_of(&["quantize", text(&from), text(&out), "--format", "q8"]);
    let model = Model::open(&out).unwrap();
    let checkpoint = model.checkpoint();
    let stack = checkpoint.tensor("model.layers.0.mlp.switch_mlp.up_proj.weight").unwrap();
    assert_eq!(stack.shape, [3, 2, 64]);
    let Encoding::Quant(format) = stack.encoding else { panic!() };
    let planes: Vec<&[u8]> = (0..3).map(|plane| checkpoint.plane(stack, plane)).collect();
    let mut decoded = vec![0.0; 3 * 2 * 64];
    format.decode(&planes, 6, 64, &mut decoded).unwrap();
    for (place, value) in decoded.iter().enumerate() {
        assert!((value - (place / 128) as f32).abs() < 1e-3, "{place}: {value}");
    }
    assert_eq!(encoding(checkpoint, "model.layers.0.mlp.gate.weight"), Encoding::F32);
}

#[test]
fn values_that_are_no_numbers_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (from, out) = (dir.path().join("model"), dir.path().join("out"));
    std::fs::create_dir(&from).unwrap();
    std::fs::write(from.join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
    let mut writer = SafetensorsWriter::create(from.join("model.safetensors"));
    writer.declare::<f32>("a.weight", &[2, 64]).unwrap();
    let mut body = writer.begin().unwrap();
    let mut values = vec![1e30f32; 128];
    values[70] = f32::NAN;
    body.write(&values).unwrap();
    body.finish().unwrap();
    let (code, _, err) = run(&["quantize", text(&from), text(&out), "--format", "q4"]);
    assert!(code == 1 && err.contains("`a.weight`: element 6 of row 1 is NaN"), "{err}");
    let (code, _, err) = run(&["quantize", text(&from), text(&out), "--format", "f16"]);
    assert!(code == 1 && err.contains("element 0 of row 0") && err.contains("too large for F16"), "{err}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn scales_that_are_no_numbers_are_found() {
    let dir = source("llama3", |_| {});
    let (from, out) = (dir.path().join("model"), dir.path().join("out"));
    json_of(&["quantize", text(&from), text(&out), "--format", "q4"]);
    let (code, _, err) = run(&["inspect", text(&out), "--check"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let checkpoint = Model::open(&out).unwrap();
    let tensor = checkpoint.checkpoint().tensor("model.layers.1.mlp.up_proj.weight").unwrap();
    let at = tensor.planes[1].bytes.start + 2;
    drop(checkpoint);
    let file = out.join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[at..at + 2].copy_from_slice(&[0xc0, 0x7f]);
    std::fs::write(&file, bytes).unwrap();
    let (code, said, err) = run(&["inspect", text(&out), "--check"]);
    assert!(code == 1 && said.is_empty(), "{err}");
    assert!(err.contains("`model.layers.1.mlp.up_proj.weight`: element 64 of row 0 is NaN"), "{err}");
    let again = dir.path().join("again");
    let (code, _, err) = run(&["quantize", text(&out), text(&again), "--format", "q8", "--requantize"]);
    assert!(code == 1 && err.contains("is NaN") && !again.exists(), "{err}");
}

/// Says nothing, and stops after some pieces.
#[derive(Default)]
struct Silent {
    pieces: Cell<usize>,
    most: Option<usize>,
}

impl Progress for Silent {
    fn begin(&self, _: &str, _: Option<u64>, _: u64) {}
    fn at(&self, _: u64) {
        self.pieces.set(self.pieces.get() + 1);
    }
    fn end(&self) {}
    fn note(&self, _: &str) {}
    fn stopped(&self) -> bool {
        self.most.is_some_and(|most| self.pieces.get() >= most)
    }
}

#[test]
fn who_stops_finds_nothing() {
    let dir = source("llama3", |_| {});
    let model = Model::open(dir.path().join("model")).unwrap();
    for (name, format) in [("out", "q4"), ("out.gguf", "Q4_K_M")] {
        let out = dir.path().join(name);
        let options = Options::new(Scheme::parse(format, Container::of(&out)).unwrap());
        let plan = Plan::new(model.checkpoint(), &out, options).unwrap();
        for most in [0, 3, 20] {
            let stopped = plan.write(&Silent { most: Some(most), ..Silent::default() });
            assert!(matches!(stopped, Err(QuantizeError::Interrupted)), "{most}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "{most}");
        }
        plan.write(&Silent::default()).unwrap();
        assert!(out.exists());
        if out.is_dir() { std::fs::remove_dir_all(out).unwrap() } else { std::fs::remove_file(out).unwrap() }
    }
}
