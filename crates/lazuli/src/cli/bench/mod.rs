//! `lazuli bench`: how fast a model reads a prompt and generates, beside what the memory allows.

mod measure;

use super::options::{List, ModelArg, Precision, Threads, list};
use super::ui::Table;
use super::{Context, Failure};
use lazuli::{Model, Session};
use measure::{Bench, Decode, Prefill};
use serde::Serialize;

/// Measure prompt and generation speed
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Prompts and answers are tokens drawn at random (the same each time); nothing is sampled. Loading is not counted, and there \
is no warm-up: the first repetition pays for everything that happens once. Speeds are medians.

Generation reads all weights, and the keys and values of the context, once a token. The bandwidth column says how many \
bytes a second that was, and what share of the speed at which the same threads read memory in long streams, measured in \
the same run.

Examples:
  lazuli bench smollm2
  lazuli bench smollm2 --prefill 128,512 --decode 64 --depth 0,4096")]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// Prompt lengths, separated by commas; 0 measures none
    #[arg(long, value_name = "LIST", default_value = "512", value_parser = list::<usize>)]
    prefill: List<usize>,
    /// How many tokens to generate, separated by commas; 0 measures none
    #[arg(long, value_name = "LIST", default_value = "128", value_parser = list::<usize>)]
    decode: List<usize>,
    /// Tokens of context before generating, separated by commas
    #[arg(long, value_name = "LIST", default_value = "0", value_parser = list::<usize>)]
    depth: List<usize>,
    /// How often to measure each
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    reps: u32,
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
}

/// Prints a table or an [`Outcome`].
pub fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let found = args.model.find(cx)?;
    let network = Model::open(&found.path)?.causal_lm()?;
    let workers = args.threads.workers(Precision::Fast)?;
    let prefills: Vec<usize> = args.prefill.0.iter().copied().filter(|&n| n > 0).collect();
    let decodes = args.decode.0.iter().filter(|&&n| n > 0);
    let decodes: Vec<_> = decodes.flat_map(|&n| args.depth.0.iter().map(move |&depth| (n, depth))).collect();
    let longest = prefills.iter().copied().chain(decodes.iter().map(|(n, depth)| n + depth)).max();
    let context =
        longest.ok_or_else(|| Failure::usage("there is nothing to measure: give --prefill or --decode"))?;
    super::options::note_long_context(cx, network.spec(), context);

    let bar = cx.ui().steps_bar("memory", 1 + (prefills.len() + decodes.len()) as u64 * u64::from(args.reps));
    let bandwidth = lazuli::read_bandwidth(&workers)?;
    bar.inc(1);
    let session = Session::new(network, workers.runtime(), Precision::Fast.kv(), context)?;
    let mut bench = Bench::new(session, args.reps, cx.interrupt(), bar);
    let prefill = prefills.iter().map(|&n| bench.prefill(n)).collect::<Result<_, _>>()?;
    decodes.iter().try_for_each(|&(n, depth)| bench.decode(n, depth))?;
    let decode = bench.finish(bandwidth)?;
    let outcome = Outcome { prefill, decode, bandwidth_gb_s: bandwidth / 1e9, threads: workers.count() };
    if cx.json() {
        return cx.print_json(&outcome);
    }
    let memory = format!(
        "{}, {} threads on {}, memory {:.1} GB/s",
        found.label,
        outcome.threads,
        workers.simd(),
        outcome.bandwidth_gb_s
    );
    Ok(cx.out().line(&format!("{memory}\n{}", table(&outcome)))?)
}

fn table(outcome: &Outcome) -> String {
    let mut table =
        Table::new(&["test", ">depth", ">tok/s", ">min", ">max", ">MB/token", ">GB/s", ">of memory"]);
    let speeds = |speed: &measure::Spread| [speed.median, speed.min, speed.max].map(|s| format!("{s:.2}"));
    for one in &outcome.prefill {
        let cells = [format!("prefill {}", one.tokens), "0".to_owned()];
        table.row(cells.into_iter().chain(speeds(&one.tok_s)));
    }
    for one in &outcome.decode {
        let cells = [format!("decode {}", one.tokens), one.depth.to_string()];
        let traffic = [
            format!("{:.1}", one.bytes_per_token / 1e6),
            format!("{:.2}", one.gb_s),
            format!("{:.0} %", one.bandwidth_share * 100.0),
        ];
        table.row(cells.into_iter().chain(speeds(&one.tok_s)).chain(traffic));
    }
    table.render()
}
