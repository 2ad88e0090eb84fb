//! The record of a run: medians, ratios to the best peer, Markdown and JSON.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::engines::{Engine, Figure, Test};
use super::system;
use crate::failure::{Failure, Result};
use crate::shell;

/// One engine's figures in one test.
#[derive(Debug)]
pub struct Cell {
    engine: &'static str,
    values: Vec<f64>,
    peaks: Vec<u64>,
    disturbed: usize,
}

impl Cell {
    /// Without figures yet.
    pub fn new(engine: &'static str) -> Self {
        Self { engine, values: Vec::new(), peaks: Vec::new(), disturbed: 0 }
    }

    /// One round's figure, and whether the machine was not left alone during it.
    pub fn add(&mut self, figure: Figure, disturbed: bool) {
        self.values.push(figure.value);
        self.peaks.extend(figure.peak);
        self.disturbed += usize::from(disturbed);
    }

    /// The median figure.
    fn median(&self) -> Option<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
        Some(low.midpoint(*high))
    }

    fn json(&self) -> Value {
        json!({
            "engine": self.engine, "median": self.median(), "values": self.values,
            "peak_bytes": self.peaks.iter().max(), "disturbed_rounds": self.disturbed,
        })
    }
}

/// A row: one model and test.
#[derive(Debug)]
struct Row {
    model: String,
    test: Test,
    cells: Vec<Cell>,
}

impl Row {
    /// How many times better Lazuli is than the best of the others.
    fn ratio(&self) -> Option<f64> {
        let own = self.cells.iter().find(|c| c.engine == "lazuli")?.median()?;
        let others = self.cells.iter().filter(|c| c.engine != "lazuli").filter_map(Cell::median);
        if self.test.is_time() {
            others.reduce(f64::min).map(|best| best / own)
        } else {
            others.reduce(f64::max).map(|best| own / best)
        }
    }
}

/// All rows, and what they were measured on.
#[derive(Debug)]
pub struct Report {
    machine: Value,
    engines: Vec<(&'static str, String)>,
    command: String,
    /// Whether the system was asked to forget all models before the first engine read them.
    anew: bool,
    rows: Vec<Row>,
}

impl Report {
    /// Without rows yet.
    pub fn new(engines: &[Engine], threads: usize, rounds: usize, args: &[String]) -> Self {
        // Folders of this machine have no place in a record.
        let kept =
            args.chunks(2).filter(|pair| !["--models", "--peers", "--out"].contains(&pair[0].as_str()));
        let kept: Vec<&str> = kept.flatten().map(String::as_str).collect();
        let revision = shell::output(Command::new("git").args(["describe", "--always", "--dirty"]));
        Self {
            machine: json!({
                "processor": system::processor(), "memory_gib": system::memory_gib(), "threads": threads,
                "rounds": rounds, "revision": revision.unwrap_or_default().trim(), "date": date(),
            }),
            engines: engines.iter().map(|e| (e.name(), e.version())).collect(),
            command: format!("cargo xtask bench peers {}", kept.join(" ")).trim_end().to_owned(),
            anew: true,
            rows: Vec::new(),
        }
    }

    /// Says whether the system could be asked to forget a model before it was measured.
    pub fn forgot(&mut self, asked: bool) {
        self.anew &= asked;
    }

    /// Adds the figures of one model and test.
    pub fn add(&mut self, model: &str, test: Test, cells: Vec<Cell>) {
        self.rows.push(Row { model: model.to_owned(), test, cells });
    }

