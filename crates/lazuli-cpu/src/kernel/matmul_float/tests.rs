//! Float products against f64 sums: streamed, panelled, strided, decoded.

use lazuli_quant::Format;

use super::super::Element;
use super::super::testing::{Level, Random, assert_close, levels, stored};
use super::{MatmulFloat, PackedRows, RowSource, StridedMatmul, Weights};

/// `x [m, k] . w [n, k]^T` in f64, rows of `x` `x_stride` apart.
fn oracle(m: usize, n: usize, k: usize, x: &[f32], x_stride: usize, w: &[f32]) -> Vec<f64> {
    let cell = |i: usize| {
        let (x, w) = (&x[i / n * x_stride..][..k], &w[i % n * k..][..k]);
        x.iter().zip(w).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    (0..m * n).map(cell).collect()
}

/// Runs a product in `pieces` unequal parts.
fn product(
    matmul: &MatmulFloat,
    granule: usize,
    pieces: usize,
    x: &[f32],
    w: Weights<'_>,
    len: usize,
) -> Vec<f32> {
    let mut y = vec![f32::NAN; len];
    let mut scratch = vec![f32::NAN; matmul.scratch_bytes(granule) / 4];
    let units = matmul.units();
    let cuts: Vec<usize> = (0..=pieces).map(|i| units * i * i / (pieces * pieces)).collect();
    for cut in cuts.windows(2) {
        // SAFETY: the tests hand in arrays of the product's sizes.
        unsafe { matmul.run(cut[0]..cut[1], x.as_ptr(), w, y.as_mut_ptr(), scratch.as_mut_ptr()) };
    }
    y
}

const SIZES: [[usize; 3]; 16] = [
    [1, 1, 1],
    [1, 33, 129],
    [1, 64, 576],
    [2, 17, 100],
    [3, 50, 65],
    [4, 48, 64],
    [7, 49, 640],
    [12, 31, 48],
    [13, 100, 530],
    [16, 47, 24],
    [50, 33, 3700],
    [37, 96, 1100],
    [64, 5, 33],
    [200, 49, 20],
    [97, 30, 64],
    [20, 130, 1],
];

#[test]
fn float_weights_match_the_oracle_at_every_level_and_size() {
    for [m, n, k] in SIZES {
        let mut random = Random::new((m * n + k) as u64);
        let x_stride = k + 3;
        let (x, values) = (random.floats(m * x_stride), random.floats(n * k));
        for element in [Element::F32, Element::F16, Element::BF16] {
            let (words, w) = stored(element, &values);
            let want = oracle(m, n, k, &x, x_stride, &w);
            let weights = Weights::Float { element, data: words.as_ptr().cast(), stride: k };
            for level in levels() {
                let what = format!("{level} {element:?} {m} {n} {k}");
                let matmul = MatmulFloat::new(level, [m, n, k], [x_stride, n], 1);
                let y = product(&matmul, 1, 1, &x, weights, m * n);
                assert_close(&what, &y, &want, 1e-5 * (k as f64).sqrt());
                // Other divisions, and units cut for more workers, give the same bits.
                for (workers, pieces) in [(1, 3), (8, 2), (64, 5)] {
                    let matmul = MatmulFloat::new(level, [m, n, k], [x_stride, n], workers);
                    assert!(product(&matmul, 1, pieces, &x, weights, m * n) == y, "{what} {workers}");
                }
            }
        }
    }
}

#[test]
fn rows_of_y_may_be_far_apart() {
    let ([m, n, k], y_stride) = ([15, 10, 20], 13);
    let mut random = Random::new(8);
    let (x, w) = (random.floats(m * k), random.floats(n * k));
    let weights = Weights::Float { element: Element::F32, data: w.as_ptr().cast(), stride: k };
    for level in levels() {
        let matmul = MatmulFloat::new(level, [m, n, k], [k, y_stride], 1);
        let y = product(&matmul, 1, 1, &x, weights, m * y_stride);
        for (row, want) in oracle(m, n, k, &x, k, &w).chunks(n).enumerate() {
            assert_close(&level.to_string(), &y[row * y_stride..][..n], want, 1e-5);
            assert!(
                y[row * y_stride + n..(row + 1) * y_stride].iter().all(|v| v.is_nan()),
                "gaps are not written"
            );
        }
    }
}

#[test]
fn packed_weights_are_decoded_on_the_way() {
    let planar = Format::Affine { bits: 4, group: 64, scale: lazuli_quant::ScaleType::F32 };
    for (format, k) in [(Format::Q8_0, 96), (Format::Q4K, 768), (Format::Q4K, 256), (planar, 640)] {
        for [m, n] in [[1, 9], [5, 20], [30, 60]] {
            let mut random = Random::new(k as u64);
            let (x, values) = (random.floats(m * k), random.floats(n * k));
            let planes = format.encode(&values, n, k).unwrap();
            let planes: Vec<&[u8]> = planes.iter().map(Vec::as_slice).collect();
            let mut w = vec![0.0; n * k];
            format.decode(&planes, n, k, &mut w).unwrap();
            let source = PackedRows::new(format, &planes, n, k).unwrap();
            let want = oracle(m, n, k, &x, k, &w);
            for level in levels() {
                let matmul = MatmulFloat::new(level, [m, n, k], [k, n], 1);
                let y = product(&matmul, source.granule(), 2, &x, Weights::Rows(&source), m * n);
                assert_close(&format!("{level} {format:?} {m} {n} {k}"), &y, &want, 1e-4);
            }
        }
    }
}

#[test]
fn planes_that_do_not_fit_are_refused() {
    let bytes = [0; 34];
    let planes: [&[u8]; 1] = [&bytes];
    assert!(PackedRows::new(Format::Q8_0, &planes, 1, 32).is_ok());
    assert!(PackedRows::new(Format::Q8_0, &planes, 2, 32).is_err());
    assert!(PackedRows::new(Format::Q8_0, &planes, 1, 33).is_err());
}

#[test]
fn an_empty_sum_is_zero() {
    for m in [1, 20] {
        let matmul = MatmulFloat::new(Level::detect(), [m, 50, 0], [0, 50], 2);
        let weights = Weights::Float { element: Element::F32, data: std::ptr::dangling(), stride: 0 };
        assert_eq!(product(&matmul, 1, 2, &[], weights, m * 50), vec![0.0; m * 50]);
    }
}

/// One strided case, `a [batch, m, k]` and `b [batch, k, n]` stored in the axis orders given.
fn strided_case(level: Level, [m, n, k]: [usize; 3], turned: [bool; 2], workers: usize) {
    let batch = 3;
    let mut random = Random::new((m + n + k) as u64);
    let (a, b) = (random.floats(batch * m * k), random.floats(2 * k * n));
    let a_strides = if turned[0] { [1, m as isize] } else { [k as isize, 1] };
    let b_strides = if turned[1] { [1, k as isize] } else { [n as isize, 1] };
    // The last two batches share a right side.
    let batches =
        vec![(0, 0), ((m * k) as isize, (k * n) as isize), ((2 * m * k) as isize, (k * n) as isize)];
    let mut want = Vec::new();
    for &(a0, b0) in &batches {
        for i in 0..m * n {
            let (row, col) = ((i / n) as isize, (i % n) as isize);
            let term = |p: isize| {
                let left = a[(a0 + row * a_strides[0] + p * a_strides[1]) as usize];
                let right = b[(b0 + p * b_strides[0] + col * b_strides[1]) as usize];
                f64::from(left) * f64::from(right)
            };
            want.push((0..k as isize).map(term).sum::<f64>());
        }
    }
    let matmul = StridedMatmul::new(level, [m, n, k], a_strides, b_strides, batches, workers);
    let mut c = vec![f32::NAN; batch * m * n];
    let mut scratch = vec![f32::NAN; matmul.scratch_bytes() / 4];
    let (units, cut) = (matmul.units(), matmul.units() / 2);
    for part in [0..cut, cut..units] {
        // SAFETY: the arrays have the product's sizes.
        unsafe { matmul.run(part, a.as_ptr(), b.as_ptr(), c.as_mut_ptr(), scratch.as_mut_ptr()) };
    }
    assert_close(&format!("{level} {m} {n} {k} {turned:?}"), &c, &want, 1e-5 * (k as f64).sqrt().max(1.0));
}

#[test]
fn strided_products_match_the_oracle() {
    for level in levels() {
        for sizes in [[1, 1, 1], [5, 7, 3], [17, 50, 33], [9, 100, 600], [130, 20, 8], [2, 3, 0]] {
            for turned in [[false, false], [true, false], [false, true], [true, true]] {
                strided_case(level, sizes, turned, 1);
                strided_case(level, sizes, turned, 32);
            }
        }
    }
}
