//! Each architecture against the results of a reference implementation, on the interpreter that defines every
//! operation. The facade's tests run the same checks on backends.

mod golden;

use golden::{greedy_agrees, logits_agree, ragged_batches_agree};
use lazuli_core::Runtime;

/// The stated bound in exact precision; what is found is far below it.
const TOLERANCE: f32 = 2e-3;

macro_rules! goldens {
    ($($test:ident => $fixture:literal),* $(,)?) => {$(
        mod $test {
            use super::*;

            #[test]
            fn logits() {
                logits_agree($fixture, &Runtime::reference(), TOLERANCE);
            }

            #[test]
            fn greedy() {
                greedy_agrees($fixture, &Runtime::reference());
            }

            #[test]
            fn ragged() {
                ragged_batches_agree($fixture, &Runtime::reference(), 1e-5);
            }
        }
    )*};
}

goldens! {
    llama3 => "llama3",
    llama_tied => "llama-tied",
    qwen2 => "qwen2",
    gemma3 => "gemma3",
    mistral => "mistral",
    qwen3 => "qwen3",
    phi3 => "phi3",
    phi3_long => "phi3-long",
    phi4_mini => "phi4-mini",
    mistral_window => "mistral-window",
    gemma2 => "gemma2",
    olmo2 => "olmo2",
    granite => "granite",
    cohere2 => "cohere2",
    glm4 => "glm4",
    smollm3 => "smollm3",
    mlx_glm4 => "mlx-glm4-q4",
    mlx_gemma3 => "mlx-gemma3-q2",
    mlx_qwen2 => "mlx-qwen2-mixed-3-6",
    mlx_cohere2 => "mlx-cohere2-q4",
    mixtral => "mixtral",
    qwen2_moe => "qwen2-moe",
    olmoe => "olmoe",
    glm4_moe => "glm4-moe",
    deepseek_v2 => "deepseek-v2",
    deepseek_v2_lite => "deepseek-v2-lite",
    qwen3_moe => "qwen3-moe",
    mlx_qwen3_moe => "mlx-qwen3-moe-q5",
    gpt_oss => "gpt-oss",
    deepseek_v3 => "deepseek-v3",
    mlx_deepseek_v3 => "mlx-deepseek-v3-q4",
}

mod deepseek_v3_fp8 {
    use super::*;

    #[test]
    fn logits() {
        logits_agree("deepseek-v3-fp8", &Runtime::reference(), TOLERANCE);
    }

    #[test]
    fn ragged() {
        ragged_batches_agree("deepseek-v3-fp8", &Runtime::reference(), 1e-5);
    }
}
