//! Reading rows by index, joining arrays, and writing rows into the KV pool.

use crate::{Array, Layout, Op};

impl Array {
    /// Rows of `self` (`[n, ..]`) at `indices` (i32, any shape): an embedding lookup. Rows of packed weights
    /// are decoded to f32. An index outside `0..n` is an error of the evaluation.
    ///
    /// ```
    /// # use lazuli_core::{Array, Runtime};
    /// let table = Array::from_slice(&[0.0f32, 0.5, 1.0, 1.5], [2, 2]);
    /// let rows = table.gather(&Array::from_slice(&[1, 0, 1], [3]));
    /// Runtime::reference().eval(&[&rows])?;
    /// assert_eq!(rows.as_slice::<f32>()?, &[1.0, 1.5, 0.0, 0.5, 1.0, 1.5]);
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    #[track_caller]
    pub fn gather(&self, indices: &Array) -> Self {
        Self::apply(Op::Gather, &[self, indices])
    }

    /// For each row (last axis) of `self` the elements that the same row of `indices` (i32, `[.., count]`) names:
    /// `[rows, n]` and `[rows, count]` to `[rows, count]`.
    ///
    /// ```
    /// # use lazuli_core::{Array, Runtime};
    /// let x = Array::from_slice(&[0.0f32, 0.5, 1.0, 1.5], [2, 2]);
    /// let picked = x.take_along(&Array::from_slice(&[1, 0], [2, 1]));
    /// Runtime::reference().eval(&[&picked])?;
    /// assert_eq!(picked.as_slice::<f32>()?, &[0.5, 1.0]);
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    #[track_caller]
    pub fn take_along(&self, indices: &Array) -> Self {
        let (rows, n) = (self.shape().rows(), self.shape().last_dim());
        assert!(self.shape().rank() == 2 && indices.shape().rank() == 2, "take_along: takes two matrices");
        let starts = (Self::iota(rows) * n as i32).expand_dims(-1); // [rows, 1]
        self.reshape([rows * n]).gather(&(indices + &starts))
    }

    /// Arrays one after the other along `axis` (negative ones count from the end).
    ///
    /// ```
    /// # use lazuli_core::{Array, Runtime};
    /// let (a, b) = (Array::from_slice(&[1, 2], [2, 1]), Array::from_slice(&[3, 4], [2, 1]));
    /// let joined = Array::concat(&[&a, &b], -1);
    /// Runtime::reference().eval(&[&joined])?;
    /// assert_eq!(joined.as_slice::<i32>()?, &[1, 3, 2, 4]);
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    #[track_caller]
    pub fn concat(arrays: &[&Array], axis: isize) -> Self {
        let Some(first) = arrays.first() else { panic!("concat: nothing to join") };
        let axis = first.axis_or_panic("concat", axis);
        if arrays.len() == 1 { (*first).clone() } else { Self::apply(Op::Concat { axis }, arrays) }
    }

    /// `self`, a KV pool `[pages, heads, page_size, dim]`, with `rows` `[tokens, heads, dim]` written at
    /// `slots` `[tokens]` (i32, `page * page_size + row`; negative ones are skipped). When nobody else holds
    /// the pool, the rows are written in place and nothing is copied. Pages may lie apart (see
    /// [`Array::interleaved`]); those of the result lie as they did.
    #[track_caller]
    pub fn kv_write(self, rows: &Array, slots: &Array) -> Self {
        let dense = Layout::contiguous(self.shape()).strides.first().copied();
        let stride = self.layout().spacing(self.shape()).or(dense).unwrap_or(0);
        Self::apply(Op::KvWrite { stride }, &[&self, rows, slots])
    }
}