    /// Tables for people.
    pub fn markdown(&self) -> String {
        let text = |key: &str| self.machine[key].as_str().unwrap_or("").to_owned();
        let mut out = format!(
            "# Lazuli beside its peers\n\n{}, {} threads, {} rounds taking turns, medians, {} ({}).\n`{}`\n\n",
            text("processor"),
            self.machine["threads"],
            self.machine["rounds"],
            text("date"),
            text("revision"),
            self.command
        );
        for (engine, version) in &self.engines {
            let _ = writeln!(out, "- {engine}: {version}");
        }
        out.push_str(if self.anew {
            "- files: the system was asked to forget them before, so that lazuli reads them anew and all find them cached\n"
        } else {
            "- files: cached as they were\n"
        });
        out.push_str("\n| model | test |");
        for (engine, _) in &self.engines {
            let _ = write!(out, " {engine} |");
        }
        out.push_str(" ratio to the best peer | peak memory, MB |\n|---|---|");
        out.push_str(&"---|".repeat(self.engines.len() + 2));
        out.push('\n');
        for row in &self.rows {
            let _ = write!(out, "| {} | {} |", row.model, row.test.title());
            let mut peaks = Vec::new();
            for (engine, _) in &self.engines {
                let cell = row.cells.iter().find(|c| c.engine == *engine);
                // Benchmarks hold buffers of their own; only a real answer shows what an engine takes.
                let answers = cell.filter(|_| row.test == Test::Start);
                let value = cell.and_then(Cell::median).map_or("-".to_owned(), shown);
                let mark = if cell.is_some_and(|c| c.disturbed > 0) { " *" } else { "" };
                let _ = write!(out, " {value}{mark} |");
                let peak = answers.and_then(|c| c.peaks.iter().max());
                peaks.push(peak.map_or("-".to_owned(), |bytes| (bytes / 1_000_000).to_string()));
            }
            let ratio = row.ratio().map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
            let _ = writeln!(out, " {ratio} | {} |", peaks.join(" / "));
        }
        out.push_str("\nRatios above 1 are better. * others used the machine in at least one round.\n");
        out
    }

    /// Writes both forms to `folder`, named after the day, the revision, and `what` was measured unless that is empty; the path
    /// of the Markdown comes back.
    pub fn write(&self, folder: &Path, what: &str) -> Result<PathBuf> {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        let all = json!({
            "machine": self.machine, "command": self.command, "read_anew": self.anew, "rows": rows,
            "engines": self.engines.iter().map(|(e, v)| json!({"engine": e, "version": v})).collect::<Vec<_>>(),
        });
        let revision = self.machine["revision"].as_str().unwrap_or("unknown");
        let day = self.machine["date"].as_str().unwrap_or("undated");
        // Revisions may have dots in them, so ends are no extensions.
        let path = |end: &str| folder.join(format!("{day}-{revision}{what}.{end}"));
        let failed = |e| Failure::new(format!("cannot write the record to {}: {e}", folder.display()));
        std::fs::create_dir_all(folder).map_err(failed)?;
        std::fs::write(path("md"), self.markdown()).map_err(failed)?;
        std::fs::write(path("json"), format!("{all:#}\n")).map_err(failed)?;
        Ok(path("md"))
    }
}

impl Row {
    fn json(&self) -> Value {
        let cells: Vec<Value> = self.cells.iter().map(Cell::json).collect();
        json!({"model": self.model, "test": self.test.title(), "ratio": self.ratio(), "engines": cells})
    }
}

/// Three significant digits, about.
fn shown(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// Today, as the system's `date` writes it.
fn date() -> String {
    shell::output(Command::new("date").arg("+%Y-%m-%d")).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(engine: &'static str, values: &[f64]) -> Cell {
        let mut cell = Cell::new(engine);
        for &value in values {
            cell.add(Figure { value, peak: Some(5_000_000) }, false);
        }
        cell
    }

    #[test]
    fn ratios_are_to_the_best_peer_and_above_one_where_better() {
        let cells =
            || vec![cell("lazuli", &[30.0, 10.0, 20.0]), cell("llama.cpp", &[10.0]), cell("mlx-lm", &[])];
        let speed = Row { model: "m".into(), test: Test::Decode(0), cells: cells() };
        let time = Row { model: "m".into(), test: Test::Start, cells: cells() };
        assert_eq!((speed.ratio(), time.ratio()), (Some(2.0), Some(0.5)));
    }

    #[test]
    fn a_table_has_a_column_for_each_engine() {
        let engines = [Engine::MlxLm("python".into())];
        let mut report = Report::new(&engines, 2, 3, &["--models".into(), "/secret".into()]);
        report.add("m.gguf", Test::Prefill(512), vec![cell("mlx-lm", &[12.34])]);
        let text = report.markdown();
        assert!(text.contains("| m.gguf | prefill 512, tok/s | 12.3 | - | - |"), "{text}");
        assert!(!text.contains("secret"));
    }
}
