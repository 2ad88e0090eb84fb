//! Pre-tokenizers by name: the rules that cut text into words before byte-pair encoding.
//!
//! A rule is a list of patterns; each cuts the pieces that the one before left into its matches and what lies
//! between them. The patterns are those of the models' published tokenizers, with one change: the alternative
//! `\s+(?!\S)`, which needs look-ahead, is left out, and [`Spaces`] does its work on the matches instead. So
//! they run on an engine that takes linear time whatever the text is.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use regex::Regex;

use crate::error::{Error, Result};

/// What becomes of a match of the last alternative `\s+` when text follows it.
///
/// `\s+(?!\S)|\s+` gives up the last space of a run to the word behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spaces {
    /// The pattern has no such alternative.
    Whole,
    /// Every match of only white space comes from it.
    GiveOne,
    /// Matches that end in a newline come from `\s*[\r\n]+`, which gives up nothing.
    GiveOneUnlessNewline,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+"##;
const BAILING: &str =
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+";
const SEED_CODER: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+";
/// Cased letters of the alphabets that DeepSeek LLM's tokenizer lists.
const DEEPSEEK_LETTERS: &str = "\
    \\s?[\u{41}-\u{5a}\u{61}-\u{7a}\u{b5}\u{c0}-\u{d6}\u{d8}-\u{f6}\u{f8}-\u{1ba}\u{1bc}-\u{1bf}\
    \u{1c4}-\u{293}\u{295}-\u{2af}\u{370}-\u{373}\u{376}\u{377}\u{37b}-\u{37d}\u{37f}\u{386}\
    \u{388}-\u{38a}\u{38c}\u{38e}-\u{3a1}\u{3a3}-\u{3f5}\u{3f7}-\u{481}\u{48a}-\u{52f}\
    \u{531}-\u{556}\u{10a0}-\u{10c5}\u{13a0}-\u{13f5}\u{13f8}-\u{13fd}\u{1c90}-\u{1cba}\
    \u{1cbd}-\u{1cbf}\u{1d00}-\u{1d2b}\u{1d6b}-\u{1d77}\u{1d79}-\u{1d9a}\u{1e00}-\u{1f15}\
    \u{1f18}-\u{1f1d}\u{1f20}-\u{1f45}\u{1f48}-\u{1f4d}\u{1f50}-\u{1f57}\u{1f59}\u{1f5b}\u{1f5d}\
    \u{1f5f}-\u{1f7d}\u{1f80}-\u{1fb4}\u{1fb6}-\u{1fbc}\u{1fbe}\u{1fc2}-\u{1fc4}\u{1fc6}-\u{1fcc}\
    \u{1fd0}-\u{1fd3}\u{1fd6}-\u{1fdb}\u{1fe0}-\u{1fec}\u{1ff2}-\u{1ff4}\u{1ff6}-\u{1ffc}\u{2102}\
    \u{2107}\u{210a}-\u{2113}\u{2115}\u{2119}-\u{211d}\u{2124}\u{2126}\u{2128}\u{212a}-\u{212d}\
    \u{212f}-\u{2134}\u{2139}\u{213c}-\u{213f}\u{2145}-\u{2149}\u{214e}\u{2183}\u{2184}\
    \u{2c00}-\u{2c7b}\u{2c7e}-\u{2ce4}\u{2ceb}-\u{2cee}\u{2cf2}\u{2cf3}\u{a640}-\u{a66d}\
    \u{a680}-\u{a69b}\u{a722}-\u{a76f}\u{a771}-\u{a787}\u{a78b}-\u{a78e}\u{ab70}-\u{abbf}\
    \u{fb00}-\u{fb06}\u{fb13}-\u{fb17}\u{ff21}-\u{ff3a}\u{ff41}-\u{ff5a}\u{10400}-\u{1044f}\
    \u{104b0}-\u{104d3}\u{104d8}-\u{104fb}\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}\
    \u{1e900}-\u{1e943}]+";
const DEEPSEEK_CJK: &str = r"[一-龥ࠀ-一가-\x{d7ff}]+";
const CJK_KANA: &str = "[一-龥\u{3040}-ゟ゠-ヿ]+";

