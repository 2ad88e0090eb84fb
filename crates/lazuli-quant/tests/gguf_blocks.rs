//! Every block format decodes to exactly the floats that gguf-py 0.19 gives for the same bytes, and the formats it
//! encodes get its bytes.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is the test's failure")]

mod common;

use common::{Tensors, same};
use lazuli_quant::Format;

const BLOCKS: &str = "../lazuli-testkit/fixtures/gguf-blocks.safetensors";
const GOLDENS: &str = "tests/data/goldens.safetensors";

#[test]
fn decoding_is_bit_exact() {
    let (blocks, goldens) = (Tensors::read(BLOCKS), Tensors::read(GOLDENS));
    for &format in Format::ALL_BLOCK {
        let file = if matches!(format, Format::Iq1M | Format::GgufNvfp4) { &goldens } else { &blocks };
        let raw = file.bytes(&format!("{format}.raw")).unwrap();
        let expected = file.floats(&format!("{format}.f32")).unwrap();
        let mut decoded = vec![0.0; expected.len()];
        format.decode(&[raw], 1, expected.len(), &mut decoded).unwrap();
        for (i, (&found, &expected)) in decoded.iter().zip(&expected).enumerate() {
            assert!(same(found, expected), "{format} element {i}: {found} instead of {expected}");
        }
    }
}

#[test]
fn a_row_in_the_middle_is_found() {
    let file = Tensors::read(BLOCKS);
    for format in [Format::Q8_0, Format::Q4K, Format::Q6K] {
        let raw = file.bytes(&format!("{format}.raw")).unwrap();
        let expected = file.floats(&format!("{format}.f32")).unwrap();
        let cols = expected.len() / 3;
        let mut decoded = vec![0.0; cols];
        format.decode_row(&[raw], 3, cols, 1, &mut decoded).unwrap();
        assert!(
            decoded.iter().zip(&expected[cols..]).all(|(&found, &expected)| same(found, expected)),
            "{format}"
        );
    }
}

#[test]
fn formats_without_a_search_encode_to_the_reference_bytes() {
    let file = Tensors::read(GOLDENS);
    let values = file.floats("w").unwrap();
    let formats = [
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q8_0,
        Format::Tq1_0,
        Format::Tq2_0,
        Format::GgufMxfp4,
    ];
    for format in formats {
        let expected = file.bytes(&format!("{format}.encoded")).unwrap();
        let planes = format.encode(&values, 2, values.len() / 2).unwrap();
        let wrong = planes[0].iter().zip(expected).position(|(found, expected)| found != expected);
        assert_eq!((planes[0].len(), wrong), (expected.len(), None), "{format}");
    }
}
