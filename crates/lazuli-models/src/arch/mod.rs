//! One file for each architecture, named as `model_type` has it: settings, weights by name, forward loop (or
//! whose loop it is).

pub mod cohere2;
pub mod deepseek_v2;
pub mod deepseek_v3;
pub mod gemma2;
pub mod gemma3;
pub mod glm4;
pub mod glm4_moe;
pub mod gpt_oss;
pub mod granite;
pub mod llama;
pub mod mistral;
pub mod mixtral;
pub mod olmo2;
pub mod olmoe;
pub mod phi3;
pub mod qwen2;
pub mod qwen2_moe;
pub mod qwen3;
pub mod qwen3_moe;
pub mod smollm3;
