//! Folding an axis away.

use crate::{Array, Op, Reduce};

macro_rules! reduce_methods {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        impl Array {$(
            $(#[$doc])*
            /// Negative axes count from the end; the axis disappears.
            #[track_caller]
            pub fn $name(&self, axis: isize) -> Self {
                let axis = self.axis_or_panic(stringify!($name), axis);
                Self::apply(Op::Reduce { kind: Reduce::$kind, axis }, &[self])
            }
        )*}
    };
}

reduce_methods! {
    /// The sum along an axis.
    sum => Sum;
    /// The largest element along an axis.
    max => Max;
    /// The smallest element along an axis.
    min => Min;
    /// The product along an axis.
    prod => Prod;
    /// The index of the largest element along an axis, as i32 (the first of equals).
    argmax => ArgMax;
    /// The index of the smallest element along an axis, as i32 (the first of equals).
    argmin => ArgMin;
}

impl Array {
    /// Indices (i32) of the `count` largest elements along the last axis, the largest first; of equals the first
    /// comes first. What is not a number counts as the smallest.
    ///
    /// ```
    /// # use lazuli_core::{Array, Runtime};
    /// let x = Array::from_slice(&[1.0f32, 4.0, 2.0, 4.0], [1, 4]);
    /// let ids = x.top_k(3);
    /// Runtime::reference().eval(&[&ids])?;
    /// assert_eq!(ids.as_slice::<i32>()?, &[1, 3, 2]);
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    #[track_caller]
    pub fn top_k(&self, count: usize) -> Self {
        Self::apply(Op::TopK { count }, &[self])
    }

    /// The mean along an axis, which disappears.
    ///
    /// ```
    /// # use lazuli_core::{Array, Runtime};
    /// let x = Array::from_slice(&[1.0f32, 2.0, 3.0, 6.0], [2, 2]);
    /// let m = x.mean(0);
    /// Runtime::reference().eval(&[&m])?;
    /// assert_eq!(m.as_slice::<f32>()?, &[2.0, 4.0]);
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    #[track_caller]
    pub fn mean(&self, axis: isize) -> Self {
        let at = self.axis_or_panic("mean", axis);
        self.sum(axis) * (1.0 / self.shape()[at] as f32)
    }
}
