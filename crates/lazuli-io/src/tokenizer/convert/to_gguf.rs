//! The tokenizer of a folder as settings of a GGUF file.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::{NAMES, token_type};
use crate::error::{Error, Result};
use crate::gguf::{Array, Numbers, Strings, Value as Setting};
use crate::json::read_json;
use crate::template::ChatTemplate;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::json::split_patterns;
use crate::tokenizer::pre::rules;

/// The settings `tokenizer.ggml.*` (and the chat template) for the tokenizer in `folder`, filled up with unused tokens
/// to `vocabulary`, the rows of the model's table.
///
/// # Errors
/// What is wrong with the files, or [`Error::Tokenizer`] if the tokenizer is of a kind that has no place in GGUF files.
pub fn tokenizer_settings(folder: &Path, vocabulary: usize) -> Result<Vec<(String, Setting)>> {
    let json = read_json(&folder.join("tokenizer.json"))?;
    let (model, refuse) = (&json["model"], |what: String| Error::Tokenizer(what));
    if model["type"].as_str() != Some("BPE") {
        return Err(refuse(format!("the kind {} is not written to GGUF files: BPE is", model["type"])));
    }
    let tokenizer = Tokenizer::from_folder(folder)?;
    let (texts, mut types) = tokens(&json, vocabulary)?;
    let merges = merges(model)?;
    let mut settings = Settings(Vec::new());
    if model["byte_fallback"] == true {
        let unknown = model["unk_token"].as_str();
        for (text, kind) in texts.iter().zip(&mut types) {
            *kind = match text.as_str() {
                text if Some(text) == unknown => token_type::UNKNOWN,
                text if is_byte(text) => token_type::BYTE,
                _ => *kind,
            };
        }
        settings.text("model", "llama");
        settings.text("pre", "default");
        settings.array("scores", Array::Numbers(Numbers::from_f32s(&scores(&texts, &merges))));
        settings.flag("add_space_prefix", tokenizer.begins_with_space());
    } else {
        settings.text("model", "gpt2");
        settings.text("pre", pre_tokenizer(&json)?);
        settings
            .array("merges", Array::Strings(Strings::new(merges.iter().map(|(l, r)| format!("{l} {r}")))));
    }
    settings.array("tokens", Array::Strings(Strings::new(&texts)));
    settings.array("token_type", Array::Numbers(Numbers::from_i32s(&types)));
    settings.ids(&tokenizer, folder)?;
    if let Some(template) = ChatTemplate::from_folder(folder)? {
        let template = Setting::Str(template.source().to_owned());
        settings.0.push(("tokenizer.chat_template".to_owned(), template));
    }
    Ok(settings.0)
}

/// Settings as they come together, without `tokenizer.ggml.` before their names.
struct Settings(Vec<(String, Setting)>);

impl Settings {
    fn set(&mut self, key: &str, value: Setting) {
        self.0.push((format!("tokenizer.ggml.{key}"), value));
    }

    fn text(&mut self, key: &str, text: &str) {
        self.set(key, Setting::Str(text.to_owned()));
    }

    fn flag(&mut self, key: &str, flag: bool) {
        self.set(key, Setting::Bool(flag));
    }

    fn array(&mut self, key: &str, array: Array) {
        self.set(key, Setting::Array(array));
    }

    /// What begins, ends and pads a text.
    fn ids(&mut self, tokenizer: &Tokenizer, folder: &Path) -> Result<()> {
        let mut id = |key: &str, id: Option<u32>| {
            if let Some(id) = id {
                self.set(key, Setting::U32(id));
            }
        };
        id("bos_token_id", tokenizer.bos());
        id("eos_token_id", tokenizer.eos());
        // There are two more places for tokens that end an answer; names that all readers know need none.
        let ends = tokenizer.eog().iter().copied().filter(|&end| Some(end) != tokenizer.eos());
        let mut ends = ends.take(2);
        id("eot_token_id", ends.next());
        id("eom_token_id", ends.next());
        let config = folder.join("tokenizer_config.json");
        let config = if config.is_file() { read_json(&config)? } else { Value::Null };
        let padding = config["pad_token"].as_str().or_else(|| config["pad_token"]["content"].as_str());
        id("padding_token_id", padding.and_then(|text| tokenizer.token_id(text)));
        self.flag("add_bos_token", tokenizer.add_bos());
        self.flag("add_eos_token", tokenizer.add_eos());
        Ok(())
    }
}

