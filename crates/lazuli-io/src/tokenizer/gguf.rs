//! Tokenizers from GGUF metadata (the keys `tokenizer.ggml.*` of the GGUF document).

use std::sync::Arc;

use super::bpe::{Bpe, Symbols};
use super::pre::{PreTokenizer, rules};
use super::special::end_tokens;
use super::spm::Spm;
use super::texts::Texts;
use super::unigram::{Charsmap, Unigram};
use super::vocab::{Alphabet, Kind, Vocab};
use super::{Encoder, Inner, Tokenizer};
use crate::error::{Error, Result};
use crate::gguf::{Metadata, Numbers, Strings};

pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
pub(super) const MERGES: &str = "tokenizer.ggml.merges";
/// Settings that name a token that ends a generation.
const END_KEYS: [&str; 3] =
    ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];

impl Tokenizer {
    /// The tokenizer that a GGUF model carries. Vocabulary and merges stay in the mapped file.
    ///
    /// # Errors
    /// [`Error::Metadata`] if a key is missing or has the wrong type or length; [`Error::Tokenizer`] if the kind
    /// of tokenizer or its pre-tokenizer is not known.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self> {
        let model = metadata.require("tokenizer.ggml.model", metadata.str("tokenizer.ggml.model"))?;
        let tokens = metadata.require(TOKENS, metadata.strings(TOKENS))?;
        if tokens.is_empty() || tokens.len() > i32::MAX as usize {
            return Err(metadata.error(TOKENS, format!("it has {} tokens", tokens.len())));
        }
        let plan = match model {
            "gpt2" => byte_level(metadata)?,
            "llama" => sentence_piece(metadata, tokens)?,
            "t5" => unigram(metadata, tokens)?,
            other => {
                return Err(Error::Tokenizer(format!(
                    "the kind `{other}` (metadata key `tokenizer.ggml.model`) is not supported: `gpt2`, `llama` and `t5` are"
                )));
            }
        };
        finish(metadata, tokens, plan)
    }
}

/// How to make the encoder, and what its kind of tokenizer does unless the file says otherwise.
struct Plan {
    encoder: Box<dyn FnOnce(&Vocab) -> Encoder>,
    alphabet: Alphabet,
    add_bos: bool,
    add_eos: bool,
    special: Special,
}

/// Ids of special tokens where the file gives none.
#[derive(Default)]
struct Special {
    bos: Option<u32>,
    eos: Option<u32>,
    unknown: Option<u32>,
}

fn byte_level(metadata: &Metadata) -> Result<Plan> {
    let merges = metadata.require(MERGES, metadata.strings(MERGES))?;
    let rules = rules(metadata.str("tokenizer.ggml.pre")?.unwrap_or("default"))?;
    let symbols = Symbols::Bytes { pre: PreTokenizer::new(&rules)?, compose: false };
    let encoder = Encoder::Bpe(Bpe::new(Texts::Mapped(merges.clone()), symbols, rules.whole_words));
    Ok(Plan {
        encoder: Box::new(|_| encoder),
        alphabet: Alphabet::ByteLevel,
        add_bos: rules.add_bos,
        add_eos: false,
        special: Special::default(),
    })
}

/// The scores, one for each token.
fn scores(metadata: &Metadata, tokens: &Strings) -> Result<Numbers> {
    let scores = metadata.require(SCORES, metadata.numbers(SCORES))?;
    if scores.len() == tokens.len() {
        return Ok(scores.clone());
    }
    Err(metadata.error(SCORES, format!("it has {} entries for {} tokens", scores.len(), tokens.len())))
}

