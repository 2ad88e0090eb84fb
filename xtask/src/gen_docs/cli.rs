//! docs/CLI.md: what `lazuli --help` says, and `--help` of every command it lists.
//!
//! Runs the built binary, so that the page cannot differ from the program. Prefers the release build if there is
//! one (CI has it already) and builds the development one otherwise.

use std::process::Command;

use crate::failure::{Failure, Result};
use crate::shell;

const INTRO: &str = "# The command line\n\nWritten by `cargo xtask gen` from the program's own help.\n";

/// The whole page, or `None` (with a line that says so) while the program has no help to show.
pub fn reference() -> Result<Option<String>> {
    let root = shell::root();
    let release = root.join("target/release/lazuli");
    let mut build = shell::cargo();
    build.args(["build", "--quiet", "--package", "lazuli", "--bin", "lazuli"]);
    let binary = if release.is_file() {
        build.arg("--release");
        release
    } else {
        root.join("target/debug/lazuli")
    };
    shell::run(&mut build)?;
    let help = |command: &[&str]| {
        let mut program = Command::new(&binary);
        // The page must not depend on the terminal or the settings of whoever writes it.
        program.args(command).arg("--help").env_remove("COLUMNS").env("NO_COLOR", "1");
        shell::output(&mut program)
    };
    let page = render(&help)?;
    if page.is_none() {
        println!("docs/CLI.md left alone: `lazuli --help` prints nothing yet");
    }
    Ok(page)
}

fn render(help: &dyn Fn(&[&str]) -> Result<String>) -> Result<Option<String>> {
    let top = help(&[])?;
    if top.trim().is_empty() {
        return Ok(None);
    }
    let mut page = String::from(INTRO);
    section(&mut page, &["lazuli"], &top);
    for command in commands(&top) {
        let text = help(&[&command])?;
        if text.trim().is_empty() {
            return Err(Failure::new(format!("`lazuli {command} --help` prints nothing")));
        }
        section(&mut page, &["lazuli", &command], &text);
    }
    Ok(Some(page))
}

fn section(page: &mut String, command: &[&str], help: &str) {
    let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    let title = command.join(" ");
    page.extend(["\n## `", &title, "`\n\n```text\n", &lines.join("\n"), "\n```\n"]);
}

/// The names listed below a line that reads `Commands:` or `Subcommands:`, up to the next line that is not
/// indented. Deeper-indented lines continue a description.
fn commands(help: &str) -> Vec<String> {
    let is_title = |line: &&str| matches!(line.trim(), "Commands:" | "Subcommands:");
    let list: Vec<&str> = help
        .lines()
        .skip_while(|line| !is_title(line))
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with(' '))
        .filter(|line| !line.trim().is_empty())
        .collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let least = list.iter().map(|line| indent(line)).min().unwrap_or(0);
    list.iter()
        .filter(|line| indent(line) == least)
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help" && !name.starts_with('-'))
        .map(|name| name.trim_end_matches(',').to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: &str = "Runs models.\n\nUsage: lazuli <COMMAND>\n\nCommands:\n  run    Answer a prompt\n           at \
        length\n  pull   Fetch a model\n  help   This\n\nOptions:\n  -h, --help\n";

    #[test]
    fn commands_are_read_from_the_list() {
        assert_eq!(commands(TOP), ["run", "pull"]);
        assert!(commands("Usage: lazuli\n").is_empty());
    }

    #[test]
    fn each_command_gets_a_section() {
        let help =
            |command: &[&str]| Ok(command.first().map_or(TOP.to_string(), |c| format!("About {c}. \n\n")));
        let page = render(&help).unwrap().unwrap();
        assert!(page.contains("## `lazuli run`\n\n```text\nAbout run.\n```\n"), "{page}");
        assert!(page.contains("## `lazuli pull`"));
        assert!(!page.contains("## `lazuli help`"));
    }

    #[test]
    fn silence_is_no_page_but_a_silent_command_is_an_error() {
        assert!(render(&|_| Ok(String::new())).unwrap().is_none());
        let half = |command: &[&str]| Ok(if command.is_empty() { TOP.to_string() } else { String::new() });
        assert!(render(&half).unwrap_err().to_string().contains("lazuli run --help"));
    }
}
