//! Checks for machines that we do not sit at: types for Apple silicon, tests on 64-bit Arm under qemu.
//!
//! Uses the target's standard library where the toolchain has it. Otherwise builds it from the source that
//! Debian packages beside a compiler of the same version, which needs neither rustup nor a download by cargo.
//! Where tools are missing and cannot be installed, a check is skipped with a reason; with `CI=true` it fails.

use std::path::Path;
use std::process::Command;

use crate::failure::{Failure, Result};
use crate::shell;

const APPLE: &str = "aarch64-apple-darwin";
const ARM: &str = "aarch64-unknown-linux-gnu";
const RUSTC: &str = "/usr/bin/rustc";
const LIBRARY: &str = "/usr/lib/rustlib/src/rust/library";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";

/// How a check ended, if it did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Skipped(String),
}

/// Where a target's standard library comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Library {
    /// The toolchain in use has it compiled.
    Installed,
    /// Debian's compiler builds it from source.
    Source,
}

/// Type-checks for Apple silicon; nothing is linked or run. `args` go to cargo (default: `--workspace`).
pub fn check_apple(args: &[String]) -> Result<Outcome> {
    let library = match library(APPLE) {
        Ok(library) => library,
        Err(missing) => return skip("check-apple", missing),
    };
    let mut cargo = shell::cargo();
    cargo.args(["check", "--target", APPLE, "--target-dir", "target/apple"]);
    if library == Library::Source {
        from_source(&mut cargo).args(["-Z", "build-std=std,panic_abort"]);
    }
    shell::run(cargo.args(or_default(args, &["--workspace"])))?;
    Ok(Outcome::Passed)
}

/// Runs library, binary and integration tests under qemu with all the features it has (NEON, dotprod, i8mm).
/// `args` go to cargo (default: the crates with vector code).
pub fn test_arm64(args: &[String]) -> Result<Outcome> {
    let library = match library(ARM) {
        Ok(library) => library,
        Err(missing) => return skip("test-arm64", missing),
    };
    let tools = || shell::has(LINKER) && shell::has(EMULATOR);
    if !tools() && !install(&["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user"]) {
        return skip(
            "test-arm64",
            format!("needs {LINKER} and {EMULATOR} (a cross linker and qemu's user mode)"),
        );
    }
    let mut cargo = shell::cargo();
    cargo.args(["test", "--lib", "--bins", "--tests", "--target", ARM, "--target-dir", "target/arm64"]);
    if library == Library::Source {
        from_source(&mut cargo).args(["-Z", "build-std"]).env("RUSTDOC", "/usr/bin/rustdoc");
    }
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER).env(
        "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER",
        "qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu",
    );
    shell::run(cargo.args(or_default(args, &["-p", "lazuli-quant", "-p", "lazuli-cpu"])))?;
    Ok(Outcome::Passed)
}

/// Finds (or installs) a standard library for `target`; the error says what is missing.
fn library(target: &str) -> std::result::Result<Library, String> {
    let mut query = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    query.args(["--print", "target-libdir", "--target", target]).current_dir(shell::root());
    if shell::output(&mut query).is_ok_and(|dir| Path::new(dir.trim()).is_dir()) {
        return Ok(Library::Installed);
    }
    let packaged = || Path::new(LIBRARY).is_dir() && Path::new(RUSTC).is_file();
    if packaged() || (install(&["rustc-web", "rust-web-src"]) && packaged()) {
        return Ok(Library::Source);
    }
    Err(format!(
        "needs the standard library of {target}: `rustup target add {target}`, or on Debian `apt-get install \
         rustc-web rust-web-src`"
    ))
}

/// Lets Debian's stable compiler take the unstable flag that builds the standard library.
fn from_source(cargo: &mut Command) -> &mut Command {
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", RUSTC).env_remove("RUSTUP_TOOLCHAIN")
}

/// Installs Debian packages if this is root on a machine with apt; false if it is not, or apt lacks them.
fn install(packages: &[&str]) -> bool {
    let is_root = || shell::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !shell::has("apt-get") || !is_root() {
        return false;
    }
    println!("installing {}", packages.join(" "));
    let apt = |args: &[&str]| {
        shell::output(Command::new("apt-get").arg("-qq").args(args).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    let done = apt(&["update"])
        .and_then(|_| apt(&[&["install", "-y", "--no-install-recommends"], packages].concat()));
    if let Err(failure) = &done {
        println!("{failure}");
    }
    done.is_ok()
}

fn skip(task: &str, reason: String) -> Result<Outcome> {
    if shell::is_ci() {
        return Err(Failure::new(format!("{task} {reason}; with CI=true nothing is skipped")));
    }
    println!("{task} skipped: {reason}");
    Ok(Outcome::Skipped(reason))
}

fn or_default<'a>(args: &'a [String], default: &[&'a str]) -> Vec<&'a str> {
    if args.is_empty() { default.to_vec() } else { args.iter().map(String::as_str).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_replace_the_default() {
        assert_eq!(or_default(&[], &["--workspace"]), ["--workspace"]);
        assert_eq!(or_default(&["-p".into(), "x".into()], &["--workspace"]), ["-p", "x"]);
    }

    #[test]
    fn the_compiler_in_use_has_its_own_library() {
        let host = shell::output(Command::new("rustc").arg("-vV")).unwrap();
        let host = host.lines().find_map(|l| l.strip_prefix("host: ")).unwrap();
        assert_eq!(library(host), Ok(Library::Installed));
    }
}
