//! Tiles of many query rows: one row in each vector lane.
//!
//! Scores are formed turned (`[keys, rows]`), so that maxima, exponentials and sums run across rows without a
//! horizontal step, and both products are the same register tile: numbers of keys or values broadcast against vectors
//! of rows.

use super::load::Pool;
use super::product::{Numbers, product};
use super::soften::{Scored, soften};
use super::{Job, KEYS, MASKED};
use crate::simd::{Simd, stamp};

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
        let scored = Scored {
            scores,
            rows,
            position: job.at(layout.position),
            max: job.at(layout.max),
            sum: job.at(layout.sum),
            factor: job.at(layout.factor),
            softcap: shape.softcap,
            window: shape.window,
        };
        let mut start = job.tile.keys.start;
        while start < job.tile.keys.end {
            let (count, masked) = job.block(start, KEYS);
            job.load(s, Pool::Keys, start, count);
            let keys = Numbers { at: job.at(layout.keys), row: layout.k_row, step: 1 };
            product(s, &keys, (count, shape.dim), (q, rows), (scores, rows), None);
            for r in (0..rows).step_by(S::LANES) {
                soften(s, &scored, (start, count, masked), r);
            }
            job.load(s, Pool::Values, start, count);
            let values = Numbers { at: job.at(layout.values), row: 1, step: layout.v_row };
            let factor = Some(scored.factor.cast_const());
            product(s, &values, (shape.v_dim, count), (scores, rows), (out, rows), factor);
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
