//! The `lazuli` binary: everything is in [`cli`].
#![forbid(unsafe_code)]

#[allow(dead_code, unused_imports, reason = "the frame stands before the commands that use all of it")]
mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
