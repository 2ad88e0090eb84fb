//! Tiles of many query rows: one row in each vector lane.
//!
//! Scores are formed turned (`[keys, rows]`), so that maxima, exponentials and sums run across rows without a
//! horizontal step, and both products are the same register tile: numbers of keys or values broadcast against vectors
//! of rows.

use super::load::Pool;
use super::{Job, KEYS, MASKED};
use crate::simd::{Simd, array, math, stamp};

stamp! {
    /// Leaves maxima, sums and unnormalised results of the tile in the scratch memory.
    pub(super) unsafe fn attend(job: &Job<'_>) = attend_tile;
}

#[inline(always)]
unsafe fn attend_tile<S: Simd>(s: S, job: &Job<'_>) {
    let shape = &job.attention.shape;
    let rows = job.tile.rows().next_multiple_of(S::LANES);
    // SAFETY: the caller's promise; the layout has room for `ROWS` rows and `KEYS` keys plus slack.
    unsafe {
        turn_queries(s, job, rows);
        let layout = &job.layout;
        let (q, out, scores) = (job.at(layout.q), job.at(layout.out), job.at(layout.scores));
        for r in (0..rows).step_by(S::LANES) {
            s.store(job.at(layout.max).add(r), s.splat(MASKED));
            s.store(job.at(layout.sum).add(r), s.zero());
        }
        for i in (0..shape.v_dim * rows).step_by(S::LANES) {
            s.store(out.add(i), s.zero());
        }
        let mut start = job.tile.keys.start;
        while start < job.tile.keys.end {
            let (count, masked) = job.block(start, KEYS);
            job.load(s, Pool::Keys, start, count);
            let keys = Numbers { at: job.at(layout.keys), row: layout.k_row, step: 1 };
            product(s, &keys, (count, shape.dim), (q, rows), scores, None);
            for r in (0..rows).step_by(S::LANES) {
                soften(s, job, (start, count, masked), rows, r);
            }
            job.load(s, Pool::Values, start, count);
            let values = Numbers { at: job.at(layout.values), row: 1, step: layout.v_row };
            product(s, &values, (shape.v_dim, count), (scores, rows), out, Some(job.at(layout.factor)));
            start += count;
        }
    }
}

/// Queries times the scale as `[dim, rows]`, and the positions of the rows; rows that do not exist are zero.
#[inline(always)]
unsafe fn turn_queries<S: Simd>(_: S, job: &Job<'_>, rows: usize) {
    let shape = &job.attention.shape;
    for row in 0..rows {
        let exists = row < job.tile.rows();
        // SAFETY: the layout has room for `ROWS` rows; the query is read only for rows of the tile.
        unsafe {
            let to = job.at(job.layout.q).add(row);
            if exists {
                let from = job.query(row);
                for d in 0..shape.dim {
                    *to.add(d * rows) = *from.add(d) * shape.scale;
                }
            } else {
                for d in 0..shape.dim {
                    *to.add(d * rows) = 0.0;
                }
            }
            let token = if exists { job.tile.row(row).0 } else { job.tile.tokens.start };
            *job.at(job.layout.position).add(row) = job.schedule.batch.position[token] as f32;
        }
    }
}

/// One vector of rows: scores to weights relative to the new maximum, and the factor that brings what was summed before
/// to that maximum.
#[inline(always)]
unsafe fn soften<S: Simd>(
    s: S,
    job: &Job<'_>,
    (start, count, masked): (usize, usize, bool),
    rows: usize,
    r: usize,
) {
    let (shape, layout) = (&job.attention.shape, &job.layout);
    // SAFETY: the caller's promise: `count` keys of `rows` scores.
    unsafe {
        let scores = job.at(layout.scores).add(r);
        let position = s.load(job.at(layout.position).add(r));
        let before = s.load(job.at(layout.max).add(r));
        if let Some(cap) = shape.softcap {
            let (cap, inverse) = (s.splat(cap), s.splat(1.0 / cap));
            for key in 0..count {
                let at = scores.add(key * rows);
                s.store(at, s.mul(cap, math::tanh(s, s.mul(s.load(at), inverse))));
            }
        }
        if masked {
            // A window that reaches before the start hides nothing.
            let oldest = s.sub(position, s.splat(shape.window.map_or(1e9, |window| window as f32)));
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
        let mut sum = s.mul(s.load(job.at(layout.sum).add(r)), factor);
        for key in 0..count {
            let at = scores.add(key * rows);
            let weight = math::exp(s, s.sub(s.load(at), max));
            s.store(at, weight);
            sum = s.add(sum, weight);
        }
        s.store(job.at(layout.max).add(r), max);
        s.store(job.at(layout.sum).add(r), sum);
        s.store(job.at(layout.factor).add(r), factor);
    }
}

/// A matrix of single numbers: `[i, k]` lies at `at + i * row + k * step`.
struct Numbers {
    at: *const f32,
    row: usize,
    step: usize,
}

/// `out [n, rows] (* factor) += numbers [n, depth] . vectors [depth, rows]`; without factors `out` is overwritten.
/// Where `n` is not whole register tiles, up to 7 more rows of numbers may be read and of `out` be written.
#[inline(always)]
unsafe fn product<S: Simd>(
    s: S,
    numbers: &Numbers,
    (n, depth): (usize, usize),
    (vectors, rows): (*const f32, usize),
    out: *mut f32,
    factor: Option<*const f32>,
) {
    // SAFETY: the caller's promise. 16 registers carry 6 x 2 sums, 32 carry 8 x 3.
    unsafe {
        if S::LANES == 8 {
            tiles::<S, 6, 2>(s, numbers, (n, depth), (vectors, rows), out, factor);
        } else {
            tiles::<S, 8, 3>(s, numbers, (n, depth), (vectors, rows), out, factor);
        }
    }
}

#[inline(always)]
unsafe fn tiles<S: Simd, const M: usize, const N: usize>(
    s: S,
    numbers: &Numbers,
    (n, depth): (usize, usize),
    (vectors, rows): (*const f32, usize),
    out: *mut f32,
    factor: Option<*const f32>,
) {
    for i in (0..n).step_by(M) {
        let mut r = 0;
        // SAFETY: the caller's promise; `rows` is a whole number of vectors.
        unsafe {
            while r + N * S::LANES <= rows {
                tile::<S, M, N>(
                    s,
                    numbers,
                    i,
                    depth,
                    (vectors.add(r), rows),
                    out.add(r),
                    factor.map(|f| f.add(r)),
                );
                r += N * S::LANES;
            }
            while r < rows {
                tile::<S, M, 1>(
                    s,
                    numbers,
                    i,
                    depth,
                    (vectors.add(r), rows),
                    out.add(r),
                    factor.map(|f| f.add(r)),
                );
                r += S::LANES;
            }
        }
    }
}

#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const N: usize>(
    s: S,
    numbers: &Numbers,
    i: usize,
    depth: usize,
    (vectors, rows): (*const f32, usize),
    out: *mut f32,
    factor: Option<*const f32>,
) {
    let mut sums = [[s.zero(); N]; M];
    // SAFETY: the caller's promise.
    unsafe {
        let out = out.add(i * rows);
        if let Some(factor) = factor {
            let factors = array!(n in N, s.zero(), s.load(factor.add(n * S::LANES)));
            for (m, sums) in sums.iter_mut().enumerate() {
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = s.mul(s.load(out.add(m * rows + n * S::LANES)), factors[n]);
                }
            }
        }
        let numbers_at = array!(m in M, numbers.at, numbers.at.add((i + m) * numbers.row));
        let mut vector = vectors;
        let mut at = 0;
        for _ in 0..depth {
            let v = array!(n in N, s.zero(), s.load(vector.add(n * S::LANES)));
            for m in 0..M {
                let number = s.splat(*numbers_at[m].add(at));
                for n in 0..N {
                    sums[m][n] = s.fma(number, v[n], sums[m][n]);
                }
            }
            vector = vector.add(rows);
            at += numbers.step;
        }
        for (m, sums) in sums.iter().enumerate() {
            for (n, &sum) in sums.iter().enumerate() {
                s.store(out.add(m * rows + n * S::LANES), sum);
            }
        }
    }
}
