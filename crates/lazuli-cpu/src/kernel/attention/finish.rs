//! What becomes of a tile's sums: the result, or a partial result that the second phase joins.

use super::{Arrays, Attention, Job, MASKED, Schedule};

/// Stores every row of a tile: normalised to the output, or as it is to `shared` if it is one partition of several.
pub(super) unsafe fn store(job: &Job<'_>, partition: Option<usize>, shared: *mut f32) {
    let (attention, layout) = (job.attention, &job.layout);
    let shape = &attention.shape;
    let few = attention.few_rows(job.tile);
    let padded = job.tile.rows().next_multiple_of(attention.lanes());
    // Where element `d` of a row's sums lies: the two kernels leave them in different orders.
    let (row_step, step) = if few { (layout.v_row, 1) } else { (1, padded) };
    for row in 0..job.tile.rows() {
        let (token, head) = job.tile.row(row);
        // SAFETY: the caller's promise: a tile was attended in this scratch memory, and its rows are this worker's.
        unsafe {
            let sums = job.at(layout.out).add(row * row_step);
            let (max, sum) = (*job.at(layout.max).add(row), *job.at(layout.sum).add(row));
            let (to, factor) = if let Some(partition) = partition {
                let index = (token * shape.heads + head) * attention.partitions + partition;
                let partial = shared.add(index * attention.partial_len());
                *partial = max;
                *partial.add(1) = sum;
                (partial.add(2), 1.0)
            } else {
                let out = job.arrays.out.add((token * shape.heads + head) * shape.v_dim);
                (out, factor(job.arrays, head, max, sum).1)
            };
            for d in 0..shape.v_dim {
                *to.add(d) = *sums.add(d * step) * factor;
            }
        }
    }
}

/// The final maximum of a row and the factor of its sums, with the head's sink in the denominator.
unsafe fn factor(arrays: &Arrays, head: usize, max: f32, sum: f32) -> (f32, f32) {
    if arrays.sinks.is_null() {
        return (max, 1.0 / sum);
    }
    // SAFETY: there is a sink for each head.
    let sink = unsafe { *arrays.sinks.add(head) };
    let top = max.max(sink);
    let scale = (max - top).exp();
    (top, scale / (sum * scale + (sink - top).exp()))
}

/// Joins the partitions of row `row` = `token * heads + head`, first to last; rows of one partition are done already.
pub(super) unsafe fn join(
    attention: &Attention,
    schedule: &Schedule<'_>,
    row: usize,
    arrays: &Arrays,
    shared: *const f32,
) {
    let shape = &attention.shape;
    let (token, head) = (row / shape.heads, row % shape.heads);
    let partitions = schedule.partitions(token);
    if partitions.len() < 2 {
        return;
    }
    // SAFETY: the caller's promise: the first phase stored these partitions.
    unsafe {
        let partial =
            |partition: usize| shared.add((row * attention.partitions + partition) * attention.partial_len());
        let max = partitions.clone().map(|p| *partial(p)).fold(MASKED, f32::max);
        let sum = partitions.clone().map(|p| *partial(p).add(1) * (*partial(p) - max).exp()).sum::<f32>();
        let factor = factor(arrays, head, max, sum).1;
        let out = std::slice::from_raw_parts_mut(arrays.out.add(row * shape.v_dim), shape.v_dim);
        out.fill(0.0);
        for p in partitions {
            let weight = (*partial(p) - max).exp() * factor;
            let sums = std::slice::from_raw_parts(partial(p).add(2), shape.v_dim);
            for (out, &value) in out.iter_mut().zip(sums) {
                *out += value * weight;
            }
        }
    }
}

/// Padding tokens attend to nothing: their result is zero.
pub(super) unsafe fn clear(attention: &Attention, schedule: &Schedule<'_>, unit: usize, out: *mut f32) {
    let row = attention.shape.heads * attention.shape.v_dim;
    let tokens = schedule.padding(unit);
    // SAFETY: the caller's promise: the tokens are the batch's.
    unsafe { std::ptr::write_bytes(out.add(tokens.start * row), 0, tokens.len() * row) };
}
