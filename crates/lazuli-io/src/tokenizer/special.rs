//! Which tokens end a generation.

use super::vocab::{Kind, Vocab};

/// Texts by which published models end a turn, a message or a text, whatever kind the file gives them.
const ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<end_of_turn>",
    "<|END_OF_TURN_TOKEN|>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<|endofprompt|>",
];

/// Texts that end a generation only if the file calls them control tokens: elsewhere they are ordinary text,
/// such as the HTML tag `</s>`.
const CONTROL_ENDS: &[&str] = &["</s>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<eos>", "<turn|>", "[e~["];

/// The ids in `named` (from the model's own settings) and those of the known end texts, ascending; they
/// become control tokens.
pub(super) fn end_tokens(vocab: &mut Vocab, named: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let find = |vocab: &Vocab, text: &str| vocab.find(text.as_bytes());
    let mut ends: Vec<u32> = named.into_iter().filter(|&id| (id as usize) < vocab.len()).collect();
    ends.extend(ENDS.iter().filter_map(|text| find(vocab, text)));
    let control = CONTROL_ENDS.iter().filter_map(|text| find(vocab, text));
    ends.extend(control.filter(|&id| vocab.kind(id) == Kind::Control));
    // GLM ends its turn with the role that speaks next.
    if find(vocab, "[gMASK]").is_some() {
        ends.extend(["<|user|>", "<|observation|>"].iter().filter_map(|text| find(vocab, text)));
    }
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
