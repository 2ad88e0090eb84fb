//! Byte-pair encoding by a list of merges, over bytes (GPT-2's, as most vocabularies use it) or over characters
//! with `▁` for a space (SentencePiece models as `tokenizer.json` writes them).

use std::borrow::Cow;
use std::ops::Range;
use std::sync::OnceLock;

use tokenizers::normalizers::NFC;
use tokenizers::{NormalizedString, Normalizer};

use super::byte_level;
use super::merge::Merger;
use super::pre::PreTokenizer;
use super::spm::SPACE;
use super::texts::{Table, Texts};
use super::vocab::{Kind, Vocab};

/// The merges, and what happens to a text before them.
#[derive(Debug)]
pub(super) struct Bpe {
    /// `left right`, best first.
    merges: Texts,
    alphabet: Symbols,
    /// A word that is a token as it stands is taken whole.
    whole_words: bool,
    table: OnceLock<Table>,
}

/// What the merges work on.
#[derive(Debug)]
pub(super) enum Symbols {
    /// Bytes in the printable alphabet, of the words that the rules cut.
    Bytes {
        /// The rules for words.
        pre: PreTokenizer,
        /// Compose characters first (Unicode NFC).
        compose: bool,
    },
    /// Characters of the whole text.
    Characters(Prefix),
}

/// Where a space is put before the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    /// Nowhere.
    Never,
    /// At the beginning, and after every added token.
    Always,
    /// As `Always`, but only where the text does not begin with a space itself.
    AlwaysUnlessThere,
    /// At the beginning, but only where the text does not begin with a space itself.
    FirstUnlessThere,
}

impl Bpe {
    pub(super) fn new(merges: Texts, alphabet: Symbols, whole_words: bool) -> Self {
        Self { merges, alphabet, whole_words, table: OnceLock::new() }
    }

    /// The table of merges, built on first use.
    pub(super) fn table(&self) -> &Table {
        self.table.get_or_init(|| Table::build(&self.merges))
    }

    /// Whether encoding puts a space before a text.
    pub(super) fn space_prefix(&self) -> bool {
        matches!(self.alphabet, Symbols::Characters(prefix) if prefix != Prefix::Never)
    }

    /// Appends the tokens of `text`, which holds no added tokens; `first` if it begins the whole text.
    pub(super) fn encode(&self, vocab: &Vocab, text: &str, first: bool, out: &mut Vec<u32>) {
        let mut merger = Merger::default();
        match &self.alphabet {
            Symbols::Bytes { pre, compose } => {
                let mut word = String::new();
                let text = if *compose { composed(text) } else { Cow::Borrowed(text) };
                pre.split(&text, |raw| {
                    word.clear();
                    byte_level::encode(raw.as_bytes(), &mut word);
                    self.encode_word(vocab, &word, &mut merger, out);
                });
            }
            Symbols::Characters(prefix) => {
                let wanted = match prefix {
                    Prefix::Never => false,
                    Prefix::Always => true,
                    Prefix::AlwaysUnlessThere => !text.starts_with([' ', SPACE]),
                    Prefix::FirstUnlessThere => first && !text.starts_with([' ', SPACE]),
                };
                let escaped = text.chars().map(|c| if c == ' ' { SPACE } else { c });
                let word: String = wanted.then_some(SPACE).into_iter().chain(escaped).collect();
                self.encode_word(vocab, &word, &mut merger, out);
            }
        }
    }

    fn encode_word(&self, vocab: &Vocab, word: &str, merger: &mut Merger, out: &mut Vec<u32>) {
        if self.whole_words {
            // A word that spells a control token is text: those were taken out before, where that was asked for.
            let whole = vocab.find(word.as_bytes()).filter(|&id| vocab.kind(id) != Kind::Control);
            if let Some(id) = whole {
                out.push(id);
                return;
            }
        }
        let (table, bytes) = (self.table(), word.as_bytes());
        let mut pair = Vec::new();
        let rank = |left: Range<usize>, right: Range<usize>| {
            pair.clear();
            pair.extend_from_slice(&bytes[left]);
            pair.push(b' ');
            pair.extend_from_slice(&bytes[right]);
            table.find(&self.merges, &pair)
        };
        merger.run(word, rank, |part| self.push_part(vocab, &word[part], out));
    }

    /// One finished symbol: a token, or else its characters (or bytes) one by one, or else the unknown token.
    fn push_part(&self, vocab: &Vocab, part: &str, out: &mut Vec<u32>) {
        if let Some(id) = vocab.find(part.as_bytes()) {
            out.push(id);
            return;
        }
        match self.alphabet {
            Symbols::Bytes { .. } => out.extend(part.chars().filter_map(|character| {
                vocab.find(character.encode_utf8(&mut [0; 4]).as_bytes()).or(vocab.unknown())
            })),
            Symbols::Characters(_) => {
                out.extend(part.bytes().filter_map(|byte| vocab.byte_token(byte).or(vocab.unknown())));
            }
        }
    }
}

/// Unicode normalisation form C.
fn composed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut normalised = NormalizedString::from(text);
    match NFC.normalize(&mut normalised) {
        Ok(()) => Cow::Owned(normalised.get().to_owned()),
        Err(_) => Cow::Borrowed(text),
    }
}
