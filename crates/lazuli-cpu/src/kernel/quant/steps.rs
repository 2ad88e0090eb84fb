//! [`TwoSteps`]: activations rounded twice, to int8 and what that leaves over to int8 again, as rows of their own.
//!
//! A product with both rows, added up, has seen its left side at fifteen bits, with the kernels and the bytes of weights
//! of one that sees it at eight.

use super::acts::{PAIR, QUARTERS, Rounding, Way, whole};
use super::blocks::{GROUP, OCTET};
use crate::simd::{Dot, Level, Simd, stamp, stamp_dot};
use std::mem::MaybeUninit;
use std::ops::Range;

/// `m` rows of `k` activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwoSteps {
    /// The vector level.
    pub(super) level: Level,
    /// Rows.
    pub m: usize,
    /// Values of a row, a multiple of 32.
    pub k: usize,
    /// How the product rounds them: the first step has to be the same.
    pub(super) way: Way,
}

impl TwoSteps {
    /// Writes the rows `rows` of `x`, `stride` values apart, to rows of `out` `[2 m, k]`, and what rounding them leaves
    /// over to the same rows of its second half. What is not finite stays so.
    ///
    /// # Safety
    /// `x` must be valid for reading the rows, `out` for writing all of it, and no other thread may touch these rows.
    pub unsafe fn split(&self, rows: Range<usize>, x: *const f32, stride: usize, out: *mut f32) {
        for row in rows {
            // SAFETY: the caller's promise; both rows lie within `2 m`.
            unsafe {
                let (to, rest) = (out.add(row * self.k), out.add((self.m + row) * self.k));
                split_row(self.level, self.k, self.way, x.add(row * stride), to, rest);
            }
        }
    }

    /// Adds up the two halves of `sums` `[2 m, n]`: the values `values` of `[m, n]`.
    ///
    /// # Safety
    /// The pointers must be valid for these values, and no other thread may touch them in `out`.
    pub unsafe fn join(&self, values: Range<usize>, n: usize, sums: *const f32, out: *mut f32) {
        let at = values.start;
        // SAFETY: the caller's promise.
        unsafe { add(self.level, values.len(), sums.add(at), sums.add(self.m * n + at), out.add(at)) }
    }
}

stamp_dot! {
    unsafe fn split_row(k: usize, way: Way, x: *const f32, to: *mut f32, rest: *mut f32) = split_generic;
}

stamp! {
    unsafe fn add(n: usize, x: *const f32, y: *const f32, out: *mut f32) = add_generic;
}

#[inline(always)]
unsafe fn split_generic<S: Dot>(s: S, k: usize, way: Way, x: *const f32, to: *mut f32, rest: *mut f32) {
    for at in (0..k).step_by(OCTET) {
        let count = OCTET.min(k - at);
        let mut room = MaybeUninit::uninit();
        let mut codes = [0i8; OCTET];
        // SAFETY: the caller's rows of `k` values.
        unsafe {
            let x = whole(x.add(at), count, &mut room);
            let rounding = Rounding::of(s, x, way);
            let quarters = rounding.codes(s, x);
            for c in 0..QUARTERS {
                s.store_bytes(codes.as_mut_ptr().add(c * PAIR).cast(), quarters[c]);
            }
            // A value that is not finite is handed on as it is, and shows in the products.
            for i in 0..count {
                let value = *x.add(i);
                to.add(at + i).write(value);
                rest.add(at + i).write(value - rounding.scales[i / GROUP] * f32::from(codes[i]));
            }
        }
    }
}

#[inline(always)]
unsafe fn add_generic<S: Simd>(s: S, n: usize, x: *const f32, y: *const f32, out: *mut f32) {
    let whole = n - n % S::LANES;
    // SAFETY: the caller's values.
    unsafe {
        for i in (0..whole).step_by(S::LANES) {
            s.store(out.add(i), s.add(s.load(x.add(i)), s.load(y.add(i))));
        }
        if whole < n {
            let left = n - whole;
            let sum = s.add(s.load_partial(x.add(whole), left), s.load_partial(y.add(whole), left));
            s.store_partial(out.add(whole), left, sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_over_is_within_half_a_step_and_joins_to_the_whole() {
        let ways = [Way::Multiples, Way::Groups, Way::Spans];
        for (level, way) in Level::supported().into_iter().flat_map(|level| ways.map(|way| (level, way))) {
            let (m, k) = (3, if way == Way::Spans { 512 } else { 320 });
            let x: Vec<f32> = (0..m * k).map(|i| ((i * 7919 % 1013) as f32 - 506.0) / 100.0).collect();
            let steps = TwoSteps { level, m, k, way };
            let (mut split, mut joined) = (vec![0f32; 2 * m * k], vec![0f32; m * k]);
            // SAFETY: the vectors have these sizes.
            unsafe {
                steps.split(0..m, x.as_ptr(), k, split.as_mut_ptr());
                steps.join(5..m * k, k, split.as_ptr(), joined.as_mut_ptr());
            }
            assert_eq!(split[..m * k], x);
            for (i, &rest) in split[m * k..].iter().enumerate() {
                // The largest of all values is 5.07 at most, and so is a step 5.07 / 127.
                assert!(rest.abs() <= 0.5 * 5.07 / 127.0 * 1.01, "{level}: {rest} at {i}");
            }
            assert!((5..m * k).all(|i| joined[i] == split[i] + split[m * k + i]), "{level}");
            assert_eq!(joined[..5], [0.0; 5]);
        }
    }
}
