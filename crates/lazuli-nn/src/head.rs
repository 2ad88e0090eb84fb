//! [`Head`]: from the last layer's rows to logits.

use lazuli_core::Array;

use crate::{BatchArrays, Linear, RmsNorm};

/// The final norm and the projection to the vocabulary, for the rows that need logits and no others.
#[derive(Debug, Clone)]
pub struct Head {
    norm: RmsNorm,
    projection: Linear,
    softcap: Option<f32>,
}

impl Head {
    /// `softcap` bounds the logits as `cap * tanh(logit / cap)` (Gemma 2).
    pub fn new(norm: RmsNorm, projection: Linear, softcap: Option<f32>) -> Self {
        Self { norm, projection, softcap }
    }

    /// `x` `[tokens, hidden]` to f32 logits `[rows, vocabulary]`, one row for each that `batch` asks for. If it
    /// asks for none, the result is an empty array that needs no evaluation.
    #[track_caller]
    pub fn forward(&self, x: &Array, batch: &BatchArrays) -> Array {
        let Some(rows) = batch.wanted_rows(x) else {
            return Array::from_vec(Vec::<f32>::new(), [0, self.projection.outputs()]);
        };
        let logits = self.projection.forward(&self.norm.forward(&rows)); // [rows, vocabulary]
        match self.softcap {
            Some(cap) => (logits * (1.0 / cap)).tanh() * cap,
            None => logits,
        }
    }
}
