//! One file for each architecture, named as `model_type` has it: settings, weights by name, forward loop (or
//! whose loop it is).

pub mod cohere2;
pub mod gemma2;
pub mod gemma3;
pub mod glm4;
pub mod granite;
pub mod llama;
pub mod mistral;
pub mod olmo2;
pub mod phi3;
pub mod qwen2;
pub mod qwen3;
pub mod smollm3;
