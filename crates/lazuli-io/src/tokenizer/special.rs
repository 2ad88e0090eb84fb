//! Which tokens end a generation.

use super::vocab::Vocab;

/// Texts by which published models end a turn, a message or a text.
const ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<｜end▁of▁sentence｜>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "[e~[",
    "<|endofprompt|>",
];

/// The ids in `named` (from the model's own settings) and those of the known end texts, ascending; they
/// become control tokens.
pub(super) fn end_tokens(vocab: &mut Vocab, named: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let find = |vocab: &Vocab, text: &str| vocab.find(text.as_bytes());
    let mut ends: Vec<u32> = named.into_iter().filter(|&id| (id as usize) < vocab.len()).collect();
    ends.extend(ENDS.iter().filter_map(|text| find(vocab, text)));
    // Harmony-style vocabularies end a message, but not the answer, with `<|end|>`.
    let calls = ["<|call|>", "<|calls|>"].iter().any(|text| find(vocab, text).is_some());
    let returns = ["<|return|>", "<|flush|>"].iter().any(|text| find(vocab, text).is_some());
    if calls && returns {
        let message_end = find(vocab, "<|end|>");
        ends.retain(|&id| Some(id) != message_end);
    }
    ends.sort_unstable();
    ends.dedup();
    for &id in &ends {
        vocab.set_control(id);
    }
    ends
}
