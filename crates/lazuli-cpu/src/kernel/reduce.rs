//! Folding one axis away: sums, products, extremes, their places, any and all.

use std::ops::Range;

use super::Element;
use super::element::load_any;
use crate::simd::{Level, Simd, stamp};

/// How an axis is folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fold {
    /// The sum, accumulated in `f32`.
    Sum,
    /// The sum divided by the length.
    Mean,
    /// The product.
    Prod,
    /// The largest; NaN is passed over.
    Max,
    /// The smallest; NaN is passed over.
    Min,
    /// The place of the largest, the first of equals.
    ArgMax,
    /// The place of the smallest, the first of equals.
    ArgMin,
    /// 1 if one is not 0, else 0.
    Any,
    /// 1 if none is 0, else 0.
    All,
}

/// Folds the middle axis of `x [outer, len, inner]` (contiguous) into `[outer, inner]` (contiguous).
///
/// Everything is computed in `f32`: integers beyond 2^24 are rounded.
#[derive(Debug, Clone, Copy)]
pub struct Reduce {
    /// The vector level.
    pub level: Level,
    /// How to fold.
    pub fold: Fold,
    /// The product of the axes before the folded one.
    pub outer: usize,
    /// The extent of the folded axis; at least 1 for [`Fold::ArgMax`] and [`Fold::ArgMin`].
    pub len: usize,
    /// The product of the axes after it.
    pub inner: usize,
    /// The input's type.
    pub x: Element,
    /// The output's type: I32 for places.
    pub out: Element,
}

/// Columns of a unit where the folded axis is not the last.
const COLUMNS: usize = 64;

impl Reduce {
    /// How many independent units the work has.
    pub fn units(&self) -> usize {
        self.outer * self.inner.div_ceil(COLUMNS)
    }

    /// Folds the units `units`.
    ///
    /// # Safety
    /// The pointers must be valid for input and output and aligned for their types; nobody else may write the input or
    /// touch the outputs of these units.
    pub unsafe fn run(&self, units: Range<usize>, x: *const u8, out: *mut u8) {
        let run = match self.fold {
            Fold::Sum | Fold::Mean => unit_sum,
            Fold::Prod => unit_prod,
            Fold::Max | Fold::ArgMax | Fold::Any => unit_max,
            Fold::Min | Fold::ArgMin | Fold::All => unit_min,
        };
        for unit in units {
            // SAFETY: the caller's promise.
            unsafe { run(self.level, self, unit, x, out) };
        }
    }

    /// The fold's value of nothing.
    fn identity(&self) -> f32 {
        match self.fold {
            Fold::Sum | Fold::Mean => 0.0,
            Fold::Prod => 1.0,
            Fold::Max | Fold::ArgMax => f32::NEG_INFINITY,
            Fold::Min | Fold::ArgMin => f32::INFINITY,
            // Truth values are at least 0 and at most 1.
            Fold::Any => 0.0,
            Fold::All => 1.0,
        }
    }

    /// What is stored for a folded value, if it is not a place.
    fn result(&self, value: f32) -> f32 {
        if self.fold == Fold::Mean { value / self.len as f32 } else { value }
    }

    fn is_place(&self) -> bool {
        matches!(self.fold, Fold::ArgMax | Fold::ArgMin)
    }
}

stamp! {
    unsafe fn unit_sum(job: &Reduce, unit: usize, x: *const u8, out: *mut u8) = unit_of::<_, SUM>;
    unsafe fn unit_prod(job: &Reduce, unit: usize, x: *const u8, out: *mut u8) = unit_of::<_, PROD>;
    unsafe fn unit_max(job: &Reduce, unit: usize, x: *const u8, out: *mut u8) = unit_of::<_, MAX>;
    unsafe fn unit_min(job: &Reduce, unit: usize, x: *const u8, out: *mut u8) = unit_of::<_, MIN>;
}

const SUM: u8 = 0;
const PROD: u8 = 1;
const MAX: u8 = 2;
const MIN: u8 = 3;

/// `fold(sum, x)`; extremes keep `sum` where `x` is NaN.
#[inline(always)]
fn step<S: Simd, const K: u8>(s: S, sum: S::F, x: S::F) -> S::F {
    match K {
        SUM => s.add(sum, x),
        PROD => s.mul(sum, x),
        MAX => s.max(x, sum),
        _ => s.min(x, sum),
    }
}

