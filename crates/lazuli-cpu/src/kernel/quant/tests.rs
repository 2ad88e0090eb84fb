//! Every format at every level and many shapes against products in `f64`.

use super::acts::MATRIX_FROM;
use super::{Activations, QuantMatmul, QuantMatmulArgs, Weights};
use crate::simd::Level;
use lazuli_quant::{Format, ScaleType};

/// Every format that has kernels; of the affine ones, each width once.
const FORMATS: &[Format] = &[
    Format::Q8_0,
    Format::Q4_0,
    Format::Q4_1,
    Format::Q5_0,
    Format::Q5_1,
    Format::Q4K,
    Format::Q5K,
    Format::Q6K,
    Format::Q2K,
    Format::Q3K,
    Format::Tq1_0,
    Format::Tq2_0,
    Format::Iq4Nl,
    Format::Iq4Xs,
    Format::GgufMxfp4,
    Format::GgufNvfp4,
    Format::Iq3S,
    Format::Iq3Xxs,
    Format::Iq2S,
    Format::Iq2Xs,
    Format::Iq2Xxs,
    Format::Iq1S,
    Format::Iq1M,
    affine(2, 32, ScaleType::F16),
    affine(3, 64, ScaleType::F32),
    affine(4, 64, ScaleType::Bf16),
    affine(5, 32, ScaleType::Bf16),
    affine(6, 128, ScaleType::F16),
    affine(8, 64, ScaleType::Bf16),
    Format::Mxfp4,
    Format::Nvfp4,
    Format::Mxfp8,
    Format::Fp8Block { rows: 16, cols: 128 },
];

const fn affine(bits: u8, group: u16, scale: ScaleType) -> Format {
    Format::Affine { bits, group, scale }
}

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

/// Where the half-precision scales of a block stand.
fn heads(format: Format) -> &'static [usize] {
    match format {
        Format::Q6K => &[208],
        Format::Q2K => &[80, 82],
        Format::Q3K => &[108],
        Format::Tq1_0 => &[52],
        Format::Tq2_0 => &[64],
        // No half-precision number, or its digits here and there: see `random_planes`.
        Format::GgufMxfp4 | Format::GgufNvfp4 | Format::Iq1M => &[],
        Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => &[0, 2],
        _ => &[0],
    }
}

/// Weights with every code random, and moderate scales.
fn random_planes(format: Format, rows: usize, k: usize, seed: u64) -> Vec<Vec<u8>> {
    let mut noise = Noise(seed);
    let Some(block_bytes) = format.block_bytes() else {
        let values: Vec<f32> = (0..rows * k).map(|_| noise.value()).collect();
        return format.encode(&values, rows, k).expect("the shape divides into groups");
    };
    let bytes = format.plane_bytes(0, rows, k).expect("the shape divides into blocks");
    let mut plane: Vec<u8> = (0..bytes).map(|_| noise.next() as u8).collect();
    for block in plane.chunks_exact_mut(block_bytes) {
        for &at in heads(format) {
            // Half-precision numbers between 2^-6 and 1, of either sign.
            let bits = (noise.next() as u16 & 0x83ff) | ((9 + noise.next() as u16 % 6) << 10);
            block[at..at + 2].copy_from_slice(&bits.to_le_bytes());
        }
        match format {
            Format::GgufMxfp4 => block[0] = 120 + noise.next() as u8 % 10,
            // Exponent 12: the third nibble is 0, 4, 8 or 12, and the fourth 3 or 11.
            Format::Iq1M => {
                block[53] &= 0xcf;
                block[55] = block[55] & 0x8f | 0x30;
            }
            _ => {}
        }
    }
    vec![plane]
}

fn slices(planes: &[Vec<u8>]) -> Vec<&[u8]> {
    planes.iter().map(Vec::as_slice).collect()
}

/// A buffer aligned to a cache line.
fn aligned(bytes: usize) -> Vec<[u64; 8]> {
    vec![[0x5a5a_5a5a_5a5a_5a5a; 8]; bytes.div_ceil(64)]
}

