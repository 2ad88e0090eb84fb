//! Arrays from nothing: constants and counters.

use crate::{Array, DType, Op, Shape};

impl Array {
    /// A shape full of one number. As a 32-bit integer it is exact up to 2^24.
    ///
    /// ```
    /// # use lazuli_core::{Array, DType, Runtime};
    /// let x = Array::full([2, 2], 3.0, DType::I32).contiguous();
    /// Runtime::reference().eval(&[&x])?;
    /// assert_eq!(x.as_slice::<i32>()?, &[3; 4]);
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    #[track_caller]
    pub fn full(shape: impl Into<Shape>, value: f32, dtype: DType) -> Self {
        let one = Self::apply(Op::Full { value: value.into(), shape: Shape::default(), dtype }, &[]);
        one.broadcast_to(shape)
    }

    /// `0, 1, .., len - 1` as i32.
    ///
    /// ```
    /// # use lazuli_core::{Array, Runtime};
    /// let x = Array::iota(4);
    /// Runtime::reference().eval(&[&x])?;
    /// assert_eq!(x.as_slice::<i32>()?, &[0, 1, 2, 3]);
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    pub fn iota(len: usize) -> Self {
        Self::apply(Op::Iota { len }, &[])
    }
}

impl From<f32> for Array {
    fn from(value: f32) -> Self {
        Self::full([], value, DType::F32)
    }
}

impl From<i32> for Array {
    fn from(value: i32) -> Self {
        Self::full([], value as f32, DType::I32)
    }
}

impl From<&Array> for Array {
    fn from(array: &Array) -> Self {
        array.clone()
    }
}
