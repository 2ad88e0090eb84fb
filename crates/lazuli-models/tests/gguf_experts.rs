//! Fixtures of models with experts and latent attention, written as GGUF files.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod gguf_file;
mod golden;

use gguf_file::{NORMS, Setting, Tensor, agrees, neighbours, rename, sizes, tensors};

const SHARED: &[(&str, &str)] = &[
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.shared_experts.gate_proj", "ffn_gate_shexp"),
    ("mlp.shared_experts.up_proj", "ffn_up_shexp"),
    ("mlp.shared_experts.down_proj", "ffn_down_shexp"),
    ("mlp.gate.e_score_correction_bias", "exp_probs_b.bias"),
    ("mlp.gate.weight", "ffn_gate_inp.weight"),
];

/// A fixture's tensors with the experts of a layer in one tensor for each projection, under their GGUF names;
/// `places` are the names of single experts' projections, with `#` for the number, and those of all.
fn stacked(
    name: &str,
    places: &[(&str, &str)],
    names: &[(&str, &str)],
    change: impl Fn(&mut Tensor),
) -> Vec<Tensor> {
    let mut all: Vec<Tensor> = Vec::new();
    for mut tensor in tensors(name) {
        change(&mut tensor);
        let found = places.iter().find_map(|(single, whole)| {
            let (before, after) = single.split_once('#').unwrap();
            let start = tensor.0.find(before)?;
            let (number, rest) = tensor.0[start + before.len()..].split_once('.').unwrap();
            (format!(".{rest}") == after).then(|| {
                let layer = rename(&tensor.0[..start], &[]);
                (format!("{layer}{whole}"), number.parse::<usize>().unwrap())
            })
        });
        let Some((whole, number)) = found else {
            tensor.0 = rename(&tensor.0, names);
            all.push(tensor);
            continue;
        };
        let at = all.iter().position(|(name, ..)| *name == whole).unwrap_or_else(|| {
            all.push((whole, [&[0], &tensor.1[..]].concat(), Vec::new()));
            all.len() - 1
        });
        let (_, shape, values) = &mut all[at];
        let len = tensor.2.len();
        shape[0] = shape[0].max(number + 1);
        values.resize(shape[0] * len, 0.0);
        values[number * len..][..len].copy_from_slice(&tensor.2);
    }
    all
}

const PROJECTIONS: &[(&str, &str)] = &[
    ("mlp.experts.#.gate_proj.weight", "ffn_gate_exps.weight"),
    ("mlp.experts.#.up_proj.weight", "ffn_up_exps.weight"),
    ("mlp.experts.#.down_proj.weight", "ffn_down_exps.weight"),
];

