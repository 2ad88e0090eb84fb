//! What is refused when a checkpoint is loaded, and by which words; what is read whatever its form.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod golden;

use golden::{Reference, Session, max_abs_diff};
use lazuli_core::{Array, DType, Runtime};
use lazuli_io::Checkpoint;
use lazuli_models::{CausalLm, Result, from_arrays, load};
use lazuli_testkit::fixtures;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A fixture's settings and arrays.
fn parts(name: &str) -> (Value, Vec<(String, Array)>) {
    let checkpoint = Checkpoint::open(fixtures::path(name)).unwrap();
    let array = |tensor: &lazuli_io::TensorInfo| checkpoint.array_of(tensor).unwrap();
    let arrays = checkpoint.tensors().iter().map(|tensor| (tensor.name.clone(), array(tensor))).collect();
    (checkpoint.config().unwrap().clone(), arrays)
}

fn refusal(result: Result<Box<dyn CausalLm>>) -> String {
    result.err().expect("it is refused").to_string()
}

/// Why a fixture is refused when `key` has another value.
fn refused_setting(name: &str, key: &str, value: Value) -> String {
    let (mut config, arrays) = parts(name);
    config[key] = value;
    refusal(from_arrays(&config, arrays))
}

#[test]
fn an_unknown_architecture_is_named_with_those_that_are_known() {
    assert_eq!(
        refused_setting("llama3", "model_type", json!("mamba")),
        format!(
            "architecture `mamba` is not supported; supported are {}",
            lazuli_models::architectures().collect::<Vec<_>>().join(", ")
        )
    );
    assert_eq!(refused_setting("llama3", "model_type", Value::Null), "setting `model_type`: missing");
}

#[test]
fn settings_that_nobody_reads_are_named() {
    for (name, key, value) in [
        ("llama3", "logit_scale", json!(0.5)),
        ("llama3", "sliding_window", json!(4096)),
        ("llama-tied", "quantization_config", json!({"bits": 4})),
        ("qwen2", "num_experts", json!(8)),
        ("gemma3", "use_bidirectional_attention", json!(true)),
        ("mistral", "layer_types", json!(["full_attention"])),
        ("cohere2", "use_qk_norm", json!(true)),
        ("granite", "shared_intermediate_size", json!(64)),
    ] {
        let message = refused_setting(name, key, value);
        assert!(message.contains(&format!("`{key}` = ")) && message.contains("not supported"), "{message}");
    }
}

#[test]
fn settings_that_make_no_sense_are_named() {
    for (name, key, value, why) in [
        ("llama3", "hidden_act", json!("relu2"), "activation `relu2` is not supported"),
        ("llama3", "hidden_size", json!("128"), "found \"128\", expected a positive integer"),
        ("llama3", "num_key_value_heads", json!(3), "3 does not divide the 4 heads"),
        ("llama3", "head_dim", json!(31), "found 31, expected an even number"),
        ("llama3", "num_hidden_layers", json!(1 << 29), "expected at most 65536"),
        ("llama3", "rms_norm_eps", json!(-1.0), "expected a positive number"),
        ("llama-tied", "rope_parameters", json!({"rope_theta": 1e4, "rope_type": "spiral"}), "`spiral`"),
        (
            "phi3-long",
            "rope_scaling",
            json!({"type": "longrope"}),
            "`rope_scaling.short_factor`: found 0 numbers",
        ),
        ("smollm3", "no_rope_layers", json!([1, 0]), "2 numbers for 4 layers"),
        ("llama-tied", "rope_theta", json!("big"), "expected a number"),
        ("gemma3", "layer_types", json!(["full_attention"]), "1 names for 6 layers"),
        ("gemma3", "query_pre_attn_scalar", json!(0), "expected a positive number"),
    ] {
        let message = refused_setting(name, key, value);
        assert!(message.contains(why), "{key}: {message}");
    }
}

#[test]
fn tensors_must_be_what_the_settings_say() {
    let (config, mut arrays) = parts("qwen2");
    arrays.retain(|(name, _)| name != "model.layers.1.self_attn.k_proj.bias");
    let message = refusal(from_arrays(&config, arrays.clone()));
    assert!(message.contains("`model.layers.1.self_attn.k_proj.bias` is missing"), "{message}");
    arrays.push(("model.layers.1.self_attn.k_proj.bias".into(), Array::from_vec(vec![0.0f32; 31], [31])));
    let message = refusal(from_arrays(&config, arrays));
    assert!(message.contains("has shape [31], but the model's settings make it [32]"), "{message}");
}

