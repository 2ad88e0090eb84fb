//! Running other programs, and where the workspace is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Failure, Result};

/// The workspace's root folder.
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// The cargo that runs us, or the one on the path.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs `command` with its output visible.
pub fn run(command: &mut Command) -> Result {
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|e| Failure::new(format!("cannot start `{}`: {e}", shown(command))))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("`{}` failed: {status}", shown(command))))
    }
}

/// Runs `command` and returns what it printed to standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let out = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| Failure::new(format!("cannot start `{}`: {e}", shown(command))))?;
    if !out.status.success() {
        let errors = String::from_utf8_lossy(&out.stderr);
        return Err(Failure::new(format!("`{}` failed: {}\n{errors}", shown(command), out.status)));
    }
    String::from_utf8(out.stdout)
        .map_err(|_| Failure::new(format!("`{}` printed bytes that are not UTF-8", shown(command))))
}

/// Whether a program of this name is on the path.
pub fn has(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Whether this runs on a machine whose job is to check (`CI=true`), where nothing may be skipped.
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_named() {
        let message = run(Command::new("false").arg("--really")).unwrap_err().to_string();
        assert!(message.starts_with("`false --really` failed"), "{message}");
        assert!(output(&mut Command::new("no-such-program-here")).is_err());
    }

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().join("crates/lazuli/Cargo.toml").is_file());
    }
}