/// Loads `n` elements; lanes beyond them are the identity, and truth values 0 or 1.
#[inline(always)]
unsafe fn fetch<S: Simd>(s: S, job: &Reduce, x: *const u8, n: usize) -> S::F {
    // SAFETY: the caller's promise.
    let v = unsafe { load_any(s, job.x, x, n) };
    let v = if matches!(job.fold, Fold::Any | Fold::All) {
        s.select(s.eq(v, s.zero()), s.zero(), s.splat(1.0))
    } else {
        v
    };
    if n == S::LANES {
        return v;
    }
    let mut lanes = [job.identity(); crate::simd::MAX_LANES];
    let mut loaded = lanes;
    // SAFETY: the arrays hold a whole vector.
    unsafe {
        s.store(loaded.as_mut_ptr(), v);
        lanes[..n].copy_from_slice(&loaded[..n]);
        s.load(lanes.as_ptr())
    }
}

#[inline(always)]
unsafe fn unit_of<S: Simd, const K: u8>(s: S, job: &Reduce, unit: usize, x: *const u8, out: *mut u8) {
    let columns = job.inner.div_ceil(COLUMNS);
    let (outer, first) = (unit / columns, unit % columns * COLUMNS);
    // SAFETY: the caller's promise.
    unsafe {
        let x = x.add((outer * job.len * job.inner + first) * job.x.size());
        let out = out.add((outer * job.inner + first) * job.out.size());
        if job.inner == 1 {
            row::<S, K>(s, job, x, out);
            return;
        }
        let end = COLUMNS.min(job.inner - first);
        for col in (0..end).step_by(S::LANES) {
            let n = (end - col).min(S::LANES);
            let values = column::<S, K>(s, job, x.add(col * job.x.size()), n);
            for (i, &value) in values.iter().enumerate().take(n) {
                job.out.write(out.add((col + i) * job.out.size()), value);
            }
        }
    }
}

/// The last axis: four chains along the row, and for places a second pass that looks for the value.
#[inline(always)]
unsafe fn row<S: Simd, const K: u8>(s: S, job: &Reduce, x: *const u8, out: *mut u8) {
    let size = job.x.size();
    let mut sums = [s.splat(job.identity()); 4];
    let mut i = 0;
    // SAFETY: all accesses are below `len`.
    unsafe {
        while i + 4 * S::LANES <= job.len {
            for (chain, sum) in sums.iter_mut().enumerate() {
                *sum = step::<S, K>(s, *sum, fetch(s, job, x.add((i + chain * S::LANES) * size), S::LANES));
            }
            i += 4 * S::LANES;
        }
        while i < job.len {
            let n = (job.len - i).min(S::LANES);
            sums[0] = step::<S, K>(s, sums[0], fetch(s, job, x.add(i * size), n));
            i += n;
        }
        let sum = step::<S, K>(s, step::<S, K>(s, sums[0], sums[1]), step::<S, K>(s, sums[2], sums[3]));
        let value = match K {
            SUM => s.reduce_sum(sum),
            MAX => s.reduce_max(sum),
            MIN => s.reduce_min(sum),
            _ => {
                let mut lanes = [1.0; crate::simd::MAX_LANES];
                s.store(lanes.as_mut_ptr(), sum);
                lanes[..S::LANES].iter().product()
            }
        };
        if job.is_place() {
            let place = find(s, job, x, value);
            match job.out {
                // Places are integers, and exact ones.
                Element::I32 => out.cast::<i32>().write(place as i32),
                Element::U32 => out.cast::<u32>().write(place as u32),
                other => other.write(out, place as f32),
            }
        } else {
            job.out.write(out, job.result(value));
        }
    }
}

/// The first place of `value` in a row; 0 if it is not there, as in a row of NaN.
#[inline(always)]
unsafe fn find<S: Simd>(s: S, job: &Reduce, x: *const u8, value: f32) -> usize {
    let size = job.x.size();
    let (zero, one, wanted) = (s.zero(), s.splat(1.0), s.splat(value));
    let mut start = 0;
    while start < job.len {
        let n = (job.len - start).min(S::LANES);
        // SAFETY: all accesses are below `len`.
        unsafe {
            let hits = s.select(s.eq(fetch(s, job, x.add(start * size), n), wanted), one, zero);
            if s.reduce_max(hits) > 0.0 {
                let hit = (start..start + n).find(|i| job.x.read(x.add(i * size)) == value);
                // A hit beyond the end is the identity that fills the vector, which then is in the row as well or nowhere.
                return hit.unwrap_or(0);
            }
        }
        start += n;
    }
    0
}

