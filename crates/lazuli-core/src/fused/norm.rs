//! Normalisation of rows: RMSNorm (Zhang and Sennrich, 2019) and LayerNorm (Ba et al., 2016).

use super::{Fused, float_rows};
use crate::{Array, DType, Op, Scalar, Shape};

/// `x / sqrt(mean(x^2) + eps) * (weight + offset)` along the last axis, in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RmsNorm {
    /// Added to the mean square.
    pub eps: Scalar,
    /// Added to the weight: 1 for Gemma's checkpoints, else 0.
    pub offset: Scalar,
}

impl RmsNorm {
    pub(super) fn infer(self, inputs: &[&Array]) -> Result<(Shape, DType), String> {
        float_rows("rms_norm", inputs[0])?;
        weight_fits(inputs[0], inputs[1])?;
        Ok((inputs[0].shape().clone(), DType::F32))
    }

    pub(super) fn decompose(self, inputs: &[&Array]) -> Array {
        let (x, weight) = (inputs[0].cast(DType::F32), inputs[1].cast(DType::F32));
        let scale = (x.square().mean(-1) + self.eps.get()).rsqrt().expand_dims(-1);
        x * scale * (weight + self.offset.get())
    }
}

/// `(x - mean) / sqrt(variance + eps) * weight + bias` along the last axis, in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LayerNorm {
    /// Added to the variance.
    pub eps: Scalar,
}

impl LayerNorm {
    pub(super) fn infer(self, inputs: &[&Array]) -> Result<(Shape, DType), String> {
        float_rows("layer_norm", inputs[0])?;
        weight_fits(inputs[0], inputs[1])?;
        weight_fits(inputs[0], inputs[2])?;
        Ok((inputs[0].shape().clone(), DType::F32))
    }

    pub(super) fn decompose(self, inputs: &[&Array]) -> Array {
        let x = inputs[0].cast(DType::F32);
        let centred = &x - x.mean(-1).expand_dims(-1);
        let scale = (centred.square().mean(-1) + self.eps.get()).rsqrt().expand_dims(-1);
        centred * scale * inputs[1].cast(DType::F32) + inputs[2].cast(DType::F32)
    }
}

fn weight_fits(x: &Array, weight: &Array) -> Result<(), String> {
    let dim = x.shape().last_dim();
    if weight.dtype().is_float() && weight.shape()[..] == [dim] {
        Ok(())
    } else {
        Err(format!("the weight must be floats [{dim}], not {} {}", weight.dtype(), weight.shape()))
    }
}

impl Array {
    /// RMSNorm along the last axis; `weight` is `[dim]`, and `offset` is added to it.
    ///
    /// ```
    /// # use lazuli_core::{Array, Runtime};
    /// let x = Array::from_slice(&[3.0f32, 4.0], [1, 2]);
    /// let y = x.rms_norm(&Array::from_slice(&[1.0f32, 1.0], [2]), 0.0, 0.0);
    /// Runtime::reference().eval(&[&y])?;
    /// assert!((y.as_slice::<f32>()?[0] - 3.0 / 12.5f32.sqrt()).abs() < 1e-6);
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    #[track_caller]
    pub fn rms_norm(&self, weight: &Array, eps: f32, offset: f32) -> Self {
        let op = RmsNorm { eps: eps.into(), offset: offset.into() };
        Self::apply(Op::Fused(Fused::RmsNorm(op)), &[self, weight])
    }

    /// LayerNorm along the last axis; `weight` and `bias` are `[dim]`.
    #[track_caller]
    pub fn layer_norm(&self, weight: &Array, bias: &Array, eps: f32) -> Self {
        let op = LayerNorm { eps: eps.into() };
        Self::apply(Op::Fused(Fused::LayerNorm(op)), &[self, weight, bias])
    }
}