#[test]
fn tensors_without_a_place_are_named_unless_they_are_known_to_be_harmless() {
    let zeros = || Array::from_vec(vec![0.0f32; 4], [4]);
    let (config, mut arrays) = parts("llama-tied");
    arrays.push(("model.layers.0.self_attn.rotary_emb.inv_freq".into(), zeros()));
    arrays.push(("lm_head.weight".into(), zeros())); // tied: the settings decide
    assert!(from_arrays(&config, arrays.clone()).is_ok());
    arrays.push(("model.layers.0.self_attn.q_norm.weight".into(), zeros()));
    assert_eq!(
        refusal(from_arrays(&config, arrays)),
        "1 tensors of the checkpoint have no place in a llama model: `model.layers.0.self_attn.q_norm.weight`"
    );
}

#[test]
fn the_spec_adds_up() {
    let spec = |name| load(&Checkpoint::open(fixtures::path(name)).unwrap()).unwrap().spec().clone();
    let llama = spec("llama3");
    assert_eq!((llama.layers, llama.hidden, llama.heads, llama.kv_heads), (3, 128, 4, 2));
    assert_eq!((llama.head_dim, llama.vocabulary, llama.context), (32, 320, 512));
    let layer = 2 * 128 + (128 + 64 + 64 + 128) * 128 + 3 * 256 * 128;
    assert_eq!(llama.parameters, 2 * 320 * 128 + 128 + 3 * layer);
    assert_eq!(llama.weight_bytes, 2 * llama.parameters);
    // All weights but the embedding, and one of its rows.
    assert_eq!(llama.decode_bytes, llama.weight_bytes - 2 * 320 * 128 + 2 * 128);
    assert_eq!(llama.kv_bytes_per_token(DType::F16), 3 * 2 * 2 * 32 * 2);
    let tied = spec("llama-tied");
    assert_eq!(tied.decode_bytes, tied.weight_bytes + 2 * 64);
}

/// Logits of a fixture whose settings and tensor names are written in another way.
fn rewritten(name: &str, change: impl Fn(Value, &mut Vec<(String, Array)>) -> Value) {
    let (config, mut arrays) = parts(name);
    let config = change(config, &mut arrays);
    let runtime = Runtime::reference();
    let mut session = Session::new(from_arrays(&config, arrays).unwrap(), &runtime);
    let reference = Reference::open(name);
    let logits = session.in_chunks(&reference.ids[..40], usize::MAX);
    assert!(max_abs_diff(&logits, &reference.logits[..logits.len()]) < 1e-4);
}

fn without(config: &mut Value, keys: &[&str]) {
    config.as_object_mut().unwrap().retain(|key, _| !keys.contains(&key.as_str()));
}

#[test]
fn what_published_files_say_beside_it_is_understood() {
    let with = |name: &str, further: Value| {
        rewritten(name, |mut config, _| {
            config.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
            config
        });
    };
    with(
        "cohere2",
        json!({
            "layer_switch": 4, "order_of_interleaved_layers": "local_attn_first", "rotary_pct": 1.0,
            "position_embedding_type": "rope_gptj", "sliding_window_pattern": 4, "use_embedding_sharing": true,
            "use_gated_activation": true, "use_parallel_block": true, "use_parallel_embedding": false,
            "use_qk_norm": false, "rope_scaling": null, "cache_implementation": "hybrid",
        }),
    );
    with("gemma2", json!({"hidden_act": "gelu_pytorch_tanh", "cache_implementation": "hybrid"}));
    let code = json!({"AutoConfig": "configuration_phi3.Phi3Config"});
    with(
        "phi4-mini",
        json!({"full_attn_mod": 1, "interpolate_factor": 1, "lm_head_bias": false, "auto_map": code}),
    );
    with("llama3", json!({"pretraining_tp": 1, "rope_interleaved": false, "is_llama_config": true}));
    with("smollm3", json!({"max_window_layers": 28, "pretraining_tp": 2, "use_sliding_window": false}));
    for (name, key, value) in [
        ("cohere2", "use_parallel_block", json!(false)),
        ("cohere2", "layer_switch", json!(2)),
        ("cohere2", "rotary_pct", json!(0.5)),
        ("phi4-mini", "full_attn_mod", json!(2)),
        ("phi3", "mlp_bias", json!(true)),
    ] {
        let message = refused_setting(name, key, value);
        assert!(
            message.contains(&format!("`{key}`")) && message.contains("is not supported, only"),
            "{message}"
        );
    }
}

#[test]
fn qwen3_moe_counts_its_experts_under_either_name() {
    rewritten("qwen3-moe", |mut config, _| {
        let settings = config.as_object_mut().unwrap();
        let experts = settings.remove("num_experts").unwrap();
        settings.insert("num_local_experts".into(), experts);
        config
    });
}

