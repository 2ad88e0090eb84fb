//! Shape operations: other views of the same storage. Only `contiguous` (and a `reshape` that cannot be a
//! view) ever copies.

use std::ops::Range;

use crate::{Array, Op, Shape};

impl Array {
    /// The same elements in row-major order under another shape.
    ///
    /// ```
    /// # use lazuli_core::Array;
    /// let x = Array::iota(6).reshape([2, 3]);
    /// assert_eq!(x.shape(), &[2, 3].into());
    /// ```
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<Shape>) -> Self {
        let to: Shape = shape.into();
        let from = self.shape();
        if *from == to {
            return self.clone();
        }
        assert_eq!(from.elements(), to.elements(), "reshape: {from} does not hold as many elements as {to}");
        let rows_stay = from.last_dim() == to.last_dim();
        assert!(
            !self.dtype().is_quantised() || rows_stay,
            "reshape: packed rows of {from} must stay whole, not {to}"
        );
        match self.layout().reshape(from, &to) {
            Some(layout) => self.with_layout(to, |_| layout),
            None => self.contiguous().reshape(to),
        }
    }

    /// Axes in another order: axis `i` of the result is axis `order[i]` of `self`.
    ///
    /// ```
    /// # use lazuli_core::Array;
    /// assert_eq!(Array::iota(6).reshape([1, 2, 3]).transpose(&[2, 0, 1]).shape(), &[3, 1, 2].into());
    /// ```
    #[track_caller]
    pub fn transpose(&self, order: &[usize]) -> Self {
        let mut seen = order.to_vec();
        seen.sort_unstable();
        let rank = self.shape().rank();
        assert!(seen.into_iter().eq(0..rank), "transpose: {order:?} does not name each of {rank} axes once");
        let shape = order.iter().map(|&axis| self.shape()[axis]).collect();
        self.with_layout(shape, |layout| layout.permute(order))
    }

    /// The last two axes swapped.
    #[track_caller]
    pub fn t(&self) -> Self {
        let rank = self.shape().rank();
        assert!(rank >= 2, "t: {} has fewer than two axes", self.shape());
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(rank - 2, rank - 1);
        self.transpose(&order)
    }

    /// The elements of `range` along `axis` (negative axes count from the end).
    ///
    /// ```
    /// # use lazuli_core::Array;
    /// let x = Array::from_slice(&[1, 2, 3, 4], [2, 2]).slice(0, 1..2);
    /// assert_eq!(x.as_slice::<i32>()?, &[3, 4]);
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    #[track_caller]
    pub fn slice(&self, axis: isize, range: Range<usize>) -> Self {
        let at = self.axis_or_panic("slice", axis);
        let len = self.shape()[at];
        assert!(range.start <= range.end && range.end <= len, "slice: {range:?} of an axis of {len}");
        if range == (0..len) {
            return self.clone();
        }
        let packed = self.dtype().is_quantised() && self.layout().strides[at] == 1;
        assert!(!packed, "slice: packed rows cannot be cut; cast or slice another axis");
        self.with_layout(self.shape().with_dim(at, range.len()), |layout| layout.skip(at, range.start))
    }

    /// Axes of length one repeated, and outer axes added, to reach `shape`. Nothing is copied.
    ///
    /// ```
    /// # use lazuli_core::Array;
    /// assert_eq!(Array::iota(3).broadcast_to([2, 3]).shape(), &[2, 3].into());
    /// ```
    #[track_caller]
    pub fn broadcast_to(&self, shape: impl Into<Shape>) -> Self {
        let to: Shape = shape.into();
        if *self.shape() == to {
            return self.clone();
        }
        let fits = self.shape().broadcast(&to).is_some_and(|s| s == to);
        assert!(fits, "broadcast: {} does not broadcast to {to}", self.shape());
        self.with_layout(to.clone(), |layout| layout.broadcast(self.shape(), &to))
    }

    /// A new axis of length one before `axis`; `-1` adds one at the end.
    #[track_caller]
    pub fn expand_dims(&self, axis: isize) -> Self {
        let rank = self.shape().rank() as isize;
        let at = if axis < 0 { axis + rank + 1 } else { axis };
        assert!((0..=rank).contains(&at), "expand_dims: axis {axis} for {}", self.shape());
        let mut dims = self.shape().to_vec();
        dims.insert(at as usize, 1);
        self.reshape(dims)
    }

    /// The elements without gaps, in row-major order: `self` where that holds already.
    #[track_caller]
    pub fn contiguous(&self) -> Self {
        let layout = self.layout();
        if layout.is_contiguous(self.shape()) && layout.offset == 0 {
            self.clone()
        } else {
            Self::apply(Op::Copy, &[self])
        }
    }

    #[track_caller]
    pub(crate) fn axis_or_panic(&self, op: &str, axis: isize) -> usize {
        match self.shape().axis(axis) {
            Some(axis) => axis,
            None => panic!("{op}: axis {axis} of {}", self.shape()),
        }
    }
}
