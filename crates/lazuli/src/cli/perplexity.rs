//! `lazuli perplexity`: how surprised a model is by a text, counted as llama.cpp's `llama-perplexity` counts.

use super::numbers::log_sum_exp;
use super::options::{ModelArg, Precision, Threads};
use super::{Context, Failure};
use lazuli::backends::Workers;
use lazuli::nn::Logits;
use lazuli::{Model, PREFILL_CHUNK, Session};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Measure a model's perplexity on a text
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Counts as llama-perplexity does with the same context: the text is cut into windows of that many tokens, what is left \
over at its end is dropped, the first token of a window is replaced by the beginning-of-text token if the model uses \
one, and the predictions of the second half of each window are scored.

Example:
  lazuli perplexity smollm2 --file text.txt")]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// The text, in UTF-8
    #[arg(long, short, value_name = "TEXT")]
    file: PathBuf,
    /// Tokens in a window
    #[arg(long, short, value_name = "N", default_value_t = 512, value_parser = context)]
    context: usize,
    /// How to compute
    #[arg(long, value_enum, default_value_t = Precision::Fast)]
    precision: Precision,
    #[command(flatten)]
    threads: Threads,
}

fn context(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n >= 4).ok_or_else(|| "expected a number of at least 4".to_owned())
}

/// What is printed under `--json`.
#[derive(Debug, Serialize)]
struct Outcome {
    perplexity: f64,
    /// Predictions that were scored.
    tokens: usize,
    seconds: f64,
}

/// Prints a sentence or an [`Outcome`]; a running estimate on a terminal.
pub fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let model = args.model.open(cx)?;
    let text = read_text(&args.file)?;
    let (mut tokens, bos) = tokenise(&model, &text)?;
    let windows = tokens.len() / args.context;
    if windows == 0 {
        return Err(Failure::error(format!(
            "{} has {} tokens, fewer than the context of {}: give a longer text or a smaller --context",
            args.file.display(),
            tokens.len(),
            args.context
        )));
    }
    let workers = args.threads.workers(args.precision)?;
    let runtime = workers.runtime();
    let mut session = Session::new(model.causal_lm()?, runtime, args.precision.kv(), args.context)?;

    let (interrupt, bar) = (cx.interrupt(), cx.ui().steps_bar("perplexity", windows as u64));
    let start = Instant::now();
    let mut score = Score::default();
    for window in tokens.chunks_exact_mut(args.context) {
        interrupt.check()?;
        if let Some(bos) = bos {
            window[0] = bos;
        }
        score.add_window(&mut session, &workers, window)?;
        bar.inc(1);
        bar.set_message(format!("perplexity {:.4}", score.perplexity()));
    }
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    let outcome = Outcome { perplexity: score.perplexity(), tokens: score.tokens, seconds };
    if !outcome.perplexity.is_finite() {
        return Err(Failure::error("the model computed logits that are not numbers"));
    }
    if cx.json() {
        return cx.print_json(&outcome);
    }
    let Outcome { perplexity, tokens, .. } = outcome;
    let line = format!(
        "perplexity {perplexity:.4} over {tokens} predictions in {windows} windows of {}, {seconds:.1} s",
        args.context
    );
    Ok(cx.out().line(&line)?)
}

/// Reads a file that must be UTF-8.
pub(super) fn read_text(path: &std::path::Path) -> Result<String, Failure> {
    let fail =
        |what: &dyn std::fmt::Display| Failure::error(format!("cannot read {}: {what}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| fail(&error))?;
    String::from_utf8(bytes)
        .map_err(|error| fail(&format!("byte {} is not UTF-8", error.utf8_error().valid_up_to())))
}

/// The text as tokens, and the token that begins each window, if the model uses one.
pub(super) fn tokenise(model: &Model, text: &str) -> Result<(Vec<u32>, Option<u32>), Failure> {
    let tokenizer = model.tokenizer()?;
    let bos = tokenizer.bos().filter(|_| tokenizer.add_bos());
    Ok((lazuli::text_prompt(&tokenizer, text), bos))
}

/// The sum of negative log-likelihoods so far.
#[derive(Debug, Default)]
struct Score {
    nll: f64,
    tokens: usize,
}

impl Score {
    /// Runs a window from its beginning and scores its second half: the tokens at positions `first` to the last but
    /// one each predict their successor.
    fn add_window(
        &mut self,
        session: &mut Session,
        workers: &Workers,
        window: &[u32],
    ) -> Result<(), Failure> {
        second_halves(session, window, |logits, targets| {
            self.nll += surprise(workers, logits, targets);
            self.tokens += targets.len();
        })
    }

    fn perplexity(&self) -> f64 {
        (self.nll / self.tokens as f64).exp()
    }
}

/// Runs a window from its beginning; `score` gets the rows of logits of its second half (of the tokens at positions
/// `len / 2` to the last but one) in pieces, each with the tokens that follow.
pub(super) fn second_halves(
    session: &mut Session,
    window: &[u32],
    mut score: impl FnMut(&[f32], &[u32]),
) -> Result<(), Failure> {
    session.rewind(0);
    let first = window.len() / 2;
    for chunk in window[..first].chunks(PREFILL_CHUNK) {
        session.feed(chunk, Logits::None)?;
    }
    let last = window.len() - 1;
    for start in (first..last).step_by(PREFILL_CHUNK / 2) {
        let end = last.min(start + PREFILL_CHUNK / 2);
        let logits = session.feed(&window[start..end], Logits::All)?;
        score(logits.as_slice::<f32>()?, &window[start + 1..=end]);
    }
    Ok(())
}

/// The sum of the negative log-likelihoods of `targets` under rows of logits.
pub(super) fn surprise(workers: &Workers, logits: &[f32], targets: &[u32]) -> f64 {
    let columns = logits.len() / targets.len();
    let rows: Vec<(&[f32], u32)> = logits.chunks_exact(columns).zip(targets.iter().copied()).collect();
    let sums = Mutex::new(vec![0.0; workers.count()]);
    workers.run(|index, count| {
        let mine = rows.iter().skip(index).step_by(count);
        let sum: f64 = mine.map(|(row, target)| log_sum_exp(row) - f64::from(row[*target as usize])).sum();
        sums.lock().unwrap_or_else(PoisonError::into_inner)[index] = sum;
    });
    // Summed in the order of the workers, so that the result does not depend on who was first.
    sums.into_inner().unwrap_or_else(PoisonError::into_inner).iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lazuli::backends::RuntimeOptions;

    #[test]
    fn surprise_is_the_negative_log_of_the_probability() {
        let workers = RuntimeOptions { threads: std::num::NonZeroUsize::new(2), ..Default::default() };
        let workers = workers.workers().expect("two threads");
        // Softmax of (ln 1, ln 2, ln 5) is (1/8, 2/8, 5/8).
        let row = [1.0f32, 2.0, 5.0].map(|x| x.ln() + 90.0);
        let logits: Vec<f32> = row.into_iter().cycle().take(9).collect();
        let found = surprise(&workers, &logits, &[0, 1, 2]);
        let expected = -(0.125f64 * 0.25 * 0.625).ln();
        assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
    }
}
