//! Byte-level byte-pair encoding (GPT-2's, as most current vocabularies use it).

use std::ops::Range;
use std::sync::OnceLock;

use super::byte_level;
use super::merge::Merger;
use super::pre::PreTokenizer;
use super::texts::{Table, Texts};
use super::vocab::Vocab;

/// The merges and the rules for words.
#[derive(Debug)]
pub(super) struct Bpe {
    /// `left right` in the printable alphabet, best first.
    merges: Texts,
    pre: PreTokenizer,
    /// A word that is a token as it stands is taken whole.
    whole_words: bool,
    table: OnceLock<Table>,
}

impl Bpe {
    pub(super) fn new(merges: Texts, pre: PreTokenizer, whole_words: bool) -> Self {
        Self { merges, pre, whole_words, table: OnceLock::new() }
    }

    /// The table of merges, built on first use.
    pub(super) fn table(&self) -> &Table {
        self.table.get_or_init(|| Table::build(&self.merges))
    }

    /// Appends the tokens of `text`, which holds no added tokens.
    pub(super) fn encode(&self, vocab: &Vocab, text: &str, out: &mut Vec<u32>) {
        let table = self.table();
        let (mut merger, mut word, mut pair) = (Merger::default(), String::new(), Vec::new());
        self.pre.split(text, |raw| {
            word.clear();
            byte_level::encode(raw.as_bytes(), &mut word);
            if self.whole_words {
                if let Some(id) = vocab.find(word.as_bytes()) {
                    out.push(id);
                    return;
                }
            }
            let bytes = word.as_bytes();
            let rank = |left: Range<usize>, right: Range<usize>| {
                pair.clear();
                pair.extend_from_slice(&bytes[left]);
                pair.push(b' ');
                pair.extend_from_slice(&bytes[right]);
                table.find(&self.merges, &pair)
            };
            merger.run(&word, rank, |part| push_part(vocab, &word[part], out));
        });
    }
}

/// One finished symbol: a token, or else its characters one by one, or else the unknown token.
fn push_part(vocab: &Vocab, part: &str, out: &mut Vec<u32>) {
    if let Some(id) = vocab.find(part.as_bytes()) {
        out.push(id);
        return;
    }
    for character in part.chars() {
        let id = vocab.find(character.encode_utf8(&mut [0; 4]).as_bytes());
        out.extend(id.or(vocab.unknown()));
    }
}
