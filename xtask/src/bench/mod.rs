//! `cargo xtask bench`: Lazuli beside its peers, on the same files, in one run; and its kernels format by format.

mod engines;
mod formats;
mod peers;
mod report;
mod subjects;
mod system;

use crate::failure::{Failure, Result};

const USAGE: &str = "\
Usage: cargo xtask bench <what>

What:
  peers [--models DIR] [--peers DIR] [--rounds N] [--tests LIST] [--only TEXT] [--formats LIST]
        [--out DIR]
      Lazuli against llama.cpp (default, and without repacking; flash attention on) and mlx-lm (where DIR/venv has
      it, for checkpoint folders), all GGUF files and folders of --models (default: LAZULI_MODELS or
      ~/.cache/lazuli-test-models), engines taking turns in every round (default 3). --peers (default:
      LAZULI_PEERS or ~/.cache/lazuli-peers) holds bin/llama-bench and bin/llama-completion. --tests picks from
      prefill,prefill-4096,decode,decode-4096,start (default: all); --only takes models whose name contains TEXT.
      --formats measures, in place of the models themselves, files of random weights with the shapes of the first
      GGUF file's first 8 layers, all matrices in one type of GGUF files: a list as IQ2_S,Q4_K, or all (--tests is
      then prefill,decode unless given). Prints Markdown, and writes it and JSON to --out (default: bench/record).
  formats [--json] [--only TEXT]
      Every weight format's products on one shape, on two threads: GB/s of weights and the share of the memory's
      bandwidth for one row of activations, operations per second for 512. --only takes formats whose name contains
      TEXT. LAZULI_SIMD picks a vector level. Prints Markdown, or JSON.
";

/// Runs the benchmark that `args` name.
pub fn run(args: &[String]) -> Result {
    match args.split_first() {
        Some((what, rest)) if what == "peers" => peers::run(&peers::Options::parse(rest)?),
        Some((what, rest)) if what == "formats" => formats::run(&formats::Options::parse(rest)?),
        Some((other, _)) if !["help", "--help", "-h"].contains(&other.as_str()) => {
            Err(Failure::new(format!("unknown benchmark `{other}`\n\n{USAGE}")))
        }
        _ => {
            print!("{USAGE}");
            Ok(())
        }
    }
}