/// Texts and kinds of all tokens by id.
fn tokens(json: &Value, vocabulary: usize) -> Result<(Vec<String>, Vec<i32>)> {
    let mut texts: Vec<Option<String>> = vec![None; vocabulary];
    let mut types = vec![token_type::UNUSED; vocabulary];
    let mut put = |id: Option<u64>, text: &str, kind: i32| {
        let place = id.and_then(|id| usize::try_from(id).ok()).filter(|&id| id < vocabulary);
        let place = place.ok_or_else(|| {
            let id = id.map_or_else(|| "no number".to_owned(), |id| id.to_string());
            Error::Tokenizer(format!(
                "the token {text:?} has the id {id}, but the model has {vocabulary} tokens"
            ))
        })?;
        (texts[place], types[place]) = (Some(text.to_owned()), kind);
        Ok::<(), Error>(())
    };
    for (text, id) in json["model"]["vocab"].as_object().into_iter().flatten() {
        put(id.as_u64(), text, token_type::NORMAL)?;
    }
    for token in json["added_tokens"].as_array().into_iter().flatten() {
        let kind = if token["special"] == true { token_type::CONTROL } else { token_type::USER_DEFINED };
        put(token["id"].as_u64(), token["content"].as_str().unwrap_or_default(), kind)?;
    }
    let named = texts.into_iter().enumerate().map(|(id, text)| text.unwrap_or_else(|| format!("[PAD{id}]")));
    Ok((named.collect(), types))
}

/// Pairs in order; the file writes them as lists or as texts.
fn merges(model: &Value) -> Result<Vec<(&str, &str)>> {
    let pair = |merge: &'_ Value| -> Option<(usize, usize)> { merge.as_array().map(|list| (list.len(), 0)) };
    let mut merges = Vec::new();
    for merge in model["merges"].as_array().into_iter().flatten() {
        let found = match pair(merge) {
            Some((2, _)) => merge[0].as_str().zip(merge[1].as_str()),
            Some(_) => None,
            None => merge.as_str().and_then(|text| text.split_once(' ')),
        };
        merges.push(found.ok_or_else(|| Error::Tokenizer(format!("the merge {merge} is no pair")))?);
    }
    Ok(merges)
}

/// Scores by which SentencePiece joins the same pairs in the same order: that of a piece says when it is made.
fn scores(texts: &[String], merges: &[(&str, &str)]) -> Vec<f32> {
    let mut ranks: HashMap<String, usize> = HashMap::with_capacity(merges.len());
    for (rank, (left, right)) in merges.iter().enumerate() {
        ranks.entry(format!("{left}{right}")).or_insert(rank);
    }
    // What no merge makes comes after everything else.
    let last = merges.len();
    texts.iter().map(|text| -(ranks.get(text).copied().unwrap_or(last) as f32)).collect()
}

fn is_byte(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The name of the rules by which a byte-level tokenizer cuts text into words.
fn pre_tokenizer(json: &Value) -> Result<&'static str> {
    let unknown = || {
        Error::Tokenizer(
            "its pre-tokenizer has no name in GGUF files that is known here: write a folder instead"
                .to_owned(),
        )
    };
    let found = split_patterns(&json["pre_tokenizer"]).ok_or_else(unknown)?;
    let whole_words = json["model"]["ignore_merges"] == true;
    let same = |name: &&&str| {
        rules(name).is_ok_and(|rules| {
            rules.published().iter().map(String::as_str).eq(found.iter().copied())
                // Merges decide the same way in all but the rarest vocabularies, so the patterns count most.
                && (rules.whole_words == whole_words || ["qwen2", "smollm", "gpt-2"].contains(*name))
        })
    };
    NAMES.iter().find(same).copied().ok_or_else(unknown)
}
