//! [`Head`]: from the last layer's rows to logits.

use lazuli_core::Array;

use crate::{BatchArrays, Linear, Norm};

/// The final norm and the projection to the vocabulary, for the rows that need logits and no others.
#[derive(Debug, Clone)]
pub struct Head {
    norm: Norm,
    projection: Linear,
    scale: f32,
    softcap: Option<f32>,
}

impl Head {
    /// `softcap` bounds the logits as `cap * tanh(logit / cap)` (Gemma 2).
    pub fn new(norm: impl Into<Norm>, projection: Linear, softcap: Option<f32>) -> Self {
        Self { norm: norm.into(), projection, scale: 1.0, softcap }
    }

    /// The same with all logits multiplied by `scale` before they are bounded (Cohere, Granite).
    #[must_use]
    pub fn scaled(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    /// `x` `[tokens, hidden]` to f32 logits `[rows, vocabulary]`, one row for each that `batch` asks for. If it
    /// asks for none, the result is an empty array that needs no evaluation.
    #[track_caller]
    pub fn forward(&self, x: &Array, batch: &BatchArrays) -> Array {
        let Some(rows) = batch.wanted_rows(x) else {
            return Array::from_vec(Vec::<f32>::new(), [0, self.projection.outputs()]);
        };
        let mut logits = self.projection.forward(&self.norm.forward(&rows)); // [rows, vocabulary]
        if self.scale != 1.0 {
            logits = logits * self.scale;
        }
        match self.softcap {
            Some(cap) => (logits * (1.0 / cap)).tanh() * cap,
            None => logits,
        }
    }
}
