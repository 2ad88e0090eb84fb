//! Whole plans: the numbers that people quote, verdicts and refusals.

use lazuli_planner::machine::find;
use lazuli_planner::{
    Bound, EngineKind, Error, KvFormat, Machine, ModelShape, Options, Outcome, Sizes, Source, Weights,
    catalogue, plan,
};

fn shape(model: &str) -> ModelShape {
    catalogue::find(model).and_then(catalogue::Entry::shape).expect("a model of the catalogue")
}

fn planned(
    model: &str,
    format: &str,
    machine: &Machine,
    change: impl Fn(&mut Options),
) -> Result<Outcome, Error> {
    let (model, weights) = (shape(model), Weights::parse(format).expect("a format"));
    let mut options = Options::new(EngineKind::usual(machine));
    change(&mut options);
    plan(&Source { model: &model, weights: &weights, machine, sizes: Sizes::default() }, &options)
}

#[test]
fn a_70b_model_at_8_bits_is_bound_by_memory() {
    let machine = Machine::custom(Some(128_000_000_000), 546e9);
    let outcome = planned("llama-3.3-70b", "q8", &machine, |_| {}).unwrap();
    assert!(outcome.decode_ceiling_tok_s.unwrap() < 7.8, "{outcome:?}");
    assert!(outcome.decode_tok_s.unwrap().p50 < outcome.decode_ceiling_tok_s.unwrap());
    assert_eq!(outcome.bound_by.map(Bound::name), Some("bandwidth"));
    assert_eq!((outcome.kv_bytes_per_token, outcome.fits), (327_680, Some(true)));
}

#[test]
fn a_plan_that_does_not_fit_says_what_would() {
    let machine = find("M4 Max 64GB").unwrap();
    let outcome = planned("llama-3.3-70b", "q4", &machine, |o| o.contexts = vec![131_072]).unwrap();
    assert_eq!(outcome.fits, Some(false));
    assert!(outcome.headroom_bytes.unwrap() < 0);
    let longest = outcome.max_context.unwrap();
    assert!((1024..131_072).contains(&longest), "{longest}");
    let fitting = planned("llama-3.3-70b", "q4", &machine, |o| o.contexts = vec![longest]).unwrap();
    let longer = planned("llama-3.3-70b", "q4", &machine, |o| o.contexts = vec![longest + 64]).unwrap();
    assert_eq!((fitting.fits, longer.fits), (Some(true), Some(false)));
    let named = |what: &str| outcome.changes.iter().any(|change| change.what.starts_with(what));
    assert!(named("--context") && named("--kv-format q4_0") && named("--format"), "{:?}", outcome.changes);
    for change in outcome.changes.iter().filter(|change| change.what.starts_with("--context")) {
        assert!(change.fits && change.total_bytes <= outcome.budget_bytes.unwrap());
    }
}

#[test]
fn larger_contexts_and_more_sequences_cost_more() {
    let machine = find("h200").unwrap();
    let outcome = planned("qwen3-32b", "bf16", &machine, |o| o.contexts = vec![4096, 32_768]).unwrap();
    assert!(outcome.table[0].total_bytes < outcome.table[1].total_bytes);
    assert!(outcome.table[0].decode_tok_s.unwrap().p50 > outcome.table[1].decode_tok_s.unwrap().p50);
    let many = planned("qwen3-32b", "bf16", &machine, |o| o.concurrency = 8).unwrap();
    assert_eq!(many.kv_bytes, 8 * planned("qwen3-32b", "bf16", &machine, |_| {}).unwrap().kv_bytes);
    assert!(many.decode_total_tok_s.unwrap() > many.decode_tok_s.unwrap().p50);
}

#[test]
fn bins_widen_the_band() {
    let band = |name: &str| {
        let outcome = planned("llama-3.1-8b", "q4", &find(name).unwrap(), |_| {}).unwrap();
        let speed = outcome.decode_tok_s.unwrap();
        speed.high / speed.low
    };
    assert!(band("M4 Max") > 1.2 * band("M4 Max 546"));
}

#[test]
fn what_limits_is_named() {
    let bound = |model: &str, format: &str, machine: &str, engine: EngineKind| {
        let machine = find(machine).unwrap();
        planned(model, format, &machine, |o| o.engine = engine).unwrap().bound_by.unwrap().name()
    };
    assert_eq!(bound("llama-3.3-70b", "q8_0", "M4 Max 546", EngineKind::LlamaCpp), "bandwidth");
    assert_eq!(bound("llama-3.3-70b", "q4_k_m", "M1 Max", EngineKind::LlamaCpp), "arithmetic");
    assert_eq!(bound("qwen3-0.6b", "q4", "M3 Ultra", EngineKind::MlxLm), "launches");
}

#[test]
fn nonsense_is_refused() {
    let machine = find("M4 Max 546").unwrap();
    let refused =
        |change: &dyn Fn(&mut Options)| planned("llama-3.1-8b", "q4", &machine, change).unwrap_err();
    let error = refused(&|o| o.contexts = vec![131_073]).to_string();
    assert!(error.contains("131073") && error.contains("131072") && error.contains("--force"), "{error}");
    assert!(matches!(refused(&|o| o.contexts = vec![0]), Error::Value { what: "context", .. }));
    assert!(matches!(refused(&|o| o.concurrency = 0), Error::Value { .. }));
    assert!(matches!(refused(&|o| o.prompt = 0), Error::Value { .. }));
    assert!(matches!(refused(&|o| o.depth = 1 << 20), Error::BeyondContext { .. }));
    let unknown = planned("llama-3.1-8b", "q4", &machine, |o| o.engine = EngineKind::Lazuli).unwrap();
    assert_eq!((unknown.decode_tok_s, unknown.bound_by), (None, None));
}

#[test]
fn formats_of_keys_and_values_shrink_them() {
    let machine = find("M4 Max 546").unwrap();
    let bytes = |kv| planned("llama-3.1-8b", "q4", &machine, |o| o.kv = kv).unwrap().kv_bytes;
    assert_eq!(bytes(KvFormat::F16) / 64 * 34, bytes(KvFormat::Q8_0));
    assert_eq!(bytes(KvFormat::F16) / 64 * 18, bytes(KvFormat::Q4_0));
    assert_eq!(bytes(KvFormat::F32), 2 * bytes(KvFormat::Bf16));
}

#[test]
fn a_measured_machine_is_planned_by_its_measurements() {
    let measured = lazuli_planner::machine::Measured {
        weights: [32e9; 6],
        products: [1e12; 6],
        attention: lazuli_planner::machine::Attention { byte: 1.0 / 16e9, operation: 0.0 },
        prompt_attention: 1e12,
        launch: 1e-5,
    };
    let machine = Machine { measured: Some(measured), ..Machine::custom(Some(64_000_000_000), 40e9) };
    assert_eq!(EngineKind::usual(&machine), EngineKind::Lazuli);
    let outcome = planned("llama-3.1-8b", "q4", &machine, |o| o.depth = 1000).unwrap();
    let weights = 4_517_000_000.0 - 128_256.0 * 4096.0 * 4.5 / 8.0;
    let seconds = weights / 32e9 + 131_072_000.0 / 16e9 + 32e-5;
    let found = outcome.decode_tok_s.unwrap().p50 * seconds;
    assert!((found - 1.0).abs() < 0.01, "{found}");
    // The projection to logits is for the last token alone.
    assert!(outcome.prefill_tok_s.unwrap().p50 < 1e12 / (2.0 * 6.97e9));
}
