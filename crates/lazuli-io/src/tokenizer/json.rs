//! `tokenizer.json` for our own encoders.
//!
//! Building the crate's tokenizer takes a second for a vocabulary of 150,000 tokens; reading the same file into
//! our tables a twentieth of that. So the shapes that language models really use are recognised here, and only
//! what is not recognised goes to the crate ([`super::library`]).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::bpe::{Bpe, Prefix, Symbols};
use super::library::Settings;
use super::pre::PreTokenizer;
use super::special::end_tokens;
use super::texts::Texts;
use super::vocab::{Alphabet, Kind, Vocab};
use super::{Encoder, Inner, Tokenizer};

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow, default)]
    added_tokens: Vec<Added<'a>>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(borrow)]
    model: Model<'a>,
}

#[derive(Deserialize)]
#[allow(clippy::struct_excessive_bools)] // The file has them.
struct Added<'a> {
    id: u32,
    #[serde(borrow)]
    content: Cow<'a, str>,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    dropout: Option<f32>,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(borrow)]
    vocab: Tokens<'a>,
    merges: Merges,
}

/// Texts and ids in the file's order.
struct Tokens<'a>(Vec<(Cow<'a, str>, u32)>);

/// A string of JSON, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Tokens<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TokensVisitor;
        impl<'de> Visitor<'de> for TokensVisitor {
            type Value = Tokens<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("ids by token")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut tokens = Vec::new();
                while let Some((Text(text), id)) = map.next_entry()? {
                    tokens.push((text, id));
                }
                Ok(Tokens(tokens))
            }
        }
        deserializer.deserialize_map(TokensVisitor)
    }
}

/// Merges one after another, as `left right` each. They are half a million and more: a string for each would leave
/// the heap in pieces.
struct Merges {
    texts: Texts,
    /// Whether each has exactly one space, between its parts.
    plain: bool,
}

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = Merges;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of merges")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merges, A::Error> {
                let (mut texts, mut text, mut plain) = (Texts::owned([""; 0]), String::new(), true);
                while list.next_element_seed(MergeSeed(&mut text))?.is_some() {
                    plain &= text.bytes().filter(|&byte| byte == b' ').count() == 1;
                    texts.push(text.as_bytes());
                    text.clear();
                }
                Ok(Merges { texts, plain })
            }
        }
        deserializer.deserialize_seq(ListVisitor)
    }
}

/// Appends one merge, `"left right"` or `["left", "right"]`.
struct MergeSeed<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for MergeSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MergeSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("two tokens")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.push_str(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<(), A::Error> {
        let (left, right) = (parts.next_element::<Text>()?, parts.next_element::<Text>()?);
        let (Some(Text(left)), Some(Text(right))) = (left, right) else {
            return Err(A::Error::custom("a merge has two parts"));
        };
        self.0.extend([&left, " ", &right]);
        Ok(())
    }
}

/// Our tokenizer for the file; `None` if it is anything but the shapes that are known to mean the same.
pub(super) fn native(bytes: &[u8], settings: &Settings) -> Option<Tokenizer> {
    let file: File<'_> = serde_json::from_slice(bytes).ok()?;
    let model = &file.model;
    let plain = model.kind.as_deref() == Some("BPE")
        && model.dropout.is_none_or(|rate| rate == 0.0)
        && [&model.continuing_subword_prefix, &model.end_of_word_suffix]
            .iter()
            .all(|affix| affix.as_deref().is_none_or(str::is_empty))
        && model.merges.plain
        && !file.added_tokens.iter().any(|token| token.single_word || token.lstrip || token.rstrip);
    if !plain {
        return None;
    }
    let (symbols, alphabet, space_prefix) = match decoder_alphabet(&file.decoder)? {
        (Alphabet::ByteLevel, _) => (bytes_of_words(&file)?, Alphabet::ByteLevel, false),
        (Alphabet::SentencePiece, drops) => (characters(&file)?, Alphabet::SentencePiece, drops),
    };
    let vocab = vocabulary(&file, alphabet)?;
    if alphabet == Alphabet::SentencePiece && !(0..=255).all(|byte| vocab.byte_token(byte).is_some()) {
        return None;
    }
    let bpe = Bpe::new(file.model.merges.texts, symbols, file.model.ignore_merges);
    if bpe.space_prefix() != space_prefix {
        return None;
    }
    finish(vocab, bpe, settings, &file.post_processor)
}