fn unigram(metadata: &Metadata, tokens: &Strings) -> Result<Plan> {
    const CHARSMAP: &str = "tokenizer.ggml.precompiled_charsmap";
    let scores = scores(metadata, tokens)?;
    let replacements = match metadata.numbers(CHARSMAP)? {
        None => None,
        Some(table) => {
            let wrong = || metadata.error(CHARSMAP, "it is not a table of replacements");
            let bytes = table.integers().ok_or_else(wrong)?;
            Some(Charsmap::parse(&bytes).ok_or_else(wrong)?)
        }
    };
    let space_prefix = metadata.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(false);
    let merge_spaces = metadata.bool("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(false);
    let encoder = move |vocab: &Vocab| {
        Encoder::Unigram(Unigram::new(scores, vocab, replacements, space_prefix, merge_spaces))
    };
    Ok(Plan {
        encoder: Box::new(encoder),
        alphabet: Alphabet::SentencePiece,
        add_bos: false,
        add_eos: true,
        special: Special { bos: None, eos: Some(1), unknown: Some(2) },
    })
}

fn sentence_piece(metadata: &Metadata, tokens: &Strings) -> Result<Plan> {
    let scores = scores(metadata, tokens)?;
    let space_prefix = metadata.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    if metadata.bool("tokenizer.ggml.remove_extra_whitespaces")? == Some(true) {
        return Err(metadata.error("tokenizer.ggml.remove_extra_whitespaces", "it is not supported here"));
    }
    let encoder = Encoder::Spm(Spm::new(scores, space_prefix));
    Ok(Plan {
        encoder: Box::new(|_| encoder),
        alphabet: Alphabet::SentencePiece,
        add_bos: true,
        add_eos: false,
        special: Special { bos: Some(1), eos: Some(2), unknown: Some(0) },
    })
}

fn finish(metadata: &Metadata, tokens: &Strings, plan: Plan) -> Result<Tokenizer> {
    let id = |key: &str, default: Option<u32>| -> Result<Option<u32>> {
        // Files say 0xffffffff for "none".
        let id = metadata.u32(key)?.or(default).filter(|&id| id != u32::MAX);
        match id {
            Some(id) if id as usize >= tokens.len() && metadata.get(key).is_some() => {
                Err(metadata.error(key, format!("it is {id}, but there are {} tokens", tokens.len())))
            }
            _ => Ok(id.filter(|&id| (id as usize) < tokens.len())),
        }
    };
    let bos = id("tokenizer.ggml.bos_token_id", plan.special.bos)?;
    let eos = id("tokenizer.ggml.eos_token_id", plan.special.eos)?;
    let unknown = id("tokenizer.ggml.unknown_token_id", plan.special.unknown)?;
    let mut ends = Vec::new();
    for key in END_KEYS {
        ends.extend(id(key, None)?);
    }
    ends.extend(eos);
    let kinds = kinds(metadata, tokens.len())?;
    let mut vocab = Vocab::new(Texts::Mapped(tokens.clone()), kinds, plan.alphabet, unknown);
    let eog = end_tokens(&mut vocab, ends);
    let add_bos = metadata.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(plan.add_bos);
    let add_eos = metadata.bool("tokenizer.ggml.add_eos_token")?.unwrap_or(plan.add_eos);
    let encoder = (plan.encoder)(&vocab);
    let inner = Inner { vocab, encoder, bos, eos, add_bos, add_eos, eog };
    Ok(Tokenizer { inner: Arc::new(inner) })
}

fn kinds(metadata: &Metadata, tokens: usize) -> Result<Vec<Kind>> {
    let Some(types) = metadata.numbers(TYPES)? else { return Ok(vec![Kind::Normal; tokens]) };
    if types.len() != tokens {
        return Err(metadata.error(TYPES, format!("it has {} entries for {tokens} tokens", types.len())));
    }
    let kind = |id: u32| match id {
        2 => Kind::Unknown,
        3 => Kind::Control,
        4 => Kind::UserDefined,
        5 => Kind::Unused,
        6 => Kind::Byte,
        _ => Kind::Normal,
    };
    let types: Vec<u32> =
        types.integers().ok_or_else(|| metadata.error(TYPES, "it holds other than small whole numbers"))?;
    Ok(types.into_iter().map(kind).collect())
}
