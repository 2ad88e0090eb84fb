//! The text of a sequence as it arrives: which stream it belongs to, and where it ends.

use crate::reasoning::{Pieces, Splitter};
use crate::stop::{Passed, StopStrings};
use crate::{FinishReason, TextStream};

/// What ends the text, and the text itself.
pub struct Ending {
    pub max_tokens: usize,
    pub context: usize,
    pub stop_tokens: Vec<u32>,
    pub stop_strings: StopStrings,
    pub text: Option<Box<dyn TextStream>>,
    pub splitter: Option<Splitter>,
}

impl Ending {
    /// Takes the next token: the text that is certain now, and why the text ends if it does. `known` counts
    /// all tokens, `generated` those behind the prompt.
    pub fn take(&mut self, id: u32, known: usize, generated: usize) -> (Pieces, Option<FinishReason>) {
        if self.stop_tokens.contains(&id) {
            return self.flush(Pieces::default(), FinishReason::Stop);
        }
        let pieces = self.decode(id);
        let (pieces, stopped) = self.watch(pieces);
        if stopped.is_some() {
            (pieces, stopped)
        } else if generated >= self.max_tokens {
            self.flush(pieces, FinishReason::Length)
        } else if known > self.context {
            // The token has no place in the context, so no further one can follow.
            self.flush(pieces, FinishReason::Context)
        } else {
            (pieces, None)
        }
    }

    /// The token's text, in the stream it belongs to.
    fn decode(&mut self, id: u32) -> Pieces {
        let Some(text) = &mut self.text else { return Pieces::default() };
        let Some(splitter) = &mut self.splitter else {
            return Pieces { answer: text.push(id), ..Pieces::default() };
        };
        if !splitter.is_mark(id) {
            return splitter.text(&text.push(id));
        }
        // What is still open belongs to the part that ends here.
        let pieces = splitter.text(&text.finish());
        splitter.mark(id);
        pieces
    }

    /// Holds back what may begin a stop string; the index of the one that is complete ends the text.
    fn watch(&mut self, pieces: Pieces) -> (Pieces, Option<FinishReason>) {
        match self.stop_strings.push(&pieces.answer) {
            Passed::On(answer) => (Pieces { answer, ..pieces }, None),
            Passed::Stopped { text: answer, stop } => {
                (Pieces { answer, ..pieces }, Some(FinishReason::StopString { index: stop }))
            }
        }
    }

    /// The text ends: what was held back comes out, unless a stop string shows up in it.
    fn flush(&mut self, mut pieces: Pieces, reason: FinishReason) -> (Pieces, Option<FinishReason>) {
        let rest = self.text.as_mut().map_or_else(String::new, |text| text.finish());
        let rest = match &mut self.splitter {
            None => Pieces { answer: rest, ..Pieces::default() },
            Some(splitter) => {
                let (rest, held) = (splitter.text(&rest), splitter.finish());
                let reasoning = rest.reasoning + &held.reasoning;
                Pieces { answer: rest.answer + &held.answer, reasoning }
            }
        };
        let (last, stopped) = self.watch(rest);
        pieces.answer.push_str(&last.answer);
        pieces.reasoning.push_str(&last.reasoning);
        if stopped.is_none() {
            pieces.answer.push_str(&self.stop_strings.finish());
        }
        (pieces, stopped.or(Some(reason)))
    }
}
