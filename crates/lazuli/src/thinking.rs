//! How a model marks its reasoning: by tokens that it has, or by text that its template writes.

use lazuli_engine::Reasoning;
use lazuli_engine::reasoning::{Marks, Part};
use lazuli_io::{ChatTemplate, Tokenizer};

/// Pairs of marks in published models; the first that a model has is its own.
const PAIRS: &[(&str, &str)] = &[
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<seed:think>", "</seed:think>"),
];

/// The marks of the model that `tokenizer` and `template` belong to, and what its answer to `prompt` (as rendered)
/// begins with; `None` for models that do not mark reasoning.
pub(crate) fn reasoning(tokenizer: &Tokenizer, template: &ChatTemplate, prompt: &str) -> Option<Reasoning> {
    let id = |text: &str| tokenizer.token_id(text);
    let channels = || {
        let marks = Marks::Channels {
            start: id("<|start|>")?,
            channel: id("<|channel|>")?,
            message: id("<|message|>")?,
            end: id("<|end|>")?,
        };
        Some(Reasoning { marks, first: Part::Answer })
    };
    let pairs = || {
        let (source, prompt) = (template.source(), prompt.trim_end());
        PAIRS.iter().find_map(|&(open, close)| {
            let marks = match (id(open), id(close)) {
                (Some(open), Some(close)) => Marks::Tokens { open, close },
                _ if source.contains(open) || source.contains(close) => {
                    Marks::Text { open: open.to_owned(), close: close.to_owned() }
                }
                _ => return None,
            };
            let first = if prompt.ends_with(open) { Part::Reasoning } else { Part::Answer };
            Some(Reasoning { marks, first })
        })
    };
    channels().or_else(pairs)
}
