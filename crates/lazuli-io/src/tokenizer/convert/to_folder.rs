//! The tokenizer of a GGUF file as the files of a folder.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{splitters, token_type};
use crate::error::{Error, Result};
use crate::gguf::{Metadata, Strings};
use crate::template::ChatTemplate;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::pre::rules;

/// Families whose tokenizers compose characters (NFC) before anything else; GGUF files do not say so.
const COMPOSED: &[&str] = &["qwen2", "qwen35", "deepseek-r1-qwen"];

/// `tokenizer.json`, `tokenizer_config.json` and, where there is one, `chat_template.jinja`: names and texts.
///
/// # Errors
/// [`Error::Metadata`] if a key is missing or malformed, [`Error::Tokenizer`] if the kind of tokenizer has no place in
/// such files.
pub fn tokenizer_files(metadata: &Metadata) -> Result<Vec<(String, String)>> {
    // Whatever is wrong with the settings is found by reading them.
    let tokenizer = Tokenizer::from_gguf(metadata)?;
    let key = "tokenizer.ggml.tokens";
    let tokens = metadata.require(key, metadata.strings(key))?;
    let texts = texts(metadata, tokens)?;
    let types = match metadata.numbers("tokenizer.ggml.token_type")? {
        Some(types) => types.integers::<i32>().unwrap_or_default(),
        None => vec![token_type::NORMAL; texts.len()],
    };
    let added: Vec<Value> = texts
        .iter()
        .zip(&types)
        .enumerate()
        .filter_map(|(id, (text, kind))| {
            let special = match *kind {
                token_type::CONTROL | token_type::UNKNOWN => true,
                token_type::USER_DEFINED => false,
                _ => return None,
            };
            Some(json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special}))
        })
        .collect();
    let mut vocab = Map::new();
    for (id, text) in texts.iter().enumerate() {
        if vocab.insert((*text).to_owned(), json!(id)).is_some() {
            return Err(Error::Tokenizer(format!(
                "the token {text:?} is there twice, and has one place in a folder"
            )));
        }
    }
    let mut parts = match metadata.str("tokenizer.ggml.model")? {
        Some("gpt2") => byte_level(metadata)?,
        Some("llama") => sentence_piece(metadata, &texts, &types)?,
        other => {
            let kind = other.unwrap_or("none");
            return Err(Error::Tokenizer(format!(
                "the kind `{kind}` is not written to folders: gpt2 and llama are"
            )));
        }
    };
    parts.model["vocab"] = Value::Object(vocab);
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added,
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer,
        "post_processor": beginning(&tokenizer),
        "decoder": parts.decoder,
        "model": parts.model,
    });
    let mut files = vec![("tokenizer.json".to_owned(), json.to_string())];
    let template = ChatTemplate::from_gguf(metadata)?.map(|template| template.source().to_owned());
    files.push(("tokenizer_config.json".to_owned(), config(metadata, &tokenizer, template.as_deref())?));
    files.extend(template.map(|source| ("chat_template.jinja".to_owned(), source)));
    Ok(files)
}

/// All tokens; each must be UTF-8, as JSON is.
fn texts<'a>(metadata: &Metadata, tokens: &'a Strings) -> Result<Vec<&'a str>> {
    let text = |id: usize| {
        tokens
            .text(id)
            .ok_or_else(|| metadata.error("tokenizer.ggml.tokens", format!("token {id} is not UTF-8")))
    };
    (0..tokens.len()).map(text).collect()
}

struct Parts {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    model: Value,
}

fn byte_level(metadata: &Metadata) -> Result<Parts> {
    let pre = metadata.str("tokenizer.ggml.pre")?.unwrap_or("default");
    let rules = rules(pre)?;
    let key = "tokenizer.ggml.merges";
    let merges = metadata.require(key, metadata.strings(key))?;
    let merge = |index: usize| {
        let pair = merges.text(index).and_then(|text| text.split_once(' '));
        pair.map(|(left, right)| json!([left, right]))
            .ok_or_else(|| metadata.error(key, format!("merge {index} is no pair")))
    };
    let merges = (0..merges.len()).map(merge).collect::<Result<Vec<_>>>()?;
    Ok(Parts {
        normalizer: if COMPOSED.contains(&pre) { json!({"type": "NFC"}) } else { Value::Null },
        pre_tokenizer: splitters(&rules),
        decoder: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
        model: json!({"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": rules.whole_words, "merges": merges}),
    })
}

