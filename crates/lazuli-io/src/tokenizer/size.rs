//! What a checkpoint's tokenizer takes in memory, without building it.

use super::gguf::{MERGES, TOKENS};
use super::texts::Table;
use crate::checkpoint::{Checkpoint, Kind};
use crate::gguf::{Metadata, Strings};

/// Bytes that the tokenizer of `checkpoint` takes: the tables for encoding, and what they point into. Of GGUF that is
/// counted; of `tokenizer.json` it is known by experience, for vocabularies that run on our own encoders.
pub fn tokenizer_bytes(checkpoint: &Checkpoint) -> u64 {
    match checkpoint.kind() {
        Kind::Gguf(metadata) => {
            let texts = checkpoint.files().iter().map(|file| file.len()).sum::<usize>();
            (mapped(metadata, TOKENS) + mapped(metadata, MERGES) + texts
                - checkpoint.tensor_bytes().min(texts)) as u64
        }
        Kind::HuggingFace(_) => {
            let size =
                std::fs::metadata(checkpoint.path().join("tokenizer.json")).map_or(0, |file| file.len());
            // Texts without the punctuation of JSON, where each ends, and the tables: 1.4 to 1.6 bytes for one.
            size + size / 2
        }
        Kind::Tensors => 0,
    }
}

/// Bytes for an array of texts that stay in the file: where each stands, and the table that finds them.
fn mapped(metadata: &Metadata, key: &str) -> usize {
    let texts = metadata.strings(key).ok().flatten().map_or(0, Strings::len);
    if texts == 0 { 0 } else { 4 * (texts + Table::slots(texts)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_at_most_half_full() {
        for texts in [1, 2, 3, 48_900, 151_936, 262_144] {
            let slots = Table::slots(texts);
            assert!(
                slots.is_power_of_two() && slots >= 2 * texts && slots < 4 * texts + 2,
                "{texts}: {slots}"
            );
        }
    }
}
