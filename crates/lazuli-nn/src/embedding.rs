//! [`Embedding`]: a row of a table for each token.

use lazuli_core::{Array, DType};

use crate::{Linear, Result, Weights};

/// A table `[vocabulary, hidden]` in any float type or weight format.
#[derive(Debug, Clone)]
pub struct Embedding {
    weight: Array,
    scale: f32,
}

impl Embedding {
    /// Reads `weight` `[vocabulary, hidden]`; rows are multiplied by `scale` (1 for most models).
    ///
    /// # Errors
    /// If it is missing or has another shape.
    pub fn load(weights: &Weights, vocabulary: usize, hidden: usize, scale: f32) -> Result<Self> {
        Ok(Self { weight: weights.get("weight", [vocabulary, hidden])?, scale })
    }

    /// Token ids `[tokens]` to f32 `[tokens, hidden]`.
    #[track_caller]
    pub fn forward(&self, tokens: &Array) -> Array {
        let rows = self.weight.gather(tokens).cast(DType::F32); // [tokens, hidden]
        if self.scale == 1.0 { rows } else { rows * self.scale }
    }

    /// The same table as the projection to logits, which the scale does not touch.
    pub fn tied(&self) -> Linear {
        Linear::from_weight(self.weight.clone())
    }
}
