//! What to change so that a model fits, with the figure for each change.

use serde::Serialize;

use crate::plan::{Options, Source};
use crate::{KvFormat, Weights};

/// A change and what it brings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// What to change.
    pub what: String,
    /// Bytes of everything after it.
    pub total_bytes: u64,
    /// Whether it fits then.
    pub fits: bool,
}

/// Formats in which models are offered, the largest first.
pub(crate) const OFFERED: &[&str] = &["bf16", "q8", "q6", "q5", "q4", "q3", "q2"];

/// The least packed format that fits.
pub(crate) fn largest_format(
    source: &Source,
    options: &Options,
    context: usize,
    budget: u64,
) -> Option<String> {
    let total = |weights: &Weights| Source { weights, ..*source }.memory(options, context).total();
    // A format that spends more bits than the model was published with is no gain.
    let most = source.weights.bytes(source.model).max(1);
    let formats = OFFERED.iter().filter_map(|name| Weights::parse(name).ok());
    let better = formats.filter(|w| total(w) <= budget);
    let packed = better.map(|w| (w.bytes(source.model), w.name().to_owned())).next();
    match (total(source.weights) <= budget, packed) {
        (true, Some((bytes, _))) if bytes <= most => Some(source.weights.name().to_owned()),
        (_, Some((_, name))) => Some(name),
        (true, None) => Some(source.weights.name().to_owned()),
        (false, None) => None,
    }
}

/// What would help a plan that does not fit: nothing if it does.
pub(crate) fn changes(source: &Source, options: &Options, context: usize, budget: u64) -> Vec<Change> {
    let now = source.memory(options, context);
    if now.total() <= budget {
        return Vec::new();
    }
    let mut changes = Vec::new();
    let mut add = |what: String, total_bytes: u64| {
        changes.push(Change { what, total_bytes, fits: total_bytes <= budget });
    };
    let current = source.weights.bytes(source.model);
    for weights in OFFERED.iter().filter_map(|name| Weights::parse(name).ok()) {
        let total = Source { weights: &weights, ..*source }.memory(options, context).total();
        // The first that fits, or the smallest there is.
        if weights.bytes(source.model) < current && (total <= budget || weights.name() == "q2") {
            add(format!("--format {}", weights.name()), total);
            break;
        }
    }
    for kv in [KvFormat::Q8_0, KvFormat::Q4_0] {
        if kv.row_bytes(128) < options.kv.row_bytes(128) {
            let total = source.memory(&Options { kv, ..options.clone() }, context).total();
            add(format!("--kv-format {kv}"), total);
        }
    }
    let longest = source.longest(options, budget);
    if longest > 0 && longest < context {
        add(format!("--context {longest}"), source.memory(options, longest).total());
    }
    if options.concurrency > 1 {
        let total = source.memory(&Options { concurrency: 1, ..options.clone() }, context).total();
        add("--concurrency 1".to_owned(), total);
    }
    let layers = source.model.layers.len().max(1) as u64;
    let missing = (now.total() - budget).div_ceil((now.weights / layers).max(1));
    if missing < layers {
        let what = format!("{missing} of {layers} layers read from disk at each token");
        add(what, now.total() - missing * (now.weights / layers));
    }
    changes
}
