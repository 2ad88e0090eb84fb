//! Every format at every level and many shapes against products in `f64`.

use super::{Activations, QuantMatmul, QuantMatmulArgs};
use crate::simd::Level;
use lazuli_quant::Format;

const FORMATS: [Format; 8] = [
    Format::Q8_0,
    Format::Q4_0,
    Format::Q4_1,
    Format::Q5_0,
    Format::Q5_1,
    Format::Q4K,
    Format::Q5K,
    Format::Q6K,
];

/// Reproducible noise.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }
    /// Heavy-tailed around zero.
    fn value(&mut self) -> f32 {
        let unit = self.next() as f32 / (1u64 << 30) as f32 - 1.0;
        unit * unit * unit * 4.0
    }
}

/// A weight plane with every byte random but for its half-precision scales, which are moderate.
fn random_plane(format: Format, rows: usize, k: usize, seed: u64) -> Vec<u8> {
    let mut noise = Noise(seed);
    let bytes = format.plane_bytes(0, rows, k).expect("the shape divides into blocks");
    let mut plane: Vec<u8> = (0..bytes).map(|_| noise.next() as u8).collect();
    let heads: &[usize] = match format {
        Format::Q6K => &[208],
        Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => &[0, 2],
        _ => &[0],
    };
    for block in plane.chunks_exact_mut(format.block_bytes().expect("a block format")) {
        for &at in heads {
            // Half-precision numbers between 2^-6 and 1, of either sign.
            let bits = (noise.next() as u16 & 0x83ff) | ((9 + noise.next() as u16 % 6) << 10);
            block[at..at + 2].copy_from_slice(&bits.to_le_bytes());
        }
    }
    plane
}

/// A buffer aligned to a cache line.
fn aligned(bytes: usize) -> Vec<[u64; 8]> {
    vec![[0x5a5a_5a5a_5a5a_5a5a; 8]; bytes.div_ceil(64)]
}

/// Runs one product cut for three workers, its units in reverse and one by one, and checks that nothing else was written.
fn product(level: Level, format: Format, plane: &[u8], n: usize, k: usize, x: &[f32], m: usize) -> Vec<f32> {
    let matmul = QuantMatmul::new(level, format, n, k).expect("the format has kernels").for_threads(3);
    let shape = matmul.activations(m);
    let mut acts = aligned(shape.bytes());
    let mut scratch = aligned(matmul.scratch_bytes(m));
    let stride = n + 3;
    let mut out = vec![f32::NAN; m * stride];
    // SAFETY: the buffers have the sizes that the layout and the product ask for.
    unsafe {
        for unit in (0..shape.units()).rev() {
            shape.quantise(x.as_ptr(), k, unit..unit + 1, acts.as_mut_ptr().cast());
        }
        let args = QuantMatmulArgs {
            weights: plane,
            shape,
            acts: acts.as_ptr().cast(),
            out: out.as_mut_ptr(),
            out_stride: stride,
            next: plane.as_ptr(),
        };
        let scratch = std::slice::from_raw_parts_mut(scratch.as_mut_ptr().cast(), matmul.scratch_bytes(m));
        for unit in (0..matmul.units(m)).rev() {
            matmul.run(&args, unit..unit + 1, scratch);
        }
        let parts = out.clone();
        out.fill(f32::NAN);
        let args = QuantMatmulArgs { out: out.as_mut_ptr(), next: std::ptr::null(), ..args };
        matmul.run(&args, 0..matmul.units(m), scratch);
        let same = out.iter().zip(&parts).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{level} {format:?} n {n} k {k} m {m}: the division into units shows");
    }
    for row in out.chunks_exact(stride) {
        assert!(row[n..].iter().all(|v| v.is_nan()), "{level} {format:?}: wrote past its columns");
    }
    out.chunks_exact(stride).flat_map(|row| row[..n].to_vec()).collect()
}

/// Quantises as the kernels are meant to, and gives what the codes stand for: one row of `k` values after another.
fn quantised(x: &[f32], k: usize) -> Vec<f32> {
    let most = |x: &[f32]| x.iter().fold(0f32, |a, v| a.max(v.abs()));
    let octet = |x: &[f32]| {
        let largest = most(x);
        let unit = largest / (127.0 * 255.0);
        x.chunks_exact(32)
            .flat_map(|group| {
                let scale = (most(group) * (255.0 / largest)).ceil().min(255.0) * unit;
                let inverse = if largest < 1e-30 || scale == 0.0 { 0.0 } else { 1.0 / scale };
                group.iter().map(|v| (v * inverse).round_ties_even() * scale).collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    };
    x.chunks_exact(k).flat_map(|row| row.chunks(256).flat_map(octet).collect::<Vec<_>>()).collect()
}

/// The product, and the sum of its terms' magnitudes, in `f64`.
fn oracle(format: Format, plane: &[u8], n: usize, k: usize, x: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let (mut product, mut magnitude) = (Vec::new(), Vec::new());
    let mut rows = vec![0f32; n * k];
    format.decode(&[plane], n, k, &mut rows).expect("the plane fits the shape");
    for x in x.chunks_exact(k) {
        for w in rows.chunks_exact(k) {
            let terms = w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x));
            product.push(terms.clone().sum());
            magnitude.push(terms.map(f64::abs).sum());
        }
    }
    (product, magnitude)
}

