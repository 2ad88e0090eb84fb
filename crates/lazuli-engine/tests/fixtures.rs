//! The engine with the tiny checkpoints of the fixtures, on the reference interpreter.

mod golden;

use lazuli_core::Runtime;

#[test]
fn llama3() {
    golden::says_what_the_reference_says("llama3", Runtime::reference());
    golden::together_is_alone("llama3", Runtime::reference);
}

#[test]
fn qwen2() {
    golden::says_what_the_reference_says("qwen2", Runtime::reference());
    golden::together_is_alone("qwen2", Runtime::reference);
}

#[test]
fn gemma3() {
    golden::says_what_the_reference_says("gemma3", Runtime::reference());
    golden::together_is_alone("gemma3", Runtime::reference);
}
