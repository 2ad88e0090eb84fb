//! Tokens to text, one at a time, never printing half a character.

use super::Tokenizer;

/// Where the decoded text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// It is a text of its own: the space that SentencePiece puts before the first word is dropped.
    Start,
    /// It goes on from text that is there already: every space counts.
    Continuation,
}

/// Turns a stream of tokens into a stream of text.
///
/// Byte-level tokens and byte tokens can end in the middle of a character; such bytes wait for the next token.
#[derive(Debug, Clone)]
pub struct StreamDecoder {
    tokenizer: Tokenizer,
    /// Bytes not given out yet: the beginning of a character.
    pending: Vec<u8>,
    drop_space: bool,
}

impl StreamDecoder {
    /// A decoder for one text.
    pub fn new(tokenizer: &Tokenizer, position: Position) -> Self {
        let drop_space = position == Position::Start && tokenizer.begins_with_space();
        Self { tokenizer: tokenizer.clone(), pending: Vec::new(), drop_space }
    }

    /// Takes the next token and returns the text that is certain now; often empty for half a character.
    /// Control tokens (roles, ends) have no text. Bytes that can never become a character are U+FFFD.
    pub fn push(&mut self, id: u32) -> String {
        if self.tokenizer.is_control(id) {
            return String::new();
        }
        let before = self.pending.len();
        self.tokenizer.push_token_bytes(id, &mut self.pending);
        if self.drop_space && self.pending.len() > before {
            self.drop_space = false;
            if self.pending[before] == b' ' {
                self.pending.remove(before);
            }
        }
        self.take_certain()
    }

    /// Ends the text: what is left of a broken character is U+FFFD.
    pub fn finish(&mut self) -> String {
        let mut out = self.take_certain();
        if !self.pending.is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
            self.pending.clear();
        }
        out
    }

    /// Removes and returns all of `pending` but the beginning of a character at its end.
    fn take_certain(&mut self) -> String {
        let mut out = String::new();
        let mut at = 0;
        while at < self.pending.len() {
            let rest = &self.pending[at..];
            let error = match std::str::from_utf8(rest) {
                Ok(text) => {
                    out.push_str(text);
                    at = self.pending.len();
                    break;
                }
                Err(error) => error,
            };
            let good = error.valid_up_to();
            out.push_str(&String::from_utf8_lossy(&rest[..good]));
            at += good;
            let Some(bad) = error.error_len() else { break };
            out.push(char::REPLACEMENT_CHARACTER);
            at += bad;
        }
        self.pending.drain(..at);
        out
    }
}