fn kind(value: &Value) -> Option<&str> {
    value.get("type")?.as_str()
}

/// The members of a sequence, or the one thing itself; none of `null`.
fn members<'a>(value: &'a Value, list: &str) -> Vec<&'a Value> {
    match (value, value.get(list)) {
        (Value::Null, _) => Vec::new(),
        (_, Some(Value::Array(items))) if kind(value) == Some("Sequence") => items.iter().collect(),
        _ => vec![value],
    }
}

/// The alphabet that a decoder reads, and whether it drops a space at the beginning.
fn decoder_alphabet(decoder: &Value) -> Option<(Alphabet, bool)> {
    let steps = members(decoder, "decoders");
    let kinds: Vec<&str> = steps.iter().filter_map(|step| kind(step)).collect();
    match kinds[..] {
        ["ByteLevel"] => Some((Alphabet::ByteLevel, false)),
        ["Replace", "ByteFallback", "Fuse"] => Some((Alphabet::SentencePiece, false)),
        ["Replace", "ByteFallback", "Fuse", "Strip"] => {
            let strips =
                steps[3].get("content")? == " " && steps[3].get("start")? == 1 && steps[3].get("stop")? == 0;
            strips.then_some((Alphabet::SentencePiece, true))
        }
        _ => None,
    }
}

fn bytes_of_words(file: &File<'_>) -> Option<Symbols> {
    let compose = match &members(&file.normalizer, "normalizers")[..] {
        [] => false,
        [one] if kind(one) == Some("NFC") => true,
        _ => return None,
    };
    let patterns = split_patterns(&file.pre_tokenizer)?;
    Some(Symbols::Bytes { pre: PreTokenizer::from_published(&patterns)?, compose })
}