/// Another axis: a vector of columns, row by row.
#[inline(always)]
unsafe fn column<S: Simd, const K: u8>(
    s: S,
    job: &Reduce,
    x: *const u8,
    n: usize,
) -> [f32; crate::simd::MAX_LANES] {
    let mut sum = s.splat(job.identity());
    let mut place = s.zero();
    let mut lanes = [0.0; crate::simd::MAX_LANES];
    // SAFETY: the caller's promise.
    unsafe {
        for i in 0..job.len {
            let v = fetch(s, job, x.add(i * job.inner * job.x.size()), n);
            if job.is_place() {
                let better = if K == MAX { s.lt(sum, v) } else { s.lt(v, sum) };
                place = s.select(better, s.splat(i as f32), place);
            }
            sum = step::<S, K>(s, sum, v);
        }
        s.store(lanes.as_mut_ptr(), if job.is_place() { place } else { sum });
    }
    lanes.map(|value| job.result(value))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Random, assert_close, levels, stored};
    use super::*;

    const FOLDS: [Fold; 9] = [
        Fold::Sum,
        Fold::Mean,
        Fold::Prod,
        Fold::Max,
        Fold::Min,
        Fold::ArgMax,
        Fold::ArgMin,
        Fold::Any,
        Fold::All,
    ];

    fn oracle(fold: Fold, values: &[f32]) -> f64 {
        let wide: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        let place = |best: fn(f64, f64) -> bool| {
            let mut found = 0;
            for (i, &v) in wide.iter().enumerate() {
                if best(v, wide[found]) {
                    found = i;
                }
            }
            found as f64
        };
        match fold {
            Fold::Sum => wide.iter().sum(),
            Fold::Mean => wide.iter().sum::<f64>() / wide.len() as f64,
            Fold::Prod => wide.iter().product(),
            Fold::Max => wide.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Fold::Min => wide.iter().copied().fold(f64::INFINITY, f64::min),
            Fold::ArgMax => place(|v, best| v > best),
            Fold::ArgMin => place(|v, best| v < best),
            Fold::Any => f64::from(u8::from(wide.iter().any(|&v| v != 0.0))),
            Fold::All => f64::from(u8::from(wide.iter().all(|&v| v != 0.0))),
        }
    }

    fn run(job: &Reduce, x: &[u32]) -> Vec<f32> {
        let mut out = vec![0_u32; job.outer * job.inner];
        let cut = job.units() / 2;
        for units in [0..cut, cut..job.units()] {
            // SAFETY: the arrays have the job's sizes.
            unsafe { job.run(units, x.as_ptr().cast(), out.as_mut_ptr().cast()) };
        }
        // SAFETY: the output has that many elements.
        (0..out.len())
            .map(|i| unsafe { job.out.read(out.as_ptr().cast::<u8>().add(i * job.out.size())) })
            .collect()
    }

    #[test]
    fn every_fold_of_every_axis_matches_its_definition() {
        for [outer, len, inner] in [[3, 1, 1], [2, 17, 1], [1, 1000, 1], [2, 9, 5], [1, 33, 130], [2, 3, 64]]
        {
            let mut values: Vec<f32> = Random::new(len as u64).floats(outer * len * inner);
            for (i, v) in values.iter_mut().enumerate() {
                // Equal extremes, zeros, and products that stay in range.
                *v = if i % 5 == 0 { (*v * 2.0).round() } else { 1.0 + *v * 0.1 };
            }
            for (level, fold) in levels().into_iter().flat_map(|level| FOLDS.map(|fold| (level, fold))) {
                for x in [Element::F32, Element::F16, Element::I32, Element::U8] {
                    let place = matches!(fold, Fold::ArgMax | Fold::ArgMin);
                    let out = if place { Element::I32 } else { Element::F32 };
                    let (words, read) = stored(x, &values);
                    let job = Reduce { level, fold, outer, len, inner, x, out };
                    let line = |i: usize| -> Vec<f32> {
                        (0..len).map(|j| read[(i / inner * len + j) * inner + i % inner]).collect()
                    };
                    let want: Vec<f64> = (0..outer * inner).map(|i| oracle(fold, &line(i))).collect();
                    assert_close(
                        &format!("{level} {fold:?} {x:?} {len} {inner}"),
                        &run(&job, &words),
                        &want,
                        1e-5,
                    );
                }
            }
        }
    }

    #[test]
    fn extremes_pass_over_nan_and_infinities_are_found() {
        for level in levels() {
            let job = |fold, len| Reduce {
                level,
                fold,
                outer: 1,
                len,
                inner: 1,
                x: Element::F32,
                out: if matches!(fold, Fold::ArgMax | Fold::ArgMin) { Element::I32 } else { Element::F32 },
            };
            let row = [f32::NAN, 3.0, f32::NAN, 7.0, 7.0, -2.0].map(f32::to_bits);
            assert_eq!(run(&job(Fold::Max, 6), &row), [7.0]);
            assert_eq!(run(&job(Fold::ArgMax, 6), &row), [3.0]);
            assert_eq!(run(&job(Fold::ArgMin, 6), &row), [5.0]);
            let low = [f32::NAN, f32::NEG_INFINITY, f32::NEG_INFINITY].map(f32::to_bits);
            assert_eq!(run(&job(Fold::ArgMax, 3), &low), [1.0]);
            assert_eq!(run(&job(Fold::ArgMax, 1), &low), [0.0]);
        }
    }
}
