//! `lazuli hardware`: the chips that plans can be made for, and what they run.

use super::ui::Table;
use super::{Context, Failure};
use lazuli::planner::machine::{Chip, Kind, Status};
use lazuli::planner::{EngineKind, Machine, Options, Sizes, Source, Weights, catalogue, machines};
use lazuli::planning::{Calibration, host};
use serde_json::{Value, json};

/// Show the machines that plans can be made for
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Bandwidth is what the maker states; on this machine, what `lazuli bench --calibrate` measured. The last columns say where \
a row comes from, and the largest model of the catalogue that the machine runs in 4 bits with 8192 tokens of context.

Examples:
  lazuli hardware
  lazuli plan llama-3.3-70b --format q4 --machine \"M4 Max 128GB\"")]
pub struct Args {}

/// Prints a table, or an array of objects.
pub fn run(_: &Args, cx: &Context) -> Result<(), Failure> {
    let calibration = Calibration::load(cx.store()?.places());
    let here = host(calibration.as_ref());
    if cx.json() {
        let chips = machines().iter().map(|chip| row(&chip.machine, chip.status.name(), &chip.source));
        let mut rows: Vec<Value> = chips.collect();
        let source = if here.measured.is_some() { "calibrated" } else { "not calibrated" };
        rows.push(row(&here, "this machine", source));
        return cx.print_json(&rows);
    }
    let headings = ["machine", ">GB/s", ">memory", ">GPU cores", "status", "runs in 4 bits", "from"];
    let mut table = Table::new(&headings);
    for chip in machines() {
        table.row(cells(chip));
    }
    let measured = if here.measured.is_some() { "measured here" } else { "run `lazuli bench --calibrate`" };
    let gigabytes = here.memory.map_or_else(String::new, |m| format!("{} GB", m >> 30));
    let bandwidth = number(here.bandwidth.1 / 1e9);
    let last = [here.name.clone(), bandwidth, gigabytes, String::new(), "this machine".to_owned()];
    table.row(last.into_iter().chain([runs(&here).unwrap_or_default(), measured.to_owned()]));
    Ok(cx.out().line(&table.render())?)
}

fn cells(chip: &Chip) -> [String; 7] {
    let machine = &chip.machine;
    let cores = match machine.kind {
        Kind::Apple { gpu_cores, .. } if gpu_cores > 0.0 => format!("{gpu_cores:.0}"),
        _ => String::new(),
    };
    [
        machine.name.clone(),
        number(machine.bandwidth.1 / 1e9),
        machine.memory.map_or_else(String::new, |m| format!("{} GB", m >> 30)),
        cores,
        chip.status.name().to_owned(),
        if chip.status == Status::Missing { String::new() } else { runs(machine).unwrap_or_default() },
        shortened(&chip.source),
    ]
}

fn number(gbs: f64) -> String {
    if gbs > 0.0 { format!("{gbs:.0}") } else { String::new() }
}

fn shortened(source: &str) -> String {
    let short: String = source.chars().take(58).collect();
    if short.len() < source.len() { format!("{short}..") } else { short }
}

fn row(machine: &Machine, status: &str, source: &str) -> Value {
    let cores = match machine.kind {
        Kind::Apple { gpu_cores, .. } if gpu_cores > 0.0 => Some(gpu_cores),
        _ => None,
    };
    json!({
        "machine": machine.name,
        "bandwidth_gb_s": (machine.bandwidth.1 > 0.0).then_some(machine.bandwidth.1 / 1e9),
        "memory_bytes": machine.memory,
        "budget_bytes": machine.budget().map(|budget| budget.safe),
        "gpu_cores": cores,
        "status": status,
        "source": source,
        "runs_q4": runs(machine),
    })
}

/// The largest model of the catalogue that fits in 4 bits with a usual context.
fn runs(machine: &Machine) -> Option<String> {
    let budget = machine.budget()?;
    let weights = Weights::parse("q4").ok()?;
    let options = Options::new(EngineKind::usual(machine));
    let fits = |entry: &&catalogue::Entry| {
        let Ok(model) = entry.shape() else { return false };
        let source = Source { model: &model, weights: &weights, machine, sizes: Sizes::default() };
        source.longest(&options, budget.safe) >= model.context.min(8192)
    };
    catalogue::entries()
        .iter()
        .filter(fits)
        .max_by_key(|entry| entry.parameters)
        .map(|entry| entry.name.clone())
}