/// The patterns by which a byte-level tokenizer cuts text into words; `None` if it does anything else.
pub(super) fn split_patterns(pre_tokenizer: &Value) -> Option<Vec<&str>> {
    let mut patterns = Vec::new();
    let steps = members(pre_tokenizer, "pretokenizers");
    let (last, splits) = steps.split_last()?;
    for split in splits {
        match kind(split)? {
            "Split" => {
                let isolated = split.get("behavior")? == "Isolated" && split.get("invert")? == false;
                patterns.push(split.get("pattern")?.get("Regex")?.as_str().filter(|_| isolated)?);
            }
            "Digits" if split.get("individual_digits")? == true => patterns.push(r"\p{N}"),
            "Digits" => patterns.push(r"\p{N}+"),
            _ => return None,
        }
    }
    if kind(last)? != "ByteLevel" || last.get("add_prefix_space")? != false {
        return None;
    }
    if last.get("use_regex").is_none_or(|on| on == true) {
        patterns.push(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+");
    }
    Some(patterns)
}

fn characters(file: &File<'_>) -> Option<Symbols> {
    // Added tokens are looked for before the text is changed, so they must be too.
    let verbatim = file.model.byte_fallback && !file.added_tokens.iter().any(|token| token.normalized);
    let replaces = |step: &Value| {
        Some(step.get("pattern")?.get("String")? == " " && step.get("content")? == "▁").filter(|&same| same)
    };
    let steps = members(&file.normalizer, "normalizers");
    let kinds: Vec<&str> = steps.iter().filter_map(|step| kind(step)).collect();
    let by_normaliser = match kinds[..] {
        [] => None,
        ["Replace"] => replaces(steps[0]).map(|_| Prefix::Never),
        ["Prepend", "Replace"] if steps[0].get("prepend")? == "▁" => {
            replaces(steps[1]).map(|_| Prefix::Always)
        }
        _ => return None,
    };
    let splitters = members(&file.pre_tokenizer, "pretokenizers");
    let prefix = match (by_normaliser, &splitters[..]) {
        (Some(prefix), []) => prefix,
        // After the normaliser there are no spaces left to split at.
        (Some(prefix), [split]) if kind(split) == Some("Split") && split["pattern"]["String"] == " " => {
            prefix
        }
        (None, [metaspace]) if kind(metaspace) == Some("Metaspace") => {
            let plain = metaspace.get("replacement")? == "▁" && metaspace.get("split")? == false;
            match metaspace.get("prepend_scheme")?.as_str().filter(|_| plain)? {
                "never" => Prefix::Never,
                "first" => Prefix::FirstUnlessThere,
                "always" => Prefix::AlwaysUnlessThere,
                _ => return None,
            }
        }
        _ => return None,
    };
    verbatim.then_some(Symbols::Characters(prefix))
}

fn vocabulary(file: &File<'_>, alphabet: Alphabet) -> Option<Vocab> {
    let Tokens(tokens) = &file.model.vocab;
    let ids = tokens.iter().map(|&(_, id)| id).chain(file.added_tokens.iter().map(|token| token.id));
    let count = ids.max()? as usize + 1;
    if count / 4 > tokens.len() + file.added_tokens.len() + 1024 {
        return None;
    }
    let mut texts = vec![""; count];
    let mut kinds = vec![Kind::Unused; count];
    for (text, id) in tokens {
        let byte =
            file.model.byte_fallback && text.len() == 6 && text.starts_with("<0x") && text.ends_with('>');
        texts[*id as usize] = text;
        kinds[*id as usize] = if byte { Kind::Byte } else { Kind::Normal };
    }
    for token in &file.added_tokens {
        texts[token.id as usize] = &token.content;
        kinds[token.id as usize] = if token.special { Kind::Control } else { Kind::UserDefined };
    }
    let unknown = file.model.unk_token.as_deref();
    let unknown = unknown.and_then(|unknown| texts.iter().position(|text| *text == unknown));
    Some(Vocab::new(Texts::owned(texts), kinds, alphabet, unknown.map(|id| id as u32)))
}

fn finish(mut vocab: Vocab, bpe: Bpe, settings: &Settings, post_processor: &Value) -> Option<Tokenizer> {
    let (bos, eos) = settings.ends(&vocab);
    let (adds_bos, adds_eos) = added_by(post_processor, &vocab, bos, eos)?;
    let ends: Vec<u32> = settings.eos_ids.iter().copied().chain(eos).collect();
    let eog = end_tokens(&mut vocab, ends);
    let (add_bos, add_eos) = (settings.add_bos.unwrap_or(adds_bos), settings.add_eos.unwrap_or(adds_eos));
    let inner = Inner { vocab, encoder: Encoder::Bpe(bpe), bos, eos, add_bos, add_eos, eog };
    Some(Tokenizer { inner: Arc::new(inner) })
}

/// Whether the template of the post-processor puts `bos` before a text and `eos` after it.
fn added_by(post: &Value, vocab: &Vocab, bos: Option<u32>, eos: Option<u32>) -> Option<(bool, bool)> {
    let mut adds = (false, false);
    for step in members(post, "processors") {
        match kind(step)? {
            "ByteLevel" => {}
            "TemplateProcessing" => {
                let single = step.get("single")?.as_array()?;
                let id = |item: Option<&Value>| {
                    vocab.find(item?.get("SpecialToken")?.get("id")?.as_str()?.as_bytes())
                };
                adds.0 |= bos.is_some() && id(single.first()) == bos;
                adds.1 |= eos.is_some() && id(single.last()) == eos;
            }
            _ => return None,
        }
    }
    Some(adds)
}