#[test]
fn gemma3_reads_layer_types_and_rope_parameters() {
    rewritten("gemma3", |mut config, _| {
        without(
            &mut config,
            &["sliding_window_pattern", "_sliding_window_pattern", "rope_theta", "rope_local_base_freq"],
        );
        let (sliding, full) = ("sliding_attention", "full_attention");
        config["layer_types"] = json!([sliding, sliding, full, sliding, sliding, full]);
        config["rope_parameters"] = json!({
            full: {"rope_type": "default", "rope_theta": 1e6},
            sliding: {"rope_type": "default", "rope_theta": 1e4},
        });
        config
    });
}

#[test]
fn gemma3_is_read_out_of_a_multimodal_checkpoint() {
    for prefix in ["language_model.model.", "model.language_model."] {
        rewritten("gemma3", |mut config, arrays| {
            for (name, _) in arrays.iter_mut() {
                *name = name.replacen("model.", prefix, 1);
            }
            let pixels = Array::from_vec(vec![0.0f32; 4], [4]);
            arrays.push(("vision_tower.vision_model.post_layernorm.bias".into(), pixels));
            // The text part of published files leaves out what equals the defaults.
            without(&mut config, &["tie_word_embeddings", "hidden_activation", "rope_theta", "model_type"]);
            config["model_type"] = json!("gemma3_text");
            json!({"model_type": "gemma3", "text_config": config, "vision_config": {"hidden_size": 8}})
        });
    }
}

#[test]
fn qwen2_windows_begin_where_the_settings_say() {
    let (mut config, arrays) = parts("qwen2");
    let runtime = Runtime::reference();
    let ids = &Reference::open("qwen2").ids[..20];
    let logits = |config: &Value| {
        Session::new(from_arrays(config, arrays.clone()).unwrap(), &runtime).in_chunks(ids, usize::MAX)
    };
    let full = logits(&config);
    without(&mut config, &["layer_types"]);
    config["sliding_window"] = json!(4);
    assert_eq!(logits(&config), full, "the window is not in use");
    config["use_sliding_window"] = json!(true);
    assert_eq!(logits(&config), full, "all layers are below `max_window_layers`");
    config["max_window_layers"] = json!(2);
    let windowed = logits(&config);
    assert_eq!(windowed[..4 * 320], full[..4 * 320]);
    assert!(max_abs_diff(&windowed, &full) > 1e-3);
}

fn any_setting() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0u64..300).prop_map(Value::from),
        prop::sample::select(vec![
            "yarn",
            "llama3",
            "linear",
            "dynamic",
            "longrope",
            "gelu",
            "full_attention",
            "x"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 12, 6, |inner| {
        let keys = prop::sample::select(vec![
            "rope_theta",
            "rope_type",
            "factor",
            "low_freq_factor",
            "high_freq_factor",
            "full_attention",
            "original_max_position_embeddings",
            "partial_rotary_factor",
            "beta_fast",
            "beta_slow",
            "truncate",
            "short_factor",
            "long_factor",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((keys, inner), 0..6).prop_map(|pairs| {
                Value::from(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>())
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever a config.json holds, the answer is a model or an error.
    #[test]
    fn hostile_settings_are_errors(
        name in prop::sample::select(vec![
            "llama3", "llama-tied", "qwen2", "qwen3", "gemma2", "gemma3", "phi3-long", "phi4-mini",
            "mistral-window", "olmo2", "granite", "cohere2", "glm4", "smollm3",
        ]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_setting()), 1..4),
    ) {
        let (mut config, arrays) = parts(name);
        let keys: Vec<String> = config.as_object().unwrap().keys().cloned().collect();
        for (at, value) in changes {
            config[&keys[at.index(keys.len())]] = value;
        }
        let _ = from_arrays(&config, arrays);
    }
}

#[test]
fn what_a_model_reads_is_known_from_its_settings() {
    for name in ["llama3", "llama-tied", "qwen2", "gemma3", "mixtral", "qwen3-moe", "deepseek-v3"] {
        let checkpoint = Checkpoint::open(fixtures::path(name)).unwrap();
        let mut expected: Vec<_> =
            checkpoint.tensors().iter().map(|t| (t.name.clone(), t.shape.clone())).collect();
        let config = checkpoint.config().unwrap();
        let listed = lazuli_models::tensors(config).unwrap();
        let mut found: Vec<_> = listed.into_iter().map(|(name, shape)| (name, shape.to_vec())).collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{name}");
    }
}
