//! The figures of docs/claims.md, computed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use lazuli_planner::memory::{Memory, kv_bytes};
use lazuli_planner::speed::Traffic;
use lazuli_planner::{KvFormat, ModelShape, Sizes, Weights, Workload, catalogue, machine};

fn shape(model: &str) -> ModelShape {
    catalogue::find(model).unwrap().shape().unwrap()
}

fn load(context: usize) -> Workload {
    Workload { context, concurrency: 1, kv: KvFormat::F16 }
}

fn total(model: &str, format: &str) -> f64 {
    let load = load(8192);
    Memory::of(&shape(model), &Weights::parse(format).unwrap(), &load, Sizes::default()).total() as f64 / 1e9
}

#[test]
fn the_page_says_what_the_planner_finds() {
    let page = include_str!("../../../docs/claims.md").split_whitespace().collect::<Vec<_>>().join(" ");
    let says = |text: String| assert!(page.contains(&text), "docs/claims.md does not say '{text}'");
    let gb = |bytes: u64| bytes as f64 / 1e9;
    let llama = shape("llama-3.3-70b");
    let (q8, q4) = (Weights::parse("q8").unwrap(), Weights::parse("q4").unwrap());

    let billions = llama.parameters() as f64 / 1e9;
    says(format!(
        "{billions:.2} billion parameters. At one byte each, 546 GB/s allow 546 / {billions:.2} = **{:.1}**",
        546.0 / billions
    ));
    says(format!("70 billion allows **{:.1}**", 546.0 / 70.0));
    let read = Traffic::decode(&llama, &q8, KvFormat::F16, 0, 1).weights / 1e9;
    says(format!("a token reads {read:.1} GB of weights, and the ceiling is **{:.1}**", 546.0 / read));

    says(format!("take **{:.1} GB** in half precision", 64.0 * 8192.0 * 8192.0 * 2.0 / 1e9));
    says("**327,680** bytes a token".to_owned());
    assert_eq!(llama.kv_bytes_per_token(KvFormat::F16), 327_680);
    says(format!("**{:.1} GB** for 8,192 tokens", gb(kv_bytes(&llama, &load(8192)))));
    assert_eq!(kv_bytes(&llama, &load(131_072)), 40 << 30);
    says("**40 GiB** for 131,072".to_owned());

    let deepseek = shape("deepseek-r1");
    says(format!(
        "{:.2} billion parameters at 4.5 bits (scales included) are **{:.1} GB**",
        deepseek.parameters() as f64 / 1e9,
        gb(q4.bytes(&deepseek))
    ));
    assert_eq!(deepseek.kv_bytes_per_token(KvFormat::F16), 70_272);
    says("**70,272** bytes a token".to_owned());
    let cache = |context| gb(kv_bytes(&deepseek, &load(context)));
    says(format!("8,192 tokens take {:.1} GB and all 163,840 take {:.1} GB", cache(8192), cache(163_840)));
    assert!((350.0..400.0).contains(&total("deepseek-r1", "q4")));
    assert_eq!(61 * 128 * (128 + 64 + 128) * 2, 4_997_120);
    says(format!("Only {:.1} billion parameters", deepseek.active_parameters() as f64 / 1e9));

    says(format!("**{:.1} GB** of weights", gb(Weights::parse("bf16").unwrap().bytes(&llama))));
    assert!(
        (75.0..85.0).contains(&total("llama-3.3-70b", "q8"))
            && (40.0..45.0).contains(&total("llama-3.3-70b", "q4"))
    );
    says(format!("({:.1} GB in MLX's format)", total("llama-3.3-70b", "q8")));
    says(format!("({:.1} GB)", total("llama-3.3-70b", "q4")));

    let gemma = shape("gemma-3-27b");
    says(format!("in {} of its {} layers", gemma.windowed_layers(), gemma.layers.len()));
    says(format!("takes **{:.1} GB** if", gb(kv_bytes(&gemma, &load(131_072)))));
    let whole = 131_072 * gemma.kv_bytes_per_token(KvFormat::F16) as u64;
    says(format!("**{:.1} GB** if they keep everything", gb(whole)));

    let error = machine::find("M4 Ultra").unwrap_err().to_string();
    assert!(error.starts_with("there is no M4 Ultra"));
    for chip in ["M3 Ultra", "M4 Max", "M2 Ultra"] {
        let found = machine::find(chip).unwrap();
        says(format!("{:.0} GB/s", found.bandwidth.1 / 1e9));
        says(format!("{} GB", found.memory.unwrap() >> 30));
    }
}