/// What a name in `tokenizer.ggml.pre` means.
pub(super) struct Rules {
    patterns: &'static [(&'static str, Spaces)],
    /// A word that is a token as it stands is taken whole, whatever the merges say.
    pub(super) whole_words: bool,
    /// Whether a text begins with the BOS token, unless the file says otherwise.
    pub(super) add_bos: bool,
}

impl Rules {
    /// The patterns as a `tokenizer.json` has them, with look-ahead where [`Spaces`] does without.
    pub(super) fn published(&self) -> Vec<String> {
        let publish = |&(pattern, spaces): &(&str, Spaces)| match (spaces, pattern.strip_suffix(r"\s+")) {
            (Spaces::GiveOne | Spaces::GiveOneUnlessNewline, Some(stem)) => format!(r"{stem}\s+(?!\S)|\s+"),
            _ => pattern.to_owned(),
        };
        self.patterns.iter().map(publish).collect()
    }
}

/// The rules of the pre-tokenizer `name`.
///
/// # Errors
/// [`Error::Tokenizer`] naming a name that is not known.
pub(super) fn rules(name: &str) -> Result<Rules> {
    use Spaces::{GiveOne, GiveOneUnlessNewline as Give, Whole};
    let rules = |patterns| Rules { patterns, whole_words: false, add_bos: false };
    let whole = |patterns| Rules { patterns, whole_words: true, add_bos: false };
    Ok(match name {
        "default" => rules(&[
            (r"[\p{P}\$\+<=>\^~\|]+", Whole),
            (GPT2, GiveOne),
            (r"\p{N}+", Whole),
            ("[0-9][0-9][0-9]", Whole),
        ]),
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2" => {
            Rules { add_bos: true, ..whole(&[(LLAMA3, Give)]) }
        }
        "glm4" | "glm5" | "chatglm-bpe" => {
            Rules { whole_words: name != "chatglm-bpe", ..rules(&[(LLAMA3, Give)]) }
        }
        "dbrx" | "smaug-bpe" => rules(&[(LLAMA3, Give)]),
        "qwen2" | "deepseek-r1-qwen" | "stablelm2" | "hunyuan" | "megrez" | "solar-open" | "grok-2"
        | "kormo" => rules(&[(QWEN2, Give)]),
        "qwen35" => rules(&[(QWEN35, Give)]),
        "tekken" => Rules { add_bos: true, ..whole(&[(TEKKEN, Give)]) },
        "gpt-4o" | "llama4" | "kanana2" | "minimax-m2" => rules(&[(GPT4O, Give)]),
        "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" | "gigachat" | "a.x-4.0" | "mellum" | "exaone4"
        | "trillion" | "granite-docling" | "modern-bert" => rules(&[(GPT2, GiveOne)]),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b"
        | "mellum2" => rules(&[(r"\p{N}", Whole), (GPT2, GiveOne)]),
        "falcon" => rules(&[(r"[\p{P}\$\+<=>\^~\|`]+", Whole), (GPT2, GiveOne), ("[0-9][0-9][0-9]", Whole)]),
        "deepseek-llm" => rules(&[
            (r"[\r\n]", Whole),
            (DEEPSEEK_LETTERS, Whole),
            (r"\s?[!-/:-~！-／：-～‘-‟　-。]+", Whole),
            (r"\s+$", Whole),
            (DEEPSEEK_CJK, Whole),
            (r"\p{N}+", Whole),
        ]),
        "deepseek-coder" => rules(&[
            (r"[\r\n]", Whole),
            (r"\s?\p{L}+", Whole),
            (r"\s?\p{P}+", Whole),
            (DEEPSEEK_CJK, Whole),
            (r"\p{N}", Whole),
        ]),
        "deepseek-v3" | "hunyuan-dense" | "joyai-llm" => {
            rules(&[(r"\p{N}{1,3}", Whole), (CJK_KANA, Whole), (DEEPSEEK3, Give)])
        }
        "bloom" | "poro-chat" | "gpt3-finnish" => rules(&[(r" ?[^(\s|.,!?…。，、।۔،)]+", Whole)]),
        "viking" => rules(&[(r" ?[^(\s|.,!?…。，、।۔،)]+", Whole), (r"\p{N}", Whole)]),
        "bailingmoe" | "bailingmoe2" | "llada-moe" => rules(&[(BAILING, Give)]),
        "seed-coder" => rules(&[(SEED_CODER, Give)]),
        _ => {
            return Err(Error::Tokenizer(format!(
                "the pre-tokenizer `{name}` (metadata key `tokenizer.ggml.pre`) is not known"
            )));
        }
    })
}

