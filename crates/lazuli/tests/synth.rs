//! `lazuli synth` with GGUF files: shapes of one file, random weights in every format.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lazuli::backends::RuntimeOptions;
use lazuli::core::DType;
use lazuli::io::{Checkpoint, Encoding};
use lazuli::nn::Logits;
use lazuli::quant::Format;
use lazuli::synth::{Synth, SynthError, SynthFile, SynthFormat};
use lazuli::{Model, Session, quantize};
use lazuli_testkit::fixtures;
use serde_json::json;

/// Exit code and stderr.
fn run(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lazuli"));
    let output = command.args(arguments).env("NO_COLOR", "1").stdin(Stdio::null()).output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8(output.stderr).unwrap())
}

/// A small model of three layers as a GGUF file in BF16.
fn source(dir: &Path) -> PathBuf {
    let config = json!({
        "model_type": "llama", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 32,
        "max_position_embeddings": 256, "rope_theta": 10000.0, "rms_norm_eps": 1e-6, "tie_word_embeddings": false,
    });
    let (settings, folder, file) = (dir.join("settings.json"), dir.join("model"), dir.join("source.gguf"));
    std::fs::write(&settings, config.to_string()).unwrap();
    let synth = Synth::new(settings.to_str().unwrap(), SynthFormat::Bf16, None).unwrap();
    synth.write(&folder, &mut |_| true).unwrap();
    std::fs::write(folder.join("tokenizer.json"), fixtures::letters_tokenizer()).unwrap();
    let (code, err) =
        run(&["quantize", folder.to_str().unwrap(), file.to_str().unwrap(), "-f", "bf16", "--quiet"]);
    assert_eq!(code, 0, "{err}");
    file
}

#[test]
fn files_in_every_format_of_gguf_are_models() {
    let dir = tempfile::tempdir().unwrap();
    let like = source(dir.path());
    let names = Format::ALL_BLOCK.iter().map(|format| (format.name().into_owned(), Encoding::Quant(*format)));
    let plain = [("bf16".to_owned(), Encoding::BF16), ("f16".to_owned(), Encoding::F16)];
    for (name, encoding) in names.chain(plain) {
        let out = dir.path().join(format!("{name}.gguf"));
        let synth = SynthFile::new(&like, &name.to_lowercase(), Some(2)).unwrap();
        let mut told = 0;
        synth
            .write(&out, &mut |done| {
                told = done;
                true
            })
            .unwrap();
        assert_eq!(told, synth.bytes(), "{name}");
        let (written, original) = (Checkpoint::open(&out).unwrap(), Checkpoint::open(&like).unwrap());
        let metadata = written.metadata().unwrap();
        assert_eq!(metadata.u32("llama.block_count").unwrap(), Some(2), "{name}");
        assert!(metadata.get("tokenizer.ggml.tokens").is_some());
        assert_eq!(written.tensors().len(), 3 + 2 * 9);
        for tensor in written.tensors() {
            let other = original.tensor(&tensor.name).unwrap();
            assert_eq!(tensor.shape, other.shape, "{name}");
            if tensor.shape.len() > 1 {
                assert_eq!(tensor.encoding, encoding, "{name}: {}", tensor.name);
            } else {
                assert_eq!(written.plane(tensor, 0), original.plane(other, 0), "{name}: {}", tensor.name);
            }
        }
        quantize::check_values(&written, || false).unwrap();
        let network = Model::open(&out).unwrap().causal_lm().unwrap();
        let runtime = RuntimeOptions::default().runtime().unwrap();
        let mut session = Session::new(network, runtime, DType::F16, 64).unwrap();
        let logits = session.feed(&[3, 1, 4, 1, 5], Logits::Last).unwrap();
        let logits = logits.as_slice::<f32>().unwrap();
        let spread = logits.iter().fold(0f32, |most, x| most.max(x.abs()));
        assert!(logits.iter().all(|x| x.is_finite()) && (0.05..50.0).contains(&spread), "{name}: {logits:?}");
    }
}

#[test]
fn what_does_not_fit_together_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let like = source(dir.path());
    let like = like.to_str().unwrap();
    let (file, folder) = (dir.path().join("out.gguf"), dir.path().join("out"));
    let (file, folder) = (file.to_str().unwrap(), folder.to_str().unwrap());
    for (arguments, said) in [
        (&[like, folder][..], "give an OUT that ends in .gguf"),
        (&[like, folder, "--format", "iq2_s"], "formats of GGUF files need an OUT that ends in .gguf"),
        (&[like, file, "--format", "q4"], "found `q4`, expected for a GGUF file BF16"),
        (&["llama-3.2-1b", file], "give a GGUF file as MODEL"),
        (&[like, file, "--layers", "4"], "found 4, the source has 3"),
        (&[like, file, "--layers", "0"], "choose 1 to 3"),
        (&[like, like], "exists already"),
    ] {
        let (code, err) = run(&[&["synth"], arguments].concat());
        assert!(code != 0 && err.contains(said), "{arguments:?}: {err}");
    }
    let synth = SynthFile::new(like.as_ref(), "Q4_K", None).unwrap();
    let out = dir.path().join("stopped.gguf");
    assert!(matches!(synth.write(&out, &mut |_| false), Err(SynthError::Interrupted)));
    let names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}
