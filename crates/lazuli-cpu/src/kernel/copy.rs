//! Strided copies with conversion: views made dense, casts, pieces of a concatenation.

use std::ops::Range;

use super::Element;
use super::element::{load_any, store_any};
use crate::simd::{Level, Simd, stamp};

/// Copies an array from one layout to another, converting its elements.
///
/// A concatenation is one such copy for each input, each into its place of the output.
#[derive(Debug, Clone)]
pub struct StridedCopy {
    level: Level,
    from: Element,
    to: Element,
    /// The outer axes, then the last: `(extent, source step, destination step)`, in elements.
    outer: Vec<(usize, isize, isize)>,
    inner: (usize, isize, isize),
}

impl StridedCopy {
    /// A copy of `shape`, whose element `i` along an axis lies `i` times that axis' stride from the start (in elements;
    /// 0 repeats, negative goes backwards).
    ///
    /// # Panics
    /// If shape and strides differ in length: a bug in the planner.
    pub fn new(level: Level, shape: &[usize], from: (Element, &[isize]), to: (Element, &[isize])) -> Self {
        assert!(shape.len() == from.1.len() && shape.len() == to.1.len(), "one stride for each axis");
        let mut axes: Vec<(usize, isize, isize)> = Vec::new();
        for ((&extent, &source), &target) in shape.iter().zip(from.1).zip(to.1) {
            if extent == 1 {
                continue;
            }
            // An axis that continues the one outside of it is the same axis.
            match axes.last_mut() {
                Some(last) if last.1 == source * extent as isize && last.2 == target * extent as isize => {
                    *last = (last.0 * extent, source, target);
                }
                _ => axes.push((extent, source, target)),
            }
        }
        let inner = axes.pop().unwrap_or((1, 1, 1));
        Self { level, from: from.0, to: to.0, outer: axes, inner }
    }

    /// How many units of work there are: rows along the innermost axis, or pieces of a copy that is one long row.
    pub fn units(&self) -> usize {
        if self.outer.is_empty() {
            return self.inner.0.div_ceil(PIECE);
        }
        self.outer.iter().map(|axis| axis.0).product()
    }

    /// Copies the units `units`.
    ///
    /// # Safety
    /// The pointers must be valid for the elements that the layouts reach, aligned for their types; the layouts must
    /// not overlap, and nobody else may write the source or touch the destination of these units.
    pub unsafe fn run(&self, units: Range<usize>, from: *const u8, to: *mut u8) {
        let (extent, source_step, target_step) = self.inner;
        for unit in units {
            let (mut rest, mut source, mut target) = (unit, 0, 0);
            let mut count = extent;
            if self.outer.is_empty() {
                (source, target) =
                    ((unit * PIECE) as isize * source_step, (unit * PIECE) as isize * target_step);
                count = (extent - unit * PIECE).min(PIECE);
            }
            for &(extent, source_step, target_step) in self.outer.iter().rev() {
                let index = (rest % extent) as isize;
                rest /= extent;
                source += index * source_step;
                target += index * target_step;
            }
            // SAFETY: the caller's promise.
            unsafe {
                let from = from.offset(source * self.from.size() as isize);
                let to = to.offset(target * self.to.size() as isize);
                if (source_step, target_step) == (1, 1) {
                    copy_row(self.level, self.from, self.to, count, from, to);
                } else {
                    self.copy_elements(count, from, to);
                }
            }
        }
    }

    unsafe fn copy_elements(&self, count: usize, from: *const u8, to: *mut u8) {
        let (_, source_step, target_step) = self.inner;
        for i in 0..count as isize {
            // SAFETY: the caller's promise.
            unsafe {
                let from = from.offset(i * source_step * self.from.size() as isize);
                let to = to.offset(i * target_step * self.to.size() as isize);
                if self.from == self.to {
                    match self.from.size() {
                        1 => to.write(from.read()),
                        2 => to.cast::<u16>().write(from.cast::<u16>().read()),
                        _ => to.cast::<u32>().write(from.cast::<u32>().read()),
                    }
                } else {
                    convert(self.from, self.to, from, to);
                }
            }
        }
    }
}

/// Elements in a unit of a copy that is a single row.
const PIECE: usize = 1 << 14;

/// Copies `n` consecutive elements, converting them.
///
/// # Safety
/// The pointers must be valid for `n` elements, aligned for their types, and not overlap.
pub(super) unsafe fn copy_row(
    level: Level,
    from_element: Element,
    to_element: Element,
    n: usize,
    from: *const u8,
    to: *mut u8,
) {
    let integer = |element| matches!(element, Element::I32 | Element::U32);
    // SAFETY: the caller's promise.
    unsafe {
        if from_element == to_element {
            std::ptr::copy_nonoverlapping(from, to, n * from_element.size());
        } else if integer(from_element) && integer(to_element) {
            for i in 0..n {
                convert(from_element, to_element, from.add(4 * i), to.add(4 * i));
            }
        } else {
            cast_row(level, from_element, to_element, n, from, to);
        }
    }
}

