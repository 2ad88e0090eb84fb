//! Every weight format on one shape: decode beside the machine's memory bandwidth, and prefill.
//!
//! `cargo bench -p lazuli-cpu --bench formats [-- FILTER]` prints a line of JSON for each; `cargo xtask bench formats`
//! makes a table of them. Decode walks several tensors, together more than caches hold. `LAZULI_SIMD` picks a level.

mod measure;

use lazuli_cpu::kernel::Element;
use lazuli_cpu::kernel::matmul_float::Weights;
use lazuli_cpu::kernel::quant::QuantMatmul;
use lazuli_cpu::simd::Level;
use lazuli_quant::{Format, ScaleType};

/// Inputs and outputs of the product.
const SHAPE: (usize, usize) = (1536, 8960);
/// Bytes of weights that a pass of decode reads at least.
const COLD: usize = 300 << 20;
/// Rows of activations in prefill.
const MANY: usize = 512;
/// Threads.
const THREADS: usize = 2;

/// The formats, with the names that the project uses for them.
fn formats() -> Vec<(String, Format)> {
    let affine = |bits, group| {
        let format = Format::Affine { bits, group, scale: ScaleType::Bf16 };
        (format!("MLX {bits} bits, groups of {group}"), format)
    };
    let named = |name: &str, format| (name.to_owned(), format);
    let mut all = vec![
        named("Q8_0", Format::Q8_0),
        named("Q6_K", Format::Q6K),
        named("Q5_K", Format::Q5K),
        named("Q5_1", Format::Q5_1),
        named("Q5_0", Format::Q5_0),
        named("Q4_K", Format::Q4K),
        named("Q4_1", Format::Q4_1),
        named("Q4_0", Format::Q4_0),
        named("IQ4_NL", Format::Iq4Nl),
        named("IQ4_XS", Format::Iq4Xs),
        named("MXFP4 (GGUF)", Format::GgufMxfp4),
        named("NVFP4 (GGUF)", Format::GgufNvfp4),
        named("Q3_K", Format::Q3K),
        named("IQ3_S", Format::Iq3S),
        named("IQ3_XXS", Format::Iq3Xxs),
        named("Q2_K", Format::Q2K),
        named("IQ2_S", Format::Iq2S),
        named("IQ2_XS", Format::Iq2Xs),
        named("IQ2_XXS", Format::Iq2Xxs),
        named("TQ2_0", Format::Tq2_0),
        named("TQ1_0", Format::Tq1_0),
        named("IQ1_M", Format::Iq1M),
        named("IQ1_S", Format::Iq1S),
    ];
    all.extend([8, 6, 5, 4, 3, 2].map(|bits| affine(bits, 64)));
    all.extend([affine(4, 32), affine(4, 128)]);
    all.extend([
        named("MXFP4", Format::Mxfp4),
        named("NVFP4", Format::Nvfp4),
        named("MXFP8", Format::Mxfp8),
        named("FP8, tiles of 128 x 128", Format::Fp8Block { rows: 128, cols: 128 }),
    ]);
    all
}

/// As many tensors of `format` as [`COLD`] asks for, one after the other in `memory`.
fn tensors(memory: &[u8], format: Format) -> (Vec<Vec<&[u8]>>, usize) {
    let (k, n) = SHAPE;
    let planes: Vec<usize> = (0..format.planes())
        .map(|plane| format.plane_bytes(plane, n, k).expect("the shape divides into groups"))
        .collect();
    let each: usize = planes.iter().sum();
    let mut rest = memory;
    let all = (0..COLD.div_ceil(each)).map(|_| {
        let of = planes.iter().map(|&bytes| {
            let (plane, after) = rest.split_at(bytes);
            rest = after;
            plane
        });
        of.collect()
    });
    (all.collect(), each)
}

/// What is measured of a format, for weights of `bytes` bytes each: seconds of a pass over `count` tensors of them with one
/// row of activations, and of a product with [`MANY`] rows; and gigabytes per second of weights that are cached, on one
/// thread.
struct Times {
    count: usize,
    bytes: usize,
    decode: f64,
    prefill: f64,
    cached: f64,
}

/// Times a weight format.
fn packed(level: Level, memory: &[u8], format: Format) -> Times {
    let (k, n) = SHAPE;
    let matmul = QuantMatmul::new(level, format, n, k).expect("the format has kernels");
    let (tensors, bytes) = tensors(memory, format);
    let decode = measure::products(matmul, &tensors, 1, THREADS);
    let prefill = if matmul.takes(MANY) {
        measure::products(matmul, &tensors[..1], MANY, THREADS)
    } else {
        measure::float_product(level, format, &tensors[0], [MANY, n, k], THREADS)
    };
    let rows = measure::CACHED / (bytes / n) / 4 * 4;
    let part = QuantMatmul::new(level, format, rows, k).expect("the format has kernels");
    let again = measure::products(part, &vec![tensors[0].clone(); measure::AGAIN], 1, 1);
    let cached = (measure::AGAIN * rows * (bytes / n)) as f64 / again / 1e9;
    Times { count: tensors.len(), bytes, decode, prefill, cached }
}

/// Times weights in half precision, two bytes each.
fn halves(level: Level, memory: &[u8], element: Element) -> Times {
    let (k, n) = SHAPE;
    let bytes = n * k * element.size();
    let tensors: Vec<&[u8]> = memory.chunks_exact(bytes).take(COLD.div_ceil(bytes)).collect();
    let of = |tensor: &[u8]| Weights::Float { element, data: tensor.as_ptr(), stride: k };
    let decode = measure::float_products(level, &tensors, of, 1, [1, n, k], THREADS);
    let prefill = measure::float_products(level, &tensors[..1], of, 1, [MANY, n, k], THREADS);
    let rows = measure::CACHED / (bytes / n);
    let again = measure::float_products(level, &[tensors[0]; measure::AGAIN], of, 1, [1, rows, k], 1);
    let cached = (measure::AGAIN * rows * (bytes / n)) as f64 / again / 1e9;
    Times { count: tensors.len(), bytes, decode, prefill, cached }
}

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let level = measure::level();
    let memory = measure::weights(COLD + (32 << 20));
    let memory = memory.as_bytes();
    let (k, n) = SHAPE;
    println!("{{\"level\":\"{level}\",\"threads\":{THREADS}}}");
    // What the memory gives changes with what else the machine does: it is measured before and after each format.
    let stream = || measure::stream(&memory[..COLD], THREADS);
    let mut before = stream().max(stream());
    let mut report = |name: &str, measure: &dyn Fn() -> Times| {
        if !name.contains(&filter) {
            return;
        }
        let Times { count, bytes, decode, prefill, cached } = measure();
        let after = stream();
        let memory = f64::midpoint(before, after);
        before = after;
        let gb = (count * bytes) as f64 / decode / 1e9;
        let gop = 2.0 * (MANY * n * k) as f64 / prefill / 1e9;
        let bits = bytes as f64 * 8.0 / (n * k) as f64;
        println!(
            "{{\"format\":\"{name}\",\"bits\":{bits:.3},\"decode_gb_s\":{gb:.2},\"memory_gb_s\":{memory:.2},\
             \"cached_gb_s\":{cached:.2},\"prefill_gop_s\":{gop:.1}}}"
        );
    };
    report("BF16", &|| halves(level, memory, Element::BF16));
    report("F16", &|| halves(level, memory, Element::F16));
    for (name, format) in formats() {
        report(&name, &|| packed(level, memory, format));
    }
}
