//! Rotary position embedding (Su et al., 2021): pairs of elements rotated by an angle of the position.

use super::Fused;
use crate::{Array, DType, Op, Shape};

/// Which elements of a head form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RopeStyle {
    /// Element `i` with `i + rotated / 2` (GPT-NeoX, Hugging Face checkpoints).
    Halves,
    /// Element `2 i` with `2 i + 1` (the original; GGUF files of Llama models).
    Interleaved,
}

/// Rotates the first `2 * cos.shape()[1]` elements of each head; the rest stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rope {
    /// How elements pair up.
    pub style: RopeStyle,
}

impl Rope {
    pub(super) fn infer(self, inputs: &[&Array]) -> Result<(Shape, DType), String> {
        let (x, cos, sin) = (inputs[0], inputs[1], inputs[2]);
        let fits = x.dtype().is_float()
            && cos.dtype() == DType::F32
            && sin.dtype() == DType::F32
            && x.shape().rank() == 3
            && cos.shape() == sin.shape()
            && cos.shape().rank() == 2
            && cos.shape()[0] == x.shape()[0]
            && 2 * cos.shape()[1] <= x.shape()[2];
        if fits {
            Ok((x.shape().clone(), DType::F32))
        } else {
            Err("takes [tokens, heads, head_dim] and two f32 tables [tokens, rotated / 2]".into())
        }
    }

    pub(super) fn decompose(self, inputs: &[&Array]) -> Array {
        let x = inputs[0].cast(DType::F32);
        let (tokens, heads, dim) = (x.shape()[0], x.shape()[1], x.shape()[2]);
        let half = inputs[1].shape()[1];
        let (cos, sin) = (inputs[1].expand_dims(1), inputs[2].expand_dims(1)); // [tokens, 1, half]
        let rotated = x.slice(-1, 0..2 * half);
        let (a, b) = match self.style {
            RopeStyle::Halves => (rotated.slice(-1, 0..half), rotated.slice(-1, half..2 * half)),
            RopeStyle::Interleaved => {
                let pairs = rotated.reshape([tokens, heads, half, 2]);
                let part = |i: usize| pairs.slice(-1, i..i + 1).reshape([tokens, heads, half]);
                (part(0), part(1))
            }
        };
        let (first, second) = (&a * &cos - &b * &sin, &b * &cos + &a * &sin);
        let turned = match self.style {
            RopeStyle::Halves => Array::concat(&[&first, &second], -1),
            RopeStyle::Interleaved => Array::concat(&[&first.expand_dims(-1), &second.expand_dims(-1)], -1)
                .reshape([tokens, heads, 2 * half]),
        };
        if 2 * half == dim { turned } else { Array::concat(&[&turned, &x.slice(-1, 2 * half..dim)], -1) }
    }
}

impl Array {
    /// Rotates heads by their positions: `self` is `[tokens, heads, head_dim]`, `cos` and `sin` are f32
    /// `[tokens, rotated / 2]` tables shared by all heads (and layers). The result is f32.
    #[track_caller]
    pub fn rope(&self, cos: &Array, sin: &Array, style: RopeStyle) -> Self {
        Self::apply(Op::Fused(Fused::Rope(Rope { style })), &[self, cos, sin])
    }
}
