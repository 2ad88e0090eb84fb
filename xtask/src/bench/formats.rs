//! `cargo xtask bench formats`: every weight format's kernels on one shape, beside the machine's memory bandwidth.
//!
//! The measuring is done by the bench of that name in `lazuli-cpu`, whose lines of JSON are put in a table here.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::system;
use crate::failure::{Failure, Result};
use crate::shell;

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// JSON in place of Markdown.
    json: bool,
    /// Formats whose name contains this.
    only: String,
}

impl Options {
    /// Reads the command line.
    pub fn parse(args: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--json" => options.json = true,
                "--only" => {
                    let value = args.next().ok_or_else(|| Failure::new("--only needs a value"))?;
                    options.only.clone_from(value);
                }
                other => return Err(Failure::new(format!("unknown option `{other}`"))),
            }
        }
        Ok(options)
    }
}

/// Measures and prints.
pub fn run(options: &Options) -> Result {
    let mut command = shell::cargo();
    command.args(["bench", "-q", "-p", "lazuli-cpu", "--bench", "formats", "--", &options.only]);
    let record = Record::read(&shell::output(&mut command)?)?;
    if options.json {
        println!("{}", record.json());
    } else {
        print!("{}", record.markdown());
    }
    Ok(())
}

/// One format's figures.
#[derive(Debug)]
struct Row {
    format: String,
    bits: f64,
    decode: f64,
    /// Gigabytes per second that a plain read of memory reached just before and after.
    memory: f64,
    /// Gigabytes per second of weights in a core's own cache, on one thread: what the kernel does when memory does not bind.
    cached: f64,
    prefill: f64,
}

/// A whole run.
#[derive(Debug)]
struct Record {
    level: String,
    threads: u64,
    rows: Vec<Row>,
}

impl Record {
    /// Reads the bench's output, a JSON object a line.
    fn read(text: &str) -> Result<Self> {
        let mut record = Self { level: String::new(), threads: 0, rows: Vec::new() };
        for line in text.lines().filter(|line| line.starts_with('{')) {
            let value: Value = serde_json::from_str(line)
                .map_err(|e| Failure::new(format!("found `{line}`, expected JSON: {e}")))?;
            let number = |name: &str| value[name].as_f64();
            if let (Some(level), Some(threads)) = (value["level"].as_str(), value["threads"].as_u64()) {
                level.clone_into(&mut record.level);
                record.threads = threads;
            }
            let figures = ["bits", "decode_gb_s", "memory_gb_s", "cached_gb_s", "prefill_gop_s"].map(number);
            if let (Some(format), [Some(bits), Some(decode), Some(memory), Some(cached), Some(prefill)]) =
                (value["format"].as_str(), figures)
            {
                record.rows.push(Row { format: format.to_owned(), bits, decode, memory, cached, prefill });
            }
        }
        if record.rows.is_empty() {
            return Err(Failure::new("the bench printed no figures (is there a format of that name?)"));
        }
        Ok(record)
    }

    fn markdown(&self) -> String {
        let mut text = format!(
            "{}, level {}, {} threads, weights 1536 x 8960.\n\n\
             | format | bits per weight | decode GB/s | memory GB/s | share | cached GB/s (1 thread) | prefill GOP/s (512 rows) |\n\
             |---|---:|---:|---:|---:|---:|---:|\n",
            system::processor(),
            self.level,
            self.threads
        );
        for row in &self.rows {
            let share = 100.0 * row.decode / row.memory;
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {} | {:.2} | {:.1} | {:.1} | {share:.0} % | {:.1} | {:.0} |",
                row.format, row.bits, row.decode, row.memory, row.cached, row.prefill
            );
        }
        text
    }

    fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "format": row.format, "bits_per_weight": row.bits, "decode_gb_s": row.decode,
                "memory_gb_s": row.memory, "share_of_memory": row.decode / row.memory,
                "cached_gb_s": row.cached, "prefill_gop_s": row.prefill,
            })
        });
        json!({
            "processor": system::processor(), "level": self.level, "threads": self.threads,
            "shape": [1536, 8960], "formats": rows.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "\
        {\"level\":\"avx2\",\"threads\":2}\n\
        {\"format\":\"Q4_K\",\"bits\":4.500,\"decode_gb_s\":30.0,\"memory_gb_s\":40.0,\
         \"cached_gb_s\":50.0,\"prefill_gop_s\":700.0}\n";

    #[test]
    fn figures_become_a_table_with_shares() {
        let record = Record::read(LINES).unwrap();
        assert!(record.markdown().contains("| Q4_K | 4.50 | 30.0 | 40.0 | 75 % | 50.0 | 700 |"));
        assert_eq!(record.json()["formats"][0]["share_of_memory"], 0.75);
    }

    #[test]
    fn nothing_measured_is_a_failure() {
        assert!(Record::read("{\"level\":\"avx2\",\"threads\":2}").is_err());
        assert!(Record::read("{oops").is_err());
    }

    #[test]
    fn options_are_read_and_unknown_ones_refused() {
        let parse = |args: &[&str]| Options::parse(&args.iter().map(|&a| a.to_owned()).collect::<Vec<_>>());
        assert_eq!(
            parse(&["--json", "--only", "MX"]).unwrap(),
            Options { json: true, only: "MX".to_owned() }
        );
        assert!(parse(&["--jsno"]).unwrap_err().to_string().contains("--jsno"));
        assert!(parse(&["--only"]).is_err());
    }
}
