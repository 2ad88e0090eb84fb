//! The merge loop that byte-pair encoding and SentencePiece share: of all neighbouring symbols, join the pair
//! of the best rank (the leftmost, if equal) until no pair has one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

/// A run of bytes of the text; of length 0 once it was joined to the one on its left.
#[derive(Clone, Copy)]
struct Symbol {
    start: u32,
    len: u32,
    before: u32,
    after: u32,
}

const NONE: u32 = u32::MAX;

/// Buffers that one call after another can use.
#[derive(Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    /// Rank, left symbol, bytes of the pair: the bytes tell whether a pair is still the one that was ranked.
    queue: BinaryHeap<Reverse<(u32, u32, u32)>>,
}

impl Merger {
    /// Splits `text` into characters, merges, and calls `emit` with each final range in order.
    ///
    /// `rank(left, right)` is the rank of joining two neighbouring ranges; the lowest goes first.
    pub(super) fn run(
        &mut self,
        text: &str,
        mut rank: impl FnMut(Range<usize>, Range<usize>) -> Option<u32>,
        mut emit: impl FnMut(Range<usize>),
    ) {
        self.split(text);
        for left in 1..self.symbols.len() as u32 {
            self.consider(left - 1, &mut rank);
        }
        while let Some(Reverse((_, left, bytes))) = self.queue.pop() {
            let symbol = self.symbols[left as usize];
            let stale = symbol.len == 0
                || symbol.after == NONE
                || symbol.len + self.symbols[symbol.after as usize].len != bytes;
            if stale {
                continue;
            }
            self.join(left, symbol.after);
            self.consider(left, &mut rank);
            if symbol.before != NONE {
                self.consider(symbol.before, &mut rank);
            }
        }
        let mut at = if self.symbols.is_empty() { NONE } else { 0 };
        while at != NONE {
            emit(self.range(at));
            at = self.symbols[at as usize].after;
        }
    }

    fn split(&mut self, text: &str) {
        self.symbols.clear();
        self.queue.clear();
        for (start, character) in text.char_indices() {
            let index = self.symbols.len() as u32;
            let before = index.checked_sub(1).unwrap_or(NONE);
            let len = character.len_utf8() as u32;
            self.symbols.push(Symbol { start: start as u32, len, before, after: index + 1 });
        }
        if let Some(last) = self.symbols.last_mut() {
            last.after = NONE;
        }
    }

    fn range(&self, index: u32) -> Range<usize> {
        let symbol = self.symbols[index as usize];
        symbol.start as usize..(symbol.start + symbol.len) as usize
    }

    /// Queues the pair that begins with `left`, if it has a rank.
    fn consider(&mut self, left: u32, rank: &mut impl FnMut(Range<usize>, Range<usize>) -> Option<u32>) {
        let after = self.symbols[left as usize].after;
        if after == NONE {
            return;
        }
        let (a, b) = (self.range(left), self.range(after));
        let bytes = (a.len() + b.len()) as u32;
        if let Some(rank) = rank(a, b) {
            self.queue.push(Reverse((rank, left, bytes)));
        }
    }

    fn join(&mut self, left: u32, right: u32) {
        let Symbol { len, after, .. } = self.symbols[right as usize];
        self.symbols[right as usize].len = 0;
        let symbol = &mut self.symbols[left as usize];
        symbol.len += len;
        symbol.after = after;
        if after != NONE {
            self.symbols[after as usize].before = left;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, in the obvious quadratic way.
    fn slow(text: &str, rank: impl Fn(&str, &str) -> Option<u32>) -> Vec<String> {
        let mut parts: Vec<String> = text.chars().map(String::from).collect();
        loop {
            let best =
                (1..parts.len()).filter_map(|i| rank(&parts[i - 1], &parts[i]).map(|rank| (rank, i))).min();
            let Some((_, i)) = best else { return parts };
            let right = parts.remove(i);
            parts[i - 1].push_str(&right);
        }
    }

    proptest! {
        #[test]
        fn merges_as_the_definition_says(text in "[abcé]{0,40}", salt in 0u32..50) {
            // An arbitrary but fixed ranking of short pairs.
            let rank = |a: &str, b: &str| {
                let sum = a.bytes().fold(salt, |n, x| n.wrapping_mul(31) + u32::from(x));
                let sum = b.bytes().fold(sum ^ 0x4d, |n, x| n.wrapping_mul(37) + u32::from(x));
                (a.len() + b.len() < 9 && sum % 3 != 0).then_some(sum % 17)
            };
            let mut found = Vec::new();
            Merger::default().run(&text, |a, b| rank(&text[a], &text[b]), |part| found.push(text[part].to_owned()));
            prop_assert_eq!(found, slow(&text, rank));
        }
    }
}