/// Runs one product cut for three workers, its units in reverse and one by one, and checks that nothing else was written.
fn product(
    level: Level,
    format: Format,
    planes: &[&[u8]],
    n: usize,
    k: usize,
    x: &[f32],
    m: usize,
) -> Vec<f32> {
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
            weights: matmul.weights(planes, 0),
            shape,
            acts: acts.as_ptr().cast(),
            out: out.as_mut_ptr(),
            out_stride: stride,
        };
        let scratch = std::slice::from_raw_parts_mut(scratch.as_mut_ptr().cast(), matmul.scratch_bytes(m));
        for unit in (0..matmul.units(m)).rev() {
            matmul.run(&args, unit..unit + 1, scratch, &mut || planes[0].as_ptr());
        }
        let parts = out.clone();
        out.fill(f32::NAN);
        let args = QuantMatmulArgs { out: out.as_mut_ptr(), ..args };
        matmul.run(&args, 0..matmul.units(m), scratch, &mut std::ptr::null);
        let same = |out: &[f32]| out.iter().zip(&parts).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same(&out), "{level} {format:?} n {n} k {k} m {m}: the division into units shows");
        out.fill(f32::NAN);
        let args = QuantMatmulArgs { out: out.as_mut_ptr(), ..args };
        let matmul = matmul.before_a_barrier();
        for unit in (0..matmul.units(m)).rev() {
            matmul.run(&args, unit..unit + 1, scratch, &mut std::ptr::null);
        }
        assert!(same(&out), "{level} {format:?} n {n} k {k} m {m}: small units show");
        out.fill(f32::NAN);
        let args = QuantMatmulArgs { out: out.as_mut_ptr(), ..args };
        let matmul = QuantMatmul { neighbours: !matmul.neighbours, ..matmul };
        matmul.run(&args, 0..matmul.units(m), scratch, &mut std::ptr::null);
        assert!(same(&out), "{level} {format:?} n {n} k {k} m {m}: what rows are read beside shows");
    }
    for row in out.chunks_exact(stride) {
        assert!(row[n..].iter().all(|v| v.is_nan()), "{level} {format:?}: wrote past its columns");
    }
    out.chunks_exact(stride).flat_map(|row| row[..n].to_vec()).collect()
}

/// Whether a product of `m` rows multiplies with integer scales and mins.
fn is_integer(format: Format, m: usize) -> bool {
    format == Format::Q4K && m > 4
}

/// Rows of Q4_K times rows of `x`, as products of many rows are meant to compute them, all of 128 weights in integers; and
/// how far they may be from what the codes of `x` give.
fn integer_product(plane: &[u8], k: usize, x: &[f32]) -> Vec<[f64; 2]> {
    let half = |bytes: &[u8]| f32::from(half::f16::from_le_bytes([bytes[0], bytes[1]]));
    let mut products = Vec::new();
    for x in x.chunks_exact(k) {
        let spans = quantised_in_spans(x);
        for row in plane.chunks_exact(k / 256 * 144) {
            let (mut product, mut slack) = (0f64, 0f64);
            for (block, spans) in row.chunks_exact(144).zip(spans.chunks_exact(2)) {
                let (d, dmin) = (half(block), half(&block[2..]));
                let unit = (d.abs().max(dmin.abs() * (63.0 / 1031.0)) / 64.0).copysign(d);
                for (span, half) in spans.iter().zip(0..) {
                    let (mut total, mut loose) = (0i64, 0f64);
                    for (at, group) in span.groups.iter().zip(4 * half..) {
                        let (scale, min) = six_bit(&block[4..16], group);
                        let scale = f32::from(scale) * d / unit;
                        let min =
                            ((8.0 * scale - f32::from(min) * dmin / unit) / 8.0).round_ties_even() as i64;
                        let rounded = scale.round_ties_even();
                        assert!(
                            rounded.abs() <= 4032.0 && min.abs() <= 12280,
                            "{rounded} or {min} does not fit"
                        );
                        let whole = unit.abs() * 64.0 <= d.abs();
                        assert!(!whole || (scale - rounded).abs() < 1e-3, "{scale} is whole");
                        let code = |at: usize| {
                            let byte = block[16 + group / 2 * 32 + at];
                            i64::from(if group % 2 == 0 { byte & 15 } else { byte >> 4 })
                        };
                        let dot: i64 = (0..32).map(|i| (code(i) - 8) * at.codes[i]).sum();
                        let sum = at.codes.iter().sum::<i64>() * 8;
                        total += dot * (rounded as i64 >> at.shift);
                        total += min * ((sum + (1 << at.shift >> 1)) >> at.shift);
                        // Half a step of the min, half an eighth of the sum, and a step of a scale that is not whole.
                        loose += 0.5 * (sum.abs() as f64 / f64::from(1 << at.shift) + min.abs() as f64);
                        loose += if whole { 0.0 } else { dot.abs() as f64 };
                    }
                    assert!(i32::try_from(total).is_ok(), "{total} does not fit");
                    let scale = f64::from(unit) * f64::from(span.scale);
                    product += total as f64 * scale;
                    slack += loose * scale.abs();
                }
            }
            products.push([product, slack]);
        }
    }
    products
}

