//! The bandwidth of memory, as the workers that compute see it.

use std::hint::black_box;
use std::time::Instant;

use lazuli_core::{Array, Buffer, DType};

use crate::backends::Workers;

/// Far above the last-level cache of today's processors, so that a pass finds nothing of the one before it.
const BYTES: usize = 768 << 20;
const PASSES: usize = 5;

/// Bytes per second that `workers` together read from memory in long streams: the best of several passes over a
/// buffer of 768 MB, each worker reading a part of its own. This is the ceiling of every decode speed.
///
/// # Errors
/// If memory for the buffer cannot be had.
pub fn read_bandwidth(workers: &Workers) -> lazuli_core::Result<f64> {
    measure(workers, BYTES, PASSES)
}

fn measure(workers: &Workers, bytes: usize, passes: usize) -> lazuli_core::Result<f64> {
    let words = bytes / size_of::<i32>();
    // The memory that models' arrays get, huge pages included.
    let mut memory = Buffer::zeroed(words * size_of::<i32>())?;
    // Every page must be written: untouched ones are all the same page of zeros, which stays in the cache.
    let piece = vec![0x55; 1 << 20];
    for start in (0..memory.len()).step_by(piece.len()) {
        memory.write(start, &piece[..piece.len().min(memory.len() - start)]);
    }
    let memory = Array::from_buffer(memory, 0, [words], DType::I32)?;
    let memory = memory.as_slice::<i32>()?;
    let per_worker = words.div_ceil(workers.count());
    let mut best = 0.0f64;
    for _ in 0..passes {
        let start = Instant::now();
        workers.run(|index, _| {
            let first = (index * per_worker).min(words);
            black_box(workers.sum(&memory[first..words.min(first + per_worker)]));
        });
        best = best.max((words * size_of::<i32>()) as f64 / start.elapsed().as_secs_f64());
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::RuntimeOptions;

    #[test]
    fn a_small_buffer_gives_a_plausible_speed() {
        let options = RuntimeOptions { threads: std::num::NonZeroUsize::new(3), ..RuntimeOptions::default() };
        let workers = options.workers().expect("three threads");
        let speed = measure(&workers, 1 << 20, 2).expect("a megabyte");
        assert!((1e7..1e13).contains(&speed), "{speed} bytes per second");
    }
}
