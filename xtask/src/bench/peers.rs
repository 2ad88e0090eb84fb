//! The rounds: engines take turns on each model and test, and disturbed figures are taken again.

use std::path::{Path, PathBuf};

use super::engines::{Engine, Figure, Test};
use super::report::{Cell, Report};
use super::subjects::{FORMATS, Subject};
use super::system::{self, Watch};
use crate::failure::{Failure, Result};
use crate::shell;

/// How often a disturbed figure is taken again before the last one is kept and counted.
const RETRIES: usize = 3;

/// What to measure with what.
#[derive(Debug)]
pub struct Options {
    models: PathBuf,
    peers: PathBuf,
    out: PathBuf,
    rounds: usize,
    tests: Vec<Test>,
    only: String,
    /// Types of GGUF files; where there are none, models are measured as they are.
    formats: Vec<String>,
    args: Vec<String>,
}

impl Options {
    /// Reads the command line.
    pub fn parse(args: &[String]) -> Result<Self> {
        let cache = |variable: &str, name: &str| {
            let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
            std::env::var_os(variable).map_or(home.join(".cache").join(name), PathBuf::from)
        };
        let mut options = Self {
            models: cache("LAZULI_MODELS", "lazuli-test-models"),
            peers: cache("LAZULI_PEERS", "lazuli-peers"),
            out: shell::root().join("bench/record"),
            rounds: 3,
            tests: Vec::new(),
            only: String::new(),
            formats: Vec::new(),
            args: args.to_vec(),
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let value = args.next().ok_or_else(|| Failure::new(format!("{arg} needs a value")))?;
            match arg.as_str() {
                "--models" => options.models = value.into(),
                "--peers" => options.peers = value.into(),
                "--out" => options.out = value.into(),
                "--only" => options.only.clone_from(value),
                "--rounds" => {
                    let rounds = value.parse().ok().filter(|&n| n > 0);
                    options.rounds = rounds.ok_or_else(|| {
                        Failure::new(format!("--rounds: found `{value}`, expected 1 or more"))
                    })?;
                }
                "--tests" => options.tests = value.split(',').map(test_named).collect::<Result<_>>()?,
                "--formats" if value == "all" => options.formats = FORMATS.map(str::to_owned).to_vec(),
                "--formats" => options.formats = value.split(',').map(format_named).collect::<Result<_>>()?,
                other => return Err(Failure::new(format!("unknown option `{other}`"))),
            }
        }
        if options.tests.is_empty() {
            let all = Test::ALL.map(|(_, test)| test);
            let short = [Test::Prefill(512), Test::Decode(0)];
            options.tests = if options.formats.is_empty() { all.to_vec() } else { short.to_vec() };
        }
        Ok(options)
    }

    /// GGUF files and checkpoint folders, sorted by name.
    fn found_models(&self) -> Result<Vec<PathBuf>> {
        let unreadable = |e| Failure::new(format!("cannot list {}: {e}", self.models.display()));
        let entries = std::fs::read_dir(&self.models).map_err(unreadable)?;
        let is_model =
            |path: &Path| path.extension().is_some_and(|e| e == "gguf") || path.join("config.json").is_file();
        let mut models: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| is_model(path) && name_of(path).contains(&self.only))
            .collect();
        models.sort();
        if models.is_empty() {
            return Err(Failure::new(format!("no model in {} (give --models DIR)", self.models.display())));
        }
        Ok(models)
    }

    /// What is to be measured.
    fn subjects(&self) -> Result<Vec<Subject>> {
        let models = self.found_models()?;
        if self.formats.is_empty() {
            return Ok(models.into_iter().map(Subject::Found).collect());
        }
        let like = models.into_iter().find(|path| path.is_file());
        let like = like.ok_or_else(|| {
            Failure::new(format!(
                "--formats needs a GGUF file in {} to take shapes from",
                self.models.display()
            ))
        })?;
        let written = |format: &String| Subject::Written { like: like.clone(), format: format.clone() };
        Ok(self.formats.iter().map(written).collect())
    }

    fn engines(&self, lazuli: &Path) -> Vec<Engine> {
        let mut engines = vec![Engine::Lazuli(lazuli.to_owned())];
        let programs = self.peers.join("bin");
        if programs.join("llama-bench").is_file() {
            let llama = |repack| Engine::LlamaCpp { programs: programs.clone(), repack };
            engines.extend([llama(true), llama(false)]);
        } else {
            eprintln!("llama.cpp is left out: no llama-bench in {}", programs.display());
        }
        let python = self.peers.join("venv/bin/python");
        if python.is_file() {
            engines.push(Engine::MlxLm(python));
        } else {
            eprintln!("mlx-lm is left out: no venv in {}", self.peers.display());
        }
        engines
    }
}

