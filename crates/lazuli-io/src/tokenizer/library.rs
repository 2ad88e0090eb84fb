//! Tokenizers that the `tokenizers` crate runs: `tokenizer.json`, and unigram models of any origin.
//!
//! The crate encodes; ids, texts and decoding are ours, as for every other tokenizer, so that streaming works
//! the same way.

use std::sync::{Arc, OnceLock};

use tokenizers::models::ModelWrapper;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::{DecoderWrapper, PreTokenizerWrapper};

use super::special::end_tokens;
use super::texts::Texts;
use super::vocab::{Alphabet, Kind, Vocab};
use super::{Encoder, Inner, Specials, Tokenizer};
use crate::error::{Error, Result};

/// What stands in the files beside `tokenizer.json`.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub(super) bos: Option<String>,
    pub(super) eos: Option<String>,
    /// Ids where the texts are not given.
    pub(super) bos_id: Option<u32>,
    pub(super) eos_ids: Vec<u32>,
    pub(super) add_bos: Option<bool>,
    pub(super) add_eos: Option<bool>,
}

impl Settings {
    /// The ids of the tokens that begin and end a text.
    pub(super) fn ends(&self, vocab: &Vocab) -> (Option<u32>, Option<u32>) {
        let id = |text: &Option<String>| text.as_ref().and_then(|text| vocab.find(text.as_bytes()));
        let known = |id: u32| (id as usize) < vocab.len();
        let bos = id(&self.bos).or(self.bos_id.filter(|&id| known(id)));
        let eos = id(&self.eos).or_else(|| self.eos_ids.iter().copied().find(|&id| known(id)));
        (bos, eos)
    }
}

/// The crate's tokenizer, in the two moods of [`Specials`].
#[derive(Debug)]
pub(super) struct Library {
    parse: Box<tokenizers::Tokenizer>,
    as_text: OnceLock<Box<tokenizers::Tokenizer>>,
    pub(super) space_prefix: bool,
}

impl Library {
    pub(super) fn new(mut tokenizer: tokenizers::Tokenizer) -> Result<Self> {
        // Lengths are the engine's business.
        tokenizer.with_truncation(None).map_err(|error| failed(&*error))?.with_padding(None);
        tokenizer.set_encode_special_tokens(false);
        let space_prefix = tokenizer.get_decoder().is_some_and(drops_space);
        Ok(Self { parse: Box::new(tokenizer), as_text: OnceLock::new(), space_prefix })
    }

    /// Appends the tokens of `text`; text that the tokenizer's own rules fail on is the unknown token.
    pub(super) fn encode(&self, vocab: &Vocab, text: &str, specials: Specials, out: &mut Vec<u32>) {
        let tokenizer = match specials {
            Specials::Parse => &self.parse,
            Specials::AsText => self.as_text.get_or_init(|| {
                let mut copy = self.parse.clone();
                copy.set_encode_special_tokens(true);
                copy
            }),
        };
        match guarded(|| tokenizer.encode_fast(text, false)) {
            Some(Ok(encoding)) => out.extend_from_slice(encoding.get_ids()),
            Some(Err(_)) | None => out.extend(vocab.unknown()),
        }
    }

    /// Whether the tokenizer itself puts `bos` before a text and `eos` after it.
    fn adds(&self, bos: Option<u32>, eos: Option<u32>) -> (bool, bool) {
        let encoding = guarded(|| self.parse.encode_fast("a", true));
        let Some(Ok(encoding)) = encoding else { return (false, false) };
        let ids = encoding.get_ids();
        (bos.is_some() && ids.first().copied() == bos, eos.is_some() && ids.last().copied() == eos)
    }
}

fn failed(error: &(dyn std::error::Error + Send + Sync)) -> Error {
    Error::Tokenizer(format!("tokenizer.json: {error}"))
}

/// Whether decoding takes away the space that encoding puts before a text.
fn drops_space(decoder: &DecoderWrapper) -> bool {
    match decoder {
        DecoderWrapper::Metaspace(metaspace) => metaspace.get_prepend_scheme() != PrependScheme::Never,
        DecoderWrapper::Strip(strip) => strip.content == ' ' && strip.start > 0,
        DecoderWrapper::Sequence(sequence) => sequence.get_decoders().iter().any(drops_space),
        _ => false,
    }
}

