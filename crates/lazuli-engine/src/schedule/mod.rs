//! Who takes part in the next step: decisions as functions of plain numbers, without arrays, threads or time.

mod prefix;

pub use prefix::{Prefix, Text, find_prefix};

/// How far a sequence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Tokens that are known: the prompt and what was generated.
    pub known: usize,
    /// Tokens whose keys and values stand in the pool; always fewer than `known`.
    pub done: usize,
}

/// Consecutive tokens of one sequence that take part in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Index of the sequence.
    pub sequence: usize,
    /// Position of the first token.
    pub start: usize,
    /// How many tokens.
    pub len: usize,
    /// Whether the last of them is the last one known, so that its logits choose the next.
    pub last: bool,
}

/// The parts of the next step: the one next token of each sequence that has its prompt behind it, and prompt
/// chunks of the others, together at most `prompt_tokens` long, the sequences that come first first.
///
/// A prompt never holds up those who generate for longer than one chunk, and their one row rides along with
/// the chunk's reading of the weights.
pub fn plan_step(sequences: &[Progress], prompt_tokens: usize) -> Vec<Part> {
    let mut budget = prompt_tokens.max(1);
    let mut parts = Vec::with_capacity(sequences.len());
    for (sequence, &Progress { known, done }) in sequences.iter().enumerate() {
        let missing = known - done;
        let len = if missing == 1 { 1 } else { missing.min(budget) };
        if missing > 1 {
            budget -= len;
        }
        if len > 0 {
            parts.push(Part { sequence, start: done, len, last: len == missing });
        }
    }
    parts
}

/// Tokens whose keys and values a request can need: the prompt and all it may generate, in the context. Their
/// pages are promised before it starts, so that nothing fails half-way for want of a page.
pub fn rows_needed(prompt: usize, max_tokens: Option<usize>, context: usize) -> usize {
    max_tokens.map_or(context, |max| prompt.saturating_add(max).min(context))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(sequence: usize, start: usize, len: usize, last: bool) -> Part {
        Part { sequence, start, len, last }
    }

    fn progress(known: usize, done: usize) -> Progress {
        Progress { known, done }
    }

    #[test]
    fn prompts_come_in_chunks_and_decoding_goes_on_beside_them() {
        let sequences = [progress(11, 10), progress(1000, 0), progress(300, 299), progress(40, 0)];
        let decode_and_chunk = [part(0, 10, 1, true), part(1, 0, 512, false), part(2, 299, 1, true)];
        assert_eq!(plan_step(&sequences, 512), decode_and_chunk);
        let rest = [progress(1000, 512), progress(40, 0)];
        assert_eq!(plan_step(&rest, 512), [part(0, 512, 488, true), part(1, 0, 24, false)]);
    }

    #[test]
    fn what_a_request_can_need_ends_with_the_context() {
        assert_eq!(rows_needed(10, Some(5), 100), 15);
        assert_eq!(rows_needed(10, Some(500), 100), 100);
        assert_eq!(rows_needed(10, Some(usize::MAX), 100), 100);
        assert_eq!(rows_needed(10, None, 100), 100);
    }

    proptest! {
        #[test]
        fn a_step_keeps_to_its_rules(
            sequences in proptest::collection::vec((1usize..600, 0usize..600), 0..12),
            budget in 1usize..600,
        ) {
            let sequences: Vec<Progress> =
                sequences.iter().map(|&(missing, done)| progress(done + missing, done)).collect();
            let parts = plan_step(&sequences, budget);
            let prompt: usize = parts.iter().filter(|p| sequences[p.sequence].known - p.start > 1).map(|p| p.len).sum();
            prop_assert!(prompt <= budget);
            prop_assert!(parts.windows(2).all(|w| w[0].sequence < w[1].sequence));
            for p in &parts {
                let s = sequences[p.sequence];
                prop_assert!(p.len > 0 && p.start == s.done && p.start + p.len <= s.known);
                prop_assert_eq!(p.last, p.start + p.len == s.known);
            }
            for (index, s) in sequences.iter().enumerate().filter(|(_, s)| s.known - s.done == 1) {
                prop_assert!(parts.contains(&part(index, s.done, 1, true)));
            }
            // Something always moves, and no budget is left while a prompt could use it.
            prop_assert!(sequences.is_empty() || !parts.is_empty());
            let idle = sequences.len() > parts.len();
            prop_assert!(!idle || prompt == budget);
        }
    }
}
