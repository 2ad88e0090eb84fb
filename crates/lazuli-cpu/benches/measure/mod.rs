//! What the benches of quantised products share: threads that start together, memory to walk, the machine's own limits.

use lazuli_core::Buffer;
use lazuli_cpu::kernel::matmul_float::{MatmulFloat, PackedRows, Weights};
use lazuli_cpu::kernel::quant::{Activations, QuantMatmul, QuantMatmulArgs};
use lazuli_cpu::simd::Level;
use lazuli_quant::Format;
use std::ops::Range;
use std::sync::Barrier;
use std::time::Instant;

/// Bytes of weights that stay in a core's own cache.
#[allow(dead_code)] // Not every bench has such.
pub const CACHED: usize = 192 << 10;
/// Products with these for which activations are quantised once.
#[allow(dead_code)] // As above.
pub const AGAIN: usize = 20;
/// Bytes that are made up at once.
const PIECE: usize = 1 << 20;

/// A buffer that starts on a cache line.
pub fn aligned(bytes: usize) -> Vec<[u64; 8]> {
    vec![[0; 8]; bytes.div_ceil(64)]
}

/// The middle one.
pub fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// The level that `LAZULI_SIMD` asks for, or the best.
pub fn level() -> Level {
    match std::env::var("LAZULI_SIMD") {
        Ok(name) => Level::parse(&name).expect("LAZULI_SIMD names a level of this processor"),
        Err(_) => Level::detect(),
    }
}

/// Runs `work` on `threads` threads, each with its number, `passes` times; the median time of a pass.
pub fn timed(threads: usize, passes: usize, work: impl Fn(usize) + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let work = &work;
    let barrier = &barrier;
    let times = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    (0..=passes)
                        .map(|_| {
                            barrier.wait();
                            let start = Instant::now();
                            work(thread);
                            barrier.wait();
                            start.elapsed().as_secs_f64()
                        })
                        .skip(1)
                        .collect::<Vec<f64>>()
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().expect("a bench thread panicked")).next_back()
    });
    median(times.expect("there is at least one thread"))
}

/// Thread `thread`'s part of `of` things.
pub fn share(of: usize, thread: usize, threads: usize) -> Range<usize> {
    of * thread / threads..of * (thread + 1) / threads
}

/// Adds up memory: gigabytes per second that the machine can read.
pub fn stream(memory: &[u8], threads: usize) -> f64 {
    let level = level();
    let lines = memory.len() / 64;
    let seconds = timed(threads, 5, |thread| {
        let part = share(lines, thread, threads);
        // SAFETY: the memory starts on a page and holds these lines; numbers are numbers.
        let words = unsafe {
            std::slice::from_raw_parts(memory.as_ptr().add(part.start * 64).cast(), part.len() * 16)
        };
        std::hint::black_box(lazuli_cpu::kernel::stream::sum(level, words));
    });
    lines as f64 * 64.0 / seconds / 1e9
}

/// A pointer that several threads write disjoint parts through.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);
// SAFETY: the kernels' units are disjoint, which is what they promise.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}
impl<T> Shared<T> {
    fn get(self) -> *mut T {
        self.0
    }
}

