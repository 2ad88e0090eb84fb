//! `lazuli quantize`: a checkpoint in another format, as a folder in MLX's layout or a GGUF file.

mod measure;
mod report;

use super::bars::Bars;
use super::options::{Precision, Threads};
use super::ui::{bytes, duration};
use super::{Context, Failure};
use lazuli::Model;
use lazuli::quantize::{Container, Existing, Options, Override, PackedSource, Plan, QuantizeError, Scheme};
use measure::Measured;
use report::Report;
use std::path::PathBuf;
use std::time::Instant;

/// Write a model in another weight format
#[derive(clap::Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(after_help = "\
The source is a checkpoint folder or a GGUF file whose weights are f32, f16 or bf16. A target that ends in .gguf is a GGUF \
file, any other a folder in MLX's layout, which mlx-lm reads too. It appears when it is complete.

Formats of folders:    q4 (4g64), q8 (8g64), <bits>g<group> with 2, 3, 4, 5, 6 or 8 bits in groups of 32, 64 or 128,
                       mxfp4, nvfp4, mxfp8
Formats of GGUF files: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q2_K_S, Q3_K_S, Q3_K_M, Q3_K_L, Q4_K_S, Q4_K_M, Q5_K_S,
                       Q5_K_M, Q6_K, IQ4_NL, IQ4_XS, TQ1_0, TQ2_0, MXFP4, NVFP4
Formats of both:       bf16, f16, f32

GGUF formats are mixtures: which tensors get more bits, and what rows fall back to that do not divide into blocks, is as \
in llama.cpp without an importance matrix. --layer names tensors as the target does; * stands for any characters.

Examples:
  lazuli quantize path/to/folder out-4bit --format q4
  lazuli quantize path/to/folder out --format 3g64 --layer '*down_proj=6g64' --layer 'lm_head=q8'
  lazuli quantize model-bf16.gguf model-Q4_K_M.gguf --format Q4_K_M --measure --text text.txt
  lazuli quantize model-bf16.gguf model-Q5_K_M.gguf --format Q5_K_M --dry-run")]
pub struct Args {
    /// What to read: a path, an alias, or a name on the hub
    #[arg(value_name = "SRC")]
    source: String,
    /// What to write: a file that ends in .gguf, or a folder
    #[arg(value_name = "OUT")]
    target: PathBuf,
    /// The format, in any case
    #[arg(long, short, value_name = "FORMAT")]
    format: String,
    /// The format of the tensors whose names match; the last one that matches counts
    #[arg(long, value_name = "PATTERN=FORMAT")]
    layer: Vec<String>,
    /// Say what would be written, and how large it would be
    #[arg(long)]
    dry_run: bool,
    /// Decode a source that is packed already, which loses more than beginning with the original
    #[arg(long)]
    requantize: bool,
    /// Replace a target that exists
    #[arg(long)]
    force: bool,
    /// Measure perplexity before and after on --text, and how far the predictions are apart
    #[arg(long, requires = "text", conflicts_with = "dry_run")]
    measure: bool,
    /// The text for --measure, in UTF-8
    #[arg(long, value_name = "FILE", requires = "measure")]
    text: Option<PathBuf>,
    /// How --measure computes
    #[arg(long, value_enum, default_value_t = Precision::Fast)]
    precision: Precision,
    #[command(flatten)]
    threads: Threads,
}

/// Prints an estimate, then a [`Report`]; or under `--json` the report alone.
pub fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let container = Container::of(&args.target);
    let mut options = Options::new(Scheme::parse(&args.format, container)?);
    options.overrides =
        args.layer.iter().map(|text| Override::parse(text, container)).collect::<Result<_, _>>()?;
    if let Some(threads) = args.threads.threads {
        options.threads = threads.get();
    }
    if args.requantize {
        options.packed_source = PackedSource::Decode;
    }
    if args.force {
        options.existing = Existing::Replace;
    }
    let model = Model::open(cx.model(Some(&args.source))?.path)?;
    let checkpoint = model.checkpoint();
    let plan = Plan::new(checkpoint, &args.target, options)?;
    let text = args.text.as_deref().map(super::perplexity::read_text).transpose()?;
    let mut report = Report::new(&plan, checkpoint, &args.target, &args.format)?;
    if args.dry_run {
        return if cx.json() { cx.print_json(&report) } else { Ok(cx.out().line(&report.text())?) };
    }
    // The room that the target needs is only asked for here, so that a dry run works on a full disk.
    plan.check()?;
    cx.ui().note(report.estimate());
    let start = Instant::now();
    report.errors(&plan, &write(&plan, cx)?);
    let time = start.elapsed();
    report.seconds = Some(time.as_secs_f64());
    if let Some(text) = text {
        let target = Model::open(&args.target)?;
        report.measured = Some(measure::measure(&model, &target, &text, args.precision, args.threads, cx)?);
    }
    if cx.json() {
        return cx.print_json(&report);
    }
    cx.out().line(&report.text())?;
    let (path, size) = (args.target.display(), bytes(report.bytes));
    Ok(cx.out().line(&format!("\n{path}: {size} in {}", duration(time)))?)
}

fn write(plan: &Plan, cx: &Context) -> Result<Vec<f64>, Failure> {
    let interrupt = cx.interrupt();
    let bars = Bars::new(cx.ui(), move || interrupt.is_set());
    match plan.write(&bars) {
        Err(QuantizeError::Interrupted) => Err(Failure::Interrupted),
        other => Ok(other?),
    }
}
