//! Tokenizers in the words of the other kind of file: a folder's `tokenizer.json` as GGUF settings, and back.
//!
//! Byte-level BPE and SentencePiece's BPE, the two kinds that language models in both kinds of files have.

mod to_folder;
mod to_gguf;

pub use to_folder::tokenizer_files;
pub use to_gguf::tokenizer_settings;

use serde_json::{Value, json};

use super::pre::Rules;

/// Names of pre-tokenizers that a folder's patterns are compared with. Several go by one set of patterns; these are
/// the names that are in use for new files.
const NAMES: &[&str] = &[
    "llama-bpe",
    "qwen2",
    "smollm",
    "gpt-2",
    "gpt-4o",
    "tekken",
    "deepseek-v3",
    "qwen35",
    "dbrx",
    "bailingmoe",
    "seed-coder",
];

/// Kinds of tokens by the numbers that `tokenizer.ggml.token_type` has for them.
mod token_type {
    pub const NORMAL: i32 = 1;
    pub const UNKNOWN: i32 = 2;
    pub const CONTROL: i32 = 3;
    pub const USER_DEFINED: i32 = 4;
    pub const UNUSED: i32 = 5;
    pub const BYTE: i32 = 6;
}

/// The steps of a `tokenizer.json` that cut text into words as `rules` say.
fn splitters(rules: &Rules) -> Value {
    let split = |pattern: String| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let mut steps: Vec<Value> = rules.published().into_iter().map(split).collect();
    steps.push(
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}),
    );
    json!({"type": "Sequence", "pretokenizers": steps})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{Gguf, GgufWriter};
    use crate::mmap::MappedFile;
    use crate::tokenizer::{Specials, Tokenizer, byte_level};
    use std::path::Path;

    const TEXTS: &[&str] = &[
        "hello hello, he'll tell 1234 tales\n\n  now.  ",
        "é漢字 → hell  o<|end|> <think>x",
        " leading and trailing ",
        "a▁b\u{301} ab aab\tab",
        "",
    ];

    fn added(id: u32, content: &str, special: bool) -> Value {
        json!({"id": id, "content": content, "special": special, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
    }

    fn byte_level(pre: &str, normalizer: &Value) -> Value {
        let mut vocab = serde_json::Map::new();
        for byte in 0..=255u8 {
            let mut text = String::new();
            byte_level::encode(&[byte], &mut text);
            vocab.insert(text, json!(byte));
        }
        for (id, text) in ["he", "ll", "hell", "hello", "Ġhello", "Ġw"].iter().enumerate() {
            vocab.insert((*text).to_owned(), json!(256 + id));
        }
        let rules = super::super::pre::rules(pre).unwrap();
        json!({
            "version": "1.0",
            "added_tokens": [added(262, "<|end|>", true), added(263, "<think>", false)],
            "normalizer": normalizer,
            "pre_tokenizer": splitters(&rules),
            "post_processor": null,
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "ignore_merges": pre == "llama-bpe", "vocab": vocab,
                "merges": [["h", "e"], ["l", "l"], ["he", "ll"], ["hell", "o"], ["Ġ", "hello"], ["Ġ", "w"]]},
        })
    }

    fn sentence_piece(prefix: bool) -> Value {
        let mut vocab = json!({"<unk>": 0, "<s>": 1, "</s>": 2});
        for byte in 0..=255u8 {
            vocab[format!("<0x{byte:02X}>")] = json!(3 + u32::from(byte));
        }
        for (id, text) in ["▁", "a", "b", "ab", "▁a", "▁ab", "l", "e", "el", "t"].iter().enumerate() {
            vocab[*text] = json!(259 + id);
        }
        let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let prepend = json!({"type": "Prepend", "prepend": "▁"});
        let steps = if prefix { vec![prepend, replace] } else { vec![replace] };
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if prefix {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        json!({
            "added_tokens": [added(0, "<unk>", true), added(1, "<s>", true), added(2, "</s>", true), added(269, "<think>", false)],
            "normalizer": {"type": "Sequence", "normalizers": steps},
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "vocab": vocab,
                "merges": [["▁", "a"], ["a", "b"], ["▁a", "b"], ["▁", "ab"], ["e", "l"]]},
        })
    }

    fn write(folder: &Path, tokenizer: &Value, config: &Value) {
        std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
        std::fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
    }

    /// A folder's tokenizer as a GGUF file and as a folder again: all three encode alike.
    fn there_and_back(tokenizer: &Value, config: &Value) -> Vec<Tokenizer> {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), tokenizer, config);
        let first = Tokenizer::from_folder(dir.path()).unwrap();
        let path = dir.path().join("x.gguf");
        let mut writer = GgufWriter::create(&path, 32);
        for (key, value) in tokenizer_settings(dir.path(), 280).unwrap() {
            writer.set(&key, &value).unwrap();
        }
        writer.begin().unwrap().finish().unwrap();
        let file = MappedFile::open(&path).unwrap();
        let metadata = Gguf::parse(&file).unwrap().metadata;
        let second = Tokenizer::from_gguf(&metadata).unwrap();
        let back = tempfile::tempdir().unwrap();
        for (name, text) in tokenizer_files(&metadata).unwrap() {
            std::fs::write(back.path().join(name), text).unwrap();
        }
        let third = Tokenizer::from_folder(back.path()).unwrap();
        vec![first, second, third]
    }

    #[test]
    fn tokens_are_the_same_in_both_kinds_of_files() {
        let config = json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": true});
        let byte_config = json!({"eos_token": "<|end|>", "bos_token": "<|end|>"});
        let nfc = json!({"type": "NFC"});
        let cases = [
            (byte_level("smollm", &Value::Null), &byte_config),
            (byte_level("llama-bpe", &Value::Null), &byte_config),
            (byte_level("qwen2", &nfc), &byte_config),
            (byte_level("gpt-2", &Value::Null), &byte_config),
            (sentence_piece(false), &config),
            (sentence_piece(true), &config),
        ];
        for (tokenizer, config) in &cases {
            let [first, others @ ..] = &there_and_back(tokenizer, config)[..] else { panic!() };
            for other in others {
                assert_eq!(other.vocab_size(), 280);
                assert_eq!((other.bos(), other.eos()), (first.bos(), first.eos()));
                assert_eq!((other.add_bos(), other.add_eos()), (first.add_bos(), first.add_eos()));
                assert_eq!(other.eog(), first.eog());
                for text in TEXTS {
                    for specials in [Specials::Parse, Specials::AsText] {
                        // GGUF has no place for the composition of characters.
                        let composed = text.replace("b\u{301}", "b");
                        assert_eq!(
                            other.encode(&composed, specials),
                            first.encode(&composed, specials),
                            "{text}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_chat_template_comes_along() {
        let config = json!({"eos_token": "<|end|>", "chat_template": "{{ messages[0].content }}"});
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &byte_level("gpt-2", &Value::Null), &config);
        let settings = tokenizer_settings(dir.path(), 264).unwrap();
        let template = settings.iter().find(|(key, _)| key == "tokenizer.chat_template").unwrap();
        assert!(template.1.describe().contains("messages[0]"));
    }

    #[test]
    fn what_has_no_place_is_refused() {
        let refused = |change: &dyn Fn(&mut Value), words: &str| {
            let dir = tempfile::tempdir().unwrap();
            let mut tokenizer = byte_level("gpt-2", &Value::Null);
            change(&mut tokenizer);
            write(dir.path(), &tokenizer, &json!({}));
            let error = tokenizer_settings(dir.path(), 264).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        refused(
            &|t| t["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!("x+"),
            "pre-tokenizer",
        );
        refused(&|t| t["model"]["type"] = json!("WordPiece"), "WordPiece");
        refused(&|t| t["model"]["vocab"]["far"] = json!(264), "264 tokens");
    }
}
