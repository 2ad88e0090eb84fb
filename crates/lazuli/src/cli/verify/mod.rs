//! `lazuli verify`: a model's logits against those of a reference implementation.

pub(super) mod compare;
mod reference;

use super::numbers::best;
use super::options::{ModelArg, Precision, Threads};
use super::ui::Table;
use super::{Context, Failure};
use compare::{Comparison, Report};
use lazuli::nn::Logits;
use lazuli::{Model, Session};
use reference::Reference;
use serde::Serialize;
use std::path::PathBuf;

/// What `exact` must stay below when nothing else is asked for.
const EXACT_TOLERANCE: f64 = 0.01;

/// Compare a model's logits with a reference
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The reference is a safetensors file with input_ids [T] i32, logits [T, V] f32 and, if wanted, greedy [G] i32: the most \
likely tokens after the input, one after the other. The input is run in one pass, then again token by token with the \
keys and values kept between them; both passes are compared. No tokenizer is needed.

Exits with 1 if a logit differs by more than the tolerance in either pass.

Examples:
  lazuli verify path/to/folder
  lazuli verify model.gguf --reference logits.safetensors --precision fast --tolerance 0.5")]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// The reference [default: reference.safetensors beside the model]
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// How to compute
    #[arg(long, value_enum, default_value_t = Precision::Exact)]
    precision: Precision,
    /// The largest difference that is no failure [default: 0.01 for exact, none for fast]
    #[arg(long, value_name = "X", value_parser = tolerance)]
    tolerance: Option<f64>,
    #[command(flatten)]
    threads: Threads,
}

fn tolerance(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok().filter(|x: &f64| x.is_finite() && *x >= 0.0);
    number.ok_or_else(|| "expected a number that is not negative".to_owned())
}

/// What is printed under `--json`, in this order.
#[derive(Debug, Serialize)]
struct Outcome {
    precision: &'static str,
    prefill: Report,
    decode: Report,
    greedy_match: Option<bool>,
}

/// Prints a table or an [`Outcome`].
pub fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let found = args.model.find(cx)?;
    let model = Model::open(&found.path)?;
    let reference = args.reference.clone().unwrap_or_else(|| Reference::beside(&found.path));
    let reference = Reference::open(&reference)?;
    let network = model.causal_lm()?;
    reference.check(network.spec().vocabulary)?;
    let runtime = args.threads.workers(args.precision)?.runtime();
    let context = reference.ids.len() + reference.greedy.as_ref().map_or(0, Vec::len);
    let mut session = Session::new(network, runtime, args.precision.kv(), context)?;

    let prefill = one_pass(&mut session, &reference)?;
    session.rewind(0);
    let (decode, next) = token_by_token(&mut session, &reference)?;
    let greedy = match &reference.greedy {
        Some(expected) => Some(continue_greedily(&mut session, next, expected)?),
        None => None,
    };
    let greedy_match = greedy.zip(reference.greedy.as_ref()).map(|(count, all)| count == all.len());
    let outcome = Outcome { precision: args.precision.name(), prefill, decode, greedy_match };
    if cx.json() {
        cx.print_json(&outcome)?;
    } else {
        cx.out().line(&table(&outcome, &reference, greedy))?;
    }
    judge(&outcome, args.tolerance.or((args.precision == Precision::Exact).then_some(EXACT_TOLERANCE)))
}

fn one_pass(session: &mut Session, reference: &Reference) -> Result<Report, Failure> {
    let logits = session.feed(&reference.ids, Logits::All)?;
    let mut comparison = Comparison::default();
    comparison.add_rows(reference.logits()?, logits.as_slice::<f32>()?, reference.vocabulary);
    Ok(comparison.report())
}

/// The report, and the best token after the last.
fn token_by_token(session: &mut Session, reference: &Reference) -> Result<(Report, u32), Failure> {
    let mut comparison = Comparison::default();
    let mut next = 0;
    let rows = reference.logits()?.chunks_exact(reference.vocabulary);
    for (&id, expected) in reference.ids.iter().zip(rows) {
        let logits = session.feed(&[id], Logits::Last)?;
        let ours = logits.as_slice::<f32>()?;
        comparison.add(expected, ours);
        next = best(ours) as u32;
    }
    Ok((comparison.report(), next))
}

/// How many tokens of the greedy continuation are the expected ones, up to the first that is not.
fn continue_greedily(session: &mut Session, mut next: u32, expected: &[u32]) -> Result<usize, Failure> {
    for (count, &token) in expected.iter().enumerate() {
        if next != token {
            return Ok(count);
        }
        next = best(session.feed(&[next], Logits::Last)?.as_slice::<f32>()?) as u32;
    }
    Ok(expected.len())
}

fn table(outcome: &Outcome, reference: &Reference, greedy: Option<usize>) -> String {
    let mut table = Table::new(&["pass", ">max |diff|", ">mean KL", ">top-1"]);
    for (name, report) in [("all at once", outcome.prefill), ("token by token", outcome.decode)] {
        let numbers = [
            format!("{:.6}", report.max_abs_diff),
            format!("{:.3e}", report.kl_mean),
            format!("{:.2} %", report.top1_agreement * 100.0),
        ];
        table.row([name.to_owned()].into_iter().chain(numbers));
    }
    let continuation = match (greedy, &reference.greedy) {
        (Some(count), Some(all)) => format!("{count} of {} tokens as expected", all.len()),
        _ => "not in the reference".to_owned(),
    };
    format!(
        "{} tokens, vocabulary {}, {}\n{}\ngreedy continuation: {continuation}",
        reference.ids.len(),
        reference.vocabulary,
        outcome.precision,
        table.render()
    )
}

fn judge(outcome: &Outcome, tolerance: Option<f64>) -> Result<(), Failure> {
    for (pass, report) in [("the pass over all tokens", outcome.prefill), ("token by token", outcome.decode)]
    {
        let diff = report.max_abs_diff;
        if diff.is_nan() {
            return Err(Failure::error(format!("{pass}: there are logits that are not numbers")));
        }
        if let Some(tolerance) = tolerance.filter(|&tolerance| diff > tolerance) {
            return Err(Failure::error(format!(
                "{pass}: a logit differs by {diff:.6}, more than the tolerance {tolerance}"
            )));
        }
    }
    Ok(())
}
