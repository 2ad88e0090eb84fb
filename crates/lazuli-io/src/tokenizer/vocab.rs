//! The vocabulary: texts and kinds of tokens, and the search for added tokens in a text.

use std::ops::Range;
use std::sync::OnceLock;

use super::spm::SPACE;
use super::texts::{Table, Texts};
use super::{Specials, byte_level};

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A piece of text that encoding may produce.
    Normal,
    /// Stands for what has no token.
    Unknown,
    /// Structure, not text: begin, end, roles. Never produced from plain text.
    Control,
    /// Added text that is recognised before all else.
    UserDefined,
    /// A place without a token.
    Unused,
    /// One raw byte, written `<0xNN>`.
    Byte,
}

/// How a normal token's text is written in the vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// Byte-level BPE's printable characters.
    ByteLevel,
    /// SentencePiece's: `▁` for a space.
    SentencePiece,
}

/// Tokens by id.
#[derive(Debug)]
pub(super) struct Vocab {
    texts: Texts,
    kinds: Vec<Kind>,
    alphabet: Alphabet,
    unknown: Option<u32>,
    table: OnceLock<Table>,
    /// Ids of the 256 byte tokens.
    bytes: OnceLock<Vec<Option<u32>>>,
    /// Lengths of the added tokens' texts, longest first, by their first byte.
    added: Vec<Vec<usize>>,
}

impl Vocab {
    /// `kinds` has an entry for each text.
    pub(super) fn new(texts: Texts, kinds: Vec<Kind>, alphabet: Alphabet, unknown: Option<u32>) -> Self {
        let (table, bytes) = (OnceLock::new(), OnceLock::new());
        let mut vocab = Self { texts, kinds, alphabet, unknown, table, bytes, added: Vec::new() };
        vocab.index_added();
        vocab
    }

    fn index_added(&mut self) {
        let mut added = vec![Vec::new(); 256];
        for (id, kind) in self.kinds.iter().enumerate() {
            if !matches!(kind, Kind::Control | Kind::UserDefined | Kind::Unknown) {
                continue;
            }
            let text = self.texts.get(id);
            if let Some(&first) = text.first() {
                let lengths: &mut Vec<usize> = &mut added[first as usize];
                if let Err(place) = lengths.binary_search_by(|len| text.len().cmp(len)) {
                    lengths.insert(place, text.len());
                }
            }
        }
        self.added = added;
    }

    /// Makes `id` a control token whatever the file says it is.
    pub(super) fn set_control(&mut self, id: u32) {
        if self.kinds[id as usize] != Kind::Control {
            self.kinds[id as usize] = Kind::Control;
            self.index_added();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    pub(super) fn kind(&self, id: u32) -> Kind {
        self.kinds.get(id as usize).copied().unwrap_or(Kind::Unused)
    }

    /// The text of a token as the vocabulary writes it.
    pub(super) fn text(&self, id: u32) -> &[u8] {
        self.texts.get(id as usize)
    }

    /// The table of texts, built on first use.
    pub(super) fn table(&self) -> &Table {
        self.table.get_or_init(|| Table::build(&self.texts))
    }

    /// The token of exactly this text.
    pub(super) fn find(&self, text: &[u8]) -> Option<u32> {
        self.table().find(&self.texts, text)
    }

    /// The token of one raw byte.
    pub(super) fn byte_token(&self, byte: u8) -> Option<u32> {
        let ids = self.bytes.get_or_init(|| {
            (0..=255u8).map(|byte| self.find(format!("<0x{byte:02X}>").as_bytes())).collect()
        });
        ids[byte as usize]
    }

    /// Appends the bytes of text that a token stands for; a control token stands for its own text.
    pub(super) fn push_bytes(&self, id: u32, out: &mut Vec<u8>) {
        let text = self.text(id);
        match self.kind(id) {
            Kind::Byte => match parse_byte(text) {
                Some(byte) => out.push(byte),
                None => out.extend_from_slice(text),
            },
            Kind::Control | Kind::Unknown | Kind::Unused => out.extend_from_slice(text),
            Kind::UserDefined if self.alphabet == Alphabet::ByteLevel => out.extend_from_slice(text),
            Kind::Normal | Kind::UserDefined => match (self.alphabet, std::str::from_utf8(text)) {
                (Alphabet::ByteLevel, Ok(text)) => byte_level::decode(text, out),
                (Alphabet::SentencePiece, Ok(text)) => {
                    out.extend_from_slice(text.replace(SPACE, " ").as_bytes());
                }
                (_, Err(_)) => out.extend_from_slice(text),
            },
        }
    }

    /// The first added token in `text` at or after byte `from`, the longest if several begin there.
    pub(super) fn next_added(
        &self,
        text: &str,
        from: usize,
        specials: Specials,
    ) -> Option<(Range<usize>, u32)> {
        let bytes = text.as_bytes();
        for at in from..bytes.len() {
            for &len in &self.added[bytes[at] as usize] {
                let Some(candidate) = bytes.get(at..at + len) else { continue };
                let Some(id) = self.find(candidate) else { continue };
                let matches = match self.kind(id) {
                    Kind::UserDefined => true,
                    Kind::Control | Kind::Unknown => specials == Specials::Parse,
                    _ => false,
                };
                // A token's bytes could begin inside a character of the text if the file is odd.
                if matches && text.is_char_boundary(at) && text.is_char_boundary(at + len) {
                    return Some((at..at + len, id));
                }
            }
        }
        None
    }
}

/// The byte that `<0xNN>` names.
fn parse_byte(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let digits = std::str::from_utf8(digits).ok().filter(|d| d.len() == 2)?;
    u8::from_str_radix(digits, 16).ok()
}