fn experts(count: u32, used: u32) -> [(&'static str, Setting); 2] {
    [("expert_count", Setting::Int(count)), ("expert_used_count", Setting::Int(used))]
}

#[test]
fn mixtral_as_llama_with_experts() {
    let places = [
        ("block_sparse_moe.experts.#.w1.weight", "ffn_gate_exps.weight"),
        ("block_sparse_moe.experts.#.w3.weight", "ffn_up_exps.weight"),
        ("block_sparse_moe.experts.#.w2.weight", "ffn_down_exps.weight"),
    ];
    let names = [("post_attention_layernorm", "ffn_norm"), ("block_sparse_moe.gate", "ffn_gate_inp")];
    let all = stacked("mixtral", &places, &names, |tensor| neighbours(tensor, 16));
    let mut settings = sizes(3, 64, 128, 4, 2);
    settings.extend(experts(4, 2));
    settings.extend([("rope.freq_base", Setting::Number(1e6)), ("rope.dimension_count", Setting::Int(16))]);
    agrees("mixtral", "llama", &all, settings);
}

#[test]
fn qwen3_moe() {
    let names = [NORMS, &[("mlp.gate.weight", "ffn_gate_inp.weight")]].concat();
    let all = stacked("qwen3-moe", PROJECTIONS, &names, |_| {});
    let mut settings = sizes(3, 64, 128, 4, 2);
    settings.extend(experts(8, 3));
    settings.extend([
        ("expert_feed_forward_length", Setting::Int(32)),
        ("rope.freq_base", Setting::Number(1e6)),
        ("attention.key_length", Setting::Int(32)),
        ("attention.value_length", Setting::Int(32)),
    ]);
    agrees("qwen3-moe", "qwen3moe", &all, settings);
}

#[test]
fn qwen2_moe_with_a_gate_that_is_a_list() {
    let names = [
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
        ("mlp.shared_expert.up_proj", "ffn_up_shexp"),
        ("mlp.shared_expert.down_proj", "ffn_down_shexp"),
        ("mlp.shared_expert_gate", "ffn_gate_inp_shexp"),
        ("mlp.gate.weight", "ffn_gate_inp.weight"),
    ];
    let all = stacked("qwen2-moe", PROJECTIONS, &names, |tensor| {
        if tensor.0.ends_with("shared_expert_gate.weight") {
            tensor.1.remove(0);
        }
    });
    let mut settings = sizes(3, 64, 80, 4, 2);
    settings.extend(experts(6, 2));
    settings.extend([
        ("expert_feed_forward_length", Setting::Int(16)),
        ("expert_shared_feed_forward_length", Setting::Int(32)),
        ("rope.freq_base", Setting::Number(1e4)),
    ]);
    agrees("qwen2-moe", "qwen2moe", &all, settings);
}

#[test]
fn olmoe() {
    let names = [NORMS, &[("mlp.gate.weight", "ffn_gate_inp.weight")]].concat();
    let mut all = Vec::new();
    // The fixture has all gates and then all ups of an expert in one tensor.
    for (name, shape, values) in stacked("olmoe", &[], &names, |_| {}) {
        let whole = name
            .replace("mlp.experts.gate_up_proj", "#")
            .replace("mlp.experts.down_proj", "ffn_down_exps.weight");
        if !whole.ends_with('#') {
            all.push((whole, shape, values));
            continue;
        }
        let half = shape[1] / 2 * shape[2];
        for (part, name) in ["ffn_gate_exps.weight", "ffn_up_exps.weight"].into_iter().enumerate() {
            let values = values.chunks(half).skip(part).step_by(2).flatten().copied().collect();
            all.push((whole.replace('#', name), vec![shape[0], shape[1] / 2, shape[2]], values));
        }
    }
    let mut settings = sizes(3, 64, 16, 4, 2);
    settings.extend(experts(8, 3));
    settings.push(("rope.freq_base", Setting::Number(1e4)));
    agrees("olmoe", "olmoe", &all, settings);
}

#[test]
fn glm4_moe_with_a_layer_that_guesses_further() {
    let mut names = SHARED.to_vec();
    names[0].1 = "post_attention_norm";
    let mut all = stacked("glm4-moe", PROJECTIONS, &names, |_| {});
    all.push(("blk.3.nextn.eh_proj.weight".into(), vec![1, 4], vec![0.0; 4]));
    all.push(("blk.3.attn_norm.weight".into(), vec![4], vec![0.0; 4]));
    let mut settings = sizes(4, 64, 80, 4, 2);
    settings.extend(experts(8, 3));
    settings.extend([
        ("expert_feed_forward_length", Setting::Int(16)),
        ("expert_shared_count", Setting::Int(1)),
        ("leading_dense_block_count", Setting::Int(1)),
        ("expert_gating_func", Setting::Int(2)),
        ("expert_weights_scale", Setting::Number(1.5)),
        ("expert_weights_norm", Setting::Flag(true)),
        ("nextn_predict_layers", Setting::Int(1)),
        ("rope.freq_base", Setting::Number(1e4)),
        ("rope.dimension_count", Setting::Int(8)),
        ("attention.key_length", Setting::Int(16)),
        ("attention.value_length", Setting::Int(16)),
    ]);
    agrees("glm4-moe", "glm4moe", &all, settings);
}

/// `[.., rows, cols]` to `[.., cols, rows]`.
fn turn((_, shape, values): &mut Tensor) {
    let n = shape.len();
    let (rows, cols) = (shape[n - 2], shape[n - 1]);
    let old = values.clone();
    for (to, from) in values.chunks_mut(rows * cols).zip(old.chunks(rows * cols)) {
        for (i, to) in to.iter_mut().enumerate() {
            *to = from[i % rows * cols + i / rows];
        }
    }
    shape.swap(n - 2, n - 1);
}

/// Every second row of the axis before the last (or of the last, of a bias) from `first` on.
fn every_second((name, shape, values): &Tensor, whole: &str, part: &str, first: usize) -> Tensor {
    let width = if name.contains("bias") { 1 } else { shape[2] };
    let half = values.chunks(width).skip(first).step_by(2).flatten().copied().collect();
    let mut shape = shape.clone();
    shape[1] /= 2;
    (name.replace(whole, part), shape, half)
}

#[test]
fn gpt_oss_with_gate_and_up_apart() {
    let names = [
        ("post_attention_layernorm", "post_attention_norm"),
        ("self_attn.sinks", "attn_sinks.weight"),
        ("mlp.router", "ffn_gate_inp"),
    ];
    let mut all = Vec::new();
    for mut tensor in tensors("gpt-oss") {
        let layer =
            |name: &str, part: &str| format!("{}{part}", rename(&name[..name.find("mlp").unwrap()], &[]));
        let bias = tensor.0.ends_with("_bias");
        if tensor.0.contains("mlp.experts") && !bias {
            turn(&mut tensor);
        }
        let kind = if bias { "bias" } else { "weight" };
        if tensor.0.contains("gate_up_proj") {
            let name = layer(&tensor.0, &format!("both.{kind}"));
            let tensor = (name, tensor.1, tensor.2);
            all.push(every_second(&tensor, "both", "ffn_gate_exps", 0));
            all.push(every_second(&tensor, "both", "ffn_up_exps", 1));
            continue;
        }
        tensor.0 = if tensor.0.contains("experts.down_proj") {
            layer(&tensor.0, &format!("ffn_down_exps.{kind}"))
        } else {
            rename(&tensor.0, &names)
        };
        all.push(tensor);
    }
    let mut settings = sizes(3, 64, 128, 4, 2);
    settings.extend(experts(4, 2));
    settings.extend([
        ("expert_feed_forward_length", Setting::Int(128)),
        ("attention.key_length", Setting::Int(32)),
        ("attention.value_length", Setting::Int(32)),
        ("attention.sliding_window", Setting::Int(16)),
        ("rope.freq_base", Setting::Number(150_000.0)),
        ("rope.scaling.type", Setting::Text("yarn")),
        ("rope.scaling.factor", Setting::Number(4.0)),
        ("rope.scaling.original_context_length", Setting::Int(64)),
    ]);
    agrees("gpt-oss", "gpt-oss", &all, settings);
}

/// How a file keeps the projections from latent rows to keys and values.
#[derive(Clone, Copy, PartialEq)]
enum Latents {
    /// In one tensor, as Hugging Face checkpoints do.
    Together,
    /// Split, keys turned, lengths those of the absorbed form.
    Split,
}

/// Tensors of a fixture of DeepSeek with heads of these sizes.
fn deepseek(name: &str, [heads, nope, value]: [usize; 3], latents: Latents) -> Vec<Tensor> {
    let names = [
        SHARED,
        &[
            ("self_attn.q_a_proj", "attn_q_a"),
            ("self_attn.q_a_layernorm", "attn_q_a_norm"),
            ("self_attn.q_b_proj", "attn_q_b"),
            ("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
            ("self_attn.kv_a_layernorm", "attn_kv_a_norm"),
            ("self_attn.kv_b_proj", "attn_kv_b"),
        ],
    ]
    .concat();
    let mut all = stacked(name, PROJECTIONS, &names, |_| {});
    if latents == Latents::Together {
        return all;
    }
    let (together, mut rest): (Vec<_>, Vec<_>) = all.drain(..).partition(|t| t.0.contains("attn_kv_b"));
    for (name, shape, values) in together {
        let rank = shape[1];
        let rows = |range: std::ops::Range<usize>| -> Vec<f32> {
            let heads = values.chunks((nope + value) * rank);
            heads.flat_map(|head| head[range.start * rank..range.end * rank].to_vec()).collect()
        };
        let mut keys = (name.replace("attn_kv_b", "attn_k_b"), vec![heads, nope, rank], rows(0..nope));
        turn(&mut keys);
        rest.push(keys);
        let values = rows(nope..nope + value);
        rest.push((name.replace("attn_kv_b", "attn_v_b"), vec![heads, value, rank], values));
    }
    rest
}

fn deepseek_settings(experts: [(&'static str, Setting); 2]) -> Vec<(&'static str, Setting)> {
    let mut settings: Vec<_> = experts.into();
    settings.extend([
        ("leading_dense_block_count", Setting::Int(1)),
        ("rope.freq_base", Setting::Number(1e4)),
        ("rope.scaling.type", Setting::Text("yarn")),
        ("rope.scaling.factor", Setting::Number(8.0)),
    ]);
    settings
}

#[test]
fn deepseek_v3_with_split_latents() {
    let all = deepseek("deepseek-v3", [4, 32, 32], Latents::Split);
    let mut settings = sizes(3, 64, 128, 4, 1);
    settings.extend(deepseek_settings(experts(8, 3)));
    settings.extend([
        ("expert_feed_forward_length", Setting::Int(32)),
        ("expert_shared_count", Setting::Int(1)),
        ("expert_gating_func", Setting::Int(2)),
        ("expert_weights_scale", Setting::Number(2.5)),
        ("expert_weights_norm", Setting::Flag(true)),
        ("expert_group_count", Setting::Int(4)),
        ("expert_group_used_count", Setting::Int(2)),
        ("attention.q_lora_rank", Setting::Int(64)),
        ("attention.kv_lora_rank", Setting::Int(32)),
        ("attention.key_length", Setting::Int(64)),
        ("attention.value_length", Setting::Int(32)),
        ("attention.key_length_mla", Setting::Int(64)),
        ("attention.value_length_mla", Setting::Int(32)),
        ("rope.dimension_count", Setting::Int(32)),
        ("rope.scaling.original_context_length", Setting::Int(64)),
        ("rope.scaling.yarn_log_multiplier", Setting::Number(0.1)),
    ]);
    agrees("deepseek-v3", "deepseek2", &all, settings);
}

/// As older files are. Their readers take the weights of YaRN's two logarithms as equal; the fixture's are not.
#[test]
fn deepseek_v2_with_latents_together() {
    let mut all = deepseek("deepseek-v2", [4, 16, 12], Latents::Together);
    // The factor of what rotates, of queries and keys together, put into the queries.
    let log = 0.1 * 8f32.ln();
    let grown = ((0.7 * log + 1.0) / (0.9 * log + 1.0)).powi(2);
    for (_, _, values) in all.iter_mut().filter(|tensor| tensor.0.contains("attn_q_b.")) {
        for (row, values) in values.chunks_mut(24).enumerate() {
            let factor = if row % 24 < 16 { 1.0 } else { grown };
            for x in values {
                *x *= factor;
            }
        }
    }
    let mut settings = sizes(3, 64, 80, 4, 4);
    settings.extend(deepseek_settings(experts(8, 3)));
    settings.extend([
        ("expert_feed_forward_length", Setting::Int(16)),
        ("expert_shared_count", Setting::Int(2)),
        ("expert_weights_scale", Setting::Number(4.0)),
        ("expert_group_count", Setting::Int(4)),
        ("expert_group_used_count", Setting::Int(2)),
        ("attention.q_lora_rank", Setting::Int(24)),
        ("attention.kv_lora_rank", Setting::Int(16)),
        ("attention.key_length", Setting::Int(24)),
        ("attention.value_length", Setting::Int(12)),
        ("rope.dimension_count", Setting::Int(8)),
        ("rope.scaling.original_context_length", Setting::Int(32)),
        ("rope.scaling.yarn_log_multiplier", Setting::Number(0.09)),
    ]);
    agrees("deepseek-v2", "deepseek2", &all, settings);
}