/// The scale and the min of a group of Q4_K.
fn six_bit(packed: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        return (packed[group] & 63, packed[group + 4] & 63);
    }
    let last = packed[group + 4];
    (last & 15 | packed[group - 4] >> 6 << 4, last >> 4 | packed[group] >> 6 << 4)
}

/// 128 values with one scale, which groups of 32 halve a few times.
struct Span {
    scale: f32,
    groups: Vec<GroupCodes>,
}

struct GroupCodes {
    shift: u32,
    codes: Vec<i64>,
}

/// Quantises a row as kernels with integer scales are meant to.
fn quantised_in_spans(x: &[f32]) -> Vec<Span> {
    let most = |x: &[f32]| x.iter().fold(0f32, |a, v| a.max(v.abs()));
    let span = |x: &[f32]| {
        let largest = most(x);
        if largest < 1e-30 {
            let groups = (0..4).map(|_| GroupCodes { shift: 0, codes: vec![0; 32] }).collect();
            return Span { scale: 0.0, groups };
        }
        let groups = x.chunks_exact(32).map(|group| {
            let shift =
                (0..6).take_while(|&shift| most(group) * (2 << shift) as f32 <= largest).count() as u32;
            let by = 127.0 / largest * (1 << shift) as f32;
            let codes = group.iter().map(|v| (v * by).round_ties_even() as i64).collect();
            GroupCodes { shift, codes }
        });
        Span { scale: largest / 127.0, groups: groups.collect() }
    };
    x.chunks_exact(128).map(span).collect()
}

/// What the codes of [`quantised_in_spans`] stand for.
fn seen_in_spans(x: &[f32]) -> Vec<f32> {
    let values = |span: Span| {
        let value = move |group: GroupCodes| {
            let scale = span.scale / (1 << group.shift) as f32;
            group.codes.into_iter().map(move |code| scale * code as f32)
        };
        span.groups.into_iter().flat_map(value)
    };
    quantised_in_spans(x).into_iter().flat_map(values).collect()
}

/// Quantises as the kernels for many rows are meant to, and gives what the codes stand for.
fn quantised_in_groups(x: &[f32]) -> Vec<f32> {
    let group = |x: &[f32]| {
        let most = x.iter().fold(0f32, |a, v| a.max(v.abs()));
        let by = if most < 1e-30 { 0.0 } else { 127.0 / most };
        x.iter().map(|v| (v * by).round_ties_even() * (most / 127.0)).collect::<Vec<_>>()
    };
    x.chunks_exact(32).flat_map(group).collect()
}

/// Quantises as the kernels for few rows are meant to, and gives what the codes stand for: one row of `k` values after another.
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
fn oracle(rows: &[f32], k: usize, x: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let (mut product, mut magnitude) = (Vec::new(), Vec::new());
    for x in x.chunks_exact(k) {
        for w in rows.chunks_exact(k) {
            let terms = w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x));
            product.push(terms.clone().sum());
            magnitude.push(terms.map(f64::abs).sum());
        }
    }
    (product, magnitude)
}

fn is_float8(format: Format) -> bool {
    matches!(format, Format::Mxfp8 | Format::Fp8Block { .. })
}

