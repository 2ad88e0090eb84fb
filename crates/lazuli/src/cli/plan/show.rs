//! A plan as a picture and a few sentences.

use crate::cli::ui::{Paint, Table, bytes};
use lazuli::planner::{EngineKind, Estimate, Outcome, Reached};
use lazuli::planning::{Origin, Subject};
use std::fmt::Write as _;

/// Characters of the bar.
const WIDTH: usize = 60;

/// The whole plan.
pub fn text(plan: &Outcome, subject: &Subject) -> String {
    let mut text = format!("{}\n\n{}\n", heading(plan, subject).strong(), bar(plan));
    let _ = writeln!(text, "\n{}", parts(plan).render());
    let _ = writeln!(text, "\n{}", verdict(plan));
    if let Some(speeds) = speeds(plan) {
        let _ = writeln!(text, "{speeds}");
    }
    if plan.table.len() > 1 {
        let _ = writeln!(text, "\n{}", contexts(plan).render());
    }
    if !plan.changes.is_empty() {
        let mut table = Table::new(&["what would help", ">total", ""]);
        for change in &plan.changes {
            let verdict = if change.fits { "fits" } else { "still too much" };
            table.row([change.what.clone(), bytes(change.total_bytes), verdict.to_owned()]);
        }
        let _ = writeln!(text, "\n{}", table.render());
    }
    text.trim_end().to_owned()
}

fn heading(plan: &Outcome, subject: &Subject) -> String {
    let origin = match &subject.origin {
        Origin::Catalogue => " (from the catalogue)".to_owned(),
        Origin::Files(_) => String::new(),
        Origin::Hub { bytes: read } => format!(" (from {} of headers)", bytes(*read)),
    };
    let billions = plan.parameters as f64 / 1e9;
    let active = plan.active_parameters as f64 / 1e9;
    let active = if active < 0.7 * billions { format!(", {active:.1} active") } else { String::new() };
    format!(
        "{}{origin}: {billions:.2} billion parameters{active}, {} ({:.2} bits), on {} with {}",
        plan.model, plan.format, plan.bits_per_weight, plan.machine, plan.engine
    )
}

/// Weights, keys and values, workspace and what is free, to scale.
fn bar(plan: &Outcome) -> String {
    let whole = plan.budget_bytes.unwrap_or(0).max(plan.total_bytes).max(1) as f64;
    let parts =
        [('█', plan.weights_bytes), ('▓', plan.kv_bytes), ('▒', plan.workspace_bytes + plan.fixed_bytes)];
    let mut line = String::new();
    let mut sum = 0;
    for (mark, part) in parts {
        sum += part;
        let end = (sum as f64 / whole * WIDTH as f64).round() as usize;
        while line.chars().count() < end {
            line.push(mark);
        }
    }
    let limit = plan.budget_bytes.map(|budget| (budget as f64 / whole * WIDTH as f64).round() as usize);
    while line.chars().count() < WIDTH {
        line.push('░');
    }
    match limit {
        // Where the budget ends, what does not fit begins.
        Some(limit) if limit < WIDTH => {
            let (inside, outside): (Vec<_>, Vec<_>) = line.chars().enumerate().partition(|(i, _)| *i < limit);
            let join = |part: Vec<(usize, char)>| part.into_iter().map(|(_, c)| c).collect::<String>();
            format!("{}|{}", join(inside), join(outside).error())
        }
        _ => line,
    }
}

fn parts(plan: &Outcome) -> Table {
    let mut table = Table::new(&["", ">bytes", ""]);
    let percent = |part: u64| format!("{:.0} %", 100.0 * part as f64 / plan.total_bytes.max(1) as f64);
    let per_token = format!("{} bytes a token, {}", plan.kv_bytes_per_token, plan.kv_format);
    let sequences = if plan.concurrency > 1 { format!(" x {}", plan.concurrency) } else { String::new() };
    let kv = format!("▓ keys and values, {} tokens{sequences}", plan.context);
    let mut row = |name: String, part: u64, what: String| table.row([name, bytes(part), what]);
    row("█ weights".to_owned(), plan.weights_bytes, percent(plan.weights_bytes));
    row(kv, plan.kv_bytes, per_token);
    row("▒ workspace".to_owned(), plan.workspace_bytes, String::new());
    row("▒ the process".to_owned(), plan.fixed_bytes, String::new());
    row("  together".to_owned(), plan.total_bytes, String::new());
    if let Some(budget) = plan.budget_bytes {
        let most = plan.budget_most_bytes.unwrap_or(budget);
        let why = plan.budget_from.unwrap_or("");
        row("░ budget".to_owned(), budget, format!("up to {}: {why}", bytes(most)));
    }
    table
}

