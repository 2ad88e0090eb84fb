//! Which part of a text is reasoning and which is the answer, told while the text arrives.

use std::mem::take;

/// How a model marks its reasoning, and where its text begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reasoning {
    /// The marks.
    pub marks: Marks,
    /// What the first token belongs to: templates may open the reasoning at the end of the prompt.
    pub first: Part,
}

/// The two streams of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What is said to the one who asked.
    Answer,
    /// What the model said to itself.
    Reasoning,
}

/// What separates reasoning from answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marks {
    /// A token before reasoning and one behind it.
    Tokens {
        /// Such as `<think>`.
        open: u32,
        /// Such as `</think>`.
        close: u32,
    },
    /// The same as texts, for models without such tokens. What opens must stand at the beginning of the text, as an
    /// answer may speak of the mark.
    Text {
        /// Such as `<think>`.
        open: String,
        /// Such as `</think>`.
        close: String,
    },
    /// Messages with headers: the text between `start` or `channel` and `message` names the channel. `analysis` is
    /// reasoning, any other channel is the answer ("harmony").
    Channels {
        /// Begins a message.
        start: u32,
        /// Precedes the name of the channel.
        channel: u32,
        /// Ends the header.
        message: u32,
        /// Ends a message.
        end: u32,
    },
}

/// Pieces of both streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pieces {
    /// Of the answer.
    pub answer: String,
    /// Of the reasoning.
    pub reasoning: String,
}

/// Sends pieces of one text to two streams. Marks belong to neither, and neither do empty lines beside them.
#[derive(Debug)]
pub struct Splitter {
    marks: Marks,
    now: Now,
    /// Text that may turn out to be a mark.
    held: String,
    /// Line feeds at the end of the reasoning: whether they are part of it shows when it goes on.
    feeds: String,
    /// Whether the current part has no text yet.
    fresh: bool,
    /// Whether a mark may still open reasoning by text.
    may_open: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Now {
    In(Part),
    Header(String),
}

impl Splitter {
    /// Expects a text as `reasoning` describes it.
    pub fn new(reasoning: Reasoning) -> Self {
        let Reasoning { marks, first } = reasoning;
        // The first text of an answer without reasoning is its own, line feeds and all.
        let fresh = first == Part::Reasoning;
        let may_open = first == Part::Answer;
        Self { marks, now: Now::In(first), held: String::new(), feeds: String::new(), fresh, may_open }
    }

    /// Whether a token is a mark, which has no text.
    pub fn is_mark(&self, id: u32) -> bool {
        match self.marks {
            Marks::Tokens { open, close } => id == open || id == close,
            Marks::Text { .. } => false,
            Marks::Channels { start, channel, message, end } => [start, channel, message, end].contains(&id),
        }
    }

    /// Takes a mark.
    pub fn mark(&mut self, id: u32) {
        match self.marks {
            Marks::Tokens { open, .. } => {
                self.enter(if id == open { Part::Reasoning } else { Part::Answer });
            }
            Marks::Text { .. } => {}
            Marks::Channels { message, .. } if id == message => {
                let part = match &self.now {
                    Now::Header(channel) if channel.trim_start().starts_with("analysis") => Part::Reasoning,
                    _ => Part::Answer,
                };
                self.enter(part);
            }
            Marks::Channels { end, .. } if id == end => self.enter(Part::Answer),
            Marks::Channels { .. } => self.now = Now::Header(String::new()),
        }
    }

    fn enter(&mut self, part: Part) {
        self.now = Now::In(part);
        self.feeds.clear();
        self.fresh = true;
    }

    /// Takes text between marks.
    pub fn text(&mut self, piece: &str) -> Pieces {
        let mut out = Pieces::default();
        let Marks::Text { open, close } = self.marks.clone() else {
            self.pass(piece, &mut out);
            return out;
        };
        self.held.push_str(piece);
        loop {
            let reasoning = self.now == Now::In(Part::Reasoning);
            let mark = if reasoning { &close } else { &open };
            if !reasoning && !self.may_open {
                break;
            }
            if let Some(at) =
                self.held.find(mark.as_str()).filter(|&at| reasoning || self.held[..at].trim().is_empty())
            {
                let behind = self.held.split_off(at + mark.len());
                let before = take(&mut self.held);
                if reasoning {
                    self.pass(&before[..at], &mut out);
                }
                self.held = behind;
                self.may_open = false;
                self.enter(if reasoning { Part::Answer } else { Part::Reasoning });
                continue;
            }
            if !reasoning && !mark.starts_with(self.held.trim_start()) {
                self.may_open = false;
                break;
            }
            let certain = if reasoning { self.held.len() - overlap(&self.held, mark) } else { 0 };
            let rest = self.held.split_off(certain);
            let before = std::mem::replace(&mut self.held, rest);
            self.pass(&before, &mut out);
            return out;
        }
        let all = take(&mut self.held);
        self.pass(&all, &mut out);
        out
    }

    /// The text ends: what was held back is no mark.
    pub fn finish(&mut self) -> Pieces {
        let mut out = Pieces::default();
        let held = take(&mut self.held);
        self.pass(&held, &mut out);
        out
    }

