//! The planar formats hold what MLX 0.32 writes and mean what it reads.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is the test's failure")]

mod common;

use common::{Tensors, same};
use lazuli_quant::Format;
use lazuli_quant::float8::e4m3_to_f32;

const GOLDENS: &str = "tests/data/goldens.safetensors";
const ROWS: usize = 2;

const AFFINE: [&str; 7] = [
    "affine2g32-f32",
    "affine3g64",
    "affine4g64",
    "affine4g32-f16",
    "affine5g32",
    "affine6g128-f32",
    "affine8g128",
];
const SMALL_FLOATS: [&str; 3] = ["mxfp4", "nvfp4", "mxfp8"];

fn planes(file: &Tensors, format: Format) -> Vec<&[u8]> {
    (0..format.planes()).map(|plane| file.bytes(&format!("{format}.{plane}")).unwrap()).collect()
}

#[test]
fn planes_decode_to_mlx_floats() {
    let file = Tensors::read(GOLDENS);
    for name in AFFINE.iter().chain(&SMALL_FLOATS) {
        let format: Format = name.parse().unwrap();
        let expected = file.floats(&format!("{name}.f32")).unwrap();
        let mut decoded = vec![0.0; expected.len()];
        format.decode(&planes(&file, format), ROWS, expected.len() / ROWS, &mut decoded).unwrap();
        for (i, (&found, &expected)) in decoded.iter().zip(&expected).enumerate() {
            assert!(
                found == expected || same(found, expected),
                "{name} element {i}: {found} instead of {expected}"
            );
        }
    }
}

#[test]
fn affine_encodes_to_mlx_bytes() {
    let file = Tensors::read(GOLDENS);
    for name in AFFINE {
        let format: Format = name.parse().unwrap();
        let values = file.floats(if name.ends_with("f32") { "w" } else { "w.rounded" }).unwrap();
        let encoded = format.encode(&values, ROWS, values.len() / ROWS).unwrap();
        for (plane, (found, expected)) in encoded.iter().zip(planes(&file, format)).enumerate() {
            let wrong = found.iter().zip(expected).position(|(found, expected)| found != expected);
            assert_eq!((found.len(), wrong), (expected.len(), None), "{name} plane {plane}");
        }
    }
}

/// MLX's processors differ in how they break ties, so the codes may differ where two are equally near.
#[test]
fn small_floats_encode_as_near_as_mlx_with_the_same_scales() {
    let file = Tensors::read(GOLDENS);
    let values = file.floats("w").unwrap();
    for name in SMALL_FLOATS {
        let format: Format = name.parse().unwrap();
        let cols = values.len() / ROWS;
        let encoded = format.encode(&values, ROWS, cols).unwrap();
        assert_eq!(encoded[1], planes(&file, format)[1], "{name} scales");
        let mut decoded = vec![0.0; values.len()];
        format.decode(&[&encoded[0], &encoded[1]], ROWS, cols, &mut decoded).unwrap();
        let expected = file.floats(&format!("{name}.f32")).unwrap();
        for (i, x) in values.iter().enumerate() {
            let (found, expected) = ((decoded[i] - x).abs(), (expected[i] - x).abs());
            assert!(found <= expected, "{name} element {i}: {found} off, MLX is {expected} off");
        }
    }
}

#[test]
fn e4m3_means_what_mlx_reads() {
    let expected = Tensors::read(GOLDENS).floats("e4m3.f32").unwrap();
    for code in 0..=255u8 {
        assert!(same(e4m3_to_f32(code), expected[usize::from(code)]), "code {code}");
    }
}
