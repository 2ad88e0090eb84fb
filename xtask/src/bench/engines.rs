//! The engines that take turns, and how each is asked for a figure.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use super::system;
use crate::failure::{Failure, Result};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Test {
    /// Tokens per second of a prompt of so many tokens.
    Prefill(usize),
    /// Tokens per second of generation behind so many tokens.
    Decode(usize),
    /// Seconds from the start of the process to its end, after one token.
    Start,
}

/// Tokens that a decode test generates.
const DECODED: usize = 64;
/// The prompt of the start test.
const PROMPT: &str = "What is unified memory good for in machine learning?";

impl Test {
    /// All of them, by the names of `--tests`.
    pub const ALL: [(&'static str, Self); 5] = [
        ("prefill", Self::Prefill(512)),
        ("prefill-4096", Self::Prefill(4096)),
        ("decode", Self::Decode(0)),
        ("decode-4096", Self::Decode(4096)),
        ("start", Self::Start),
    ];

    /// The name and unit for people.
    pub fn title(self) -> String {
        match self {
            Self::Prefill(tokens) => format!("prefill {tokens}, tok/s"),
            Self::Decode(depth) => format!("decode {DECODED} at depth {depth}, tok/s"),
            Self::Start => "start to first token, s".to_owned(),
        }
    }

    /// How often an engine that warms up first repeats it, as an argument; the median counts. What takes long is done once.
    fn repetitions(self) -> &'static str {
        match self {
            Self::Prefill(tokens) | Self::Decode(tokens) if tokens >= 4096 => "1",
            _ => "3",
        }
    }

    /// Whether a smaller figure is better.
    pub fn is_time(self) -> bool {
        self == Self::Start
    }
}

/// One figure, with what the process took.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    /// In the test's unit.
    pub value: f64,
    /// Peak resident memory in bytes, mapped pages of the model included; `None` where it cannot be told.
    pub peak: Option<u64>,
}

/// An engine with its settings.
#[derive(Debug, Clone)]
pub enum Engine {
    /// This project's own binary.
    Lazuli(PathBuf),
    /// llama.cpp's programs in a folder; with or without repacking weights when they are loaded.
    LlamaCpp { programs: PathBuf, repack: bool },
    /// mlx-lm of a Python.
    MlxLm(PathBuf),
}

impl Engine {
    /// A name for tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Lazuli(_) => "lazuli",
            Self::LlamaCpp { repack: true, .. } => "llama.cpp",
            Self::LlamaCpp { repack: false, .. } => "llama.cpp --repack 0",
            Self::MlxLm(_) => "mlx-lm",
        }
    }

    /// Whether it reads this model.
    pub fn reads(&self, model: &Path) -> bool {
        match self {
            Self::Lazuli(_) => true,
            Self::LlamaCpp { .. } => model.is_file(),
            Self::MlxLm(_) => model.is_dir(),
        }
    }

    /// What it says its version is.
    pub fn version(&self) -> String {
        let said = match self {
            Self::Lazuli(binary) => said(Command::new(binary).arg("--version")),
            Self::LlamaCpp { programs, .. } => {
                said(Command::new(programs.join("llama-completion")).arg("--version"))
            }
            Self::MlxLm(python) => {
                said(Command::new(python).args(["-c", "import mlx_lm; print(mlx_lm.__version__)"]))
            }
        };
        said.unwrap_or_else(|| "unknown".to_owned())
    }

    /// Takes one figure.
    pub fn measure(&self, test: Test, model: &Path, threads: usize) -> Result<Figure> {
        let (mut command, by) = self.command(test, model, threads);
        let start = Instant::now();
        let (text, peak) = finish(&mut command)?;
        let seconds = start.elapsed().as_secs_f64();
        let value = match by {
            By::Clock => Some(seconds),
            By::Lazuli(list) => {
                serde_json::from_str(&text).ok().and_then(|v: Value| v[list][0]["tok_s"]["median"].as_f64())
            }
            By::LlamaBench => {
                serde_json::from_str(&text).ok().and_then(|v: Value| middle(&v[0]["samples_ts"]))
            }
            By::Line(name) => text.lines().find_map(|line| number_after(line, name)),
        };
        let value =
            value.ok_or_else(|| Failure::new(format!("`{}` printed no figure:\n{text}", self.name())))?;
        Ok(Figure { value, peak })
    }

    fn command(&self, test: Test, model: &Path, threads: usize) -> (Command, By) {
        let t = threads.to_string();
        let reps = test.repetitions();
        match self {
            Self::Lazuli(binary) => {
                let mut command = system::pinned(binary, threads);
                let by = match test {
                    Test::Start => {
                        command.arg("run").arg(model).args([PROMPT, "--raw", "--max-tokens", "1"]);
                        By::Clock
                    }
                    Test::Prefill(n) => {
                        command.arg("bench").arg(model).args(["--warm-up", "--decode", "0", "--json"]);
                        command.args(["--prefill", &n.to_string(), "--reps", reps]);
                        By::Lazuli("prefill")
                    }
                    Test::Decode(depth) => {
                        command.arg("bench").arg(model).args(["--warm-up", "--prefill", "0", "--json"]);
                        command.args(["--decode", &DECODED.to_string(), "--depth", &depth.to_string()]);
                        command.args(["--reps", reps]);
                        By::Lazuli("decode")
                    }
                };
                command.args(["--threads", &t]);
                (command, by)
            }
            Self::LlamaCpp { programs, repack } => {
                if test == Test::Start {
                    let mut command = system::pinned(&programs.join("llama-completion"), threads);
                    command.arg("-m").arg(model).args(["-p", PROMPT, "-n", "1", "-t", &t, "-no-cnv"]);
                    command.args(["-fa", "on", if *repack { "--repack" } else { "--no-repack" }]);
                    return (command, By::Clock);
                }
                let mut command = system::pinned(&programs.join("llama-bench"), threads);
                // It warms up by itself.
                command.arg("-m").arg(model).args(["-t", &t, "-r", reps, "-fa", "on", "-o", "json"]);
                command.args(["--repack", if *repack { "1" } else { "0" }]);
                match test {
                    Test::Decode(depth) => {
                        let (n, depth) = (DECODED.to_string(), depth.to_string());
                        command.args(["-p", "0", "-n", &n, "-d", &depth])
                    }
                    Test::Prefill(n) => command.args(["-n", "0", "-p", &n.to_string()]),
                    Test::Start => &mut command,
                };
                (command, By::LlamaBench)
            }
            Self::MlxLm(python) => {
                let mut command = system::pinned(python, threads);
                let model = model.display().to_string();
                let by = match test {
                    Test::Start => {
                        command.args(["-m", "mlx_lm", "generate", "--model", &model, "--prompt", PROMPT]);
                        command.args(["--max-tokens", "1"]);
                        By::Clock
                    }
                    Test::Prefill(n) => {
                        command.args(["-m", "mlx_lm", "benchmark", "--model", &model, "-n", "1", "-g", "1"]);
                        command.args(["-p", &n.to_string()]);
                        By::Line("prompt_tps=")
                    }
                    Test::Decode(depth) => {
                        command.args(["-m", "mlx_lm", "benchmark", "--model", &model, "-n", "1"]);
                        command.args(["-p", &depth.max(1).to_string(), "-g", &DECODED.to_string()]);
                        By::Line("generation_tps=")
                    }
                };
                (command, by)
            }
        }
    }
}

