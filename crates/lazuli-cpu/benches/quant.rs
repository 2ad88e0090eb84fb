//! Quantised products: bytes of weights per second for one row, multiply-accumulates per second for many.
//!
//! `cargo bench -p lazuli-cpu --bench quant [-- FILTER]`. Decode walks more memory than caches hold, beside a plain
//! streaming read of the same memory in the same run; every figure is the median of several passes, for one and
//! for two threads. `LAZULI_SIMD` picks a level.

mod measure;

use lazuli_cpu::kernel::quant::{Activations, QuantMatmul};
use lazuli_cpu::simd::Level;
use lazuli_quant::Format;
use measure::{AGAIN, CACHED, stream};

/// Bytes of weights that a pass of decode reads.
const COLD: usize = 320 << 20;

/// Times one product; seconds of a pass.
fn product(level: Level, format: Format, plane: &[u8], shape: (usize, usize, usize), threads: usize) -> f64 {
    products(level, format, plane, shape, threads, 1)
}

/// Times `count` products with the same weights, one after the other; seconds of a pass.
fn products(
    level: Level,
    format: Format,
    plane: &[u8],
    (m, n, k): (usize, usize, usize),
    threads: usize,
    count: usize,
) -> f64 {
    let matmul = QuantMatmul::new(level, format, n, k).expect("the format has kernels");
    measure::products(matmul, &vec![vec![plane]; count], m, threads)
}

/// Nanoseconds of quantising a thousand values, as products with `format` ask for, `m` rows of `k` in cache.
fn rounding(level: Level, format: Format, m: usize, k: usize) -> f64 {
    let shape: Activations = QuantMatmul::new(level, format, m, k).expect("kernels").activations(m);
    let x: Vec<f32> = (0..m * k).map(|i| ((i * 7919 % 1013) as f32 - 506.0) / 100.0).collect();
    let mut acts = measure::aligned(shape.bytes());
    let mut seconds = Vec::new();
    for _ in 0..2000 / m + 20 {
        let start = std::time::Instant::now();
        // SAFETY: the buffers have the sizes asked for.
        unsafe { shape.quantise(x.as_ptr(), k, 0..shape.units(), acts.as_mut_ptr().cast()) };
        seconds.push(start.elapsed().as_secs_f64());
    }
    measure::median(seconds) * 1e9 / (m * k) as f64 * 1e3
}

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let level = measure::level();
    let memory = measure::weights(COLD);
    let memory = memory.as_bytes();
    println!("{level}");
    for threads in [1, 2] {
        println!("stream {threads}T {:.1} GB/s", stream(memory, threads));
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
        Format::GgufMxfp4,
    ];
    for format in formats {
        for (k, few) in [(576, 1), (1536, 1), (8960, 1), (1536, 2), (1536, 4)] {
            let name = format!("decode {format:?} k={k} m={few}");
            if !name.contains(&filter) {
                continue;
            }
            // Formats of blocks of 256 have no rows of 576.
            let Some(row) = format.plane_bytes(0, 1, k) else { continue };
            let n = COLD / row;
            let cold =
                [1, 2].map(|t| (n * row) as f64 / product(level, format, memory, (few, n, k), t) / 1e9);
            let few_rows = CACHED / row;
            let warm = products(level, format, memory, (few, few_rows, k), 1, AGAIN);
            let warm = (AGAIN * few_rows * row) as f64 / warm / 1e9;
            println!("{name:28} 1T {:6.1} 2T {:6.1} GB/s  cached 1T {warm:6.1}", cold[0], cold[1]);
        }
    }
    for (format, m, k) in [
        (Format::Q4_1, 1, 576),
        (Format::Q4K, 1, 1536),
        (Format::Q6K, 1, 1536),
        (Format::Q4K, 512, 1536),
        (Format::Q6K, 512, 1536),
    ] {
        let name = format!("rounding for {format:?} m={m} k={k}");
        if name.contains(&filter) {
            println!("{name:32} {:6.1} ns for 1000 values", rounding(level, format, m, k));
        }
    }
    for threads in [1, 2] {
        println!("stream {threads}T {:.1} GB/s", stream(memory, threads));
    }
    for format in formats {
        for (m, k, n) in
            [(512, 1536, 8960), (512, 8960, 1536), (8, 1536, 8960), (32, 1536, 8960), (64, 1536, 8960)]
        {
            let name = format!("prefill {format:?} m={m} k={k} n={n}");
            if !name.contains(&filter) {
                continue;
            }
            let rate =
                [1, 2].map(|t| (m * n * k) as f64 / product(level, format, memory, (m, n, k), t) / 1e9);
            println!("{name:36} 1T {:6.1} 2T {:6.1} GMAC/s", rate[0], rate[1]);
        }
    }
}
