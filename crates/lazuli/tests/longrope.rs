//! LongRoPE through files and engine: a pool for the original context has the short factors, a larger one the long ones.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use lazuli::backends::RuntimeOptions;
use lazuli::core::DType;
use lazuli::engine::EngineOptions;
use lazuli::nn::Logits;
use lazuli::synth::{Synth, SynthFormat};
use lazuli::{Model, Session};
use serde_json::json;

/// Writes a small Phi-3 that was first trained for `original` tokens, with these factors of all pairs.
fn write(folder: &Path, name: &str, original: usize, [short, long]: [f32; 2]) -> Model {
    let config = json!({
        "model_type": "phi3", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 128, "rope_theta": 10000.0,
        "max_position_embeddings": 131_072, "original_max_position_embeddings": original, "rms_norm_eps": 1e-5,
        "rope_scaling": {"type": "longrope", "short_factor": vec![short; 8], "long_factor": vec![long; 8]},
        "tie_word_embeddings": false, "pad_token_id": 0,
    });
    let settings = folder.join(format!("{name}.json"));
    std::fs::write(&settings, config.to_string()).unwrap();
    let out = folder.join(name);
    let synth = Synth::new(&settings.display().to_string(), SynthFormat::Bf16, None).unwrap();
    synth.write(&out, &mut |_| true).unwrap();
    Model::open(&out).unwrap()
}

/// The logits after some tokens in a pool for `context` tokens; weights are the same in all models.
fn logits(model: &Model, context: usize) -> Vec<f32> {
    let runtime = RuntimeOptions::default().runtime().unwrap();
    let mut session = Session::new(model.causal_lm().unwrap(), runtime, DType::F16, context).unwrap();
    let rows = session.feed(&[3, 1, 4, 1, 5, 9, 2, 6], Logits::Last).unwrap();
    rows.as_slice::<f32>().unwrap().to_vec()
}

#[test]
fn the_pools_context_chooses_the_list() {
    let dir = tempfile::tempdir().unwrap();
    let both = write(dir.path(), "both", 4096, [1.0, 4.0]);
    let (short, long) =
        (write(dir.path(), "short", 4096, [1.0, 1.0]), write(dir.path(), "long", 4096, [4.0, 4.0]));
    for (context, same, other) in [(4096, &short, &long), (4097, &long, &short)] {
        let found = logits(&both, context);
        assert_eq!(found, logits(same, context), "{context}");
        assert_ne!(found, logits(other, context), "{context}");
    }
}

#[test]
fn who_asks_for_no_context_gets_the_short_list() {
    let dir = tempfile::tempdir().unwrap();
    // Phi-3 and Phi-3.5 were first trained for 4096 tokens, and made for 131,072.
    let network = write(dir.path(), "both", 4096, [1.0, 4.0]).causal_lm().unwrap();
    let pool = EngineOptions { max_sequences: 1, ..EngineOptions::default() }.kv(&*network).unwrap();
    assert!(pool.context <= 4096 && network.spec().context == 131_072, "{}", pool.context);
}