/// Times products with each of `tensors` (its planes), one after the other, with `m` rows of activations: seconds of a
/// pass over all of them, the quantising of the activations included.
pub fn products(matmul: QuantMatmul, tensors: &[Vec<&[u8]>], m: usize, threads: usize) -> f64 {
    let matmul = matmul.for_threads(threads);
    let (n, k) = (matmul.rows(), matmul.cols());
    let shape: Activations = matmul.activations(m);
    let x: Vec<f32> = (0..m * k).map(|i| ((i * 7919 % 1013) as f32 - 506.0) / 100.0).collect();
    let mut acts = aligned(shape.bytes());
    let mut out = aligned(m * n * size_of::<f32>());
    let mut scratch: Vec<Vec<[u64; 8]>> = (0..threads).map(|_| aligned(matmul.scratch_bytes(m))).collect();
    let (acts, out) = (Shared(acts.as_mut_ptr().cast::<u8>()), Shared(out.as_mut_ptr().cast::<f32>()));
    let scratch: Vec<_> = scratch.iter_mut().map(|s| Shared(s.as_mut_ptr().cast::<u8>())).collect();
    let quantised = Barrier::new(threads);
    timed(threads, if m == 1 { 5 } else { 3 }, |thread| {
        // SAFETY: buffers have the sizes asked for, and each thread has units of its own.
        unsafe {
            shape.quantise(x.as_ptr(), k, share(shape.units(), thread, threads), acts.get());
            quantised.wait();
            let scratch = std::slice::from_raw_parts_mut(scratch[thread].get(), matmul.scratch_bytes(m));
            let units = share(matmul.units(m), thread, threads);
            for (i, planes) in tensors.iter().enumerate() {
                let next = tensors.get(i + 1).map_or(std::ptr::null(), |next| {
                    next[0].as_ptr().wrapping_add(matmul.unit_start(m, units.start))
                });
                let weights = matmul.weights(planes, 0);
                let args =
                    QuantMatmulArgs { weights, shape, acts: acts.get(), out: out.get(), out_stride: n };
                matmul.run(&args, units.clone(), scratch, &mut || next);
            }
        }
    })
}

/// Times a product in `f32` with weights that are decoded as they are needed: what formats fall back to.
#[allow(dead_code)] // Not every bench has such formats.
pub fn float_product(
    level: Level,
    format: Format,
    planes: &[&[u8]],
    [m, n, k]: [usize; 3],
    threads: usize,
) -> f64 {
    let rows = PackedRows::new(format, planes, n, k).expect("the planes fit the shape");
    let granule = PackedRows::granule_of(format, k);
    float_products(level, &[()], |()| Weights::Rows(&rows), granule, [m, n, k], threads)
}

/// Times products with each of the weights that `of` makes of `tensors`, one after the other: seconds of a pass.
#[allow(dead_code)] // As above.
pub fn float_products<'a, T: Copy + Sync>(
    level: Level,
    tensors: &[T],
    of: impl Fn(T) -> Weights<'a> + Sync,
    granule: usize,
    [m, n, k]: [usize; 3],
    threads: usize,
) -> f64 {
    let matmul = MatmulFloat::new(level, [m, n, k], [k, n], threads);
    let bytes = matmul.scratch_bytes(granule);
    let x: Vec<f32> = (0..m * k).map(|i| ((i * 7919 % 1013) as f32 - 506.0) / 100.0).collect();
    let mut out = vec![0f32; m * n];
    let mut scratch: Vec<Vec<[u64; 8]>> = (0..threads).map(|_| aligned(bytes)).collect();
    let out = Shared(out.as_mut_ptr());
    let scratch: Vec<_> = scratch.iter_mut().map(|s| Shared(s.as_mut_ptr().cast::<f32>())).collect();
    timed(threads, if m == 1 { 5 } else { 3 }, |thread| {
        for &tensor in tensors {
            let units = share(matmul.units(), thread, threads);
            // SAFETY: buffers have the sizes asked for, and each thread has units of its own.
            unsafe { matmul.run(units, x.as_ptr(), of(tensor), out.get(), scratch[thread].get()) };
        }
    })
}

/// Memory of arbitrary codes with small positive half-precision numbers wherever a format may keep its scales, and with
/// exponents wherever it may keep those alone that are neither so small that products become subnormal, which takes some
/// processors a hundred cycles each, nor NaN. It lies as a model's file does, in huge pages if there are any.
pub fn weights(bytes: usize) -> Buffer {
    let mut memory = Buffer::zeroed(bytes).expect("memory to walk");
    let mut piece = vec![0; PIECE];
    for start in (0..bytes).step_by(PIECE) {
        for (i, two) in piece.chunks_exact_mut(2).enumerate() {
            let noise = (start / 2 + i).wrapping_mul(2654435761) >> 7;
            two.copy_from_slice(&[0x20 + (noise % 0xdf) as u8, 0x1c + (noise >> 8) as u8 % 4]);
        }
        memory.write(start, &piece[..PIECE.min(bytes - start)]);
    }
    memory
}
