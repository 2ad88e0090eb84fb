//! Where a text ends: stop strings, looked for across the borders of tokens.
//!
//! Text that may be the beginning of a stop string is held back until it is clear that it is none, so that
//! nothing of a stop string, and nothing behind it, is ever emitted.

/// Watches a stream of text for stop strings.
#[derive(Debug, Clone, Default)]
pub struct StopStrings {
    stops: Vec<String>,
    held: String,
}

/// What became of a piece of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passed {
    /// No stop string yet: this much may be emitted now.
    On(String),
    /// A stop string is complete: this much stands before it, and the rest is dropped.
    Stopped {
        /// Text before the stop string that was not emitted yet.
        text: String,
        /// Which of the stop strings it is.
        stop: usize,
    },
}

impl StopStrings {
    /// Watches for any of `stops`; empty ones are never found.
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// Takes the next piece of text.
    ///
    /// The stop string that ends first wins, and of those that end together the longest. That depends on the
    /// text alone and not on how it is cut into pieces.
    pub fn push(&mut self, piece: &str) -> Passed {
        if self.stops.is_empty() {
            return Passed::On(piece.to_owned());
        }
        self.held.push_str(piece);
        if let Some((stop, start)) = self.find() {
            let mut text = std::mem::take(&mut self.held);
            text.truncate(start);
            return Passed::Stopped { text, stop };
        }
        let rest = self.held.split_off(self.undecided());
        Passed::On(std::mem::replace(&mut self.held, rest))
    }

    /// The text ends here: what was held back is no stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// The stop string that ends first, and where it starts.
    fn find(&self) -> Option<(usize, usize)> {
        let found =
            self.stops.iter().enumerate().filter(|(_, stop)| !stop.is_empty()).filter_map(|(index, stop)| {
                self.held.find(stop.as_str()).map(|start| (start + stop.len(), start, index))
            });
        found.min().map(|(_, start, index)| (index, start))
    }

    /// Where the longest end of the held text starts that a stop string may begin with.
    fn undecided(&self) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        // No complete stop string is in the text, so only shorter ends can grow into one.
        let earliest = (self.held.len() + 1).saturating_sub(longest);
        let ends = self.held.char_indices().map(|(at, _)| at).filter(|&at| at >= earliest);
        let may_grow = |&at: &usize| self.stops.iter().any(|stop| stop.starts_with(&self.held[at..]));
        ends.into_iter().find(may_grow).unwrap_or(self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What all pieces together emit, and which stop string ended them.
    fn run(stops: &[&str], pieces: &[&str]) -> (String, Option<usize>) {
        let mut watch = StopStrings::new(stops.iter().map(ToString::to_string).collect());
        let mut out = String::new();
        for piece in pieces {
            match watch.push(piece) {
                Passed::On(text) => out.push_str(&text),
                Passed::Stopped { text, stop } => return (out + &text, Some(stop)),
            }
        }
        (out + &watch.finish(), None)
    }

    #[test]
    fn a_stop_string_across_pieces_is_found() {
        assert_eq!(run(&["END"], &["all E", "N", "D more"]), ("all ".into(), Some(0)));
        assert_eq!(run(&["END"], &["all E", "N", "Q more"]), ("all ENQ more".into(), None));
        assert_eq!(run(&["\n\n"], &["a\n", "b\n", "\nc"]), ("a\nb".into(), Some(0)));
        assert_eq!(run(&[], &["a", "b"]), ("ab".into(), None));
    }

    #[test]
    fn only_what_may_become_a_stop_string_is_held_back() {
        let mut watch = StopStrings::new(vec!["<|end|>".into(), "ab".into()]);
        assert_eq!(watch.push("hi <"), Passed::On("hi ".into()));
        assert_eq!(watch.push("|e"), Passed::On(String::new()));
        assert_eq!(watch.push("x"), Passed::On("<|ex".into()));
        assert_eq!(watch.push("aa"), Passed::On("a".into()));
        assert_eq!(watch.finish(), "a");
    }

    #[test]
    fn the_first_to_end_wins_however_the_text_is_cut() {
        assert_eq!(run(&["abcd", "bc"], &["xabcd"]), ("xa".into(), Some(1)));
        assert_eq!(run(&["abcd", "bc"], &["x", "a", "b", "c", "d"]), ("xa".into(), Some(1)));
        assert_eq!(run(&["c", "abc"], &["xabc"]), ("x".into(), Some(1)));
    }

    #[test]
    fn characters_of_many_bytes_are_not_cut() {
        assert_eq!(run(&["é!"], &["café", "?", " é", "!"]), ("café? ".into(), Some(0)));
        assert_eq!(run(&["\u{1F600}\u{1F601}"], &["x\u{1F600}", "\u{1F601}y"]), ("x".into(), Some(0)));
    }

    /// By definition: the shortest start of the text that ends with a stop string, without the longest such.
    fn oracle(stops: &[String], text: &str) -> (String, Option<usize>) {
        for end in (0..=text.len()).filter(|&end| text.is_char_boundary(end)) {
            let ending = |s: &&String| !s.is_empty() && text[..end].ends_with(s.as_str());
            if let Some(stop) = stops.iter().filter(ending).max_by_key(|s| s.len()) {
                let index = stops.iter().position(|s| s == stop);
                return (text[..end - stop.len()].to_owned(), index);
            }
        }
        (text.to_owned(), None)
    }

    proptest! {
        #[test]
        fn any_cut_gives_what_the_definition_gives(
            stops in proptest::collection::vec("[abé]{0,4}", 0..4),
            pieces in proptest::collection::vec("[abcé]{0,4}", 0..12),
        ) {
            let expected = oracle(&stops, &pieces.concat());
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            prop_assert_eq!(run(&stops, &pieces), expected);
        }
    }
}
