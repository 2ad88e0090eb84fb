//! The fixtures written as GGUF files, with everything that writers of such files change, give the same logits.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod gguf_file;
mod golden;

use gguf_file::{NORMS, SANDWICH, Setting, agrees, neighbours, ones_added, renamed, sizes, write_gguf};
use lazuli_io::Checkpoint;
use lazuli_models::load;

#[test]
fn llama_with_reordered_heads_and_factors_in_a_tensor() {
    let mut all = renamed("llama3", NORMS, |tensor| neighbours(tensor, 32));
    let factor = |pair: i32| {
        let wavelength = std::f64::consts::TAU * 500_000f64.powf(f64::from(pair) / 16.0);
        let kept = ((64.0 / wavelength - 1.0) / 3.0).clamp(0.0, 1.0);
        (1.0 / ((1.0 - kept) / 8.0 + kept)) as f32
    };
    all.push(("rope_freqs.weight".into(), vec![16], (0..16).map(factor).collect()));
    let mut settings = sizes(3, 128, 256, 4, 2);
    settings.extend([
        ("rope.freq_base", Setting::Number(500_000.0)),
        ("rope.dimension_count", Setting::Int(32)),
        ("vocab_size", Setting::Int(320)),
    ]);
    agrees("llama3", "llama", &all, settings);
}

#[test]
fn qwen2_with_the_embedding_as_head() {
    let all = renamed("qwen2", NORMS, |_| {});
    let mut settings = sizes(3, 64, 128, 4, 2);
    settings.push(("rope.freq_base", Setting::Number(1e6)));
    agrees("qwen2", "qwen2", &all, settings);
}

#[test]
fn gemma3_with_ones_added_to_its_norms() {
    let mut all = renamed("gemma3", SANDWICH, ones_added);
    // The fixture scales queries by 24 where files imply the head's 32; folded into the norm of the queries.
    for tensor in all.iter_mut().filter(|tensor| tensor.0.contains("attn_q_norm")) {
        tensor.2.iter_mut().for_each(|weight| *weight *= (32.0f32 / 24.0).sqrt());
    }
    let mut settings = sizes(6, 64, 128, 4, 2);
    settings.extend([
        ("rope.freq_base", Setting::Number(1e6)),
        ("attention.key_length", Setting::Int(32)),
        ("attention.value_length", Setting::Int(32)),
        ("attention.sliding_window", Setting::Int(16)),
        ("attention.sliding_window_pattern", Setting::Int(3)),
    ]);
    agrees("gemma3", "gemma3", &all, settings);
}

#[test]
fn qwen3_with_norms_of_heads() {
    let all = renamed("qwen3", NORMS, |_| {});
    let mut settings = sizes(3, 64, 128, 4, 2);
    settings.extend([
        ("rope.freq_base", Setting::Number(1e6)),
        ("attention.key_length", Setting::Int(48)),
        ("attention.value_length", Setting::Int(48)),
    ]);
    agrees("qwen3", "qwen3", &all, settings);
}

/// Mistral's files are those of Llama.
#[test]
fn mistral_as_llama() {
    let all = renamed("mistral", NORMS, |tensor| neighbours(tensor, 32));
    let mut settings = sizes(3, 64, 128, 4, 2);
    settings.extend([
        ("rope.freq_base", Setting::Number(1e6)),
        ("rope.dimension_count", Setting::Int(32)),
        ("attention.key_length", Setting::Int(32)),
        ("attention.value_length", Setting::Int(32)),
    ]);
    agrees("mistral", "llama", &all, settings);
}

/// Factors of both contexts in tensors, a share of the head rotates, no window is written as one of 0.
#[test]
fn phi4_mini_with_short_factors() {
    let mut all = renamed("phi4-mini", NORMS, |_| {});
    let list = |step: f32| (0..6).map(|i| 1.0 + step * i as f32).collect();
    all.push(("rope_factors_short.weight".into(), vec![6], list(0.05)));
    all.push(("rope_factors_long.weight".into(), vec![6], list(0.5)));
    let mut settings = sizes(2, 64, 80, 4, 2);
    settings.extend([
        ("rope.freq_base", Setting::Number(1e4)),
        ("rope.dimension_count", Setting::Int(12)),
        ("rope.scaling.original_context_length", Setting::Int(128)),
        // The root of 1 + ln(4) / ln(128).
        ("rope.scaling.attn_factor", Setting::Number(1.133_893_4)),
        ("attention.sliding_window", Setting::Int(0)),
    ]);
    agrees("phi4-mini", "phi3", &all, settings);
}

#[test]
fn phi3_with_a_window_and_long_factors() {
    let mut all = renamed("phi3-long", NORMS, |_| {});
    let short = vec![1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.4, 1.5];
    all.push(("rope_factors_short.weight".into(), vec![8], short));
    all.push(("rope_factors_long.weight".into(), vec![8], (0..8).map(|i| 1.0 + 0.5 * i as f32).collect()));
    let mut settings = sizes(2, 64, 80, 4, 2);
    settings.extend([
        ("rope.freq_base", Setting::Number(1e4)),
        ("rope.dimension_count", Setting::Int(16)),
        ("rope.scaling.original_context_length", Setting::Int(32)),
        ("attention.sliding_window", Setting::Int(20)),
    ]);
    agrees("phi3-long", "phi3", &all, settings);
}

