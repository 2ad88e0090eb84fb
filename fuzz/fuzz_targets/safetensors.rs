//! Safetensors headers: any bytes parse or are refused, and the tensors tile the data section.
#![no_main]

use lazuli_io::MappedFile;
use lazuli_io::safetensors::Safetensors;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The first byte of the input stands for the header's eight-byte length, which mutation seldom gets right.
    let Some((&padding, header)) = data.split_first() else { return };
    let len = header.len().saturating_sub(usize::from(padding)) as u64;
    let bytes = [&len.to_le_bytes()[..], header].concat();
    let file = MappedFile::from_bytes(bytes, "fuzz.safetensors");
    let Ok(parsed) = Safetensors::parse(&file) else { return };
    let covered: usize = parsed.tensors.iter().map(lazuli_io::TensorInfo::bytes).sum();
    assert_eq!(covered, file.len() - 8 - len as usize);
    for tensor in &parsed.tensors {
        assert!(file.get(tensor.planes[0].bytes.clone()).is_some());
    }
});
