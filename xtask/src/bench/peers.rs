//! The rounds: engines take turns on each model and test, and disturbed figures are taken again.

use std::path::{Path, PathBuf};

use super::engines::{Engine, Figure, Test};
use super::report::{Cell, Report};
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
            tests: Test::ALL.map(|(_, test)| test).to_vec(),
            only: String::new(),
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
                other => return Err(Failure::new(format!("unknown option `{other}`"))),
            }
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

    fn engines(&self) -> Result<Vec<Engine>> {
        let mut cargo = shell::cargo();
        shell::run(cargo.args(["build", "--release", "--quiet", "-p", "lazuli"]))?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or(shell::root().join("target"), PathBuf::from);
        let mut engines = vec![Engine::Lazuli(target.join("release/lazuli"))];
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
        Ok(engines)
    }
}

fn test_named(name: &str) -> Result<Test> {
    let known = || Test::ALL.map(|(name, _)| name).join(", ");
    let found = Test::ALL.into_iter().find(|(other, _)| *other == name);
    found
        .map(|(_, test)| test)
        .ok_or_else(|| Failure::new(format!("unknown test `{name}`; there are {}", known())))
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Measures, prints, and writes the record.
pub fn run(options: &Options) -> Result {
    let (models, engines) = (options.found_models()?, options.engines()?);
    let threads = system::processors();
    let anew = models.iter().all(|model| system::forget(model));
    let mut report = Report::new(&engines, threads, options.rounds, &options.args, anew);
    for model in &models {
        for &test in &options.tests {
            let readers: Vec<&Engine> = engines.iter().filter(|e| e.reads(model)).collect();
            let mut cells: Vec<Cell> = readers.iter().map(|e| Cell::new(e.name())).collect();
            for round in 0..options.rounds {
                for (engine, cell) in readers.iter().zip(&mut cells) {
                    eprintln!(
                        "{} | {} | round {} | {}",
                        name_of(model),
                        test.title(),
                        round + 1,
                        engine.name()
                    );
                    match take(engine, test, model, threads) {
                        Ok((figure, disturbed)) => cell.add(figure, disturbed),
                        // A peer that cannot run a model is a gap in the table; we ourselves failing is an error.
                        Err(failure) if matches!(engine, Engine::Lazuli(_)) => return Err(failure),
                        Err(failure) => eprintln!("{failure}"),
                    }
                }
            }
            report.add(&name_of(model), test, cells);
        }
    }
    print!("{}", report.markdown());
    report.write(&options.out)
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
        for (args, said) in [
            (&["--tests", "walk"][..], "unknown test `walk`"),
            (&["--rounds", "0"], "found `0`"),
            (&["--fast", "1"], "unknown option `--fast`"),
            (&["--out"], "--out needs a value"),
        ] {
            let message = parse(args).unwrap_err().to_string();
            assert!(message.contains(said), "{message}");
        }
    }
}
