//! Matrix products.

use crate::{Array, Op, Rounding};

impl Array {
    /// `[.., m, k] x [.., k, n]` to `[.., m, n]` in f32. The right side may be packed weights: a weight stored
    /// as `[n, k]` is passed as `&weight.t()`, which moves no bytes.
    ///
    /// ```
    /// # use lazuli_core::{Array, Runtime};
    /// let x = Array::from_slice(&[1.0f32, 2.0], [1, 2]);
    /// let w = Array::from_slice(&[1.0f32, 0.0, 0.0, 1.0, 1.0, 1.0], [3, 2]); // [n, k]
    /// let y = x.matmul(&w.t());
    /// Runtime::reference().eval(&[&y])?;
    /// assert_eq!(y.as_slice::<f32>()?, &[1.0, 2.0, 3.0]);
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    #[track_caller]
    pub fn matmul(&self, right: &Array) -> Self {
        Self::apply(Op::Matmul { rounding: Rounding::Coarse }, &[self, right])
    }

    /// [`Array::matmul`] whose left side no backend may round to fewer than fifteen bits, in any precision: for small
    /// products on which much depends, such as which experts a token gets.
    ///
    /// ```
    /// # use lazuli_core::{Array, Runtime};
    /// let (x, w) = (Array::from_slice(&[1.0f32, 0.004], [1, 2]), Array::from_slice(&[1.0f32, 1.0], [1, 2]));
    /// let y = x.matmul_fine(&w.t());
    /// Runtime::reference().eval(&[&y])?;
    /// assert_eq!(y.as_slice::<f32>()?, &[1.004]);
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    #[track_caller]
    pub fn matmul_fine(&self, right: &Array) -> Self {
        Self::apply(Op::Matmul { rounding: Rounding::Fine }, &[self, right])
    }

    /// Rows times the weights of the experts chosen for each: `self` is `[tokens, k]` (one row for all of a token's
    /// experts) or `[tokens, chosen, k]`, `weights` `[experts, n, k]` (perhaps a [`Array::stack`]), `ids` i32
    /// `[tokens, chosen]`. The result is f32 `[tokens, chosen, n]`. Which experts are chosen is data: each chosen
    /// one is read once, the others not at all. An id that names no expert is an error of the evaluation.
    ///
    /// ```
    /// # use lazuli_core::{Array, Runtime};
    /// let x = Array::from_slice(&[1.0f32, 2.0], [1, 2]);
    /// let w = Array::from_slice(&[1.0f32, 0.0, 0.0, 1.0, 1.0, 1.0], [3, 1, 2]); // three experts of one row
    /// let y = x.expert_matmul(&w, &Array::from_slice(&[2, 0], [1, 2]));
    /// Runtime::reference().eval(&[&y])?;
    /// assert_eq!(y.as_slice::<f32>()?, &[3.0, 1.0]);
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    #[track_caller]
    pub fn expert_matmul(&self, weights: &Array, ids: &Array) -> Self {
        Self::apply(Op::ExpertMatmul, &[self, weights, ids])
    }
}
