//! The online softmax of attention, one vector of query rows at a time.

use super::MASKED;
use crate::simd::{Simd, math};

/// Scores `[keys, rows]` of a block of keys, and what is kept of each row from block to block.
pub(in crate::kernel) struct Scored {
    pub scores: *mut f32,
    /// Rows: whole vectors.
    pub rows: usize,
    /// Where each row's token stands.
    pub position: *mut f32,
    /// The largest score so far, the sum of weights relative to it, and what brings older sums to it.
    pub max: *mut f32,
    pub sum: *mut f32,
    pub factor: *mut f32,
    /// As in the shape of attention.
    pub softcap: Option<f32>,
    pub window: Option<usize>,
}

/// One vector of rows: scores to weights relative to the new maximum, and the factor that brings what was summed before
/// to that maximum.
#[inline(always)]
pub(in crate::kernel) unsafe fn soften<S: Simd>(
    s: S,
    to: &Scored,
    (start, count, masked): (usize, usize, bool),
    r: usize,
) {
    let rows = to.rows;
    // SAFETY: the caller's promise: `count` keys of `rows` scores.
    unsafe {
        let scores = to.scores.add(r);
        let position = s.load(to.position.add(r));
        let before = s.load(to.max.add(r));
        if let Some(cap) = to.softcap {
            let (cap, inverse) = (s.splat(cap), s.splat(1.0 / cap));
            for key in 0..count {
                let at = scores.add(key * rows);
                s.store(at, s.mul(cap, math::tanh(s, s.mul(s.load(at), inverse))));
            }
        }
        if masked {
            // A window that reaches before the start hides nothing.
            let oldest = s.sub(position, s.splat(to.window.map_or(1e9, |window| window as f32)));
            for key in 0..count {
                let at = scores.add(key * rows);
                let here = s.splat((start + key) as f32);
                let score = s.select(s.le(here, position), s.load(at), s.splat(MASKED));
                s.store(at, s.select(s.lt(oldest, here), score, s.splat(MASKED)));
            }
        }
        let mut top = [before, before];
        for key in 0..count {
            top[key % 2] = s.max(s.load(scores.add(key * rows)), top[key % 2]);
        }
        let max = s.max(top[0], top[1]);
        let factor = math::exp(s, s.sub(before, max));
        let mut sum = s.mul(s.load(to.sum.add(r)), factor);
        for key in 0..count {
            let at = scores.add(key * rows);
            let weight = math::exp(s, s.sub(s.load(at), max));
            s.store(at, weight);
            sum = s.add(sum, weight);
        }
        s.store(to.max.add(r), max);
        s.store(to.sum.add(r), sum);
        s.store(to.factor.add(r), factor);
    }
}