/// Checks one shape at every level: closely against the activations that products see, loosely against the real ones.
fn check(format: Format, planes: &[Vec<u8>], n: usize, k: usize, x: &[f32], m: usize) {
    let matmul = QuantMatmul::new(Level::SCALAR, format, n, k).expect("the format has kernels");
    if !matmul.takes(m) {
        assert!(m > 4 && is_float8(format), "{format:?} should take {m} rows");
        return;
    }
    let planes = slices(planes);
    let mut rows = vec![0f32; n * k];
    format.decode(&planes, n, k, &mut rows).expect("the planes fit the shape");
    let (real, _) = oracle(&rows, k, x);
    // Eight-bit floats take the activations as they are.
    let seen = match format {
        _ if is_float8(format) => x.to_vec(),
        _ if is_integer(format, m) => seen_in_spans(x),
        _ if m > 4 => quantised_in_groups(x),
        _ => quantised(x, k),
    };
    let (mut want, magnitude) = oracle(&rows, k, &seen);
    if is_integer(format, m) {
        for (i, [product, slack]) in integer_product(planes[0], k, x).into_iter().enumerate() {
            let difference = (product - want[i]).abs();
            assert!(
                difference <= slack + 1e-5 * magnitude[i],
                "{product} is not within {slack} of {}",
                want[i]
            );
            want[i] = product;
        }
    }
    // In tiles both factors are in bfloat16, where a weight that lies between two such numbers may become either.
    let coarse = |x: &[f32]| x.iter().map(|&x| half::bf16::from_f32(x).to_f32()).collect::<Vec<_>>();
    let largest = |x: &[f32]| x.iter().fold(0f32, |a, v| a.max(v.abs()));
    let tiles = (oracle(&coarse(&rows), k, &coarse(x)), f64::from(largest(&rows) * largest(x)) / 128.0);
    // Rounding in `f32`; formats with mins cancel large terms, which `magnitude` does not show.
    let factor = if format == Format::Q8_0 { 1.0 } else { 8.0 };
    for level in Level::supported() {
        let got = product(level, format, &planes, n, k, x, m);
        let ((want, magnitude), slack) = if level.has_amx() && m >= MATRIX_FROM {
            ((&tiles.0.0, &tiles.0.1), tiles.1)
        } else {
            ((&want, &magnitude), 0.0)
        };
        let (mut error, mut power) = (0f64, 0f64);
        for i in 0..m * n {
            let difference = (f64::from(got[i]) - want[i]).abs();
            let bound = 4e-6 * magnitude[i].max(1e-20) * factor + slack;
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
    for &format in FORMATS {
        for k in [32, 64, 96, 256, 288, 576, 640, 768, 1536] {
            if k % format.block_len() != 0 {
                continue;
            }
            for (n, m) in [(1, 1), (5, 2), (7, 3), (50, 4), (49, 5), (97, 9), (13, 33), (33, 1)] {
                let seed = (n * 1000 + m * 10 + k) as u64;
                let planes = random_planes(format, n, k, seed);
                check(format, &planes, n, k, &noise(m * k, seed + 1), m);
            }
        }
    }
}

#[test]
fn every_affine_width_group_and_scale_agrees_with_f64() {
    for bits in [2, 3, 4, 5, 6, 8] {
        for group in [32, 64, 128] {
            for scale in [ScaleType::F16, ScaleType::Bf16, ScaleType::F32] {
                // Rows longer than what scales are spread over at a time, too.
                for (n, k, m) in [(3, 640, 1), (5, 4736, 1), (3, 4736, 2), (18, 384, 7)] {
                    let format = affine(bits, group, scale);
                    let planes = random_planes(format, n, k, u64::from(bits) + u64::from(group));
                    check(format, &planes, n, k, &noise(m * k, 9), m);
                }
            }
        }
    }
}

#[test]
fn rows_as_long_as_a_page_agree_with_f64() {
    // Two of them are taken at a time with AVX-512, and one of shorter ones.
    for &format in FORMATS {
        let fits = |k: &usize| k % format.block_len() == 0 && format.plane_bytes(0, 1, *k) >= Some(4096);
        let k = (1..5000).map(|groups| groups * 32).find(fits).expect("a row of a page");
        let (planes, seed) = (random_planes(format, 5, k, k as u64), 3);
        check(format, &planes, 5, k, &noise(k, seed), 1);
    }
}

#[test]
fn long_rows_of_planar_formats_agree_with_f64() {
    // The numbers of one row fit into the room for them, and those of two do not.
    let (n, k) = (5, 36_992);
    for format in [affine(4, 64, ScaleType::F16), affine(8, 32, ScaleType::F32), Format::Mxfp4, Format::Mxfp8]
    {
        let planes = random_planes(format, n, k, 4);
        for m in [1, 3] {
            check(format, &planes, n, k, &noise(m * k, 9), m);
        }
    }
    assert!(QuantMatmul::new(Level::detect(), affine(4, 64, ScaleType::F16), 1, 65_536).is_some());
    assert!(QuantMatmul::new(Level::detect(), affine(4, 64, ScaleType::F16), 1, 65_600).is_none());
}

#[test]
fn factors_of_any_power_of_two_agree_with_f64() {
    for cols in [32, 64, 128, 256, 1024] {
        for rows in [1, 7, 128] {
            let format = Format::Fp8Block { rows, cols };
            for (k, m) in [(1120, 1), (1120, 3), (8320, 1)] {
                let planes = random_planes(format, 37, k, 8);
                check(format, &planes, 37, k, &noise(m * k, 9), m);
            }
        }
    }
}

#[test]
fn products_in_two_steps_see_fifteen_bits() {
    let (n, k) = (20, 512);
    for format in [Format::Q4K, Format::Q6K, Format::Q8_0] {
        let planes = random_planes(format, n, k, 13);
        let planes = slices(&planes);
        let mut rows = vec![0f32; n * k];
        format.decode(&planes, n, k, &mut rows).expect("the planes fit the shape");
        for m in [1, 3] {
            let x = noise(m * k, 14);
            let (want, magnitude) = oracle(&rows, k, &x);
            // Mins of Q4_K and the sums for them are rounded to a little less.
            let bound = if is_integer(format, 2 * m) { 1e-3 } else { 1e-4 };
            for level in Level::supported() {
                let matmul = QuantMatmul::new(level, format, n, k).expect("the format has kernels");
                let steps = matmul.activations(2 * m).two_steps();
                let mut split = vec![0f32; 2 * m * k];
                // SAFETY: the vectors have these sizes.
                unsafe { steps.split(0..m, x.as_ptr(), k, split.as_mut_ptr()) };
                let sums = product(level, format, &planes, n, k, &split, 2 * m);
                for i in 0..m * n {
                    let got = f64::from(sums[i]) + f64::from(sums[m * n + i]);
                    let off = (got - want[i]).abs() / magnitude[i];
                    assert!(off < bound, "{level} {format:?} m {m} at {i}: {off:e} of the magnitude");
                }
            }
        }
    }
}

#[test]
fn rows_of_a_stacked_tensor_are_products_of_their_own() {
    let (n, k) = (24, 192);
    for &format in FORMATS {
        if k % format.block_len() != 0 {
            continue;
        }
        let planes = random_planes(format, 3 * n, k, 31);
        let planes = slices(&planes);
        for m in [1, if is_float8(format) { 3 } else { 6 }] {
            let x = noise(m * k, 32);
            let whole = product(Level::detect(), format, &planes, 3 * n, k, &x, m);
            let matmul = QuantMatmul::new(Level::detect(), format, n, k).expect("the format has kernels");
            let weights = matmul.weights(&planes, n);
            let part = run(&matmul, weights, &x, m);
            for (whole, part) in whole.chunks_exact(3 * n).zip(part.chunks_exact(n)) {
                assert_eq!(&whole[n..2 * n], part, "{format:?} m {m}");
            }
        }
    }
}

/// All units of one product.
fn run(matmul: &QuantMatmul, weights: Weights<'_>, x: &[f32], m: usize) -> Vec<f32> {
    let shape = matmul.activations(m);
    let mut acts = aligned(shape.bytes());
    let mut scratch = aligned(matmul.scratch_bytes(m));
    let mut out = vec![f32::NAN; m * matmul.rows()];
    // SAFETY: the buffers have the sizes that the layout and the product ask for.
    unsafe {
        shape.quantise(x.as_ptr(), matmul.cols(), 0..shape.units(), acts.as_mut_ptr().cast());
        let args = QuantMatmulArgs {
            weights,
            shape,
            acts: acts.as_ptr().cast(),
            out: out.as_mut_ptr(),
            out_stride: matmul.rows(),
        };
        let scratch = std::slice::from_raw_parts_mut(scratch.as_mut_ptr().cast(), matmul.scratch_bytes(m));
        matmul.run(&args, 0..matmul.units(m), scratch, &mut std::ptr::null);
    }
    out
}

#[test]
fn scales_that_are_nan_show_in_their_rows_and_nowhere_else() {
    let (n, k) = (6, 512);
    for (format, nan) in [
        (Format::Mxfp4, vec![255]),
        (Format::Nvfp4, vec![0x7f]),
        (Format::Mxfp8, vec![255]),
        (affine(4, 64, ScaleType::F16), vec![0, 0x7e]),
        (Format::Fp8Block { rows: 1, cols: 128 }, f32::NAN.to_le_bytes().to_vec()),
    ] {
        let mut planes = random_planes(format, n, k, 41);
        let row = planes[1].len() / n;
        planes[1][2 * row..][..nan.len()].copy_from_slice(&nan);
        for level in Level::supported() {
            for m in [1, 5] {
                if m > 4 && is_float8(format) {
                    continue;
                }
                let y = product(level, format, &slices(&planes), n, k, &noise(m * k, 42), m);
                assert!(
                    y.iter().enumerate().all(|(i, y)| y.is_nan() == (i % n == 2)),
                    "{level} {format:?} {m}"
                );
            }
        }
    }
}

#[test]
fn block_scales_that_are_not_finite_show_in_their_rows_and_nowhere_else() {
    let (n, k) = (6, 512);
    for (at, bits) in [(0, 0x7e00u16), (2, 0x7e00), (0, 0x7c00), (2, 0xfc00)] {
        let mut planes = random_planes(Format::Q4K, n, k, 44);
        planes[0][2 * k / 256 * 144 + at..][..2].copy_from_slice(&bits.to_le_bytes());
        for level in Level::supported() {
            for m in [1, 5] {
                let y = product(level, Format::Q4K, &slices(&planes), n, k, &noise(m * k, 45), m);
                let here = y.iter().enumerate().all(|(i, y)| y.is_finite() == (i % n != 2));
                assert!(here, "{level} {m} {at} {bits:x}");
            }
        }
    }
}

#[test]
fn float8_codes_that_are_nan_show_in_their_rows_and_nowhere_else() {
    let (n, k) = (6, 96);
    for format in [Format::Mxfp8, Format::Fp8Block { rows: 128, cols: 128 }] {
        let mut planes = random_planes(format, n, k, 43);
        planes[0][k + 50] = 0xff;
        for level in Level::supported() {
            for m in [1, 3] {
                let y = product(level, format, &slices(&planes), n, k, &noise(m * k, 44), m);
                assert!(
                    y.iter().enumerate().all(|(i, y)| y.is_nan() == (i % n == 1)),
                    "{level} {format:?} {m}"
                );
            }
        }
    }
}

#[test]
fn many_rows_and_depths_agree_with_f64() {
    let mlx = affine(4, 64, ScaleType::Bf16);
    for format in [Format::Q4K, Format::Q6K, Format::Q5_0, mlx, Format::Nvfp4, Format::Mxfp8] {
        for (n, m) in [(200, 6), (64, 40), (530, 49)] {
            let planes = random_planes(format, n, 2304, 3);
            check(format, &planes, n, 2304, &noise(m * 2304, 4), m);
        }
    }
}

#[test]
fn extreme_codes_do_not_saturate() {
    let k = 512;
    for &format in FORMATS {
        for fill in [0x00u8, 0x80, 0x7f, 0xff] {
            let mut planes = random_planes(format, 50, k, 11);
            if let Some(bytes) = format.block_bytes() {
                for block in planes[0].chunks_exact_mut(bytes) {
                    for (at, byte) in block.iter_mut().enumerate() {
                        let head = heads(format).iter().any(|&head| at == head || at == head + 1);
                        let scale = match format {
                            Format::GgufMxfp4 => at == 0,
                            Format::GgufNvfp4 => at < 4,
                            Format::Iq1M => at == 53 || at == 55,
                            _ => head,
                        };
                        *byte = if scale { *byte } else { fill };
                    }
                }
            } else {
                // The largest e4m3 number, where all ones would be NaN.
                let float8 = is_float8(format);
                planes[0].fill(if float8 && fill & 0x7f == 0x7f { fill - 1 } else { fill });
            }
            for sign in [1.0, -1.0] {
                for m in [1, 6] {
                    check(format, &planes, 50, k, &vec![sign; m * k], m);
                }
            }
        }
    }
}

#[test]
fn the_largest_integer_sums_fit() {
    let (n, k) = (40, 512);
    for (code, first) in [(0x00u8, 1.0f32), (0x00, -1.0), (0xff, 1.0)] {
        // All scales 63, and all codes the lowest (8 below the centre), or the highest.
        let mut planes = random_planes(Format::Q4K, n, k, 12);
        for block in planes[0].chunks_exact_mut(144) {
            block[4..16].fill(0xff);
            block[16..].fill(code);
        }
        for m in [1, 6] {
            check(Format::Q4K, &planes, n, k, &vec![first; m * k], m);
        }
    }
}

#[test]
fn zero_and_tiny_activations_give_zero() {
    let planes = random_planes(Format::Q4K, 8, 256, 5);
    for value in [0.0, 1e-38, 1e-42] {
        for level in Level::supported() {
            for m in [1, 5] {
                let got = product(level, Format::Q4K, &slices(&planes), 8, 256, &vec![value; m * 256], m);
                assert!(got.iter().all(|&y| y == 0.0), "{level} {value}");
            }
        }
    }
}

#[test]
fn values_that_are_not_finite_show_in_their_row_and_nowhere_else() {
    for format in [Format::Q6K, Format::Q4K, Format::Q3K, Format::Q2K] {
        let planes = random_planes(format, 8, 512, 5);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for level in Level::supported() {
                for m in [2, 6] {
                    let mut x = noise(m * 512, 6);
                    x[512 + 77] = bad;
                    let got = product(level, format, &slices(&planes), 8, 512, &x, m);
                    for (row, y) in got.chunks_exact(8).enumerate() {
                        let here = y.iter().all(|y| y.is_nan() == (row == 1));
                        assert!(here, "{level} {format:?} {bad} row {row}: {y:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn products_before_a_barrier_end_in_small_units() {
    for (n, k, threads) in
        [(1536, 576, 2), (8960, 1536, 2), (576, 1536, 3), (151_936, 1536, 16), (60, 64, 2), (5000, 512, 1)]
    {
        let product = QuantMatmul::new(Level::detect(), Format::Q4_1, n, k).unwrap().for_threads(threads);
        let (even, fine) = (product.cut(1), product.before_a_barrier().cut(1));
        let rows = |cut: super::Cut| {
            let ends = (0..cut.units(n)).map(|unit| (cut.start(unit), cut.start(unit + 1).min(n)));
            ends.map(|(start, end)| end - start).collect::<Vec<_>>()
        };
        for cut in [even, fine] {
            assert!(
                rows(cut).iter().all(|&rows| rows > 0) && rows(cut).iter().sum::<usize>() == n,
                "{cut:?}"
            );
        }
        let (even, fine) = (rows(even), rows(fine));
        if n * k < 1 << 17 || threads == 1 {
            assert_eq!(even, fine);
            continue;
        }
        assert!(
            fine[fine.len() - threads..].iter().all(|rows| 3 * rows <= even[0]),
            "{n} rows, {threads} threads"
        );
        assert!(fine[..threads].iter().all(|&rows| rows <= even[0] * 7 / 4), "{n} rows, {threads} threads");
        assert!(fine.len() <= even.len() + 10 * threads, "{n} rows, {threads} threads");
    }
}

#[test]
fn rows_must_divide_into_blocks_and_formats_need_kernels() {
    assert!(QuantMatmul::new(Level::SCALAR, Format::Q4K, 4, 96).is_none());
    assert!(QuantMatmul::new(Level::SCALAR, Format::Q4_0, 4, 40).is_none());
    assert!(QuantMatmul::new(Level::SCALAR, Format::Nvfp4, 4, 48).is_none());
    assert!(QuantMatmul::new(Level::SCALAR, Format::Fp8Block { rows: 128, cols: 100 }, 4, 64).is_none());
    // What GGUF files can hold is never multiplied by way of floats.
    for &format in Format::ALL_BLOCK {
        assert!(
            QuantMatmul::new(Level::SCALAR, format, 4, 256).is_some() && FORMATS.contains(&format),
            "{format:?}"
        );
    }
    assert!(Activations::new(Level::SCALAR, 1, 40).is_none());
}