/// Converts one element; integers do not go through `f32`.
unsafe fn convert(from_element: Element, to_element: Element, from: *const u8, to: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        match (from_element, to_element) {
            (Element::I32, Element::U32) => to.cast::<u32>().write(from.cast::<i32>().read().max(0) as u32),
            (Element::U32, Element::I32) => {
                to.cast::<i32>().write(from.cast::<u32>().read().min(i32::MAX as u32) as i32);
            }
            _ => to_element.write(to, from_element.read(from)),
        }
    }
}

stamp! {
    unsafe fn cast_row(from_element: Element, to_element: Element, n: usize, from: *const u8, to: *mut u8) = cast;
}

#[inline(always)]
unsafe fn cast<S: Simd>(
    s: S,
    from_element: Element,
    to_element: Element,
    n: usize,
    from: *const u8,
    to: *mut u8,
) {
    for i in (0..n).step_by(S::LANES) {
        let count = (n - i).min(S::LANES);
        // SAFETY: all accesses are below `n`.
        unsafe {
            let v = load_any(s, from_element, from.add(i * from_element.size()), count);
            store_any(s, to_element, to.add(i * to_element.size()), count, v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Random, levels, stored};
    use super::*;

    const ALL: [Element; 6] =
        [Element::F32, Element::F16, Element::BF16, Element::I32, Element::U32, Element::U8];

    #[test]
    fn casts_are_element_by_element_casts() {
        let values: Vec<f32> = Random::new(1).floats(500).iter().map(|v| (v * 100.0).abs()).collect();
        for (level, from) in levels().into_iter().flat_map(|level| ALL.map(|from| (level, from))) {
            for to in ALL {
                for n in [1, 31, 500] {
                    let (words, read) = stored(from, &values[..n]);
                    let (want, _) = stored(to, &read);
                    let mut out = vec![0_u32; want.len()];
                    let copy = StridedCopy::new(level, &[n], (from, &[1]), (to, &[1]));
                    // SAFETY: both arrays have `n` elements.
                    unsafe { copy.run(0..copy.units(), words.as_ptr().cast(), out.as_mut_ptr().cast()) };
                    assert_eq!(out, want, "{level} {from:?} {to:?}");
                }
            }
        }
    }

    #[test]
    fn integers_keep_all_their_digits() {
        let (from, mut to) = ([i32::MAX - 1, -5], [7_u32; 2]);
        let copy = StridedCopy::new(Level::SCALAR, &[2], (Element::I32, &[1]), (Element::U32, &[1]));
        // SAFETY: both arrays have 2 elements.
        unsafe { copy.run(0..1, from.as_ptr().cast(), to.as_mut_ptr().cast()) };
        assert_eq!(to, [i32::MAX as u32 - 1, 0]);
    }

    /// The element at a mixed-radix position, moved by hand.
    fn check(level: Level, shape: &[usize], from: &[isize], to: &[isize], source_offset: usize) {
        let values = Random::new(7).floats(20000);
        let copy = StridedCopy::new(level, shape, (Element::F32, from), (Element::F16, to));
        let (mut got, mut want) = (vec![0_u16; 20000], vec![0_u16; 20000]);
        let start = values[source_offset..].as_ptr().cast();
        // SAFETY: the shapes of the cases below reach less than 20000 elements.
        unsafe { copy.run(0..copy.units(), start, got.as_mut_ptr().cast()) };
        for position in 0..shape.iter().product() {
            let (mut rest, mut source, mut target) = (position, source_offset as isize, 0);
            for axis in (0..shape.len()).rev() {
                source += (rest % shape[axis]) as isize * from[axis];
                target += (rest % shape[axis]) as isize * to[axis];
                rest /= shape[axis];
            }
            want[target as usize] = half::f16::from_f32(values[source as usize]).to_bits();
        }
        assert!(got == want, "{level} {shape:?} {from:?} {to:?}");
    }

    #[test]
    fn layouts_are_followed_element_by_element() {
        for level in levels() {
            check(level, &[], &[], &[], 3);
            check(level, &[18000], &[1], &[1], 0);
            check(level, &[4, 5, 6], &[30, 6, 1], &[30, 6, 1], 0);
            check(level, &[6, 5, 4], &[1, 6, 30], &[20, 4, 1], 0);
            check(level, &[7, 33], &[40, 1], &[100, 1], 2);
            check(level, &[3, 4, 50], &[0, 50, 1], &[200, 50, 1], 0);
            check(level, &[10], &[-2], &[3], 19);
            check(level, &[3, 1, 9], &[9, 77, 1], &[9, 5, 1], 0);
        }
    }
}
