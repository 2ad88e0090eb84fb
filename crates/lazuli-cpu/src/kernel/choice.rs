//! The largest elements of each row, perhaps among the best groups alone: what routers ask for.

use std::cmp::Ordering;
use std::ops::Range;

use lazuli_core::fused::GroupRank;

/// The most groups that a row can have.
pub(crate) const MAX_GROUPS: usize = 256;

/// Indices of the `count` largest elements of rows of `cols`, the largest first, of equals the first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    pub cols: usize,
    pub count: usize,
    /// Equal runs of a row, at most [`MAX_GROUPS`]; 1 for none.
    pub groups: usize,
    /// How many groups, the best, may be chosen from.
    pub kept: usize,
    pub rank: GroupRank,
}

impl Choice {
    /// Chooses in the rows `rows` of `x` (f32, contiguous); writes `count` indices for each to `out`.
    ///
    /// # Safety
    /// The pointers must be valid for these rows, and nobody else may write the input or touch the output rows.
    pub unsafe fn run(&self, rows: Range<usize>, x: *const f32, out: *mut i32) {
        for row in rows {
            // SAFETY: the caller's promise.
            let (x, out) = unsafe {
                (
                    std::slice::from_raw_parts(x.add(row * self.cols), self.cols),
                    std::slice::from_raw_parts_mut(out.add(row * self.count), self.count),
                )
            };
            self.choose(x, out);
        }
    }

    fn choose(&self, x: &[f32], out: &mut [i32]) {
        if self.kept == self.groups {
            return largest(x, |_| true, out);
        }
        let size = self.cols / self.groups;
        let mut values = [0.0; MAX_GROUPS];
        for (value, group) in values.iter_mut().zip(x.chunks_exact(size)) {
            let mut two = [0; 2];
            *value = match self.rank {
                GroupRank::Largest => {
                    largest(group, |_| true, &mut two[..1]);
                    group[two[0] as usize]
                }
                GroupRank::TwoLargest => {
                    largest(group, |_| true, &mut two);
                    group[two[0] as usize] + group[two[1] as usize]
                }
            };
        }
        let mut best = [0; MAX_GROUPS];
        largest(&values[..self.groups], |_| true, &mut best[..self.kept]);
        let mut allowed = [false; MAX_GROUPS];
        best[..self.kept].iter().for_each(|&group| allowed[group as usize] = true);
        largest(x, |i| allowed[i / size], out);
    }
}

/// The indices of the `out.len()` largest of the elements that may be taken, of which there are as many.
fn largest(x: &[f32], may: impl Fn(usize) -> bool, out: &mut [i32]) {
    let key = |x: f32| if x.is_nan() { f32::NEG_INFINITY } else { x };
    // Each is the best of those after the one before it in the order of falling values, then rising indices.
    let mut last: Option<(f32, usize)> = None;
    for out in out {
        let mut best: Option<(f32, usize)> = None;
        for (i, &value) in x.iter().enumerate() {
            let value = key(value);
            let after = last.is_none_or(|(v, at)| match value.partial_cmp(&v) {
                Some(Ordering::Less) => true,
                Some(Ordering::Equal) => i > at,
                _ => false,
            });
            if after && best.is_none_or(|(v, _)| value > v) && may(i) {
                best = Some((value, i));
            }
        }
        last = best.or(last);
        *out = last.map_or(0, |(_, i)| i as i32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_come_in_order_and_what_is_no_number_comes_last() {
        let choice = Choice { cols: 5, count: 5, groups: 1, kept: 1, rank: GroupRank::Largest };
        let mut out = [0; 5];
        choice.choose(&[f32::NAN, 1.0, 3.0, 3.0, -1.0], &mut out);
        assert_eq!(out, [2, 3, 1, 4, 0]);
    }

    #[test]
    fn only_the_best_groups_are_chosen_from() {
        // Sums of two: 5, 6, 4; largest: 5, 3, 4.
        let x = [5.0, 0.0, 3.0, 3.0, 4.0, 0.0];
        let mut out = [0; 2];
        for (rank, kept, wanted) in [
            (GroupRank::TwoLargest, 1, [2, 3]),
            (GroupRank::TwoLargest, 2, [0, 2]),
            (GroupRank::Largest, 2, [0, 4]),
        ] {
            Choice { cols: 6, count: 2, groups: 3, kept, rank }.choose(&x, &mut out);
            assert_eq!(out, wanted, "{rank:?} {kept}");
        }
    }
}
