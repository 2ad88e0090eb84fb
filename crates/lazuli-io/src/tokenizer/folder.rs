//! Tokenizers from a Hugging Face folder: `tokenizer.json`, and the settings in the files beside it.

use std::path::Path;

use serde_json::Value;

use super::Tokenizer;
use super::json::native;
use super::library::{Settings, build, parse};
use crate::checkpoint::{Checkpoint, Kind};
use crate::error::{Error, Result};
use crate::json::read_json;
use crate::mmap::MappedFile;

impl Tokenizer {
    /// The tokenizer that comes with a model.
    ///
    /// # Errors
    /// As for [`Tokenizer::from_gguf`] and [`Tokenizer::from_folder`].
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Self> {
        match checkpoint.kind() {
            Kind::Gguf(metadata) => Self::from_gguf(metadata),
            Kind::HuggingFace(_) => Self::from_folder(checkpoint.path()),
            Kind::Tensors => Err(Error::Tokenizer("a file of tensors has none".to_owned())),
        }
    }

    /// The tokenizer in a folder: `tokenizer.json`, with `tokenizer_config.json`, `generation_config.json` and
    /// `config.json` for what begins and ends a text.
    ///
    /// # Errors
    /// [`Error::Open`] if there is no `tokenizer.json`, [`Error::Tokenizer`] or [`Error::Json`] if one of the
    /// files does not hold what it should.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let json = MappedFile::open(folder.join("tokenizer.json"))?;
        let mut files = Vec::new();
        for name in ["tokenizer_config.json", "generation_config.json", "config.json"] {
            let path = folder.join(name);
            files.push(if path.is_file() { read_json(&path)? } else { Value::Null });
        }
        let [tokenizer_config, rest @ ..] = &files[..] else {
            return Self::from_json(&json, &Value::Null, &[]);
        };
        Self::from_json(&json, tokenizer_config, rest)
    }

    /// The tokenizer that the bytes of a `tokenizer.json` describe. `tokenizer_config` gives the texts of BOS
    /// and EOS; `configs`, the first that has them counting, the ids.
    ///
    /// # Errors
    /// As for [`Tokenizer::from_folder`].
    pub fn from_json(json: &[u8], tokenizer_config: &Value, configs: &[Value]) -> Result<Self> {
        let settings = settings(tokenizer_config, configs);
        match native(json, &settings) {
            Some(tokenizer) => Ok(tokenizer),
            None => build(parse(json)?, &settings),
        }
    }
}

fn settings(tokenizer_config: &Value, configs: &[Value]) -> Settings {
    // A token is its text, or an object that holds it.
    let text = |key: &str| {
        let token = tokenizer_config.get(key)?;
        token.as_str().or_else(|| token.get("content")?.as_str()).map(str::to_owned)
    };
    let flag = |key: &str| tokenizer_config.get(key).and_then(Value::as_bool);
    let ids = |key: &str| configs.iter().map(|config| integers(config.get(key))).find(|ids| !ids.is_empty());
    Settings {
        bos: text("bos_token"),
        eos: text("eos_token"),
        bos_id: ids("bos_token_id").and_then(|ids| ids.first().copied()),
        eos_ids: ids("eos_token_id").unwrap_or_default(),
        add_bos: flag("add_bos_token"),
        add_eos: flag("add_eos_token"),
    }
}

