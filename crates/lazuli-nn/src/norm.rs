//! [`RmsNorm`]: root mean square normalisation with its weight.

use lazuli_core::Array;

use crate::{Result, Weights};

/// `x / sqrt(mean(x^2) + eps) * (weight + offset)` along the last axis (Zhang and Sennrich, 2019).
#[derive(Debug, Clone)]
pub struct RmsNorm {
    weight: Array,
    eps: f32,
    offset: f32,
}

impl RmsNorm {
    /// Reads `weight` `[dim]`. `offset` is 1 for checkpoints that store the weight's distance from one, else 0.
    ///
    /// # Errors
    /// If it is missing or has another shape.
    pub fn load(weights: &Weights, dim: usize, eps: f32, offset: f32) -> Result<Self> {
        Ok(Self { weight: weights.get("weight", [dim])?, eps, offset })
    }

    /// Normalises the last axis of `x`; the result is f32.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        x.rms_norm(&self.weight, self.eps, self.offset)
    }
}
