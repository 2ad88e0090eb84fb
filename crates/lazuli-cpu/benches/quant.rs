//! Quantised products: bytes of weights per second for one row, multiply-accumulates per second for many.
//!
//! `cargo bench -p lazuli-cpu --bench quant [-- FILTER]`. Decode walks more memory than caches hold, beside a plain
//! streaming read of the same memory in the same run; every figure is the median of several passes, for one and
//! for two threads. `LAZULI_SIMD` picks a level.

use lazuli_cpu::kernel::quant::{QuantMatmul, QuantMatmulArgs};
use lazuli_cpu::simd::Level;
use lazuli_quant::Format;
use std::ops::Range;
use std::sync::Barrier;
use std::time::Instant;

/// Bytes of weights that a pass of decode reads.
const COLD: usize = 320 << 20;

/// A buffer that starts on a cache line.
fn aligned(bytes: usize) -> Vec<[u64; 8]> {
    vec![[0; 8]; bytes.div_ceil(64)]
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// Runs `work` on `threads` threads, each with its number, `passes` times; the median time of a pass.
fn timed(threads: usize, passes: usize, work: impl Fn(usize) + Sync) -> f64 {
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

fn share(of: usize, thread: usize, threads: usize) -> Range<usize> {
    of * thread / threads..of * (thread + 1) / threads
}

/// Adds up memory; what the machine can read.
fn stream(memory: &[u64], threads: usize) -> f64 {
    let seconds = timed(threads, 5, |thread| {
        let mut sums = [0u64; 16];
        for line in memory[share(memory.len(), thread, threads)].chunks_exact(16) {
            for (sum, word) in sums.iter_mut().zip(line) {
                *sum = sum.wrapping_add(*word);
            }
        }
        std::hint::black_box(sums);
    });
    memory.len() as f64 * 8.0 / seconds / 1e9
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

/// Times one product; seconds of a pass with the activations' quantising in it.
fn product(
    level: Level,
    format: Format,
    plane: &[u8],
    (m, n, k): (usize, usize, usize),
    threads: usize,
) -> f64 {
    let matmul = QuantMatmul::new(level, format, n, k).expect("the format has kernels").for_threads(threads);
    let shape = matmul.activations(m);
    let x: Vec<f32> = (0..m * k).map(|i| ((i * 7919 % 1013) as f32 - 506.0) / 100.0).collect();
    let mut acts = aligned(shape.bytes());
    let mut out = vec![0f32; m * n];
    let mut scratch: Vec<Vec<[u64; 8]>> = (0..threads).map(|_| aligned(matmul.scratch_bytes(m))).collect();
    let (acts, out) = (Shared(acts.as_mut_ptr().cast::<u8>()), Shared(out.as_mut_ptr()));
    let scratch: Vec<_> = scratch.iter_mut().map(|s| Shared(s.as_mut_ptr().cast::<u8>())).collect();
    let quantised = Barrier::new(threads);
    timed(threads, if m == 1 { 5 } else { 3 }, |thread| {
        // SAFETY: buffers have the sizes asked for, and each thread has units of its own.
        unsafe {
            shape.quantise(x.as_ptr(), k, share(shape.units(), thread, threads), acts.get());
            quantised.wait();
            let args = QuantMatmulArgs {
                weights: plane,
                shape,
                acts: acts.get(),
                out: out.get(),
                out_stride: n,
                next: std::ptr::null(),
            };
            let scratch = std::slice::from_raw_parts_mut(scratch[thread].get(), matmul.scratch_bytes(m));
            matmul.run(&args, share(matmul.units(m), thread, threads), scratch);
        }
    })
}

/// Blocks of arbitrary codes with small positive half-precision numbers wherever a format may keep its scales.
fn plane(memory: &mut [u8]) {
    for (i, two) in memory.chunks_exact_mut(2).enumerate() {
        two.copy_from_slice(&(0x1c00u16 + (i.wrapping_mul(2654435761) >> 7) as u16 % 0x400).to_le_bytes());
    }
}

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let level = match std::env::var("LAZULI_SIMD") {
        Ok(name) => Level::parse(&name).expect("LAZULI_SIMD names a level of this processor"),
        Err(_) => Level::detect(),
    };
    let mut memory = vec![0u8; COLD];
    plane(&mut memory);
    // SAFETY: any bits are numbers, and the middle part is aligned.
    let words = unsafe { memory.align_to::<u64>().1 };
    println!("{level}");
    for threads in [1, 2] {
        println!("stream {threads}T {:.1} GB/s", stream(words, threads));
    }
    let formats = [
        Format::Q4K,
        Format::Q6K,
        Format::Q8_0,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q5K,
    ];
    for format in formats {
        for (k, few) in [(1536, 1), (8960, 1), (1536, 2), (1536, 4)] {
            let name = format!("decode {format:?} k={k} m={few}");
            if !name.contains(&filter) {
                continue;
            }
            let row = format.plane_bytes(0, 1, k).expect("the shape divides");
            let n = COLD / row;
            let cold =
                [1, 2].map(|t| (n * row) as f64 / product(level, format, &memory, (few, n, k), t) / 1e9);
            let warm = product(level, format, &memory, (few, 192 * 1024 / row, k), 1);
            let warm = (192 * 1024 / row * row) as f64 / warm / 1e9;
            println!("{name:28} 1T {:6.1} 2T {:6.1} GB/s  cached 1T {warm:6.1}", cold[0], cold[1]);
        }
    }
    for threads in [1, 2] {
        println!("stream {threads}T {:.1} GB/s", stream(words, threads));
    }
    for format in formats {
        for (m, k, n) in [(512, 1536, 8960), (512, 8960, 1536), (8, 1536, 8960), (32, 1536, 8960)] {
            let name = format!("prefill {format:?} m={m} k={k} n={n}");
            if !name.contains(&filter) {
                continue;
            }
            let rate =
                [1, 2].map(|t| (m * n * k) as f64 / product(level, format, &memory, (m, n, k), t) / 1e9);
            println!("{name:36} 1T {:6.1} 2T {:6.1} GMAC/s", rate[0], rate[1]);
        }
    }
}
