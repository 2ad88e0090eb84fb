//! Quantising streams: memory does not grow with the tensors. A process of its own, because it looks at all of it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use lazuli::Model;
use lazuli::quantize::{Container, Options, Plan, Scheme};
use lazuli::store::Progress;
use std::cell::Cell;
use std::fs::File;
use std::io::Write;

/// Elements of the largest tensor; its bytes in the source are twice that.
const LARGEST: usize = 16 << 20;

/// Private memory of this process, in bytes.
fn private() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Looks at memory at every piece.
#[derive(Default)]
struct Watch(Cell<u64>);

impl Progress for Watch {
    fn begin(&self, _: &str, _: Option<u64>, _: u64) {}
    fn at(&self, _: u64) {
        self.0.set(self.0.get().max(private()));
    }
    fn end(&self) {}
    fn note(&self, _: &str) {}
    fn stopped(&self) -> bool {
        false
    }
}

#[test]
fn peak_memory_stays_below_two_of_the_largest_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("model");
    std::fs::create_dir(&from).unwrap();
    std::fs::write(from.join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
    let rows = LARGEST / 1024;
    let entry = |first: usize| {
        format!(
            r#"{{"dtype":"BF16","shape":[{rows},1024],"data_offsets":[{},{}]}}"#,
            first,
            first + 2 * LARGEST
        )
    };
    let header = format!(r#"{{"a.weight":{},"b.weight":{}}}"#, entry(0), entry(2 * LARGEST));
    let mut file = File::create(from.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    // The rest is a hole: zeros that take no room.
    file.set_len((8 + header.len() + 4 * LARGEST) as u64).unwrap();
    let model = Model::open(&from).unwrap();
    for format in ["bf16", "mxfp8"] {
        let out = dir.path().join(format);
        let options = Options::new(Scheme::parse(format, Container::Folder).unwrap());
        let plan = Plan::new(model.checkpoint(), &out, options).unwrap();
        let (before, watch) = (private(), Watch::default());
        plan.write(&watch).unwrap();
        let grown = watch.0.get().saturating_sub(before);
        assert!(watch.0.get() > 0 && grown < 2 * LARGEST as u64, "{format}: {grown} bytes");
    }
}
