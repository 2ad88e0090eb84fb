//! [`Shape`] (how many elements along each axis) and [`Layout`] (where they lie in a buffer).

use std::fmt;
use std::ops::Deref;

use smallvec::SmallVec;

/// Elements along each axis, outermost first. A scalar has no axes.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(SmallVec<[usize; 4]>);

impl Shape {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.0.iter().product()
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Length of the last axis; 1 for a scalar.
    pub fn last_dim(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }

    /// Product of all axes but the last: how many rows a kernel that works along the last axis sees.
    pub fn rows(&self) -> usize {
        self.0.iter().rev().skip(1).product()
    }

    /// The index of `axis`, where negative ones count from the end; `None` if there is no such axis.
    pub fn axis(&self, axis: isize) -> Option<usize> {
        let rank = self.rank() as isize;
        let index = if axis < 0 { axis + rank } else { axis };
        (0..rank).contains(&index).then_some(index as usize)
    }

    /// This shape with `axis` replaced by `len`.
    pub fn with_dim(&self, axis: usize, len: usize) -> Self {
        let mut dims = self.0.clone();
        dims[axis] = len;
        Self(dims)
    }

    /// This shape without `axis`.
    pub fn without(&self, axis: usize) -> Self {
        let mut dims = self.0.clone();
        dims.remove(axis);
        Self(dims)
    }

    /// The shape both broadcast to, by NumPy's rule; `None` if they do not fit.
    pub fn broadcast(&self, other: &Self) -> Option<Self> {
        let rank = self.rank().max(other.rank());
        let dim = |shape: &Self, i: usize| (i + shape.rank()).checked_sub(rank).map_or(1, |at| shape.0[at]);
        (0..rank)
            .map(|i| match (dim(self, i), dim(other, i)) {
                (a, b) if a == b => Some(a),
                (1, b) => Some(b),
                (a, 1) => Some(a),
                _ => None,
            })
            .collect::<Option<SmallVec<_>>>()
            .map(Self)
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Self(dims.into())
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Self(dims.as_slice().into())
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Self {
        Self(dims.into())
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Self {
        shape.clone()
    }
}

impl FromIterator<usize> for Shape {
    fn from_iter<I: IntoIterator<Item = usize>>(dims: I) -> Self {
        Self(dims.into_iter().collect())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.as_slice(), f)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.as_slice(), f)
    }
}

/// Where the elements of a shape lie: the element at index `i` is `offset + sum(i * strides)` elements
/// from the start of the storage. A stride of 0 repeats an axis.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Layout {
    /// Elements before the first one.
    pub offset: usize,
    /// Elements to the next index, for each axis.
    pub strides: SmallVec<[usize; 4]>,
}

impl Layout {
    /// Row-major, without gaps, from the start of the storage.
    pub fn contiguous(shape: &Shape) -> Self {
        let mut strides: SmallVec<[usize; 4]> = SmallVec::from_elem(1, shape.rank());
        for axis in (0..shape.rank().saturating_sub(1)).rev() {
            strides[axis] = strides[axis + 1] * shape[axis + 1];
        }
        Self { offset: 0, strides }
    }

    /// Entries of the first axis that have no gaps in them and begin `stride` elements apart, from the start of the
    /// storage.
    pub fn spaced(shape: &Shape, stride: usize) -> Self {
        let mut layout = Self::contiguous(shape);
        if let Some(first) = layout.strides.first_mut() {
            *first = stride;
        }
        layout
    }

    /// How far apart entries of the first axis begin, if they have no gaps in them and follow one another.
    pub fn spacing(&self, shape: &Shape) -> Option<usize> {
        let whole = Self::contiguous(shape);
        let (&found, &least) = (self.strides.first()?, whole.strides.first()?);
        (self.strides[1..] == whole.strides[1..] && found >= least).then_some(found)
    }

    /// Whether the elements lie row-major without gaps (the offset may be anything).
    pub fn is_contiguous(&self, shape: &Shape) -> bool {
        let mut expected = 1;
        for (&dim, &stride) in shape.iter().zip(&self.strides).rev() {
            if dim != 1 && stride != expected {
                return false;
            }
            expected *= dim;
        }
        true
    }

    /// Number of storage elements from the start that the layout can reach.
    pub fn reach(&self, shape: &Shape) -> usize {
        if shape.elements() == 0 {
            return 0;
        }
        self.offset + shape.iter().zip(&self.strides).map(|(d, s)| (d - 1) * s).sum::<usize>() + 1
    }