fn sentence_piece(metadata: &Metadata, texts: &[&str], types: &[i32]) -> Result<Parts> {
    let key = "tokenizer.ggml.scores";
    let scores = metadata.require(key, metadata.numbers(key))?.floats().unwrap_or_default();
    let prefix = metadata.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let unknown =
        texts.iter().zip(types).find(|(_, kind)| **kind == token_type::UNKNOWN).map(|(text, _)| *text);
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    let normalizer = if prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]})
    } else {
        replace
    };
    Ok(Parts {
        normalizer,
        pre_tokenizer: Value::Null,
        decoder: json!({"type": "Sequence", "decoders": decoders}),
        model: json!({"type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "merges": merges(texts, types, &scores)}),
    })
}

/// SentencePiece joins the pair whose joined piece has the best score: as a list, all ways to put a piece together
/// from two others, the best pieces first.
fn merges(texts: &[&str], types: &[i32], scores: &[f32]) -> Vec<Value> {
    let is_piece =
        |id: usize| matches!(types.get(id), Some(&(token_type::NORMAL | token_type::USER_DEFINED)));
    let ids: HashMap<&str, usize> =
        texts.iter().enumerate().filter(|(id, _)| is_piece(*id)).map(|(id, text)| (*text, id)).collect();
    let mut found: Vec<(f32, usize, usize, usize)> = Vec::new();
    for (id, text) in texts.iter().enumerate() {
        if types.get(id) != Some(&token_type::NORMAL) {
            continue;
        }
        for (at, _) in text.char_indices().skip(1) {
            if let (Some(&left), Some(&right)) = (ids.get(&text[..at]), ids.get(&text[at..])) {
                found.push((scores.get(id).copied().unwrap_or(0.0), id, left, right));
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| (a.1, a.2, a.3).cmp(&(b.1, b.2, b.3))));
    found.into_iter().map(|(_, _, left, right)| json!([texts[left], texts[right]])).collect()
}

/// The step that puts BOS before a text and EOS after it, where the model wants them.
fn beginning(tokenizer: &Tokenizer) -> Value {
    let token = |id: Option<u32>, wanted: bool| {
        id.filter(|_| wanted).and_then(|id| Some((id, tokenizer.token_text(id)?)))
    };
    let bos = token(tokenizer.bos(), tokenizer.add_bos());
    let eos = token(tokenizer.eos(), tokenizer.add_eos());
    if bos.is_none() && eos.is_none() {
        return Value::Null;
    }
    let mut specials = Map::new();
    for (id, text) in bos.iter().chain(&eos) {
        specials.insert(text.clone(), json!({"id": text, "ids": [id], "tokens": [text]}));
    }
    let step = |text: &str, place: u32| json!({"SpecialToken": {"id": text, "type_id": place}});
    let sequence = |name: &str, place: u32| {
        let mut steps: Vec<Value> = bos.iter().map(|(_, text)| step(text, place)).collect();
        steps.push(json!({"Sequence": {"id": name, "type_id": place}}));
        steps.extend(eos.iter().map(|(_, text)| step(text, place)));
        steps
    };
    let pair = [sequence("A", 0), sequence("B", 1)].concat();
    json!({"type": "TemplateProcessing", "single": sequence("A", 0), "pair": pair, "special_tokens": specials})
}

fn config(metadata: &Metadata, tokenizer: &Tokenizer, template: Option<&str>) -> Result<String> {
    let mut config = Map::new();
    config.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"));
    config.insert("clean_up_tokenization_spaces".to_owned(), json!(false));
    config.insert("add_bos_token".to_owned(), json!(tokenizer.add_bos()));
    config.insert("add_eos_token".to_owned(), json!(tokenizer.add_eos()));
    let text = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id));
    let padding = metadata.u32("tokenizer.ggml.padding_token_id")?;
    for (key, id) in [("bos_token", tokenizer.bos()), ("eos_token", tokenizer.eos()), ("pad_token", padding)]
    {
        if let Some(text) = text(id) {
            config.insert(key.to_owned(), json!(text));
        }
    }
    if let Some(template) = template {
        config.insert("chat_template".to_owned(), json!(template));
    }
    Ok(Value::Object(config).to_string())
}
