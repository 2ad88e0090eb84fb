//! Tiles of few query rows: vectors along the head dimension, as a decode step wants it.

use super::load::{Ahead, Pool};
use super::{Job, MASKED};
use crate::simd::{Simd, array, math, stamp};

stamp! {
    /// Leaves maxima, sums and unnormalised results of the tile in the scratch memory.
    pub(super) unsafe fn attend(job: &Job<'_>) = attend_tile;
}

/// Keys that are converted and scored at a time: with their values they fit the first cache.
const KEYS: usize = 32;
/// Keys that are scored together.
const KEYS_AT_ONCE: usize = 4;

#[inline(always)]
unsafe fn attend_tile<S: Simd>(s: S, job: &Job<'_>) {
    let (layout, rows) = (&job.layout, job.tile.rows());
    // SAFETY: the caller's promise; the layout has room for `ROWS` rows and `KEYS` keys plus slack.
    unsafe {
        copy_queries(s, job);
        for row in 0..rows {
            *job.at(layout.max).add(row) = MASKED;
            *job.at(layout.sum).add(row) = 0.0;
        }
        for i in (0..rows * layout.v_row).step_by(S::LANES) {
            s.store(job.at(layout.out).add(i), s.zero());
        }
        let mut start = job.tile.keys.start;
        while start < job.tile.keys.end {
            let (count, masked) = job.block(start, KEYS);
            job.load(s, Pool::Keys, start, count);
            // Memory works all the time: values come while keys are scored, the next keys while values are summed.
            let mut ahead = Ahead::new(job, Pool::Values, start, count);
            for key in (0..count).step_by(KEYS_AT_ONCE) {
                for _ in 0..KEYS_AT_ONCE {
                    ahead.next(s);
                }
                score_rows(s, job, rows, key);
            }
            for row in 0..rows {
                soften(s, job, (start, count, masked), row);
            }
            job.load(s, Pool::Values, start, count);
            let mut ahead = Ahead::new(job, Pool::Keys, start + count, KEYS);
            for (row, block) in blocks(rows, 4) {
                match block {
                    1 => add_values::<S, 1>(s, job, row, count, &mut ahead),
                    2 => add_values::<S, 2>(s, job, row, count, &mut ahead),
                    3 => add_values::<S, 3>(s, job, row, count, &mut ahead),
                    _ => add_values::<S, 4>(s, job, row, count, &mut ahead),
                }
            }
            start += count;
        }
    }
}

/// Queries times the scale, rows padded with zeros.
#[inline(always)]
unsafe fn copy_queries<S: Simd>(s: S, job: &Job<'_>) {
    let shape = &job.attention.shape;
    for row in 0..job.tile.rows() {
        // SAFETY: the layout has room for `ROWS` padded rows.
        unsafe {
            let (from, to) = (job.query(row), job.at(job.layout.q).add(row * job.layout.k_row));
            for d in (0..job.layout.k_len).step_by(S::LANES) {
                let n = shape.dim.saturating_sub(d).min(S::LANES);
                let v =
                    if n == S::LANES { s.load(from.add(d)) } else { s.load_partial(from.wrapping_add(d), n) };
                s.store(to.add(d), s.mul(v, s.splat(shape.scale)));
            }
        }
    }
}

/// Scores of the keys `key..key + KEYS_AT_ONCE` with all rows.
#[inline(always)]
unsafe fn score_rows<S: Simd>(s: S, job: &Job<'_>, rows: usize, key: usize) {
    // 16 registers carry the sums of two rows with four keys.
    for (row, block) in blocks(rows, if S::LANES == 8 { 2 } else { 4 }) {
        // SAFETY: the caller's promise.
        unsafe {
            match block {
                1 => score::<S, 1>(s, job, row, key),
                2 => score::<S, 2>(s, job, row, key),
                3 => score::<S, 3>(s, job, row, key),
                _ => score::<S, 4>(s, job, row, key),
            }
        }
    }
}

/// Blocks of at most `most` rows, as equal as can be: first row and length of each.
#[inline(always)]
fn blocks(rows: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(most);
    (0..count).map(move |i| (rows * i / count, rows * (i + 1) / count - rows * i / count))
}

#[inline(always)]
unsafe fn score<S: Simd, const R: usize>(s: S, job: &Job<'_>, row: usize, key: usize) {
    let layout = &job.layout;
    let mut sums = [[s.zero(); R]; KEYS_AT_ONCE];
    // SAFETY: the caller's promise; rows are padded to whole vectors, keys have slack.
    unsafe {
        let keys = job.at(layout.keys).add(key * layout.k_row);
        let q = job.at(layout.q).add(row * layout.k_row);
        for d in (0..layout.k_len).step_by(S::LANES) {
            let queries = array!(r in R, s.zero(), s.load(q.add(r * layout.k_row + d)));
            for (k, sums) in sums.iter_mut().enumerate() {
                let v = s.load(keys.add(k * layout.k_row + d));
                for r in 0..R {
                    sums[r] = s.fma(v, queries[r], sums[r]);
                }
            }
        }
        for r in 0..R {
            let four = s.reduce_sum4([sums[0][r], sums[1][r], sums[2][r], sums[3][r]]);
            job.at(layout.scores).add((row + r) * KEYS + key).cast::<[f32; 4]>().write_unaligned(four);
        }
    }
}

/// One row: scores to weights relative to the new maximum, and the factor for what was summed before.
#[inline(always)]
unsafe fn soften<S: Simd>(s: S, job: &Job<'_>, (start, count, masked): (usize, usize, bool), row: usize) {
    let (shape, layout) = (&job.attention.shape, &job.layout);
    // SAFETY: the caller's promise: a row has `KEYS` scores, a whole number of vectors.
    unsafe {
        let scores = job.at(layout.scores).add(row * KEYS);
        let padded = count.next_multiple_of(S::LANES);
        if let Some(cap) = shape.softcap {
            let (cap, inverse) = (s.splat(cap), s.splat(1.0 / cap));
            for i in (0..padded).step_by(S::LANES) {
                let v = s.mul(cap, math::tanh(s, s.mul(s.load(scores.add(i)), inverse)));
                s.store(scores.add(i), v);
            }
        }
        if masked {
            let position = job.schedule.batch.position[job.tile.row(row).0] as usize;
            let oldest = shape.window.map_or(0, |window| (position + 1).saturating_sub(window));
            for key in 0..count {
                if start + key > position || start + key < oldest {
                    *scores.add(key) = MASKED;
                }
            }
        }
        for i in count..padded {
            *scores.add(i) = f32::NEG_INFINITY;
        }
        let before = *job.at(layout.max).add(row);
        let mut top = s.splat(before);
        for i in (0..padded).step_by(S::LANES) {
            top = s.max(s.load(scores.add(i)), top);
        }
        let max = s.reduce_max(top);
        let mut sums = s.zero();
        for i in (0..padded).step_by(S::LANES) {
            let weight = math::exp(s, s.sub(s.load(scores.add(i)), s.splat(max)));
            s.store(scores.add(i), weight);
            sums = s.add(sums, weight);
        }
        let factor = s.reduce_max(math::exp(s, s.splat(before - max)));
        let sum = job.at(layout.sum).add(row);
        *sum = *sum * factor + s.reduce_sum(sums);
        *job.at(layout.max).add(row) = max;
        *job.at(layout.factor).add(row) = factor;
    }
}

/// Adds the weighted values to `R` rows of results, asking for some of the next keys before each group of columns.
#[inline(always)]
unsafe fn add_values<S: Simd, const R: usize>(
    s: S,
    job: &Job<'_>,
    row: usize,
    count: usize,
    ahead: &mut Ahead<'_>,
) {
    let v_len = job.layout.v_len;
    // As many sums as the registers hold, so that additions do not wait for each other.
    let most = if R > 2 && S::LANES == 8 { 2 } else { 4 } * S::LANES;
    let calls = job.tile.rows().div_ceil(4) * v_len.div_ceil(most);
    let mut d = 0;
    // SAFETY: the caller's promise; rows of values and results are padded to whole vectors.
    unsafe {
        while d < v_len {
            for _ in 0..KEYS.div_ceil(calls) {
                ahead.next(s);
            }
            if most == 4 * S::LANES && d + most <= v_len {
                add_columns::<S, R, 4>(s, job, row, count, d);
                d += most;
            } else if d + 2 * S::LANES <= v_len {
                add_columns::<S, R, 2>(s, job, row, count, d);
                d += 2 * S::LANES;
            } else {
                add_columns::<S, R, 1>(s, job, row, count, d);
                d += S::LANES;
            }
        }
    }
}

#[inline(always)]
unsafe fn add_columns<S: Simd, const R: usize, const N: usize>(
    s: S,
    job: &Job<'_>,
    row: usize,
    count: usize,
    d: usize,
) {
    let layout = &job.layout;
    // SAFETY: the caller's promise.
    unsafe {
        let out = job.at(layout.out).add(row * layout.v_row + d);
        let weights = job.at(layout.scores).add(row * KEYS);
        let mut values = job.at(layout.values).add(d);
        let mut sums = [[s.zero(); N]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            let factor = s.splat(*job.at(layout.factor).add(row + r));
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = s.mul(s.load(out.add(r * layout.v_row + n * S::LANES)), factor);
            }
        }
        for key in 0..count {
            let v = array!(n in N, s.zero(), s.load(values.add(n * S::LANES)));
            for r in 0..R {
                let weight = s.splat(*weights.add(r * KEYS + key));
                for n in 0..N {
                    sums[r][n] = s.fma(weight, v[n], sums[r][n]);
                }
            }
            values = values.add(layout.v_row);
        }
        for (r, sums) in sums.iter().enumerate() {
            for (n, &sum) in sums.iter().enumerate() {
                s.store(out.add(r * layout.v_row + n * S::LANES), sum);
            }
        }
    }
}