/// Where a figure is read from.
#[derive(Debug, Clone, Copy)]
enum By {
    /// The time that the process took.
    Clock,
    /// This list of Lazuli's JSON.
    Lazuli(&'static str),
    /// The JSON of llama-bench.
    LlamaBench,
    /// A line of text with `name=number`.
    Line(&'static str),
}

/// The median of a list of numbers.
fn middle(samples: &Value) -> Option<f64> {
    let mut samples: Vec<f64> = samples.as_array()?.iter().map(Value::as_f64).collect::<Option<_>>()?;
    samples.sort_by(f64::total_cmp);
    let (low, high) = (samples.len().checked_sub(1)? / 2, samples.len() / 2);
    Some(f64::midpoint(samples[low], samples[high]))
}

fn number_after(line: &str, name: &str) -> Option<f64> {
    let rest = line.split_once(name)?.1;
    rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?.parse().ok()
}

fn said(command: &mut Command) -> Option<String> {
    let out = command.stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    let told = |line: &&str| line.contains("version") || line.chars().any(|c| c.is_ascii_digit());
    text.lines().find(told).map(|line| line.trim().to_owned())
}

/// Runs to the end: what was printed, and the peak of resident memory, sampled while it ran.
fn finish(command: &mut Command) -> Result<(String, Option<u64>)> {
    let shown = format!("{command:?}");
    let failed = |what: String| Failure::new(format!("{shown} {what}"));
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.map_err(|e| failed(format!("cannot be started: {e}")))?;
    let (id, (done, over)) = (child.id(), std::sync::mpsc::channel::<()>());
    let sampler = std::thread::spawn(move || {
        let mut peak = None;
        // The system keeps the peak itself; the last reading before the end misses what little comes after.
        while over.recv_timeout(std::time::Duration::from_millis(5)).is_err() {
            peak = peak_of(id).or(peak);
        }
        peak
    });
    let out = child.wait_with_output().map_err(|e| failed(format!("was lost: {e}")))?;
    let _ = done.send(());
    let peak = sampler.join().unwrap_or(None);
    if !out.status.success() {
        return Err(failed(format!("failed: {}\n{}", out.status, String::from_utf8_lossy(&out.stderr))));
    }
    Ok((String::from_utf8_lossy(&out.stdout).into_owned(), peak))
}

/// `VmHWM` of a process, in bytes.
fn peak_of(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_peers_samples_counts() {
        assert_eq!(middle(&serde_json::json!([3.0, 1.0, 2.0])), Some(2.0));
        assert_eq!(middle(&serde_json::json!([1.0, 4.0])), Some(2.5));
        assert_eq!(middle(&serde_json::json!([])), None);
        assert_eq!(middle(&serde_json::json!(null)), None);
        assert_eq!(middle(&serde_json::json!([1.0, "2"])), None);
    }

    #[test]
    fn figures_are_found_in_lines_of_text() {
        let line = "Averages: prompt_tps=123.456, generation_tps=7.5, peak_memory=1.0";
        assert_eq!(number_after(line, "generation_tps="), Some(7.5));
        assert_eq!(number_after(line, "absent="), None);
    }

    #[test]
    fn a_failing_program_says_why() {
        let message =
            finish(Command::new("sh").args(["-c", "echo broken >&2; exit 3"])).unwrap_err().to_string();
        assert!(message.contains("broken"), "{message}");
    }
}
