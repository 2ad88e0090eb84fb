//! Opening a model touches its headers, whatever its size. A process of its own, because it looks at all of it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use lazuli_io::gguf::{GgufWriter, Value};
use lazuli_io::{Checkpoint, Encoding};
use lazuli_quant::Format;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

const LAYERS: usize = 40;
const ROWS: usize = 4096;
const COLS: usize = 11264;
const GIGABYTE: u64 = 1_000_000_000;

/// Bytes of a kind of memory of this process.
fn resident(kind: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(kind)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// An MLX folder of more than a gigabyte whose weights are a hole.
fn mlx_folder(folder: &Path) -> u64 {
    std::fs::write(folder.join("config.json"), r#"{"quantization": {"group_size": 64, "bits": 4}}"#).unwrap();
    let (mut header, mut end) = (String::from("{"), 0);
    let mut tensor = |name: String, dtype: &str, cols: usize, bytes: usize| {
        let start = end;
        end += ROWS * cols * bytes;
        let comma = if header.len() > 1 { "," } else { "" };
        write!(
            header,
            r#"{comma}"{name}":{{"dtype":"{dtype}","shape":[{ROWS},{cols}],"data_offsets":[{start},{end}]}}"#
        )
        .unwrap();
    };
    for layer in 0..LAYERS {
        tensor(format!("l.{layer}.weight"), "U32", COLS / 8, 4);
        tensor(format!("l.{layer}.scales"), "BF16", COLS / 64, 2);
        tensor(format!("l.{layer}.biases"), "BF16", COLS / 64, 2);
    }
    header.push('}');
    let header = format!("{header:<width$}", width = header.len().next_multiple_of(8));
    let mut file = File::create(folder.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
    end as u64
}

fn gguf_file(path: &Path) -> u64 {
    let mut writer = GgufWriter::create(path, 32);
    writer.set("general.architecture", &Value::Str("llama".to_owned())).unwrap();
    let format = Encoding::Quant(Format::Q4K);
    let end: usize =
        (0..LAYERS).map(|l| writer.declare(&format!("l.{l}.weight"), &[ROWS, COLS], format).unwrap()).sum();
    let bytes = writer.file_bytes() as u64;
    drop(writer.begin().unwrap());
    OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
    end as u64
}

#[test]
fn a_gigabyte_is_opened_by_its_headers() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("model.gguf");
    for (path, bytes) in [(dir.path(), mlx_folder(dir.path())), (&*file, gguf_file(&file))] {
        assert!(bytes > GIGABYTE, "{bytes}");
        let (anon, mapped) = (resident("RssAnon"), resident("RssFile"));
        let checkpoint = Checkpoint::open(path).unwrap().group_planes().unwrap();
        let arrays: Vec<_> = checkpoint.tensors().iter().map(|t| checkpoint.array_of(t).unwrap()).collect();
        assert_eq!(arrays.len(), LAYERS);
        assert_eq!(arrays[LAYERS - 1].shape(), &[ROWS, COLS].into());
        let grown = |before: u64, kind: &str| resident(kind).saturating_sub(before);
        let (allocated, read) = (grown(anon, "RssAnon"), grown(mapped, "RssFile"));
        assert!(allocated < 50_000_000, "{}: {allocated} bytes allocated", path.display());
        assert!(read < 10_000_000, "{}: {read} bytes read", path.display());
    }
}