    /// Text that is certainly no mark.
    fn pass(&mut self, piece: &str, out: &mut Pieces) {
        let part = match &mut self.now {
            Now::Header(text) => return text.push_str(piece),
            Now::In(part) => *part,
        };
        let piece = if self.fresh { piece.trim_start_matches('\n') } else { piece };
        if piece.is_empty() {
            return;
        }
        self.fresh = false;
        match part {
            Part::Answer => out.answer.push_str(piece),
            Part::Reasoning => {
                let body = piece.trim_end_matches('\n');
                if !body.is_empty() {
                    out.reasoning.push_str(&take(&mut self.feeds));
                    out.reasoning.push_str(body);
                }
                self.feeds.push_str(&piece[body.len()..]);
            }
        }
    }
}

/// The length of the longest end of `text` that `mark` begins with.
fn overlap(text: &str, mark: &str) -> usize {
    let ends = text.char_indices().map(|(at, _)| &text[at..]);
    ends.filter(|end| end.len() < mark.len()).find(|end| mark.starts_with(end)).map_or(0, str::len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts, and tokens that are marks.
    enum Input<'a> {
        Mark(u32),
        Text(&'a str),
    }
    use Input::{Mark, Text};

    fn run(marks: Marks, first: Part, inputs: &[Input<'_>]) -> (String, String) {
        let mut splitter = Splitter::new(Reasoning { marks, first });
        let (mut answer, mut reasoning) = (String::new(), String::new());
        let mut keep = |pieces: Pieces| {
            answer.push_str(&pieces.answer);
            reasoning.push_str(&pieces.reasoning);
        };
        for input in inputs {
            match input {
                Mark(id) => {
                    assert!(splitter.is_mark(*id));
                    splitter.mark(*id);
                }
                Text(text) => keep(splitter.text(text)),
            }
        }
        keep(splitter.finish());
        (reasoning, answer)
    }

    fn pair(reasoning: &str, answer: &str) -> (String, String) {
        (reasoning.into(), answer.into())
    }

    const THINK: Marks = Marks::Tokens { open: 1, close: 2 };

    #[test]
    fn tokens_open_and_close() {
        let inputs =
            [Mark(1), Text("\nhm"), Text("\n\nso"), Text("\n"), Mark(2), Text("\n\nYes"), Text(".\n")];
        assert_eq!(run(THINK, Part::Answer, &inputs), pair("hm\n\nso", "Yes.\n"));
        assert_eq!(run(THINK, Part::Reasoning, &inputs[1..]), pair("hm\n\nso", "Yes.\n"));
        assert_eq!(run(THINK, Part::Answer, &[Text("\nPlain")]), pair("", "\nPlain"));
        assert_eq!(run(THINK, Part::Reasoning, &[Text("cut off")]), pair("cut off", ""));
    }

    #[test]
    fn channels_are_named_in_headers() {
        let marks = Marks::Channels { start: 1, channel: 2, message: 3, end: 4 };
        let inputs = [
            Mark(2),
            Text("ana"),
            Text("lysis"),
            Mark(3),
            Text("User asks."),
            Mark(4),
            Mark(1),
            Text("assistant"),
            Mark(2),
            Text("final"),
            Mark(3),
            Text("Hello"),
        ];
        assert_eq!(run(marks.clone(), Part::Answer, &inputs), pair("User asks.", "Hello"));
        let preamble = [Mark(2), Text("commentary"), Mark(3), Text("I look it up.")];
        assert_eq!(run(marks, Part::Answer, &preamble), pair("", "I look it up."));
    }

    fn texts() -> Marks {
        Marks::Text { open: "<think>".into(), close: "</think>".into() }
    }

    #[test]
    fn texts_open_at_the_beginning_alone() {
        let inputs = [Text("\n<th"), Text("ink>a < b </"), Text("th"), Text("ink>\nYes <think>")];
        assert_eq!(run(texts(), Part::Answer, &inputs), pair("a < b ", "Yes <think>"));
        assert_eq!(run(texts(), Part::Reasoning, &[Text("x</thi")]), pair("x</thi", ""));
        assert_eq!(run(texts(), Part::Answer, &[Text("A <think> tag")]), pair("", "A <think> tag"));
        assert_eq!(run(texts(), Part::Answer, &[Text("<thi")]), pair("", "<thi"));
    }

    proptest! {
        /// However a text is cut, the streams are those of the whole text.
        #[test]
        fn any_cut_gives_the_same(
            words in prop::collection::vec(
                prop::sample::select(vec!["<think>", "</think>", "a", "\n", "<", "é", "</"]), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            inside in any::<bool>(),
        ) {
            let text = words.concat();
            let first = if inside { Part::Reasoning } else { Part::Answer };
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            places.retain(|&at| text.is_char_boundary(at));
            places.extend([0, text.len()]);
            places.sort_unstable();
            let pieces: Vec<Input<'_>> = places.windows(2).map(|w| Text(&text[w[0]..w[1]])).collect();
            prop_assert_eq!(run(texts(), first, &pieces), run(texts(), first, &[Text(&text)]));
        }
    }
}
