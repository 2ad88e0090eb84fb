//! SentencePiece's byte-pair encoding, ranked by the scores of the tokens, with bytes as the last resort.

use super::merge::Merger;
use super::vocab::Vocab;
use crate::gguf::Numbers;

/// What SentencePiece writes for a space.
pub(super) const SPACE: char = '▁';

/// Scores, and how spaces are treated.
#[derive(Debug)]
pub(super) struct Spm {
    scores: Numbers,
    /// A text (and what follows an added token) begins with a space that was not written.
    pub(super) space_prefix: bool,
}

impl Spm {
    pub(super) fn new(scores: Numbers, space_prefix: bool) -> Self {
        Self { scores, space_prefix }
    }

    /// Appends the tokens of `text`, which holds no added tokens: it begins a text or follows an added token.
    pub(super) fn encode(&self, vocab: &Vocab, text: &str, out: &mut Vec<u32>) {
        let mut escaped = String::with_capacity(text.len() + 3);
        if self.space_prefix {
            escaped.push(SPACE);
        }
        escaped.extend(text.chars().map(|c| if c == ' ' { SPACE } else { c }));
        let bytes = escaped.as_bytes();
        let rank = |left: std::ops::Range<usize>, right: std::ops::Range<usize>| {
            let id = vocab.find(&bytes[left.start..right.end])?;
            Some(order(self.scores.f32(id as usize)?))
        };
        Merger::default().run(&escaped, rank, |part| push_part(vocab, &bytes[part], out));
    }
}

/// Maps scores to ranks: the higher the score, the lower the rank.
fn order(score: f32) -> u32 {
    let bits = score.to_bits();
    let ascending = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    !ascending
}

fn push_part(vocab: &Vocab, part: &[u8], out: &mut Vec<u32>) {
    if let Some(id) = vocab.find(part) {
        out.push(id);
        return;
    }
    for &byte in part {
        out.extend(vocab.byte_token(byte).or(vocab.unknown()));
    }
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn higher_scores_come_first() {
        let scores = [f32::INFINITY, 3.0, 0.5, 0.0, -0.25, -1.0, -1000.0, f32::NEG_INFINITY];
        assert!(scores.windows(2).all(|pair| order(pair[0]) < order(pair[1])));
    }
}
