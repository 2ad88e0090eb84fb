//! Fixtures written as GGUF files, the way writers of such files change them.
#![allow(dead_code, reason = "each test program uses a part of this")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use lazuli_core::{DType, Runtime};
use lazuli_io::Checkpoint;
use lazuli_models::load;
use lazuli_testkit::fixtures;

use super::golden::{Reference, Session, max_abs_diff};

/// A tensor in f32: name, shape (row-major), elements.
pub type Tensor = (String, Vec<usize>, Vec<f32>);

pub enum Setting {
    Text(&'static str),
    Int(u32),
    Number(f32),
    Flag(bool),
    Flags(Vec<bool>),
}

/// A GGUF file of version 3 as its document lays it out.
pub fn write_gguf(path: &Path, settings: &[(String, Setting)], tensors: &[Tensor]) {
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
            Setting::Flag(on) => {
                file.extend(7u32.to_le_bytes());
                file.push(u8::from(*on));
            }
            Setting::Flags(list) => {
                file.extend([9u32.to_le_bytes(), 7u32.to_le_bytes()].concat());
                file.extend((list.len() as u64).to_le_bytes());
                file.extend(list.iter().map(|&on| u8::from(on)));
            }
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
pub fn tensors(name: &str) -> Vec<Tensor> {
    let checkpoint = Checkpoint::open(fixtures::path(name)).unwrap();
    let runtime = Runtime::reference();
    let read = |tensor: &lazuli_io::TensorInfo| {
        let array = checkpoint.array_of(tensor).unwrap().cast(DType::F32);
        runtime.eval(&[&array]).unwrap();
        (tensor.name.clone(), tensor.shape.clone(), array.as_slice::<f32>().unwrap().to_vec())
    };
    checkpoint.tensors().iter().map(read).collect()
}

pub const NAMES: &[(&str, &str)] = &[
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
    ("model.layers.", "blk."),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("input_layernorm", "attn_norm"),
];

pub fn rename(name: &str, others: &[(&str, &str)]) -> String {
    // What an architecture names in its own way comes first.
    others.iter().chain(NAMES).fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

/// A fixture's tensors under their GGUF names; `change` sees each under its own name first.
pub fn renamed(name: &str, names: &[(&str, &str)], change: impl Fn(&mut Tensor)) -> Vec<Tensor> {
    let mut all = tensors(name);
    for tensor in &mut all {
        change(tensor);
        tensor.0 = rename(&tensor.0, names);
    }
    all
}

/// Rows of a query or key weight so that elements `i` and `i + half` of a head become neighbours.
pub fn neighbours((name, shape, values): &mut Tensor, head_dim: usize) {
    if !name.contains("q_proj") && !name.contains("k_proj") {
        return;
    }
    let (cols, half) = (shape[1], head_dim / 2);
    let old = values.clone();
    for (row, to) in values.chunks_mut(cols).enumerate() {
        let (head, i) = (row / head_dim, row % head_dim);
        let from = head * head_dim + i % 2 * half + i / 2;
        to.copy_from_slice(&old[from * cols..][..cols]);
    }
}

/// Loads `name` from a GGUF file and compares with the reference, in chunks of seven tokens.
pub fn agrees(name: &str, architecture: &'static str, tensors: &[Tensor], settings: Vec<(&str, Setting)>) {
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

pub fn sizes(
    layers: u32,
    hidden: u32,
    inner: u32,
    heads: u32,
    kv_heads: u32,
) -> Vec<(&'static str, Setting)> {
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

pub const NORMS: &[(&str, &str)] = &[("post_attention_layernorm", "ffn_norm")];

/// Norms before and after each half of a layer.
pub const SANDWICH: &[(&str, &str)] = &[
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];

/// The weights of norms with the one added that the model adds.
pub fn ones_added((name, _, values): &mut Tensor) {
    if name.contains("norm") {
        for weight in values {
            *weight += 1.0;
        }
    }
}
