//! `lazuli synth`: a checkpoint of true shapes with random weights.

use super::ui::bytes;
use super::{Context, Failure};
use lazuli::quantize::Container;
use lazuli::synth::{Synth, SynthError, SynthFile, SynthFormat};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Write a checkpoint with random weights
#[derive(clap::Args, Debug)]
#[command(after_help = "\
For tests of memory and speed at true sizes without the true weights. What such a model says is noise.

MODEL is a config.json of any supported architecture, or one of llama-3.2-1b, llama-3.1-8b, llama-3.3-70b, deepseek-r1, \
gpt-oss-20b, qwen3-30b-a3b. Where the first layers of a model have no experts, fewer layers keep one that has. \
For an OUT that ends in .gguf, MODEL is a GGUF file, whose settings, tokenizer and shapes are taken.

Formats of folders:    bf16, q4 and q8 (MLX, groups of 64), mxfp4 (MLX; of gpt_oss as published),
                       fp8 (DeepSeek's 8-bit floats in tiles of 128 x 128)
Formats of GGUF files: BF16, F16 and all block types (Q4_K, IQ2_XS, TQ1_0, MXFP4, ...)

Examples:
  lazuli synth llama-3.1-8b 8b-q4 --format q4
  lazuli synth deepseek-r1 r1-4 --format q4 --layers 4
  lazuli bench 8b-q4
  lazuli synth model-q4_k_m.gguf model-iq2_xs.gguf --format iq2_xs --layers 8")]
pub struct Args {
    /// Settings, the name of a known model, or a GGUF file
    #[arg(value_name = "MODEL")]
    model: String,
    /// The folder to make, or a file that ends in .gguf
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// How weights are packed, in any case
    #[arg(long, value_name = "F", default_value = "bf16")]
    format: String,
    /// How many layers to write [default: all]
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
}

/// What is to be written.
enum Subject {
    Folder(Synth),
    File(SynthFile),
}

impl Subject {
    fn new(args: &Args) -> Result<Self, Failure> {
        Ok(match Container::of(&args.out) {
            Container::Folder => {
                Self::Folder(Synth::new(&args.model, SynthFormat::parse(&args.format)?, args.layers)?)
            }
            Container::Gguf => Self::File(SynthFile::new(args.model.as_ref(), &args.format, args.layers)?),
        })
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Folder(synth) => synth.bytes(),
            Self::File(synth) => synth.bytes(),
        }
    }

    fn write(&self, out: &Path, progress: &mut dyn FnMut(u64) -> bool) -> Result<(), Failure> {
        let written = match self {
            Self::Folder(synth) => synth.write(out, progress),
            Self::File(synth) => synth.write(out, progress),
        };
        match written {
            Err(SynthError::Interrupted) => Err(Failure::Interrupted),
            other => Ok(other?),
        }
    }
}

/// Writes the folder or file and says so, or prints `{"path", "bytes"}`.
pub fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let synth = Subject::new(args)?;
    let bar = cx.ui().bytes_bar(&args.out.display().to_string(), synth.bytes());
    let interrupt = cx.interrupt();
    let written = synth.write(&args.out, &mut |done| {
        bar.set_position(done);
        interrupt.check().is_ok()
    });
    bar.finish_and_clear();
    written?;
    if cx.json() {
        return cx.print_json(&json!({"path": args.out, "bytes": synth.bytes()}));
    }
    Ok(cx.out().line(&format!("{} ({})", args.out.display(), bytes(synth.bytes())))?)
}
