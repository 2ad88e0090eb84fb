//! Perplexity of source and target on a text, and how far their predictions are apart.

use crate::cli::options::{Precision, Threads};
use crate::cli::perplexity::{second_halves, surprise, tokenise};
use crate::cli::verify::compare::Comparison;
use crate::cli::{Context, Failure};
use lazuli::{Model, Session};
use serde::Serialize;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Tokens in a window, as `lazuli perplexity` counts by default.
const WINDOW: usize = 512;

/// What is measured, in this order.
#[derive(Debug, Serialize)]
pub struct Measured {
    source_perplexity: f64,
    perplexity: f64,
    /// Mean over the predictions of KL(source || target), in nats.
    kl_mean: f64,
    /// The share of predictions whose most likely token is the same.
    top1_agreement: f64,
    /// Predictions.
    tokens: usize,
}

/// Scores the second halves of all windows of `text` with both models.
pub fn measure(
    source: &Model,
    target: &Model,
    text: &str,
    precision: Precision,
    threads: Threads,
    cx: &Context,
) -> Result<Measured, Failure> {
    let (mut tokens, bos) = tokenise(source, text)?;
    if tokens.len() < WINDOW {
        return Err(Failure::error(format!(
            "--text has {} tokens, fewer than a window of {WINDOW}: give a longer one",
            tokens.len()
        )));
    }
    let workers = threads.workers(precision)?;
    let session = |model: &Model| -> Result<Session, Failure> {
        Ok(Session::new(model.causal_lm()?, workers.runtime(), precision.kv(), WINDOW)?)
    };
    let (mut before, mut after) = (session(source)?, session(target)?);
    let bar = cx.ui().steps_bar("measuring", (tokens.len() / WINDOW) as u64);
    let (interrupt, mut count) = (cx.interrupt(), 0);
    let (mut nll_before, mut nll_after, mut comparison) = (0.0, 0.0, Comparison::default());
    for window in tokens.chunks_exact_mut(WINDOW) {
        interrupt.check()?;
        if let Some(bos) = bos {
            window[0] = bos;
        }
        let mut rows = Vec::new();
        second_halves(&mut before, window, |logits, targets| {
            nll_before += surprise(&workers, logits, targets);
            rows.extend_from_slice(logits);
        })?;
        let mut at = 0;
        second_halves(&mut after, window, |logits, targets| {
            nll_after += surprise(&workers, logits, targets);
            count += targets.len();
            let expected = &rows[at..at + logits.len()];
            at += logits.len();
            comparison.join(&compare(&workers, expected, logits, logits.len() / targets.len()));
        })?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let report = comparison.report();
    let perplexity = |nll: f64| (nll / count as f64).exp();
    Ok(Measured {
        source_perplexity: perplexity(nll_before),
        perplexity: perplexity(nll_after),
        kl_mean: report.kl_mean,
        top1_agreement: report.top1_agreement,
        tokens: count,
    })
}

/// Compares rows on all workers.
fn compare(
    workers: &lazuli::backends::Workers,
    expected: &[f32],
    found: &[f32],
    columns: usize,
) -> Comparison {
    let parts: Vec<Mutex<Comparison>> = (0..workers.count()).map(|_| Mutex::default()).collect();
    workers.run(|index, count| {
        let mut mine = parts[index].lock().unwrap_or_else(PoisonError::into_inner);
        let rows = expected.chunks_exact(columns).zip(found.chunks_exact(columns));
        for (expected, found) in rows.skip(index).step_by(count) {
            mine.add(expected, found);
        }
    });
    let mut all = Comparison::default();
    for part in parts {
        all.join(&part.into_inner().unwrap_or_else(PoisonError::into_inner));
    }
    all
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = (self.perplexity / self.source_perplexity - 1.0) * 100.0;
        write!(
            f,
            "perplexity {:.4}, {:.4} in the source ({change:+.2} %)\nKL {:.5} nats in the mean, the same most likely \
             token in {:.2} % of {} predictions",
            self.perplexity,
            self.source_perplexity,
            self.kl_mean,
            self.top1_agreement * 100.0,
            self.tokens
        )
    }
}