#[test]
fn gemma2_with_ones_added_to_its_norms() {
    let mut all = renamed("gemma2", SANDWICH, ones_added);
    // As for Gemma 3; the bound of the scores does not see where the factor stands.
    for tensor in all.iter_mut().filter(|tensor| tensor.0.contains("attn_q.")) {
        tensor.2.iter_mut().for_each(|weight| *weight *= (16.0f32 / 24.0).sqrt());
    }
    let mut settings = sizes(4, 64, 64, 4, 2);
    settings.extend([
        ("rope.freq_base", Setting::Number(1e4)),
        ("attention.key_length", Setting::Int(16)),
        ("attention.value_length", Setting::Int(16)),
        ("attention.sliding_window", Setting::Int(16)),
        ("attn_logit_softcapping", Setting::Number(5.0)),
        ("final_logit_softcapping", Setting::Number(8.0)),
    ]);
    agrees("gemma2", "gemma2", &all, settings);
}

#[test]
fn olmo2_with_norms_behind() {
    let all = renamed("olmo2", SANDWICH, |_| {});
    agrees("olmo2", "olmo2", &all, sizes(3, 64, 80, 4, 2));
}

#[test]
fn granite_with_its_factors() {
    let all = renamed("granite", NORMS, |tensor| neighbours(tensor, 16));
    let mut settings = sizes(3, 64, 80, 4, 2);
    settings.extend([
        ("vocab_size", Setting::Int(256)),
        ("rope.dimension_count", Setting::Int(16)),
        ("attention.scale", Setting::Number(0.2)),
        ("embedding_scale", Setting::Number(3.0)),
        ("residual_scale", Setting::Number(0.4)),
        ("logit_scale", Setting::Number(0.5)),
    ]);
    agrees("granite", "granite", &all, settings);
}

#[test]
fn cohere2_with_a_list_of_windows() {
    let all = renamed("cohere2", &[], |_| {});
    for pattern in [None, Some(Setting::Flags(vec![true, true, true, false]))] {
        let mut settings = sizes(4, 64, 64, 4, 2);
        settings.retain(|(key, _)| !key.contains("rms"));
        settings.extend([
            ("attention.layer_norm_epsilon", Setting::Number(1e-5)),
            ("attention.sliding_window", Setting::Int(16)),
            ("rope.dimension_count", Setting::Int(16)),
            ("rope.scaling.type", Setting::Text("none")),
            ("logit_scale", Setting::Number(2.0)),
        ]);
        settings.extend(pattern.map(|pattern| ("attention.sliding_window_pattern", pattern)));
        agrees("cohere2", "cohere2", &all, settings);
    }
}

#[test]
fn glm4_with_neighbours_of_its_own() {
    let names = [
        ("post_self_attn_layernorm", "post_attention_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("post_mlp_layernorm", "post_ffw_norm"),
    ];
    let all = renamed("glm4", &names, |_| {});
    let mut settings = sizes(3, 64, 80, 4, 2);
    settings.extend([
        ("rope.dimension_count", Setting::Int(8)),
        ("attention.key_length", Setting::Int(16)),
        ("attention.value_length", Setting::Int(16)),
    ]);
    agrees("glm4", "glm4", &all, settings);
}

#[test]
fn smollm3_with_layers_that_do_not_rotate() {
    let all = renamed("smollm3", NORMS, |tensor| neighbours(tensor, 16));
    let mut settings = sizes(4, 64, 64, 4, 2);
    settings.extend([("rope.freq_base", Setting::Number(2e6)), ("rope.dimension_count", Setting::Int(16))]);
    agrees("smollm3", "smollm3", &all, settings);
}

#[test]
fn settings_and_architectures_that_are_not_known_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let refusal = |architecture, settings: Vec<(String, Setting)>| {
        let mut all = vec![("general.architecture".to_owned(), Setting::Text(architecture))];
        all.extend(settings);
        let path = dir.path().join("model.gguf");
        write_gguf(&path, &all, &[("token_embd.weight".into(), vec![8, 4], vec![0.0; 32])]);
        load(&Checkpoint::open(&path).unwrap()).err().unwrap().to_string()
    };
    let message = refusal("rwkv", Vec::new());
    assert!(message.starts_with("architecture `rwkv` is not supported; supported are"), "{message}");
    let with = |key, value| sizes(1, 4, 4, 1, 1).into_iter().chain([(key, value)]);
    let with = |key, value| with(key, value).map(|(k, v)| (format!("llama.{k}"), v)).collect::<Vec<_>>();
    let message = refusal("llama", with("expert_count", Setting::Int(8)));
    assert!(message.contains("`llama.expert_used_count`: it is missing"), "{message}");
    let message = refusal("llama", with("expert_count", Setting::Int(0)));
    assert!(message.contains("`model.layers.0.input_layernorm.weight` is missing"), "{message}");
    let message = refusal("llama", vec![("llama.block_count".into(), Setting::Text("many"))]);
    assert!(message.contains("`llama.block_count`"), "{message}");
    let message = refusal("llama", Vec::new());
    assert!(message.contains("`llama.block_count`: it is missing"), "{message}");
    let message = refusal("llama", with("residual_scale", Setting::Number(0.5)));
    assert!(message.contains("`residual_multiplier` = 0.5"), "{message}");
}
