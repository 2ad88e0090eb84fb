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
    for simd in [None, Some("scalar")] {
        golden::says_what_the_reference_says(name, runtime(Precision::Exact, simd));
        golden::together_is_alone(name, || runtime(Precision::Exact, simd));
    }
    golden::decoding_finds_its_plan(name, runtime(Precision::Fast, None));
}

#[test]
fn llama3() {
    agrees("llama3");
}

#[test]
fn qwen2() {
    agrees("qwen2");
}

#[test]
fn gemma3() {
    agrees("gemma3");
}