fn verdict(plan: &Outcome) -> String {
    let Some(fits) = plan.fits else {
        return "whether it fits is not known: name --machine or --memory".to_owned();
    };
    let headroom = plan.headroom_bytes.unwrap_or(0);
    let spare = bytes(u64::try_from(headroom.unsigned_abs()).unwrap_or(u64::MAX));
    let mut text = if fits {
        format!("it fits, with {spare} to spare")
    } else {
        format!("it does not fit: {spare} are missing")
    };
    let most = plan.budget_most_bytes.unwrap_or(0);
    if !fits && plan.total_bytes <= most {
        let _ = write!(text, " (but it would with the {} that may be had)", bytes(most));
    }
    match plan.max_context {
        Some(0) => text.push_str("; no context fits"),
        Some(longest) if longest >= plan.model_context => {
            let _ = write!(text, "; its whole context of {longest} tokens would");
            text.push_str(if fits { " too" } else { "" });
        }
        Some(longest) => {
            let _ = write!(text, "; the longest context that fits is {longest} tokens");
        }
        None => {}
    }
    match &plan.largest_format {
        Some(format) if *format != plan.format => {
            let _ = write!(text, "; the largest format that fits is {format}");
        }
        None => text.push_str("; no format fits"),
        Some(_) => {}
    }
    text
}

fn speeds(plan: &Outcome) -> Option<String> {
    let speed = plan.decode_tok_s?;
    let mut text = format!("generation  {} at depth {}", estimate(speed), plan.depth);
    if let Some(bound) = plan.bound_by {
        let _ = write!(text, ", limited by {}", bound.name());
    }
    if let Some(ceiling) = plan.decode_ceiling_tok_s {
        let _ = write!(text, "; memory allows {ceiling:.1} at most");
    }
    if let (true, Some(total)) = (plan.concurrency > 1, plan.decode_total_tok_s) {
        let _ = write!(text, "\n            {total:.1} tok/s of all {} sequences together", plan.concurrency);
    }
    if let (Some(speed), Some(seconds)) = (plan.prefill_tok_s, plan.first_token_s) {
        let _ = write!(
            text,
            "\nprompt      {}: the first token of {} after {seconds:.2} s",
            estimate(speed),
            plan.prompt
        );
    }
    Some(text)
}

fn estimate(speed: Estimate) -> String {
    let digits = usize::from(speed.p50 < 100.0);
    format!("{:.digits$} tok/s ({:.digits$} to {:.digits$})", speed.p50, speed.low, speed.high)
}

fn contexts(plan: &Outcome) -> Table {
    let mut table = Table::new(&[">context", ">keys and values", ">total", "fits", ">tok/s when full"]);
    for row in &plan.table {
        let fits = row.fits.map_or("", |fits| if fits { "yes" } else { "no" });
        table.row([
            row.context.to_string(),
            bytes(row.kv_bytes),
            bytes(row.total_bytes),
            fits.to_owned(),
            row.decode_tok_s.map_or_else(String::new, estimate),
        ]);
    }
    table
}

/// Why there is no speed.
pub fn unknown_speed(engine: EngineKind) -> &'static str {
    if engine == EngineKind::Lazuli {
        "its speed here is not known: run `lazuli bench --calibrate` once"
    } else {
        "its speed here is not known: name --machine or --bandwidth, or run `lazuli bench --calibrate` once"
    }
}

/// What reaches a wish.
pub fn reached(list: &[Reached]) -> String {
    let mut table = Table::new(&["machine", "format", ">memory", ">takes", ">tok/s", "engine", "status"]);
    for one in list {
        table.row([
            one.machine.clone(),
            one.format.clone(),
            format!("{} GB", one.memory_bytes >> 30),
            bytes(one.total_bytes),
            estimate(one.decode_tok_s),
            one.engine.to_owned(),
            one.status.to_owned(),
        ]);
    }
    table.render()
}