/// Compiled rules.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    patterns: Vec<(Regex, Spaces)>,
}

impl PreTokenizer {
    pub(super) fn new(rules: &Rules) -> Result<Self> {
        let compile = |&(pattern, spaces): &(&'static str, Spaces)| match compiled(pattern) {
            Ok(regex) => Ok((regex, spaces)),
            Err(error) => {
                Err(Error::Tokenizer(format!("a pre-tokenizer's pattern does not compile: {error}")))
            }
        };
        Ok(Self { patterns: rules.patterns.iter().map(compile).collect::<Result<_>>()? })
    }

    /// Compiles patterns as `tokenizer.json` writes them; `None` if one needs look-ahead and is not among those
    /// for which [`Spaces`] is known to do the same.
    pub(super) fn from_published(patterns: &[&str]) -> Option<Self> {
        let compile = |pattern: &&str| match pattern.strip_suffix(r"(?!\S)|\s+") {
            None => Some((Regex::new(pattern).ok()?, Spaces::Whole)),
            Some(known) => {
                let spaces = match known {
                    GPT2 => Spaces::GiveOne,
                    LLAMA3 | QWEN2 | QWEN35 | TEKKEN | GPT4O | DEEPSEEK3 | BAILING | SEED_CODER => {
                        Spaces::GiveOneUnlessNewline
                    }
                    _ => return None,
                };
                Some((Regex::new(known).ok()?, spaces))
            }
        };
        Some(Self { patterns: patterns.iter().map(compile).collect::<Option<_>>()? })
    }

    /// Calls `emit` with each word of `text`, in order; together they are the text.
    pub(super) fn split(&self, text: &str, mut emit: impl FnMut(&str)) {
        let mut pieces: Vec<_> = std::iter::once(0..text.len()).collect();
        for (regex, spaces) in &self.patterns {
            let mut finer = Vec::with_capacity(pieces.len());
            for piece in pieces {
                cut(regex, *spaces, &text[piece.clone()], |part| {
                    finer.push(piece.start + part.start..piece.start + part.end);
                });
            }
            pieces = finer;
        }
        for piece in pieces {
            emit(&text[piece]);
        }
    }
}

/// Compiles one of the patterns above, once in a process: that takes as long as reading a vocabulary.
fn compiled(pattern: &'static str) -> Result<Regex, regex::Error> {
    static COMPILED: Mutex<BTreeMap<&'static str, Regex>> = Mutex::new(BTreeMap::new());
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(regex) = compiled.get(pattern) {
        return Ok(regex.clone());
    }
    let regex = Regex::new(pattern)?;
    compiled.insert(pattern, regex.clone());
    Ok(regex)
}

fn cut(regex: &Regex, spaces: Spaces, text: &str, mut emit: impl FnMut(Range<usize>)) {
    let mut at = 0;
    while let Some(found) = regex.find_at(text, at) {
        let end = match spaces {
            Spaces::Whole => found.end(),
            _ => give_back(found.as_str(), spaces, found.end() == text.len()) + found.start(),
        };
        if found.start() > at {
            emit(at..found.start());
        }
        if end == found.start() {
            // An empty match would not move on; no pattern here has one.
            break;
        }
        emit(found.start()..end);
        at = end;
    }
    if at < text.len() {
        emit(at..text.len());
    }
}

