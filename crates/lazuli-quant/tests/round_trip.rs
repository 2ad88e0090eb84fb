//! Encoding then decoding stays near the values; foreign bytes and lengths never panic.
#![allow(clippy::unwrap_used, reason = "a failed step of a test is the test's failure")]

use lazuli_quant::{Format, QuantError, ScaleType};
use proptest::prelude::*;

/// Formats with an encoder, and how far a decoded value may be from the original, as a share of the largest
/// magnitude among its block's values: the worst step that the format's document allows, a little rounded up.
const BOUNDS: &[(Format, f32)] = &[
    (Format::Iq4Nl, 0.15),
    (Format::Iq4Xs, 0.18),
    (Format::Tq1_0, 0.51),
    (Format::Tq2_0, 0.51),
    (Format::GgufMxfp4, 0.26),
    (Format::GgufNvfp4, 0.19),
    (affine(2), 0.51),
    (affine(3), 0.26),
    (affine(4), 0.13),
    (affine(5), 0.065),
    (affine(6), 0.033),
    (affine(8), 0.008),
    (Format::Mxfp4, 0.34),
    (Format::Nvfp4, 0.19),
    (Format::Mxfp8, 0.072),
    (Format::Fp8Block { rows: 2, cols: 96 }, 0.037),
    (Format::Q4_0, 0.126),
    (Format::Q4_1, 0.068),
    (Format::Q5_0, 0.063),
    (Format::Q5_1, 0.034),
    (Format::Q8_0, 0.005),
    (Format::Q2K, 0.60),
    (Format::Q3K, 0.35),
    (Format::Q4K, 0.16),
    (Format::Q5K, 0.09),
    (Format::Q6K, 0.04),
];

const fn affine(bits: u8) -> Format {
    Format::Affine { bits, group: 64, scale: ScaleType::F32 }
}

fn round_trip(format: Format, values: &[f32], rows: usize) -> Vec<f32> {
    let cols = values.len() / rows;
    let planes = format.encode(values, rows, cols).unwrap();
    let planes: Vec<&[u8]> = planes.iter().map(Vec::as_slice).collect();
    let mut decoded = vec![0.0; values.len()];
    format.decode(&planes, rows, cols, &mut decoded).unwrap();
    decoded
}

fn every_format() -> Vec<Format> {
    let mut formats = Format::ALL_BLOCK.to_vec();
    for bits in 0..=9 {
        formats.extend([ScaleType::F16, ScaleType::Bf16].map(|scale| Format::Affine {
            bits,
            group: 32,
            scale,
        }));
    }
    formats.extend([0, 100].map(|group| Format::Affine { bits: 4, group, scale: ScaleType::F32 }));
    formats.extend([Format::Mxfp4, Format::Nvfp4, Format::Mxfp8]);
    formats
        .extend([(0, 1), (1, 0), (2, 100), (128, 128)].map(|(rows, cols)| Format::Fp8Block { rows, cols }));
    formats
}

fn peak(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |peak, x| peak.max(x.abs()))
}

proptest! {
    #[test]
    fn decoded_values_are_near(values in prop::collection::vec(-1f32..1.0, 512), exponent in -8i32..8) {
        let values: Vec<f32> = values.iter().map(|x| x * (exponent as f32).exp2()).collect();
        for &(format, share) in BOUNDS {
            let decoded = round_trip(format, &values, 2);
            // A tile's factor serves both rows, so the bound is on the peak of all.
            let len = if format.block_len() == 1 { values.len() } else { format.block_len() };
            let blocks = values.chunks(len).zip(decoded.chunks(len));
            for (values, decoded) in blocks {
                let worst = values.iter().zip(decoded).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
                // NVFP4's scales end at 2^-9: half of that, six times, is what small groups may miss.
                let least = if matches!(format, Format::Nvfp4 | Format::GgufNvfp4) { 6.0 / 1024.0 } else { 0.0 };
                prop_assert!(worst <= share * peak(values) + least, "{format}: {worst} of {}", peak(values));
            }
        }
    }

    #[test]
    fn foreign_bytes_and_lengths_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..2048),
        (first, second) in (0usize..2048, 0usize..2048),
        (rows, cols, row) in (0usize..4, 0usize..1200, 0usize..5),
        whole in any::<bool>(),
    ) {
        let cols = if whole { cols / 256 * 256 } else { cols };
        let mut out = vec![0.0; cols];
        for format in every_format() {
            let (first, second) = (first.min(bytes.len()), second.min(bytes.len()));
            let planes = [&bytes[..], &bytes[first..], &bytes[second..]];
            let planes = &planes[..format.planes()];
            let fits = |(i, plane): (usize, &&[u8])| {
                format.plane_bytes(i, rows, cols).is_some_and(|needed| needed <= plane.len())
            };
            let fits = planes.iter().enumerate().all(fits) && row < rows;
            prop_assert_eq!(format.decode_row(planes, rows, cols, row, &mut out).is_ok(), fits, "{}", format);
        }
    }
}

