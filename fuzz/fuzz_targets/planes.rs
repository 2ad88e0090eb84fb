//! Weights kept in several tensors: whatever a folder's `config.json` and headers say, they are grouped or refused, and
//! what is grouped lies in the file and decodes, NaN scales and all.
//!
//! An input is a configuration, a zero byte, a safetensors header, a zero byte, and data that is repeated as often as the
//! header wants.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use lazuli_io::{Checkpoint, Encoding, TensorInfo};
use libfuzzer_sys::fuzz_target;

/// More than a megabyte of data shows nothing that less does not.
const MOST: u64 = 1 << 20;

/// A folder of this process.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("lazuli-fuzz-planes-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
    folder
});

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |&byte| byte == 0);
    let (Some(config), Some(header)) = (parts.next(), parts.next()) else { return };
    let seed = parts.next().filter(|seed| !seed.is_empty()).unwrap_or(&[0]);
    let Some(len) = data_bytes(header) else { return };
    let values = seed.iter().copied().cycle().take(len);
    let length = (header.len() as u64).to_le_bytes();
    let file: Vec<u8> = length.into_iter().chain(header.iter().copied()).chain(values).collect();
    std::fs::write(FOLDER.join("config.json"), config).expect("the folder is writable");
    std::fs::write(FOLDER.join("model.safetensors"), file).expect("the folder is writable");
    let opened = Checkpoint::open(&*FOLDER).and_then(Checkpoint::group_planes);
    match opened {
        Ok(checkpoint) => checkpoint.tensors().iter().for_each(|tensor| check(&checkpoint, tensor)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

/// Bytes that the header's ranges reach to, if it has any that are not absurd.
fn data_bytes(header: &[u8]) -> Option<usize> {
    let header: serde_json::Value = serde_json::from_slice(header).ok()?;
    let ends = header.as_object()?.values().filter_map(|entry| entry.get("data_offsets")?.get(1)?.as_u64());
    ends.max().map(|end| end.min(MOST) as usize)
}

fn check(checkpoint: &Checkpoint, tensor: &TensorInfo) {
    if let Encoding::Quant(format) = tensor.encoding {
        let cols = *tensor.shape.last().expect("a packed tensor has rows");
        let rows: usize = tensor.shape[..tensor.shape.len() - 1].iter().product();
        let planes: Vec<&[u8]> =
            (0..tensor.planes.len()).map(|plane| checkpoint.plane(tensor, plane)).collect();
        // Two bits a code: no more than four times the bytes.
        let mut out = vec![0.0; rows * cols];
        format.decode(&planes, rows, cols, &mut out).expect("grouped planes fit their format");
    }
    let _ = checkpoint.array_of(tensor);
}