/// Length of `found` after the last space of a run was given to the word behind it.
fn give_back(found: &str, spaces: Spaces, at_end: bool) -> usize {
    let Some(last) = found.chars().next_back() else { return 0 };
    let keeps = at_end
        || last.len_utf8() == found.len()
        || !last.is_whitespace()
        || (spaces == Spaces::GiveOneUnlessNewline && matches!(last, '\r' | '\n'))
        || !found.chars().all(char::is_whitespace);
    if keeps { found.len() } else { found.len() - last.len_utf8() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    fn words(name: &str, text: &str) -> Vec<String> {
        let pre = PreTokenizer::new(&rules(name).unwrap()).unwrap();
        let mut out = Vec::new();
        pre.split(text, |word| out.push(word.to_owned()));
        out
    }

    const NAMES: &[&str] = &[
        "default",
        "llama-bpe",
        "glm4",
        "chatglm-bpe",
        "dbrx",
        "qwen2",
        "qwen35",
        "tekken",
        "gpt-4o",
        "gpt-2",
        "smollm",
        "falcon",
        "deepseek-llm",
        "deepseek-coder",
        "deepseek-v3",
        "bloom",
        "viking",
        "bailingmoe",
        "seed-coder",
    ];

    #[test]
    fn words_of_known_texts() {
        assert_eq!(
            words("gpt-2", "I'll  go\n\n now 123!"),
            ["I", "'ll", " ", " go", "\n\n", " now", " 123", "!"]
        );
        assert_eq!(words("smollm", "in 1999 it"), ["in", " ", "1", "9", "9", "9", " it"]);
        assert_eq!(
            words("llama3", "I'LL  go\n\n now 12345!\n"),
            ["I", "'LL", " ", " go", "\n\n", " now", " ", "123", "45", "!\n"]
        );
        assert_eq!(words("qwen2", "x=42;\n\n  y"), ["x", "=", "4", "2", ";\n\n", " ", " y"]);
        assert_eq!(words("gpt-4o", "HelloWorld it's"), ["Hello", "World", " it's"]);
        assert_eq!(words("deepseek-v3", "漢字 1234ab"), ["漢字", " ", "123", "4", "ab"]);
        assert_eq!(words("deepseek-llm", "Hi there"), ["Hi", " there"]);
        assert_eq!(words("default", "a1234 b"), ["a", "123", "4", " b"]);
    }

    #[test]
    fn unknown_names_are_refused_by_name() {
        let error = rules("no-such").err().unwrap().to_string();
        assert!(error.contains("`no-such`"), "{error}");
    }

    #[test]
    fn a_run_of_spaces_gives_its_last_to_the_word() {
        for name in ["gpt-2", "llama3", "qwen2"] {
            assert_eq!(words(name, "a   b   "), ["a", "  ", " b", "   "], "{name}");
        }
        let long = " ".repeat(200_000) + "x";
        assert_eq!(words("qwen2", &long).len(), 2);
    }

    /// The patterns as published, look-ahead and all, on an engine that backtracks.
    static PUBLISHED: LazyLock<Vec<(&str, fancy_regex::Regex)>> = LazyLock::new(|| {
        let names = ["gpt-2", "llama3", "qwen2", "tekken", "gpt-4o"];
        let publish = |pattern: &str| {
            let stem = pattern.strip_suffix(r"|\s+").unwrap();
            fancy_regex::Regex::new(&format!(r"{stem}|\s+(?!\S)|\s+")).unwrap()
        };
        let patterns = [GPT2, LLAMA3, QWEN2, TEKKEN, GPT4O].map(publish);
        names.into_iter().zip(patterns).collect()
    });

    proptest! {
        // Patterns are slow without optimisation, and there are many.
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn nothing_is_lost(text in "\\PC*|[ \\n\\r\\ta-c1-3'.é漢]{0,40}") {
            for name in NAMES {
                prop_assert_eq!(words(name, &text).concat(), text.clone());
            }
        }

        #[test]
        fn leaving_out_look_ahead_changes_nothing(text in "[ \\n\\r\\ta-cK1-3'.é漢ſ]{0,40}") {
            for (name, published) in &*PUBLISHED {
                let expected: Vec<_> = published.find_iter(&text).map(|m| m.unwrap().as_str().to_owned()).collect();
                prop_assert_eq!(words(name, &text), expected, "{}", name);
            }
        }
    }
}