fn test_named(name: &str) -> Result<Test> {
    let known = || Test::ALL.map(|(name, _)| name).join(", ");
    let found = Test::ALL.into_iter().find(|(other, _)| *other == name);
    found
        .map(|(_, test)| test)
        .ok_or_else(|| Failure::new(format!("unknown test `{name}`; there are {}", known())))
}

fn format_named(name: &str) -> Result<String> {
    let found = FORMATS.iter().find(|format| format.eq_ignore_ascii_case(name));
    let unknown = || format!("--formats: found `{name}`, expected all or some of {}", FORMATS.join(","));
    found.map(ToString::to_string).ok_or_else(|| Failure::new(unknown()))
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Measures, prints, and writes the record.
pub fn run(options: &Options) -> Result {
    let (subjects, lazuli) = (options.subjects()?, lazuli()?);
    let engines = options.engines(&lazuli);
    let threads = system::processors();
    let mut report = Report::new(&engines, threads, options.rounds, &options.args);
    let (what, mut record) = (if options.formats.is_empty() { "" } else { "-formats" }, None);
    for subject in &subjects {
        let opened = subject.open(&lazuli)?;
        report.forgot(system::forget(&opened.path));
        for &test in &options.tests {
            let cells = rounds(&opened.path, test, &engines, options.rounds, threads)?;
            report.add(&name_of(&opened.path), test, cells);
            // All takes an hour: what was measured is kept when the rest is not awaited.
            record = Some(report.write(&options.out, what)?);
        }
    }
    print!("{}", report.markdown());
    if let Some(path) = record {
        eprintln!("recorded in {} and .json", path.display());
    }
    Ok(())
}

/// Lazuli's own binary, built for this.
fn lazuli() -> Result<PathBuf> {
    let mut cargo = shell::cargo();
    shell::run(cargo.args(["build", "--release", "--quiet", "-p", "lazuli"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(shell::root().join("target"), PathBuf::from);
    Ok(target.join("release/lazuli"))
}

/// Each engine's figures of one test.
fn rounds(model: &Path, test: Test, engines: &[Engine], rounds: usize, threads: usize) -> Result<Vec<Cell>> {
    let readers: Vec<&Engine> = engines.iter().filter(|e| e.reads(model)).collect();
    let mut cells: Vec<Cell> = readers.iter().map(|e| Cell::new(e.name())).collect();
    for round in 1..=rounds {
        for (engine, cell) in readers.iter().zip(&mut cells) {
            eprintln!("{} | {} | round {round} | {}", name_of(model), test.title(), engine.name());
            match take(engine, test, model, threads) {
                Ok((figure, disturbed)) => cell.add(figure, disturbed),
                // A peer that cannot run a model is a gap in the table; we ourselves failing is an error.
                Err(failure) if matches!(engine, Engine::Lazuli(_)) => return Err(failure),
                Err(failure) => eprintln!("{failure}"),
            }
        }
    }
    Ok(cells)
}

/// One figure, taken again while others used the machine; the flag says that even the last was disturbed.
fn take(engine: &Engine, test: Test, model: &Path, threads: usize) -> Result<(Figure, bool)> {
    let mut retries = 0;
    loop {
        let watch = Watch::start();
        let figure = engine.measure(test, model, threads)?;
        if !watch.disturbed() || retries == RETRIES {
            return Ok((figure, watch.disturbed()));
        }
        retries += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options> {
        Options::parse(&args.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_and_unknown_ones_refused() {
        let options = parse(&["--tests", "decode,start", "--rounds", "5", "--models", "m"]).unwrap();
        assert_eq!(options.tests, [Test::Decode(0), Test::Start]);
        assert_eq!((options.rounds, options.models), (5, PathBuf::from("m")));
        assert_eq!(parse(&[]).unwrap().tests.len(), Test::ALL.len());
        let formats = parse(&["--formats", "iq2_s,Q4_K"]).unwrap();
        assert_eq!((formats.formats, formats.tests.len()), (vec!["IQ2_S".to_owned(), "Q4_K".to_owned()], 2));
        for (args, said) in [
            (&["--tests", "walk"][..], "unknown test `walk`"),
            (&["--rounds", "0"], "found `0`"),
            (&["--fast", "1"], "unknown option `--fast`"),
            (&["--formats", "Q4_K,Q9"], "found `Q9`"),
            (&["--out"], "--out needs a value"),
        ] {
            let message = parse(args).unwrap_err().to_string();
            assert!(message.contains(said), "{message}");
        }
    }
}