    /// The same elements under another shape, if that needs no copy. `to` must hold as many elements.
    pub fn reshape(&self, from: &Shape, to: &Shape) -> Option<Self> {
        let mut strides: SmallVec<[usize; 4]> = SmallVec::from_elem(0, to.rank());
        // Axes of length one carry no information; the rest is matched group by group from the right.
        let old: SmallVec<[(usize, usize); 4]> =
            from.iter().copied().zip(self.strides.iter().copied()).filter(|&(d, _)| d != 1).collect();
        let (mut i, mut j) = (old.len(), to.rank());
        while j > 0 {
            if to[j - 1] == 1 {
                j -= 1;
                strides[j] = 1;
                continue;
            }
            let (mut have, mut want) = (1, 1);
            let (old_end, new_end) = (i, j);
            loop {
                if have < want || have == 1 {
                    i = i.checked_sub(1)?;
                    have *= old[i].0;
                } else if want < have {
                    j = j.checked_sub(1)?;
                    want *= to[j];
                }
                if have == want {
                    break;
                }
            }
            // The old axes of this group must follow one another without gaps to be merged.
            for k in i..old_end - 1 {
                if old[k].1 != old[k + 1].1 * old[k + 1].0 {
                    return None;
                }
            }
            let mut stride = old[old_end - 1].1;
            for k in (j..new_end).rev() {
                strides[k] = stride;
                stride *= to[k];
            }
        }
        Some(Self { offset: self.offset, strides })
    }

    /// Axes reordered: axis `i` of the result is axis `order[i]` of this.
    pub fn permute(&self, order: &[usize]) -> Self {
        Self { offset: self.offset, strides: order.iter().map(|&axis| self.strides[axis]).collect() }
    }

    /// Repeats axes of length one (and adds outer ones) to reach `to`, with stride 0.
    pub fn broadcast(&self, from: &Shape, to: &Shape) -> Self {
        let added = to.rank() - from.rank();
        let strides = (0..to.rank())
            .map(|axis| match axis.checked_sub(added) {
                Some(inner) if from[inner] == to[axis] => self.strides[inner],
                _ => 0,
            })
            .collect();
        Self { offset: self.offset, strides }
    }

    /// The elements from `start` on along `axis`.
    pub fn skip(&self, axis: usize, start: usize) -> Self {
        Self { offset: self.offset + start * self.strides[axis], strides: self.strides.clone() }
    }

    /// Calls `visit` with the storage index of each element, in row-major order.
    pub fn for_each(&self, shape: &Shape, mut visit: impl FnMut(usize)) {
        if shape.elements() == 0 {
            return;
        }
        let mut index: SmallVec<[usize; 4]> = SmallVec::from_elem(0, shape.rank());
        let mut at = self.offset;
        loop {
            visit(at);
            let mut axis = shape.rank();
            loop {
                let Some(next) = axis.checked_sub(1) else { return };
                axis = next;
                index[axis] += 1;
                at += self.strides[axis];
                if index[axis] < shape[axis] {
                    break;
                }
                at -= self.strides[axis] * shape[axis];
                index[axis] = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices(layout: &Layout, shape: &Shape) -> Vec<usize> {
        let mut out = Vec::new();
        layout.for_each(shape, |i| out.push(i));
        out
    }

    #[test]
    fn reshape_keeps_the_order_of_elements_or_declines() {
        let shape = Shape::from([2, 3, 4]);
        let layout = Layout::contiguous(&shape);
        let flat = layout.reshape(&shape, &Shape::from([6, 4])).expect("contiguous");
        assert_eq!(indices(&flat, &Shape::from([6, 4])), (0..24).collect::<Vec<_>>());
        let turned = layout.permute(&[1, 0, 2]); // [3, 2, 4]
        let turned_shape = Shape::from([3, 2, 4]);
        assert!(turned.reshape(&turned_shape, &Shape::from([6, 4])).is_none());
        let split =
            turned.reshape(&turned_shape, &Shape::from([3, 2, 2, 2])).expect("splitting needs no copy");
        assert_eq!(indices(&split, &Shape::from([3, 2, 2, 2])), indices(&turned, &turned_shape));
        let ones = layout.reshape(&shape, &Shape::from([1, 2, 1, 12, 1])).expect("ones are free");
        assert_eq!(indices(&ones, &Shape::from([1, 2, 1, 12, 1])), (0..24).collect::<Vec<_>>());
    }

    #[test]
    fn broadcast_follows_numpy() {
        let fit = |a: &[usize], b: &[usize]| Shape::from(a).broadcast(&Shape::from(b)).map(|s| s.to_vec());
        assert_eq!(fit(&[3, 1], &[4]), Some(vec![3, 4]));
        assert_eq!(fit(&[], &[2, 2]), Some(vec![2, 2]));
        assert_eq!(fit(&[2], &[3]), None);
    }

    #[test]
    fn empty_shapes_visit_nothing() {
        let shape = Shape::from([2, 0]);
        assert!(indices(&Layout::contiguous(&shape), &shape).is_empty());
        assert_eq!(Layout::contiguous(&shape).reach(&shape), 0);
    }
}