/// An id, or a list of ids.
fn integers(value: Option<&Value>) -> Vec<u32> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{Position, Specials, StreamDecoder, byte_level};
    use proptest::prelude::*;
    use serde_json::{Map, json};
    use std::sync::LazyLock;

    fn added(id: u32, content: &str, special: bool) -> Value {
        json!({"id": id, "content": content, "special": special, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
    }

    fn byte_level_json() -> Value {
        let mut vocab = Map::new();
        for byte in 0..=255u8 {
            let mut text = String::new();
            byte_level::encode(&[byte], &mut text);
            vocab.insert(text, json!(byte));
        }
        for (id, text) in ["he", "ll", "hell", "hello", "Ġw"].iter().enumerate() {
            vocab.insert((*text).to_owned(), json!(256 + id));
        }
        json!({
            "version": "1.0",
            "added_tokens": [added(261, "<|end|>", true), added(262, "<think>", false), added(263, "<s>", true)],
            "normalizer": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [263], "tokens": ["<s>"]}}},
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "unk_token": null, "vocab": vocab, "merges": ["h e", "l l", "he ll", "hell o", "Ġ w"]}
        })
    }

    fn sentence_piece_json() -> Value {
        let mut vocab = json!({"<unk>": 0, "<s>": 1, "</s>": 2});
        for byte in 0..=255u8 {
            vocab[format!("<0x{byte:02X}>")] = json!(3 + u32::from(byte));
        }
        for (id, text) in ["▁", "a", "b", "▁a", "▁ab"].iter().enumerate() {
            vocab[*text] = json!(259 + id);
        }
        json!({
            "added_tokens": [added(0, "<unk>", true), added(1, "<s>", true), added(2, "</s>", true)],
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
            "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "vocab": vocab, "merges": [["▁", "a"], ["▁a", "b"]]}
        })
    }

    fn build(json: &Value, config: &Value, configs: &[Value]) -> crate::Result<Tokenizer> {
        Tokenizer::from_json(json.to_string().as_bytes(), config, configs)
    }

    static BYTE_LEVEL: LazyLock<Tokenizer> = LazyLock::new(|| {
        let config = json!({"eos_token": {"content": "<|end|>"}, "bos_token": "<s>"});
        build(&byte_level_json(), &config, &[json!({"eos_token_id": [261, 263]})]).unwrap()
    });
    static SENTENCE_PIECE: LazyLock<Tokenizer> = LazyLock::new(|| {
        build(
            &sentence_piece_json(),
            &Value::Null,
            &[Value::Null, json!({"bos_token_id": 1, "eos_token_id": 2})],
        )
        .unwrap()
    });

    #[test]
    fn byte_level_from_json() {
        let t = &*BYTE_LEVEL;
        assert_eq!(t.encode("hello we<|end|>", Specials::Parse), [259, 260, u32::from(b'e'), 261]);
        let plain = t.encode("hello<|end|><think>", Specials::AsText);
        assert!(!plain.contains(&261) && plain.last() == Some(&262), "{plain:?}");
        assert_eq!((t.bos(), t.eos(), t.add_bos(), t.add_eos()), (Some(263), Some(261), true, false));
        assert_eq!(t.eog(), [261, 263]);
        assert_eq!((t.token_text(260).as_deref(), t.token_bytes(260)), (Some("Ġw"), b" w".to_vec()));
        assert_eq!(t.vocab_size(), 264);
    }

    #[test]
    fn sentence_piece_from_json() {
        let t = &*SENTENCE_PIECE;
        assert_eq!(t.encode("ab→", Specials::AsText), [263, 3 + 0xe2, 3 + 0x86, 3 + 0x92]);
        assert_eq!((t.bos(), t.eos(), t.add_bos(), t.eog()), (Some(1), Some(2), false, &[2][..]));
        let mut stream = StreamDecoder::new(t, Position::Start);
        let text: String = [263, 262, 3 + 0xe2, 3 + 0x86, 3 + 0x92].map(|id| stream.push(id)).concat();
        assert_eq!(text, "ab a→");
    }

    #[test]
    fn what_is_not_a_tokenizer_is_refused() {
        for text in ["", "{}", "[1]", r#"{"model":{"type":"BPE","vocab":{},"merges":[]}}"#] {
            assert!(
                matches!(Tokenizer::from_json(text.as_bytes(), &Value::Null, &[]), Err(Error::Tokenizer(_))),
                "{text}"
            );
        }
        let mut json = byte_level_json();
        json["model"]["vocab"]["far"] = json!(4_000_000_000u32);
        assert!(build(&json, &Value::Null, &[]).unwrap_err().to_string().contains("ids up to"));
        json = byte_level_json();
        json["decoder"] = json!({"type": "WordPiece", "prefix": "##", "cleanup": true});
        json["pre_tokenizer"] = Value::Null;
        assert!(build(&json, &Value::Null, &[]).unwrap_err().to_string().contains("decoder"));
        let empty = tempfile::tempdir().unwrap();
        assert!(Tokenizer::from_folder(empty.path()).unwrap_err().to_string().contains("tokenizer.json"));
    }

    /// Variants of the two files that the native encoders know: all must encode as the crate does.
    static PAIRS: LazyLock<Vec<(Tokenizer, Tokenizer)>> = LazyLock::new(|| {
        let splits = [
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            r"\p{N}{1,2}",
        ];
        let mut files = vec![byte_level_json(), sentence_piece_json()];
        for split in splits {
            let mut file = byte_level_json();
            file["normalizer"] = json!({"type": "NFC"});
            file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
                {"type": "Digits", "individual_digits": true},
                {"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": false},
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]});
            file["model"]["ignore_merges"] = json!(true);
            files.push(file);
        }
        for scheme in ["first", "always", "never"] {
            let mut file = sentence_piece_json();
            file["normalizer"] = Value::Null;
            file["pre_tokenizer"] =
                json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false});
            if scheme == "never" {
                file["decoder"]["decoders"].as_array_mut().unwrap().pop();
            }
            files.push(file);
        }
        let pair = |file: &Value| {
            let (bytes, settings) = (file.to_string(), Settings::default());
            let native = native(bytes.as_bytes(), &settings).expect("a shape that is known");
            (native, super::build(parse(bytes.as_bytes()).unwrap(), &settings).unwrap())
        };
        files.iter().map(pair).collect()
    });

    #[test]
    fn shapes_that_are_not_known_go_to_the_crate() {
        let foreign = |change: &dyn Fn(&mut Value)| {
            let mut file = byte_level_json();
            change(&mut file);
            let bytes = file.to_string();
            assert!(native(bytes.as_bytes(), &Settings::default()).is_none());
            assert!(parse(bytes.as_bytes()).is_ok());
        };
        foreign(&|file| file["added_tokens"][0]["lstrip"] = json!(true));
        foreign(&|file| file["model"]["dropout"] = json!(0.1));
        foreign(&|file| file["normalizer"] = json!({"type": "Lowercase"}));
        foreign(&|file| file["pre_tokenizer"]["add_prefix_space"] = json!(true));
        foreign(&|file| {
            file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "a(?!b)"}, "behavior": "Isolated", "invert": false},
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]});
        });
    }

    /// A text that is nothing but the spelling of a control token stays text unless control tokens are asked for.
    #[test]
    fn a_spelled_control_token_is_text() {
        for (native, library) in &*PAIRS {
            for text in ["<s>", "</s>", "<|end|>"] {
                let ours = native.encode(text, Specials::AsText);
                assert_eq!(ours, library.encode(text, Specials::AsText), "{text}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn native_encodes_as_the_crate_does(text in "[ \\n\\tabhelow1<é\u{301}e漢▁'s|>]{0,30}(<s>|<\\|end\\|>|<think>|</s>)?[ abh]{0,5}") {
            for (native, library) in &*PAIRS {
                for specials in [Specials::Parse, Specials::AsText] {
                    let (ours, theirs) = (native.encode(&text, specials), library.encode(&text, specials));
                    prop_assert_eq!(&ours, &theirs);
                    prop_assert_eq!(native.decode(&ours), library.decode(&theirs));
                }
                prop_assert_eq!((native.eog(), native.vocab_size()), (library.eog(), library.vocab_size()));
            }
        }

        #[test]
        fn round_trips(text in "\\PC*|[ \\nabhelow<é漢|s>end]{0,40}") {
            for t in [&*BYTE_LEVEL, &*SENTENCE_PIECE] {
                prop_assert_eq!(t.decode(&t.encode(&text, Specials::AsText)), text.replace('▁', " "));
            }
        }
    }
}
