//! Tokenizers: text to token ids and back.
//!
//! One [`Tokenizer`] whatever the file says: byte-level BPE and SentencePiece, from GGUF metadata or from
//! `tokenizer.json`, run on our own encoders, which are ready in milliseconds where the `tokenizers` crate needs
//! a second; what they do not know goes through that crate. Chat structure is the business of the chat template.

mod bpe;
mod byte_level;
mod convert;
mod folder;
mod gguf;
mod json;
mod library;
mod merge;
mod pre;
mod size;
mod special;
mod spm;
mod stream;
#[cfg(test)]
mod tests;
mod texts;
mod unigram;
mod vocab;

use std::sync::Arc;

pub use convert::{tokenizer_files, tokenizer_settings};
pub use size::tokenizer_bytes;
pub use stream::{Position, StreamDecoder};

use bpe::Bpe;
use library::Library;
use spm::Spm;
use unigram::Unigram;
use vocab::{Kind, Vocab};

/// What to do with text that spells a control token, such as `<|im_end|>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Specials {
    /// It is the control token: for prompts that a chat template rendered.
    Parse,
    /// It is text like any other: for what a user typed.
    AsText,
}

/// Text to token ids and back; cheap to clone.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    vocab: Vocab,
    encoder: Encoder,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    add_eos: bool,
    eog: Vec<u32>,
}

#[derive(Debug)]
enum Encoder {
    Bpe(Bpe),
    Spm(Spm),
    Unigram(Unigram),
    Library(Library),
}

impl Tokenizer {
    /// Token ids of `text`, without BOS or EOS. Added tokens that stand for text (kind "user-defined") are
    /// always recognised; control tokens only with [`Specials::Parse`].
    pub fn encode(&self, text: &str, specials: Specials) -> Vec<u32> {
        let Inner { vocab, encoder, .. } = &*self.inner;
        let mut out = Vec::with_capacity(text.len() / 3 + 1);
        if let Encoder::Library(library) = encoder {
            library.encode(vocab, text, specials, &mut out);
            return out;
        }
        let mut at = 0;
        while at < text.len() {
            let next = vocab.next_added(text, at, specials);
            let end = next.as_ref().map_or(text.len(), |(range, _)| range.start);
            let between = &text[at..end];
            match encoder {
                Encoder::Library(_) => {}
                _ if between.is_empty() => {}
                Encoder::Bpe(bpe) => bpe.encode(vocab, between, at == 0, &mut out),
                Encoder::Spm(spm) => spm.encode(vocab, between, &mut out),
                Encoder::Unigram(unigram) => unigram.encode(vocab, between, &mut out),
            }
            let Some((range, id)) = next else { break };
            out.push(id);
            at = range.end;
        }
        out
    }

    /// Builds the tables that [`Tokenizer::encode`] needs, which otherwise happens on its first call.
    pub fn prepare(&self) {
        std::thread::scope(|scope| {
            if let Encoder::Bpe(bpe) = &self.inner.encoder {
                scope.spawn(|| bpe.table());
            }
            self.inner.vocab.table();
        });
    }

    /// The text of `ids`: control tokens are left out, bytes that are not UTF-8 become U+FFFD, and the space
    /// that SentencePiece puts before the first word is dropped.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut decoder = StreamDecoder::new(self, Position::Start);
        let mut text: String = ids.iter().map(|&id| decoder.push(id)).collect();
        text.push_str(&decoder.finish());
        text
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.inner.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.inner.eos
    }

    /// Whether the model expects [`Tokenizer::bos`] before a text.
    pub fn add_bos(&self) -> bool {
        self.inner.add_bos && self.inner.bos.is_some()
    }

    /// Whether the model expects [`Tokenizer::eos`] after a text.
    pub fn add_eos(&self) -> bool {
        self.inner.add_eos && self.inner.eos.is_some()
    }

    /// All tokens that end a generation: end of text, of turn, of message. Ascending.
    pub fn eog(&self) -> &[u32] {
        &self.inner.eog
    }

    /// Number of ids; a model's head may have more rows than that.
    pub fn vocab_size(&self) -> usize {
        self.inner.vocab.len()
    }

    /// The token's text as the vocabulary writes it (`Ġthe`, `▁the`, `<0x0A>`); `None` if there is no such id.
    pub fn token_text(&self, id: u32) -> Option<String> {
        let known = (id as usize) < self.vocab_size();
        known.then(|| String::from_utf8_lossy(self.inner.vocab.text(id)).into_owned())
    }

    /// The bytes of text that the token stands for, which need not be whole characters; a control token's are
    /// its own text. Empty if there is no such id.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        let mut out = Vec::new();
        self.push_token_bytes(id, &mut out);
        out
    }

    /// The token whose text in the vocabulary is exactly `text`.
    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.inner.vocab.find(text.as_bytes())
    }

    /// Whether the token is structure and not text.
    pub fn is_control(&self, id: u32) -> bool {
        self.inner.vocab.kind(id) == Kind::Control
    }

    fn push_token_bytes(&self, id: u32, out: &mut Vec<u8>) {
        self.inner.vocab.push_bytes(id, out);
    }

    /// Whether encoding puts a space before a text, which decoding takes away.
    fn begins_with_space(&self) -> bool {
        match &self.inner.encoder {
            Encoder::Spm(spm) => spm.space_prefix,
            Encoder::Unigram(unigram) => unigram.space_prefix,
            Encoder::Library(library) => library.space_prefix,
            Encoder::Bpe(bpe) => bpe.space_prefix(),
        }
    }
}
