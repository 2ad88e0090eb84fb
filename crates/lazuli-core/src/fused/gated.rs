//! Gated activations of an MLP: SwiGLU, GeGLU (Shazeer, 2020).

use super::Fused;
use crate::{Array, DType, Op, Shape};

/// The function of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// GELU by the error function.
    Gelu,
    /// GELU by its tanh approximation.
    GeluTanh,
}

/// `activation(gate) * up`, elementwise, in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gated {
    /// The function of the gate.
    pub activation: Activation,
}

impl Gated {
    pub(super) fn infer(self, inputs: &[&Array]) -> Result<(Shape, DType), String> {
        let (gate, up) = (inputs[0], inputs[1]);
        if gate.shape() == up.shape() && gate.dtype().is_float() && up.dtype().is_float() {
            Ok((gate.shape().clone(), DType::F32))
        } else {
            Err("takes two float arrays of one shape".into())
        }
    }

    pub(super) fn decompose(self, inputs: &[&Array]) -> Array {
        let (gate, up) = (inputs[0].cast(DType::F32), inputs[1].cast(DType::F32));
        let gate = match self.activation {
            Activation::Silu => gate.silu(),
            Activation::Gelu => gate.gelu(),
            Activation::GeluTanh => gate.gelu_tanh(),
        };
        gate * up
    }
}

impl Array {
    /// `activation(self) * up`, in f32: the middle of a gated MLP.
    #[track_caller]
    pub fn gated(&self, up: &Array, activation: Activation) -> Self {
        Self::apply(Op::Fused(Fused::Gated(Gated { activation })), &[self, up])
    }
}
