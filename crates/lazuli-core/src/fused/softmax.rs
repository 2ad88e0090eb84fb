//! Softmax along the last axis.

use super::{Fused, float_rows};
use crate::{Array, DType, Op, Shape};

/// `exp(x - max) / sum(exp(x - max))` along the last axis, in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Softmax;

impl Softmax {
    pub(super) fn infer(self, inputs: &[&Array]) -> Result<(Shape, DType), String> {
        float_rows("softmax", inputs[0])?;
        Ok((inputs[0].shape().clone(), DType::F32))
    }

    pub(super) fn decompose(self, inputs: &[&Array]) -> Array {
        let x = inputs[0].cast(DType::F32);
        let e = (&x - x.max(-1).expand_dims(-1)).exp();
        &e / e.sum(-1).expand_dims(-1)
    }
}

impl Array {
    /// Softmax along the last axis, in f32.
    ///
    /// ```
    /// # use lazuli_core::{Array, Runtime};
    /// let p = Array::from_slice(&[0.0f32, 0.0], [1, 2]).softmax();
    /// Runtime::reference().eval(&[&p])?;
    /// assert_eq!(p.as_slice::<f32>()?, &[0.5, 0.5]);
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    #[track_caller]
    pub fn softmax(&self) -> Self {
        Self::apply(Op::Fused(Fused::Softmax(Softmax)), &[self])
    }
}
