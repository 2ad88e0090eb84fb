//! [`GatedMlp`]: the feed-forward part of a decoder layer.

use lazuli_core::Array;
use lazuli_core::fused::Activation;

use crate::{Bias, Linear, Result, Weights};

/// `down(activation(gate(x)) * up(x))` (Shazeer, 2020).
#[derive(Debug, Clone)]
pub struct GatedMlp {
    gate: Linear,
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl GatedMlp {
    /// Reads `gate_proj`, `up_proj` (`[inner, hidden]`) and `down_proj` (`[hidden, inner]`).
    ///
    /// # Errors
    /// If one of them is missing or has another shape.
    pub fn load(
        weights: &Weights,
        hidden: usize,
        inner: usize,
        bias: Bias,
        activation: Activation,
    ) -> Result<Self> {
        Ok(Self {
            gate: Linear::load(&weights.at("gate_proj"), inner, hidden, bias)?,
            up: Linear::load(&weights.at("up_proj"), inner, hidden, bias)?,
            down: Linear::load(&weights.at("down_proj"), hidden, inner, bias)?,
            activation,
        })
    }

    /// Reads `gate_up_proj` (`[2 * inner, hidden]`: the rows of the gate, then those of `up`) and `down_proj`.
    ///
    /// # Errors
    /// As for [`GatedMlp::load`].
    pub fn load_fused(
        weights: &Weights,
        hidden: usize,
        inner: usize,
        bias: Bias,
        activation: Activation,
    ) -> Result<Self> {
        let both = Linear::load(&weights.at("gate_up_proj"), 2 * inner, hidden, bias)?;
        let down = Linear::load(&weights.at("down_proj"), hidden, inner, bias)?;
        Ok(Self { gate: both.rows(0..inner), up: both.rows(inner..2 * inner), down, activation })
    }

    /// `[tokens, hidden]` to f32 `[tokens, hidden]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let (gate, up) = (self.gate.forward(x), self.up.forward(x)); // [tokens, inner]
        self.down.forward(&gate.gated(&up, self.activation))
    }
}
