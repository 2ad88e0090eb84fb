//! One file for each architecture, named as `model_type` has it: settings, weights by name, forward loop.

pub mod gemma3;
pub mod llama;
pub mod qwen2;

use lazuli_nn::{Bias, Embedding, Linear, Weights};

use crate::Result;
use crate::config::{Decoder, HeadWeight};

/// The projection to logits: `lm_head`, or the embedding's table.
fn logits_projection(weights: &Weights, decoder: &Decoder, embedding: &Embedding) -> Result<Linear> {
    match decoder.head {
        HeadWeight::Tied => Ok(embedding.tied()),
        HeadWeight::Own => {
            Ok(Linear::load(&weights.at("lm_head"), decoder.vocabulary, decoder.hidden, Bias::Without)?)
        }
    }
}