#[test]
fn every_size_of_value_survives() {
    for &(format, _) in BOUNDS {
        for value in [0.0, 1e-40, -1e-30, 1e-8, 6e4, -1e9, f32::MAX, f32::MIN] {
            let mut values = vec![value; 256];
            values[7] = -value;
            assert!(round_trip(format, &values, 1).iter().all(|x| x.is_finite()), "{format} of {value}");
        }
        assert_eq!(round_trip(format, &[0.0; 256], 1), [0.0; 256]);
    }
}

#[test]
fn tiles_share_a_factor_and_may_be_ragged() {
    let format = Format::Fp8Block { rows: 2, cols: 3 };
    let values: Vec<f32> = (0..15).map(|i| [1.0, 448.0, -2.0][i / 5] * (1 + i % 5) as f32).collect();
    let planes = format.encode(&values, 3, 5).unwrap();
    assert_eq!(planes.iter().map(Vec::len).collect::<Vec<_>>(), [15, 2 * 2 * 4]);
    let factors: Vec<f32> =
        planes[1].chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert_eq!(factors, [3.0, 5.0, 6.0 / 448.0, 10.0 / 448.0]);
    let mut row = [0.0; 5];
    format.decode_row(&[&planes[0], &planes[1]], 3, 5, 1, &mut row).unwrap();
    assert_eq!([row[2], row[4]], [3.0 * 448.0, 5.0 * 448.0]);
}

#[test]
fn what_does_not_fit_is_named() {
    let mut out = [0.0; 32];
    let short = Format::Q8_0.decode_row(&[&[0; 33]], 1, 32, 0, &mut out).unwrap_err();
    assert_eq!(short.to_string(), "plane 0 of a [1, 32] Q8_0 array has 33 bytes, needs 34");
    assert!(matches!(
        Format::Q8_0.decode_row(&[], 1, 32, 0, &mut out),
        Err(QuantError::WrongPlaneCount { .. })
    ));
    let row = Format::Q8_0.decode_row(&[&[0; 34]], 1, 32, 1, &mut out);
    assert_eq!(row, Err(QuantError::RowOutOfRange { row: 1, rows: 1 }));
    let huge = Format::Q8_0.decode(&[&[0; 34]], usize::MAX, 32, &mut out);
    assert!(matches!(huge, Err(QuantError::BadShape { .. })));
    assert!(matches!(Format::Q4K.encode(&[0.0; 32], 1, 32), Err(QuantError::BadShape { .. })));
    let nan = Format::Q8_0.encode(&[f32::NAN; 32], 1, 32);
    assert_eq!(nan, Err(QuantError::NotFinite { format: Format::Q8_0, index: 0 }));
    assert_eq!(Format::Iq1S.encode(&[0.0; 256], 1, 256), Err(QuantError::NoEncoder { format: Format::Iq1S }));
}

/// The share of a bell curve's power that encoding may lose: ggml's own quantisers lose the shares listed.
#[test]
fn the_scale_search_earns_its_keep() {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / 16_777_216.0
    };
    let values: Vec<f32> = (0..256 * 64).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect();
    let power: f32 = values.iter().map(|x| x * x).sum();
    let limits = [
        (Format::Q2K, 0.0838),
        (Format::Q3K, 0.02185),
        (Format::Q4K, 0.00485),
        (Format::Q5K, 0.00126),
        (Format::Q6K, 0.0003023),
        (Format::Iq4Nl, 0.005612),
        (Format::Iq4Xs, 0.005705),
    ];
    for (format, ggml) in limits {
        let decoded = round_trip(format, &values, 1);
        let lost = values.iter().zip(&decoded).map(|(x, y)| (x - y) * (x - y)).sum::<f32>() / power;
        assert!(lost < 1.05 * ggml, "{format} loses {lost} of the power, ggml {ggml}");
    }
}
