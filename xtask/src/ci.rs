//! `cargo xtask ci`: every check, in order of how soon it can fail, with times.
//!
//! The program's own tests are not among them: `.ci/run` runs the command that README.md gives to users.

use std::time::{Duration, Instant};

use crate::cross::{self, Outcome};
use crate::failure::{Failure, Result};
use crate::{gen_docs, shell, size, tidy};

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What runs natively, and the type check for Apple silicon.
    Native,
    /// That, and the kernels' tests on emulated Arm, which take many minutes.
    Full,
}

/// A check: its name, and what runs it.
type Step = (&'static str, fn() -> Result<Outcome>);

const STEPS: &[Step] = &[
    ("fmt", || cargo(&["fmt", "--all", "--check"])),
    ("tidy", || passed(tidy::run(tidy::Detail::Failures))),
    ("clippy", || cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])),
    ("gen --check", || passed(gen_docs::run(gen_docs::Mode::Check))),
    ("size --check", || passed(size::run(size::Mode::Check))),
    ("check-apple", || cross::check_apple(&[])),
];
const EMULATED: &[Step] = &[("test-arm64", || cross::test_arm64(&[]))];

pub fn run(extent: Extent) -> Result {
    let emulated = if extent == Extent::Full { EMULATED } else { &[] };
    let steps: Vec<Step> = [STEPS, emulated].concat();
    let mut summary = Vec::new();
    let mut failed = None;
    for (name, step) in &steps {
        println!("==> {name}");
        let start = Instant::now();
        let result = step();
        summary.push(row(name, &result, start.elapsed()));
        if let Err(failure) = result {
            failed = Some(Failure::new(format!("ci stopped at `{name}`: {failure}")));
            break;
        }
    }
    println!("==> summary");
    for line in &summary {
        println!("{line}");
    }
    for (name, _) in &steps[summary.len()..] {
        println!("{name:<14} not run");
    }
    failed.map_or(Ok(()), Err)
}

fn row(name: &str, result: &Result<Outcome>, took: Duration) -> String {
    let verdict = match result {
        Ok(Outcome::Passed) => "passed".to_string(),
        Ok(Outcome::Skipped(reason)) => format!("skipped: {reason}"),
        Err(_) => "FAILED".to_string(),
    };
    format!("{name:<14} {:>7.1} s  {verdict}", took.as_secs_f64())
}

fn cargo(args: &[&str]) -> Result<Outcome> {
    passed(shell::run(shell::cargo().args(args)))
}

fn passed(result: Result) -> Result<Outcome> {
    result.map(|()| Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_how_a_step_ended() {
        let took = Duration::from_millis(1500);
        assert_eq!(row("fmt", &Ok(Outcome::Passed), took), "fmt                1.5 s  passed");
        assert!(row("fmt", &Ok(Outcome::Skipped("no tool".into())), took).ends_with("skipped: no tool"));
        assert!(row("fmt", &Err(Failure::new("x")), took).ends_with("FAILED"));
    }
}
