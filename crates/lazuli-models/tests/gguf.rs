//! The fixtures written as GGUF files, with everything that writers of such files change, give the same logits.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod golden;

use std::path::Path;

use golden::{Reference, Session, max_abs_diff};
use lazuli_core::{DType, Runtime};
use lazuli_io::Checkpoint;
use lazuli_models::load;
use lazuli_testkit::fixtures;

/// A tensor in f32: name, shape (row-major), elements.
type Tensor = (String, Vec<usize>, Vec<f32>);

enum Setting {
    Text(&'static str),
    Int(u32),
    Number(f32),
}

/// A GGUF file of version 3 as its document lays it out.
fn write_gguf(path: &Path, settings: &[(String, Setting)], tensors: &[Tensor]) {
    let mut file = b"GGUF".to_vec();
    let text = |file: &mut Vec<u8>, text: &str| {
        file.extend((text.len() as u64).to_le_bytes());
        file.extend(text.as_bytes());
    };
    file.extend(3u32.to_le_bytes());
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend((settings.len() as u64).to_le_bytes());
    for (key, value) in settings {
        text(&mut file, key);
        match value {
            Setting::Int(x) => file.extend([4u32.to_le_bytes(), x.to_le_bytes()].concat()),
            Setting::Number(x) => file.extend([6u32.to_le_bytes(), x.to_le_bytes()].concat()),
            Setting::Text(x) => {
                file.extend(8u32.to_le_bytes());
                text(&mut file, x);
            }
        }
    }
    let mut data = Vec::new();
    for (name, shape, values) in tensors {
        text(&mut file, name);
        file.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|&dim| file.extend((dim as u64).to_le_bytes()));
        file.extend(0u32.to_le_bytes()); // F32
        file.extend((data.len() as u64).to_le_bytes());
        data.extend(values.iter().flat_map(|x| x.to_le_bytes()));
        data.resize(data.len().next_multiple_of(32), 0);
    }
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(data);
    std::fs::write(path, file).unwrap();
}

/// A fixture's tensors in f32, under their Hugging Face names.
fn tensors(name: &str) -> Vec<Tensor> {
    let checkpoint = Checkpoint::open(fixtures::path(name)).unwrap();
    let runtime = Runtime::reference();
    let read = |tensor: &lazuli_io::TensorInfo| {
        let array = checkpoint.array_of(tensor).unwrap().cast(DType::F32);
        runtime.eval(&[&array]).unwrap();
        (tensor.name.clone(), tensor.shape.clone(), array.as_slice::<f32>().unwrap().to_vec())
    };
    checkpoint.tensors().iter().map(read).collect()
}

const NAMES: &[(&str, &str)] = &[
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
    ("model.layers.", "blk."),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("input_layernorm", "attn_norm"),
];

fn rename(name: &str, others: &[(&str, &str)]) -> String {
    NAMES.iter().chain(others).fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

/// Rows of a query or key weight so that elements `i` and `i + half` of a head become neighbours.
fn neighbours((_, shape, values): &mut Tensor, head_dim: usize) {
    let (cols, half) = (shape[1], head_dim / 2);
    let old = values.clone();
    for (row, to) in values.chunks_mut(cols).enumerate() {
        let (head, i) = (row / head_dim, row % head_dim);
        let from = head * head_dim + i % 2 * half + i / 2;
        to.copy_from_slice(&old[from * cols..][..cols]);
    }
}

/// Loads `name` from a GGUF file and compares with the reference, in chunks of seven tokens.
fn agrees(name: &str, architecture: &'static str, tensors: &[Tensor], settings: Vec<(&str, Setting)>) {
    let mut all = vec![("general.architecture".to_owned(), Setting::Text(architecture))];
    all.extend(settings.into_iter().map(|(key, value)| (format!("{architecture}.{key}"), value)));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    write_gguf(&path, &all, tensors);
    let runtime = Runtime::reference();
    let mut session = Session::new(load(&Checkpoint::open(&path).unwrap()).unwrap(), &runtime);
    let reference = Reference::open(name);
    let diff = max_abs_diff(&session.in_chunks(&reference.ids, 7), &reference.logits);
    assert!(diff < 1e-4, "{name}: max_abs_diff {diff}");
}

fn sizes(layers: u32, hidden: u32, inner: u32, heads: u32, kv_heads: u32) -> Vec<(&'static str, Setting)> {
    vec![
        ("block_count", Setting::Int(layers)),
        ("context_length", Setting::Int(512)),
        ("embedding_length", Setting::Int(hidden)),
        ("feed_forward_length", Setting::Int(inner)),
        ("attention.head_count", Setting::Int(heads)),
        ("attention.head_count_kv", Setting::Int(kv_heads)),
        ("attention.layer_norm_rms_epsilon", Setting::Number(1e-5)),
    ]
}

const NORMS: &[(&str, &str)] = &[("post_attention_layernorm", "ffn_norm")];

#[test]
fn llama_with_reordered_heads_and_factors_in_a_tensor() {
    let mut all = tensors("llama3");
    for tensor in &mut all {
        if tensor.0.contains("q_proj") || tensor.0.contains("k_proj") {
            neighbours(tensor, 32);
        }
        tensor.0 = rename(&tensor.0, NORMS);
    }
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
    let mut all = tensors("qwen2");
    for tensor in &mut all {
        tensor.0 = rename(&tensor.0, NORMS);
    }
    let mut settings = sizes(3, 64, 128, 4, 2);
    settings.push(("rope.freq_base", Setting::Number(1e6)));
    agrees("qwen2", "qwen2", &all, settings);
}

#[test]
fn gemma3_with_ones_added_to_its_norms() {
    let mut all = tensors("gemma3");
    let norms = [
        ("post_attention_layernorm", "post_attention_norm"),
        ("pre_feedforward_layernorm", "ffn_norm"),
        ("post_feedforward_layernorm", "post_ffw_norm"),
    ];
    for tensor in &mut all {
        if tensor.0.contains("norm") {
            tensor.2.iter_mut().for_each(|weight| *weight += 1.0);
        }
        tensor.0 = rename(&tensor.0, &norms);
    }
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
    assert!(message.contains("`llama.expert_count` = 8"), "{message}");
    let message = refusal("llama", with("expert_count", Setting::Int(0)));
    assert!(message.contains("`model.layers.0.input_layernorm.weight` is missing"), "{message}");
    let message = refusal("llama", vec![("llama.block_count".into(), Setting::Text("many"))]);
    assert!(message.contains("`llama.block_count`"), "{message}");
    let message = refusal("llama", Vec::new());
    assert!(message.contains("`llama.block_count`: it is missing"), "{message}");
}
