//! Tiles of few query rows, as decode steps have: vectors along the head dimension.
//!
//! Keys and values are converted in registers, straight from their pages, and while some are multiplied the lines of the
//! next ones are asked for one by one, as far as the second-level cache: a decode step should read the pool as fast as the
//! memory gives it.

use super::super::element::{BF16, Element, F16, F32, Float};
use super::super::stream::ask_each_line;
use super::load::{Ahead, Pool, Rows};
use super::{Job, KEYS, MASKED};
use crate::simd::{Simd, array, math, stamp};

stamp! {
    /// Leaves maxima, sums and unnormalised results of the tile in the scratch memory.
    pub(super) unsafe fn attend(job: &Job<'_>) = attend_tile;
}

/// Keys that are scored together.
const KEYS_AT_ONCE: usize = 4;
/// Rows whose sums are in registers, four vectors of each, where there are 32: keys and values are converted once for them.
const ROWS_AT_ONCE: usize = 6;
/// From one row's scores to the next: those of the last keys that are scored together may lie past the block's end.
const SCORES: usize = KEYS + 16;
const _: () = assert!(super::FEW * SCORES <= (KEYS + super::SLACK) * super::ROWS, "the layout's scores");

#[inline(always)]
unsafe fn attend_tile<S: Simd>(s: S, job: &Job<'_>) {
    // SAFETY: the caller's promise.
    unsafe {
        match job.attention.shape.kv {
            Element::F32 => attend_as::<S, F32>(s, job),
            Element::F16 => attend_as::<S, F16>(s, job),
            Element::BF16 => attend_as::<S, BF16>(s, job),
            other => unreachable!("keys and values are F32, F16 or BF16, not {other:?}"),
        }
    }
}

#[inline(always)]
unsafe fn attend_as<S: Simd, E: Float>(s: S, job: &Job<'_>) {
    let (layout, rows) = (&job.layout, job.tile.rows());
    // SAFETY: the caller's promise; the layout has room for `ROWS` rows and their scores.
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
            // Memory works all the time: values come while keys are scored, the next keys while values are summed.
            let ahead = Ahead::new(job, Pool::Values, start);
            let mut done = 0;
            while done < count {
                let keys = job.rows::<E>(Pool::Keys, start + done, count - done);
                for key in (0..keys.count).step_by(KEYS_AT_ONCE) {
                    score_rows::<S, E>(s, job, &keys, key, done + key, &ahead);
                }
                done += keys.count;
            }
            for row in 0..rows {
                soften(s, job, (start, count, masked), row);
            }
            let ahead = Ahead::new(job, Pool::Keys, start + count);
            let mut done = 0;
            while done < count {
                let values = job.rows::<E>(Pool::Values, start + done, count - done);
                for (row, block) in blocks(rows, if S::LANES == 8 { 4 } else { ROWS_AT_ONCE }) {
                    match block {
                        1 => add_values::<S, E, 1>(s, job, row, done, &values, &ahead),
                        2 => add_values::<S, E, 2>(s, job, row, done, &values, &ahead),
                        3 => add_values::<S, E, 3>(s, job, row, done, &values, &ahead),
                        4 => add_values::<S, E, 4>(s, job, row, done, &values, &ahead),
                        5 => add_values::<S, E, 5>(s, job, row, done, &values, &ahead),
                        _ => add_values::<S, E, ROWS_AT_ONCE>(s, job, row, done, &values, &ahead),
                    }
                }
                done += values.count;
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

/// Scores of the keys from `key` on with all rows; their scores stand from `at` on.
#[inline(always)]
unsafe fn score_rows<S: Simd, E: Float>(
    s: S,
    job: &Job<'_>,
    keys: &Rows<E>,
    key: usize,
    at: usize,
    ahead: &Ahead,
) {
    // 16 registers carry the sums of three rows with four keys, 32 of six.
    for (row, block) in blocks(job.tile.rows(), if S::LANES == 8 { 3 } else { ROWS_AT_ONCE }) {
        // SAFETY: the caller's promise.
        unsafe {
            match block {
                1 => score::<S, E, 1>(s, job, row, keys, key, at, ahead),
                2 => score::<S, E, 2>(s, job, row, keys, key, at, ahead),
                3 => score::<S, E, 3>(s, job, row, keys, key, at, ahead),
                4 => score::<S, E, 4>(s, job, row, keys, key, at, ahead),
                5 => score::<S, E, 5>(s, job, row, keys, key, at, ahead),
                _ => score::<S, E, ROWS_AT_ONCE>(s, job, row, keys, key, at, ahead),
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

/// Scores of `R` rows. Past the last of the keys it is scored again, and nobody looks at that.
#[inline(always)]
unsafe fn score<S: Simd, E: Float, const R: usize>(
    s: S,
    job: &Job<'_>,
    row: usize,
    keys: &Rows<E>,
    key: usize,
    at: usize,
    ahead: &Ahead,
) {
    let (layout, dim) = (&job.layout, job.attention.shape.dim);
    let bytes = KEYS_AT_ONCE * S::LANES * size_of::<E::Bits>();
    let mut wanted = ahead.row(at);
    let mut sums = [[s.zero(); R]; KEYS_AT_ONCE];
    // SAFETY: the caller's promise; rows of queries are padded to whole vectors.
    unsafe {
        let keys = array!(k in KEYS_AT_ONCE, keys.first, keys.row(key + k));
        let q = job.at(layout.q).add(row * layout.k_row);
        // The end stands by itself: sums would leave their registers where its way meets the others'.
        let mut d = 0;
        while d + S::LANES <= dim {
            if row == 0 {
                ask_each_line(s, wanted, bytes);
                wanted = wanted.wrapping_add(bytes);
            }
            let queries = array!(r in R, s.zero(), s.load(q.add(r * layout.k_row + d)));
            for k in 0..KEYS_AT_ONCE {
                let v = E::load(s, keys[k].add(d));
                for r in 0..R {
                    sums[k][r] = s.fma(v, queries[r], sums[k][r]);
                }
            }
            d += S::LANES;
        }
        if d < dim {
            for k in 0..KEYS_AT_ONCE {
                let v = E::load_partial(s, keys[k].add(d), dim - d);
                for r in 0..R {
                    sums[k][r] = s.fma(v, s.load(q.add(r * layout.k_row + d)), sums[k][r]);
                }
            }
        }
        for r in 0..R {
            let four = s.reduce_sum4([sums[0][r], sums[1][r], sums[2][r], sums[3][r]]);
            job.at(layout.scores).add((row + r) * SCORES + at).cast::<[f32; 4]>().write_unaligned(four);
        }
    }
}

/// One row: scores to weights relative to the new maximum, and the factor for what was summed before.
#[inline(always)]
unsafe fn soften<S: Simd>(s: S, job: &Job<'_>, (start, count, masked): (usize, usize, bool), row: usize) {
    let (shape, layout) = (&job.attention.shape, &job.layout);
    // SAFETY: the caller's promise: a row has `KEYS` scores, a whole number of vectors.
    unsafe {
        let scores = job.at(layout.scores).add(row * SCORES);
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

/// Adds the weighted values to `R` rows of results; their weights stand from `at` on, and where that is 0 the results are
/// brought to the new maximum first. The first rows ask for the next keys.
#[inline(always)]
unsafe fn add_values<S: Simd, E: Float, const R: usize>(
    s: S,
    job: &Job<'_>,
    row: usize,
    at: usize,
    values: &Rows<E>,
    ahead: &Ahead,
) {
    let v_dim = job.attention.shape.v_dim;
    // As many sums as the registers hold, so that additions do not wait for each other.
    let most = if R > 3 && S::LANES == 8 { 2 } else { 4 };
    let mut d = 0;
    // SAFETY: the caller's promise; rows of results are padded to whole vectors.
    unsafe {
        while d < v_dim {
            if most == 4 && d + 4 * S::LANES <= v_dim {
                add_columns::<S, E, R, 4>(s, job, row, at, values, d, ahead);
                d += 4 * S::LANES;
            } else if d + 2 * S::LANES <= v_dim {
                add_columns::<S, E, R, 2>(s, job, row, at, values, d, ahead);
                d += 2 * S::LANES;
            } else {
                add_columns::<S, E, R, 1>(s, job, row, at, values, d, ahead);
                d += S::LANES;
            }
        }
    }
}

#[inline(always)]
unsafe fn add_columns<S: Simd, E: Float, const R: usize, const N: usize>(
    s: S,
    job: &Job<'_>,
    row: usize,
    at: usize,
    values: &Rows<E>,
    d: usize,
    ahead: &Ahead,
) {
    let (layout, v_dim) = (&job.layout, job.attention.shape.v_dim);
    let bytes = N * S::LANES * size_of::<E::Bits>();
    // SAFETY: the caller's promise.
    unsafe {
        let out = job.at(layout.out).add(row * layout.v_row + d);
        let weights = job.at(layout.scores).add(row * SCORES + at);
        let mut value = values.first.add(d);
        let mut sums = [[s.zero(); N]; R];
        for r in 0..R {
            let factor = if at == 0 { *job.at(layout.factor).add(row + r) } else { 1.0 };
            for n in 0..N {
                let sum = s.load(out.add(r * layout.v_row + n * S::LANES));
                sums[r][n] = s.mul(sum, s.splat(factor));
            }
        }
        for key in 0..values.count {
            if row == 0 {
                ask_each_line(s, ahead.row(at + key).wrapping_add(d * size_of::<E::Bits>()), bytes);
            }
            let weight = array!(r in R, s.zero(), s.splat(*weights.add(r * SCORES + key)));
            for n in 0..N {
                let v = if N > 1 || d + S::LANES <= v_dim {
                    E::load(s, value.add(n * S::LANES))
                } else {
                    E::load_partial(s, value, v_dim - d)
                };
                for r in 0..R {
                    sums[r][n] = s.fma(weight[r], v, sums[r][n]);
                }
            }
            value = value.wrapping_add(values.stride);
        }
        for r in 0..R {
            for n in 0..N {
                s.store(out.add(r * layout.v_row + n * S::LANES), sums[r][n]);
            }
        }
    }
}
