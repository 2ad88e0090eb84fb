//! `lazuli synth`: a checkpoint of true shapes with random weights.

use super::ui::bytes;
use super::{Context, Failure};
use lazuli::synth::{Synth, SynthError, SynthFormat};
use serde_json::json;
use std::path::PathBuf;

/// Write a checkpoint with random weights
#[derive(clap::Args, Debug)]
#[command(after_help = "\
For tests of memory and speed at true sizes without the true weights. What such a model says is noise.

MODEL is a config.json of any supported architecture, or one of llama-3.2-1b, llama-3.1-8b, llama-3.3-70b, deepseek-r1, \
gpt-oss-20b, qwen3-30b-a3b. Where the first layers of a model have no experts, fewer layers keep one that has.

Examples:
  lazuli synth llama-3.1-8b 8b-q4 --format q4
  lazuli synth deepseek-r1 r1-4 --format q4 --layers 4
  lazuli bench 8b-q4")]
pub struct Args {
    /// Settings, or the name of a known model
    #[arg(value_name = "MODEL")]
    model: String,
    /// The folder to make
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// How weights are packed
    #[arg(long, value_enum, value_name = "F", default_value_t = FormatArg::Bf16)]
    format: FormatArg,
    /// How many layers to write [default: all]
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
}

#[derive(clap::ValueEnum, Debug, Clone, Copy)]
enum FormatArg {
    /// bfloat16
    Bf16,
    /// MLX, 4 bits in groups of 64
    Q4,
    /// MLX, 8 bits in groups of 64
    Q8,
    /// MLX, MXFP4; of gpt_oss as published
    Mxfp4,
    /// DeepSeek's 8-bit floats in tiles of 128 x 128
    Fp8,
}

impl From<FormatArg> for SynthFormat {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Bf16 => Self::Bf16,
            FormatArg::Q4 => Self::Q4,
            FormatArg::Q8 => Self::Q8,
            FormatArg::Mxfp4 => Self::Mxfp4,
            FormatArg::Fp8 => Self::Fp8,
        }
    }
}

/// Writes the folder and says so, or prints `{"path", "bytes"}`.
pub fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let synth = Synth::new(&args.model, args.format.into(), args.layers)?;
    let bar = cx.ui().bytes_bar(&args.out.display().to_string(), synth.bytes());
    let interrupt = cx.interrupt();
    let written = synth.write(&args.out, &mut |done| {
        bar.set_position(done);
        interrupt.check().is_ok()
    });
    bar.finish_and_clear();
    match written {
        Err(SynthError::Interrupted) => return Err(Failure::Interrupted),
        other => other?,
    }
    if cx.json() {
        return cx.print_json(&json!({"path": args.out, "bytes": synth.bytes()}));
    }
    Ok(cx.out().line(&format!("{} ({})", args.out.display(), bytes(synth.bytes())))?)
}
