//! Every block format decodes to exactly the floats that gguf-py 0.19 gives for the same bytes.
#![allow(clippy::unwrap_used, reason = "a failed step of a test is the test's failure")]

use lazuli_quant::{Format, QuantError};

/// The bytes of tensor `name` in a safetensors file: enough of a parser for one trusted fixture.
fn tensor<'a>(file: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let header_len = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let (header, data) = file[8..].split_at(header_len);
    let header = std::str::from_utf8(header).unwrap();
    let entry = header.split_once(&format!("\"{name}\":"))?.1;
    let offsets = entry.split_once("\"data_offsets\":[")?.1.split_once(']')?.0;
    let (start, end) = offsets.split_once(',')?;
    Some(&data[start.trim().parse().unwrap()..end.trim().parse().unwrap()])
}

fn fixture() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../lazuli-testkit/fixtures/gguf-blocks.safetensors");
    std::fs::read(path).unwrap()
}

fn expected(file: &[u8], format: Format) -> Option<(Vec<u8>, Vec<f32>)> {
    let raw = tensor(file, &format!("{format}.raw"))?.to_vec();
    let floats = tensor(file, &format!("{format}.f32"))?;
    let floats = floats.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    Some((raw, floats))
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[test]
fn decoding_is_bit_exact() {
    let file = fixture();
    for &format in Format::ALL_BLOCK {
        let Some((raw, expected)) = expected(&file, format) else {
            assert_eq!(format, Format::Iq1M, "{format} has no fixture");
            continue;
        };
        let mut decoded = vec![0.0; expected.len()];
        match format.decode(&[&raw], 1, expected.len(), &mut decoded) {
            Err(QuantError::NoDecoder { .. }) => continue,
            result => result.unwrap(),
        }
        for (i, (&found, &expected)) in decoded.iter().zip(&expected).enumerate() {
            assert!(same(found, expected), "{format} element {i}: {found} instead of {expected}");
        }
    }
}

#[test]
fn a_row_in_the_middle_is_found() {
    let file = fixture();
    for format in [Format::Q8_0, Format::Q4K, Format::Q6K] {
        let (raw, expected) = expected(&file, format).unwrap();
        let cols = expected.len() / 3;
        let mut decoded = vec![0.0; cols];
        format.decode_row(&[&raw], 3, cols, 1, &mut decoded).unwrap();
        assert!(
            decoded.iter().zip(&expected[cols..]).all(|(&found, &expected)| same(found, expected)),
            "{format}"
        );
    }
}
