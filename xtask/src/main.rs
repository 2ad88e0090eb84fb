//! Project tasks: `cargo xtask <task>`.
//!
//! Owns the list of tasks and how the command line is read. Each task lives in a module of its own;
//! nothing here knows what the engine does.
#![forbid(unsafe_code)]

mod bench;
mod ci;
mod cross;
mod failure;
mod gen_docs;
mod metadata;
mod shell;
mod size;
mod source;
mod tidy;

use std::process::ExitCode;

use failure::{Failure, Result};

const USAGE: &str = "\
Project tasks.

Usage: cargo xtask <task>

Tasks:
  ci [--full]                 fmt, tidy, clippy, gen --check, size --check, check-apple; --full also test-arm64
  tidy [--verbose]            the rules that the compiler does not check; --verbose also lists long files and functions
  gen [--check]               write the generated regions of README.md and docs/, or fail where they are out of date
  size [--check]              lines per crate, dependencies and size of the binary; --check fails above the budgets
  check-apple [cargo args]    type-check for Apple silicon (default: --workspace)
  bench formats [options]     the kernels of every weight format beside the machine's memory bandwidth
  bench peers [options]       Lazuli beside llama.cpp and mlx-lm on the same files; `bench` lists the options
  test-arm64 [cargo args]     run tests on 64-bit Arm under qemu (default: -p lazuli-quant -p lazuli-cpu)
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result {
    let Some((task, rest)) = args.split_first() else {
        print!("{USAGE}");
        return Ok(());
    };
    match task.as_str() {
        "ci" => ci::run(if flag(rest, "--full")? { ci::Extent::Full } else { ci::Extent::Native }),
        "tidy" => {
            tidy::run(if flag(rest, "--verbose")? { tidy::Detail::Verbose } else { tidy::Detail::Failures })
        }
        "gen" => {
            gen_docs::run(if flag(rest, "--check")? { gen_docs::Mode::Check } else { gen_docs::Mode::Write })
        }
        "size" => size::run(if flag(rest, "--check")? { size::Mode::Check } else { size::Mode::Print }),
        "check-apple" => cross::check_apple(rest).map(|_| ()),
        "test-arm64" => cross::test_arm64(rest).map(|_| ()),
        "bench" => bench::run(rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => Err(Failure::new(format!("unknown task `{other}`\n\n{USAGE}"))),
    }
}

/// Whether the only option a task has was given; anything else is refused by name.
fn flag(args: &[String], name: &str) -> Result<bool> {
    match args {
        [] => Ok(false),
        [only] if only == name => Ok(true),
        _ => Err(Failure::new(format!("found `{}`, expected {name} or nothing", args.join(" ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_option_is_refused_by_name() {
        let args = ["--fsat".to_string()];
        assert!(flag(&args, "--fast").unwrap_err().to_string().contains("--fsat"));
        assert!(flag(&["--fast".to_string()], "--fast").unwrap());
        assert!(!flag(&[], "--fast").unwrap());
    }
}