/// How the vocabulary writes text, by its decoder or else by its pre-tokenizer.
fn alphabet(tokenizer: &tokenizers::Tokenizer) -> Result<Alphabet> {
    fn of_decoder(decoder: &DecoderWrapper) -> Option<Alphabet> {
        match decoder {
            DecoderWrapper::ByteLevel(_) => Some(Alphabet::ByteLevel),
            DecoderWrapper::Metaspace(_) | DecoderWrapper::ByteFallback(_) => Some(Alphabet::SentencePiece),
            DecoderWrapper::Sequence(sequence) => sequence.get_decoders().iter().find_map(of_decoder),
            _ => None,
        }
    }
    fn of_splitter(splitter: &PreTokenizerWrapper) -> Option<Alphabet> {
        match splitter {
            PreTokenizerWrapper::ByteLevel(_) => Some(Alphabet::ByteLevel),
            PreTokenizerWrapper::Metaspace(_) => Some(Alphabet::SentencePiece),
            PreTokenizerWrapper::Sequence(sequence) => sequence.as_ref().iter().find_map(of_splitter),
            _ => None,
        }
    }
    let found = tokenizer.get_decoder().and_then(of_decoder);
    found.or_else(|| tokenizer.get_pre_tokenizer().and_then(of_splitter)).ok_or_else(|| {
        let what =
            "tokenizer.json: its decoder is neither byte-level nor SentencePiece's, which are supported";
        Error::Tokenizer(what.to_owned())
    })
}

/// Texts and kinds by id.
fn vocabulary(tokenizer: &tokenizers::Tokenizer, alphabet: Alphabet) -> Result<Vocab> {
    let by_text = tokenizer.get_vocab(true);
    let count = by_text.values().max().map_or(0, |&id| id as usize + 1);
    // A hostile file may name one token with an enormous id.
    if count == 0 || count / 4 > by_text.len() + 1024 {
        let what = format!("tokenizer.json: it has {} tokens with ids up to {count}", by_text.len());
        return Err(Error::Tokenizer(what));
    }
    let mut texts = vec![""; count];
    let mut kinds = vec![Kind::Unused; count];
    let falls_back = match tokenizer.get_model() {
        ModelWrapper::BPE(bpe) => bpe.byte_fallback,
        ModelWrapper::Unigram(unigram) => unigram.byte_fallback(),
        _ => false,
    };
    for (text, &id) in &by_text {
        let byte = falls_back && text.len() == 6 && text.starts_with("<0x") && text.ends_with('>');
        texts[id as usize] = text;
        kinds[id as usize] = if byte { Kind::Byte } else { Kind::Normal };
    }
    for (id, token) in tokenizer.get_added_tokens_decoder() {
        let kind = if token.special { Kind::Control } else { Kind::UserDefined };
        if let Some(place) = kinds.get_mut(id as usize) {
            *place = kind;
        }
    }
    let unknown = match tokenizer.get_model() {
        ModelWrapper::BPE(bpe) => bpe.unk_token.as_deref().and_then(|text| tokenizer.token_to_id(text)),
        _ => tokenizer.token_to_id("<unk>"),
    };
    Ok(Vocab::new(Texts::owned(texts), kinds, alphabet, unknown))
}

/// Builds a tokenizer around the crate's.
pub(super) fn build(tokenizer: tokenizers::Tokenizer, settings: &Settings) -> Result<Tokenizer> {
    let alphabet = alphabet(&tokenizer)?;
    let mut vocab = vocabulary(&tokenizer, alphabet)?;
    let library = Library::new(tokenizer)?;
    let (bos, eos) = settings.ends(&vocab);
    let (adds_bos, adds_eos) = library.adds(bos, eos);
    let ends = settings.eos_ids.iter().copied().chain(eos).collect::<Vec<_>>();
    let eog = end_tokens(&mut vocab, ends);
    let inner = Inner {
        vocab,
        encoder: Encoder::Library(library),
        bos,
        eos,
        add_bos: settings.add_bos.unwrap_or(adds_bos),
        add_eos: settings.add_eos.unwrap_or(adds_eos),
        eog,
    };
    Ok(Tokenizer { inner: Arc::new(inner) })
}

/// Parses `tokenizer.json`.
pub(super) fn parse(bytes: &[u8]) -> Result<tokenizers::Tokenizer> {
    let parsed = guarded(|| tokenizers::Tokenizer::from_bytes(bytes));
    let parsed = parsed.ok_or_else(|| Error::Tokenizer("tokenizer.json: it is inconsistent".to_owned()))?;
    parsed.map_err(|error| failed(&*error))
}

/// Runs the crate's code, which asserts what a hostile file need not keep; `None` if it panicked.
fn guarded<T>(run: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).ok()
}
