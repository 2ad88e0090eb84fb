//! [`Linear`]: a weight of any type times rows, and perhaps a bias.

use std::ops::Range;

use lazuli_core::{Array, Rounding};

use crate::{Result, Weights};

/// Whether a projection adds a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// It does not.
    Without,
    /// It adds `bias` `[outputs]`.
    With,
}

/// `x W^T + b`: a weight `[outputs, inputs]` in any float type or weight format.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Array,
    bias: Option<Array>,
    rounding: Rounding,
}

impl Linear {
    /// Reads `weight` `[outputs, inputs]` and, if there should be one, `bias` `[outputs]`.
    ///
    /// # Errors
    /// If one of them is missing or has another shape.
    pub fn load(weights: &Weights, outputs: usize, inputs: usize, bias: Bias) -> Result<Self> {
        let weight = weights.get("weight", [outputs, inputs])?;
        let bias = match bias {
            Bias::Without => None,
            Bias::With => Some(weights.get("bias", [outputs])?),
        };
        Ok(Self { weight, bias, rounding: Rounding::Coarse })
    }

    /// A projection by a weight `[outputs, inputs]` that something else has read (a tied embedding).
    pub fn from_weight(weight: Array) -> Self {
        Self { weight, bias: None, rounding: Rounding::Coarse }
    }

    /// The same projection of rows that no backend may round to few bits, in any precision ([`Rounding::Fine`]).
    #[must_use]
    pub fn fine(self) -> Self {
        Self { rounding: Rounding::Fine, ..self }
    }

    /// The projection to the outputs in `range` alone: a view of the same weight.
    ///
    /// # Panics
    /// If there are fewer outputs.
    #[track_caller]
    #[must_use]
    pub fn rows(&self, range: Range<usize>) -> Self {
        let bias = self.bias.as_ref().map(|bias| bias.slice(0, range.clone()));
        Self { weight: self.weight.slice(0, range), bias, rounding: self.rounding }
    }

    /// `[rows, inputs]` to f32 `[rows, outputs]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let y = match self.rounding {
            Rounding::Coarse => x.matmul(&self.weight.t()),
            Rounding::Fine => x.matmul_fine(&self.weight.t()),
        };
        match &self.bias {
            Some(bias) => y + bias,
            None => y,
        }
    }

    /// Length of a row of the result.
    pub fn outputs(&self) -> usize {
        self.weight.shape()[0]
    }
}
