//! [`RmsNorm`] and [`LayerNorm`] with their weights, and [`Norm`], either of them.

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

/// `(x - mean) / sqrt(variance + eps) * weight` along the last axis (Ba et al., 2016), without a bias.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Array,
    bias: Array,
    eps: f32,
}

impl LayerNorm {
    /// Reads `weight` `[dim]`.
    ///
    /// # Errors
    /// If it is missing or has another shape.
    pub fn load(weights: &Weights, dim: usize, eps: f32) -> Result<Self> {
        let bias = Array::from_vec(vec![0.0f32; dim], [dim]);
        Ok(Self { weight: weights.get("weight", [dim])?, bias, eps })
    }

    /// Normalises the last axis of `x`; the result is f32.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        x.layer_norm(&self.weight, &self.bias, self.eps)
    }
}

/// One of the norms, where either may stand.
#[derive(Debug, Clone)]
pub enum Norm {
    /// See [`RmsNorm`].
    Rms(RmsNorm),
    /// See [`LayerNorm`].
    Layer(LayerNorm),
}

impl Norm {
    /// Normalises the last axis of `x`; the result is f32.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        match self {
            Self::Rms(norm) => norm.forward(x),
            Self::Layer(norm) => norm.forward(x),
        }
    }
}

impl From<RmsNorm> for Norm {
    fn from(norm: RmsNorm) -> Self {
        Self::Rms(norm)
    }
}

impl From<LayerNorm> for Norm {
    fn from(norm: LayerNorm) -> Self {
        Self::Layer(norm)
    }
}
