//! GGUF headers: any bytes parse or are refused, and every range handed out lies inside the file.
#![no_main]

use lazuli_io::MappedFile;
use lazuli_io::gguf::{Array, Gguf, Value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let file = MappedFile::from_bytes(data, "fuzz.gguf");
    let Ok(gguf) = Gguf::parse(&file) else { return };
    for tensor in &gguf.tensors {
        for plane in &tensor.planes {
            assert!(file.get(plane.bytes.clone()).is_some());
        }
    }
    for (_, value) in gguf.metadata.iter() {
        let _ = value.describe();
        match value {
            Value::Array(Array::Strings(strings)) => assert_eq!(strings.iter().count(), strings.len()),
            Value::Array(Array::Numbers(numbers)) => {
                let _ = (numbers.floats(), numbers.integers::<u32>());
            }
            _ => {}
        }
    }
});
