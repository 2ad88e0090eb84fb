//! [`forward_pass`]: a batch through a model, with the pool's keys and values as what changes from pass to pass.

use lazuli_core::{Array, Repeater, Runtime};

use crate::{Batch, BatchArrays, KvPool};

/// Evaluates what `forward` makes of a batch, together with its writes to the pool. Passes that differ in nothing but
/// what the batch's arrays and the pool hold are repeated without `forward`: see [`Runtime::eval_again`].
///
/// # Errors
/// As [`Runtime::eval`]. What the pool holds is then unknown, and it cannot be used again.
pub fn forward_pass(
    runtime: &Runtime,
    again: &mut Repeater,
    batch: &Batch,
    pool: &mut KvPool,
    forward: impl FnOnce(&BatchArrays, &mut KvPool) -> Array,
) -> lazuli_core::Result<Array> {
    let mut inputs = pool.take_arrays();
    let kept = inputs.len();
    inputs.extend(batch.leaves());
    let mut results = runtime.eval_again(again, &batch.structure(), inputs, |mut inputs| {
        let leaves = inputs.split_off(kept);
        pool.put_arrays(inputs);
        let logits = forward(&batch.assemble(leaves), pool);
        let mut results = pool.take_arrays();
        results.push(logits);
        results
    })?;
    let logits = results.split_off(kept).remove(0);
    pool.put_arrays(results);
    Ok(logits)
}
