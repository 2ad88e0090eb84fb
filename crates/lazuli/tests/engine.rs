//! The engine on real backends: what the reference implementations say, alone and together, and plans that are
//! found again. The checks are those that the engine's own crate runs on the interpreter.

#[path = "../../lazuli-engine/tests/golden/mod.rs"]
mod golden;

use std::num::NonZeroUsize;

use lazuli::backends::{Precision, RuntimeOptions};
use lazuli::core::Runtime;

fn runtime(precision: Precision, simd: Option<&str>) -> Runtime {
    let threads = NonZeroUsize::new(2);
    RuntimeOptions { threads, precision, simd }.runtime().expect("these levels are everywhere")
}

fn agrees(name: &str) {
    // What architectures differ in is the same at all levels; three of them are enough for the slow one.
    let levels =
        if ["llama3", "qwen2", "gemma3"].contains(&name) { &[None, Some("scalar")][..] } else { &[None] };
    for &simd in levels {
        golden::says_what_the_reference_says(name, runtime(Precision::Exact, simd));
        golden::together_is_alone(name, || runtime(Precision::Exact, simd));
    }
    golden::decoding_finds_its_plan(name, runtime(Precision::Fast, None));
}

macro_rules! fixtures {
    ($($test:ident => $name:literal),* $(,)?) => {$(
        #[test]
        fn $test() {
            agrees($name);
        }
    )*};
}

fixtures! {
    llama3 => "llama3",
    qwen2 => "qwen2",
    gemma3 => "gemma3",
    qwen3 => "qwen3",
    mistral => "mistral",
    mistral_window => "mistral-window",
    phi3 => "phi3",
    phi3_long => "phi3-long",
    phi4_mini => "phi4-mini",
    gemma2 => "gemma2",
    olmo2 => "olmo2",
    granite => "granite",
    cohere2 => "cohere2",
    glm4 => "glm4",
    smollm3 => "smollm3",
    mlx_glm4 => "mlx-glm4-q4",
    mlx_cohere2 => "mlx-cohere2-q4",
}

#[test]
fn mixtral() {
    agrees("mixtral");
}

#[test]
fn gpt_oss() {
    agrees("gpt-oss");
}

#[test]
fn deepseek_v3() {
    agrees("deepseek-v3");
}

#[test]
fn mlx_qwen3_moe() {
    agrees("mlx-qwen3-moe-q5");
}