/// Checks one shape at every level: closely against the quantised activations, loosely against the real ones.
fn check(format: Format, plane: &[u8], n: usize, k: usize, x: &[f32], m: usize) {
    let (want, magnitude) = oracle(format, plane, n, k, &quantised(x, k));
    let (real, _) = oracle(format, plane, n, k, x);
    for level in Level::supported() {
        let got = product(level, format, plane, n, k, x, m);
        let (mut error, mut power) = (0f64, 0f64);
        for i in 0..m * n {
            let difference = (f64::from(got[i]) - want[i]).abs();
            // Rounding in `f32`; formats with mins cancel large terms, which `magnitude` does not show.
            let bound = 4e-6 * magnitude[i].max(1e-20) * if format == Format::Q8_0 { 1.0 } else { 8.0 };
            assert!(
                difference <= bound,
                "{level} {format:?} n {n} k {k} m {m} at {i}: {} not {}",
                got[i],
                want[i]
            );
            error += (f64::from(got[i]) - real[i]).powi(2);
            power += magnitude[i].powi(2);
        }
        assert!(error.sqrt() <= 0.01 * power.sqrt().max(1e-20), "{level} {format:?}: activations are off");
    }
}

fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut noise = Noise(seed);
    (0..len).map(|_| noise.value()).collect()
}

#[test]
fn products_agree_with_f64_over_shapes() {
    for format in FORMATS {
        for k in [32, 64, 96, 256, 576, 640, 768, 1536] {
            if k % format.block_len() != 0 {
                continue;
            }
            for (n, m) in [(1, 1), (5, 2), (7, 3), (50, 4), (49, 5), (97, 9), (13, 33), (33, 1)] {
                let seed = (n * 1000 + m * 10 + k) as u64;
                let plane = random_plane(format, n, k, seed);
                check(format, &plane, n, k, &noise(m * k, seed + 1), m);
            }
        }
    }
}

#[test]
fn many_rows_and_depths_agree_with_f64() {
    for format in [Format::Q4K, Format::Q6K, Format::Q5_0] {
        for (n, m) in [(200, 6), (64, 40)] {
            let plane = random_plane(format, n, 2304, 3);
            check(format, &plane, n, 2304, &noise(m * 2304, 4), m);
        }
    }
}

#[test]
fn extreme_codes_do_not_saturate() {
    let k = 512;
    for format in FORMATS {
        for fill in [0x00u8, 0x80, 0x7f, 0xff] {
            let mut plane = random_plane(format, 50, k, 11);
            let heads: &[usize] = match format {
                Format::Q6K => &[208, 209],
                Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => &[0, 1, 2, 3],
                _ => &[0, 1],
            };
            for block in plane.chunks_exact_mut(format.block_bytes().expect("a block format")) {
                for (at, byte) in block.iter_mut().enumerate() {
                    *byte = if heads.contains(&at) { *byte } else { fill };
                }
            }
            for sign in [1.0, -1.0] {
                for m in [1, 6] {
                    check(format, &plane, 50, k, &vec![sign; m * k], m);
                }
            }
        }
    }
}

#[test]
fn zero_and_tiny_activations_give_zero() {
    let plane = random_plane(Format::Q4K, 8, 256, 5);
    for value in [0.0, 1e-38, 1e-42] {
        for level in Level::supported() {
            for m in [1, 5] {
                let got = product(level, Format::Q4K, &plane, 8, 256, &vec![value; m * 256], m);
                assert!(got.iter().all(|&y| y == 0.0), "{level} {value}");
            }
        }
    }
}

#[test]
fn values_that_are_not_finite_show_in_their_row_and_nowhere_else() {
    let plane = random_plane(Format::Q6K, 8, 512, 5);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for level in Level::supported() {
            for m in [2, 6] {
                let mut x = noise(m * 512, 6);
                x[512 + 77] = bad;
                let got = product(level, Format::Q6K, &plane, 8, 512, &x, m);
                for (row, y) in got.chunks_exact(8).enumerate() {
                    assert!(y.iter().all(|y| y.is_nan() == (row == 1)), "{level} {bad} row {row}: {y:?}");
                }
            }
        }
    }
}

#[test]
fn rows_must_divide_into_blocks_and_formats_need_kernels() {
    assert!(QuantMatmul::new(Level::SCALAR, Format::Q4K, 4, 96).is_none());
    assert!(QuantMatmul::new(Level::SCALAR, Format::Q4_0, 4, 40).is_none());
    assert!(Activations::new(Level::SCALAR, 1, 40).is_none());
}
