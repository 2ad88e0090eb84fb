//! SentencePiece's unigram model: of all ways to cut a text into tokens, the one of the highest score.
//!
//! After "Subword Regularization" (T. Kudo, 2018), and SentencePiece's normalisation by a compiled table.

use super::spm::SPACE;
use super::vocab::{Kind, Vocab};
use crate::gguf::Numbers;

/// Longer tokens, which no real vocabulary has, are not looked for.
const LONGEST: usize = 512;

/// How much worse than the worst token a character without a token is.
const UNKNOWN_PENALTY: f64 = 10.0;

/// Scores, and how the text is prepared.
#[derive(Debug)]
pub(super) struct Unigram {
    scores: Numbers,
    replacements: Option<Charsmap>,
    /// A text begins with a space that was not written.
    pub(super) space_prefix: bool,
    /// Runs of spaces count as one, and spaces at the ends as none.
    merge_spaces: bool,
    unknown_score: f64,
    /// Bytes of the longest token.
    longest: usize,
}

/// The best way to reach a place in the text: its score, where its last token begins, and which that is.
#[derive(Clone, Copy)]
struct Best {
    score: f64,
    start: usize,
    token: Option<u32>,
}

impl Unigram {
    pub(super) fn new(
        scores: Numbers,
        vocab: &Vocab,
        replacements: Option<Charsmap>,
        space_prefix: bool,
        merge_spaces: bool,
    ) -> Self {
        let ids = (0..vocab.len() as u32).filter(|&id| vocab.kind(id) == Kind::Normal);
        let (mut lowest, mut longest) = (0f64, 1);
        for id in ids {
            lowest = lowest.min(f64::from(scores.f32(id as usize).unwrap_or_default()));
            longest = longest.max(vocab.text(id).len());
        }
        let unknown_score = lowest - UNKNOWN_PENALTY;
        Self {
            scores,
            replacements,
            space_prefix,
            merge_spaces,
            unknown_score,
            longest: longest.min(LONGEST),
        }
    }

    /// Appends the tokens of `text`, which holds no added tokens.
    pub(super) fn encode(&self, vocab: &Vocab, text: &str, out: &mut Vec<u32>) {
        let text = self.normalise(text);
        let unreached = Best { score: f64::NEG_INFINITY, start: 0, token: None };
        let mut best = vec![unreached; text.len() + 1];
        best[0].score = 0.0;
        for (start, character) in text.char_indices() {
            let here = best[start].score;
            let mut offer = |end: usize, score: f64, token: Option<u32>| {
                let score = here + score;
                if score > best[end].score {
                    best[end] = Best { score, start, token };
                }
            };
            let after = start + character.len_utf8();
            let mut alone = false;
            for end in after..=text.len().min(start + self.longest) {
                let Some(piece) = text.get(start..end) else { continue };
                let Some(id) = vocab.find(piece.as_bytes()) else { continue };
                let score = match vocab.kind(id) {
                    Kind::UserDefined => 0.0,
                    Kind::Normal | Kind::Unused => {
                        f64::from(self.scores.f32(id as usize).unwrap_or_default())
                    }
                    _ => continue,
                };
                alone |= end == after;
                offer(end, score, Some(id));
            }
            if !alone {
                offer(after, self.unknown_score, None);
            }
        }
        let begin = out.len();
        let mut at = text.len();
        let mut was_unknown = false;
        while at > 0 {
            let Best { start, token, .. } = best[at];
            // Unknown characters in a row are one unknown token.
            match token {
                Some(id) => out.push(id),
                None if was_unknown => {}
                None => out.extend(vocab.unknown()),
            }
            was_unknown = token.is_none();
            at = start;
        }
        out[begin..].reverse();
    }

    /// The text as the vocabulary writes it.
    fn normalise(&self, text: &str) -> String {
        let replaced = match &self.replacements {
            Some(table) => table.replace(text),
            None => text.to_owned(),
        };
        let mut out = String::with_capacity(replaced.len() + 3);
        let (mut in_word, mut prefixed) = (false, false);
        for character in replaced.chars() {
            if character == ' ' {
                in_word = false;
                if !self.merge_spaces {
                    out.push(SPACE);
                }
                continue;
            }
            let owed = self.merge_spaces && (self.space_prefix || !out.is_empty());
            if !in_word && (owed || (self.space_prefix && !prefixed)) {
                out.push(SPACE);
                prefixed = true;
            }
            in_word = true;
            out.push(character);
        }
        out
    }
}

/// SentencePiece's `precompiled_charsmap`: a trie of byte strings and what replaces each.
#[derive(Debug)]
pub(super) struct Charsmap {
    /// A double array in the layout of darts-clone.
    units: Vec<u32>,
    /// Replacements, each ended by a zero byte.
    texts: Vec<u8>,
}

impl Charsmap {
    /// Splits the table into its parts: the trie's size in bytes, the trie, the replacements. `None` if the
    /// sizes do not fit.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (size, rest) = bytes.split_first_chunk::<4>()?;
        let (trie, texts) = rest.split_at_checked(u32::from_le_bytes(*size) as usize)?;
        let units = trie.chunks_exact(4).map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]));
        (trie.len() % 4 == 0).then(|| Self { units: units.collect(), texts: texts.to_vec() })
    }

    fn replace(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            // A match that ends inside a character comes from a damaged table and is not used.
            let found = self.longest(rest.as_bytes()).filter(|&(len, _)| rest.is_char_boundary(len));
            if let Some((len, text)) = found {
                out.push_str(&String::from_utf8_lossy(text));
                rest = &rest[len..];
            } else {
                out.push(character);
                rest = &rest[character.len_utf8()..];
            }
        }
        out
    }

    /// The longest entry that `bytes` begin with: its length and replacement.
    fn longest(&self, bytes: &[u8]) -> Option<(usize, &[u8])> {
        let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
        let mut node = offset(*self.units.first()?);
        let mut found = None;
        for (len, &byte) in (1..).zip(bytes) {
            node ^= usize::from(byte);
            let Some(&unit) = self.units.get(node) else { break };
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                break;
            }
            node ^= offset(unit);
            if unit >> 8 & 1 == 1 {
                let Some(&value) = self.units.get(node) else { break };
                let text = self.texts.get((value & !(1 << 31)) as usize..).unwrap_or_default();
                let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
                found = Some((len, &text[..end]));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table that replaces `x` by `yy`: root, then the node of `x`, then its value.
    fn charsmap() -> Vec<u8> {
        let mut units = vec![0u32; 256];
        units[0] = 1 << 10;
        let x = 1 ^ usize::from(b'x');
        units[x] = (2 << 10) | 1 << 8 | u32::from(b'x');
        units[x ^ 2] = 1 << 31 | 3;
        let trie: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        [&(trie.len() as u32).to_le_bytes()[..], &trie, b"no\0yy\0"].concat()
    }

    #[test]
    fn the_table_replaces_and_damage_is_harmless() {
        let bytes = charsmap();
        let table = Charsmap::parse(&bytes).unwrap();
        assert_eq!(table.replace("axéx"), "ayyéyy");
        for len in 0..bytes.len() {
            if let Some(table) = Charsmap::parse(&bytes[..len]) {
                assert!(!table.replace("axéx").is_empty());
            }
        }
        assert!(Charsmap::parse(&[255; 8]).is_none());
    }
}
