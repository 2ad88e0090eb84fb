//! Encoding then decoding stays near the values; foreign bytes and lengths never panic.
#![allow(clippy::unwrap_used, reason = "a failed step of a test is the test's failure")]

use lazuli_quant::{Format, QuantError};
use proptest::prelude::*;

/// Formats with an encoder, and how far a decoded value may be from the original, as a share of the largest
/// magnitude among its block's values: the worst step that the format's document allows, a little rounded up.
const BOUNDS: &[(Format, f32)] = &[
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

fn round_trip(format: Format, values: &[f32], rows: usize) -> Vec<f32> {
    let cols = values.len() / rows;
    let planes = format.encode(values, rows, cols).unwrap();
    let planes: Vec<&[u8]> = planes.iter().map(Vec::as_slice).collect();
    let mut decoded = vec![0.0; values.len()];
    format.decode(&planes, rows, cols, &mut decoded).unwrap();
    decoded
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
            let blocks = values.chunks(format.block_len()).zip(decoded.chunks(format.block_len()));
            for (values, decoded) in blocks {
                let worst = values.iter().zip(decoded).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
                prop_assert!(worst <= share * peak(values), "{format}: {worst} of {}", peak(values));
            }
        }
    }

    #[test]
    fn foreign_bytes_and_lengths_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..2048),
        index in 0..Format::ALL_BLOCK.len(),
        (rows, cols, row) in (0usize..4, 0usize..1200, 0usize..5),
        whole in any::<bool>(),
    ) {
        let format = Format::ALL_BLOCK[index];
        let cols = if whole { cols / 256 * 256 } else { cols };
        let mut out = vec![0.0; cols];
        let fits = format.bytes(rows, cols).is_some_and(|needed| needed <= bytes.len()) && row < rows;
        let result = format.decode_row(&[&bytes], rows, cols, row, &mut out);
        if !matches!(result, Err(QuantError::NoDecoder { .. })) {
            prop_assert_eq!(result.is_ok(), fits);
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
