//! Tokenizers against known ids, and round trips.

use proptest::prelude::*;

use super::*;
use crate::gguf::Gguf;
use crate::gguf::tests::Writer;

fn number_array(kind: u32, values: &[[u8; 4]]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &(values.len() as u64).to_le_bytes(), &values.concat()].concat()
}

fn kinds(kinds: &[i32]) -> Vec<u8> {
    number_array(5, &kinds.iter().map(|k| k.to_le_bytes()).collect::<Vec<_>>())
}

fn build(writer: &Writer) -> crate::Result<Tokenizer> {
    Tokenizer::from_gguf(&Gguf::parse(&writer.file())?.metadata)
}

/// All bytes, a few merges, and two control tokens, one user-defined.
fn byte_level_writer(pre: &str) -> Writer {
    let mut tokens: Vec<String> = (0..=255u8)
        .map(|byte| {
            let mut text = String::new();
            byte_level::encode(&[byte], &mut text);
            text
        })
        .collect();
    let merges = ["h e", "l l", "he ll", "Ġ w", "hell o", "Ã ©", "Ġ Ġ"];
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    tokens.extend(["<|im_start|>", "<|im_end|>", "<think>"].map(String::from));
    let types: Vec<i32> =
        (0..tokens.len() as i32).map(|i| if i < 263 { 1 } else { 3 + (i - 263) / 2 }).collect();
    Writer::default()
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", pre)
        .strings("tokenizer.ggml.tokens", &tokens)
        .strings("tokenizer.ggml.merges", &merges)
        .key("tokenizer.ggml.token_type", 9, &kinds(&types))
        .number("tokenizer.ggml.eos_token_id", 264)
}

fn byte_level_tokenizer(pre: &str) -> Tokenizer {
    build(&byte_level_writer(pre)).unwrap()
}

/// A SentencePiece vocabulary: unk, bos, eos, 256 bytes, then pieces with falling scores.
fn sentence_piece_writer(space_prefix: bool) -> Writer {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).to_vec();
    tokens.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
    let pieces = ["▁", "a", "b", "c", "ab", "▁a", "abc", "▁ab", "▁▁", "é"];
    tokens.extend(pieces.map(String::from));
    let scores: Vec<[u8; 4]> = (0..tokens.len()).map(|i| (-(i as f32)).to_le_bytes()).collect();
    let types: Vec<i32> = (0..tokens.len() as i32)
        .map(|i| match i {
            0 => 2,
            1 | 2 => 3,
            3..259 => 6,
            _ => 1,
        })
        .collect();
    Writer::default()
        .text("tokenizer.ggml.model", "llama")
        .strings("tokenizer.ggml.tokens", &tokens)
        .key("tokenizer.ggml.scores", 9, &number_array(6, &scores))
        .key("tokenizer.ggml.token_type", 9, &kinds(&types))
        .key("tokenizer.ggml.add_space_prefix", 7, &[u8::from(space_prefix)])
}

fn texts(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    ids.iter().map(|&id| tokenizer.token_text(id).unwrap()).collect()
}

#[test]
fn byte_level_merges_in_order_of_rank() {
    let t = byte_level_tokenizer("gpt-2");
    assert_eq!(texts(&t, &t.encode("hello wé", Specials::AsText)), ["hello", "Ġw", "Ã©"]);
    assert_eq!(texts(&t, &t.encode("hehe   x", Specials::AsText)), ["he", "he", "ĠĠ", "Ġ", "x"]);
    assert_eq!((t.bos(), t.eos(), t.add_bos(), t.eog()), (None, Some(264), false, &[264][..]));
    assert_eq!(t.vocab_size(), 266);
    assert_eq!(t.token_bytes(t.token_id("Ġw").unwrap()), b" w");
}

#[test]
fn control_tokens_are_parsed_only_when_asked() {
    let t = byte_level_tokenizer("gpt-2");
    let text = "he<|im_end|><think>";
    assert_eq!(t.encode(text, Specials::Parse), [256, 264, 265]);
    let plain = t.encode(text, Specials::AsText);
    assert!(!plain.contains(&264) && plain.last() == Some(&265), "user-defined text always counts");
    assert_eq!(t.decode(&plain), text);
    assert_eq!(t.decode(&[256, 264, 265]), "he<think>", "control tokens have no text");
    assert!(t.is_control(264) && !t.is_control(265));
}

#[test]
fn sentence_piece_merges_by_score() {
    let t = build(&sentence_piece_writer(true)).unwrap();
    // `ab` outranks `▁a`, and `abc` outranks `▁ab`.
    assert_eq!(texts(&t, &t.encode("abc ab", Specials::AsText)), ["▁", "abc", "▁ab"]);
    assert_eq!(texts(&t, &t.encode("aé→", Specials::AsText)), ["▁a", "é", "<0xE2>", "<0x86>", "<0x92>"]);
    assert_eq!(t.decode(&t.encode("aé→ b", Specials::AsText)), "aé→ b");
    assert_eq!(texts(&t, &t.encode("a<s>b", Specials::Parse)), ["▁a", "<s>", "▁", "b"]);
    assert_eq!((t.bos(), t.eos(), t.add_bos()), (Some(1), Some(2), true));
    let bare = build(&sentence_piece_writer(false)).unwrap();
    assert_eq!(texts(&bare, &bare.encode("ab a", Specials::AsText)), ["ab", "▁a"]);
    assert_eq!(bare.decode(&bare.encode(" a", Specials::AsText)), " a");
}

/// The tokens that end a turn in a vocabulary of control tokens and the text `</s>`, whose file names the first as EOS.
fn ends(control: &[&str]) -> Vec<String> {
    let mut tokens = control.to_vec();
    tokens.extend(["<unk>", "a"]);
    let types: Vec<i32> = (0..tokens.len()).map(|i| if i < control.len() { 3 } else { 1 }).collect();
    let scores = vec![0.0f32.to_le_bytes(); tokens.len()];
    let writer = Writer::default()
        .text("tokenizer.ggml.model", "llama")
        .strings("tokenizer.ggml.tokens", &tokens)
        .key("tokenizer.ggml.scores", 9, &number_array(6, &scores))
        .key("tokenizer.ggml.token_type", 9, &kinds(&types))
        .key("tokenizer.ggml.eos_token_id", 4, &0u32.to_le_bytes());
    let tokenizer = build(&writer).unwrap();
    texts(&tokenizer, tokenizer.eog())
}

#[test]
fn turns_end_in_each_familys_way() {
    for (control, expected) in [
        (&["</s>", "[INST]"][..], &["</s>"][..]),
        (
            &["<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|python_tag|>"],
            &["<|end_of_text|>", "<|eot_id|>", "<|eom_id|>"],
        ),
        (&["<|endoftext|>", "<|im_start|>", "<|im_end|>"], &["<|endoftext|>", "<|im_end|>"]),
        (&["<|endoftext|>", "<|user|>", "<|end|>"], &["<|endoftext|>", "<|end|>"]),
        (&["<eos>", "<start_of_turn>", "<end_of_turn>"], &["<eos>", "<end_of_turn>"]),
        (&["<EOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"], &["<EOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"]),
        (
            &["<|endoftext|>", "[gMASK]", "<|user|>", "<|assistant|>", "<|observation|>"],
            &["<|endoftext|>", "<|user|>", "<|observation|>"],
        ),
        (&["<｜end▁of▁sentence｜>", "<｜User｜>"], &["<｜end▁of▁sentence｜>"]),
        (&["<|return|>", "<|start|>", "<|channel|>", "<|end|>", "<|call|>"], &["<|return|>", "<|call|>"]),
    ] {
        assert_eq!(ends(control), expected);
    }
}

/// A unigram vocabulary with the scores of the pieces as given.
fn unigram_writer(merge_spaces: bool) -> Writer {
    let tokens = ["<pad>", "</s>", "<unk>", "▁", "a", "b", "ab", "▁a", "ba", "é"];
    let scores = [0.0f32, 0.0, 0.0, -2.0, -3.0, -3.0, -4.0, -4.5, -6.5, -3.0].map(f32::to_le_bytes);
    Writer::default()
        .text("tokenizer.ggml.model", "t5")
        .strings("tokenizer.ggml.tokens", &tokens)
        .key("tokenizer.ggml.scores", 9, &number_array(6, &scores))
        .key("tokenizer.ggml.token_type", 9, &kinds(&[3, 3, 2, 1, 1, 1, 1, 1, 1, 1]))
        .key("tokenizer.ggml.add_space_prefix", 7, &[1])
        .key("tokenizer.ggml.remove_extra_whitespaces", 7, &[u8::from(merge_spaces)])
}

#[test]
fn unigram_takes_the_best_sum_of_scores() {
    let t = build(&unigram_writer(true)).unwrap();
    // `▁` `ab` is -6, `▁a` `b` -7.5.
    assert_eq!(texts(&t, &t.encode("ab", Specials::AsText)), ["▁", "ab"]);
    // `▁` `ab` `a` is -9, `▁a` `ba` -11.
    assert_eq!(texts(&t, &t.encode("aba", Specials::AsText)), ["▁", "ab", "a"]);
    assert_eq!(texts(&t, &t.encode("  a   b ", Specials::AsText)), ["▁a", "▁", "b"]);
    assert_eq!(texts(&t, &t.encode("a→→b", Specials::AsText)), ["▁a", "<unk>", "b"]);
    assert_eq!((t.eos(), t.add_eos(), t.add_bos(), t.eog()), (Some(1), true, false, &[1][..]));
    let exact = build(&unigram_writer(false)).unwrap();
    assert_eq!(texts(&exact, &exact.encode("a  b", Specials::AsText)), ["▁a", "▁", "▁", "b"]);
    assert_eq!(exact.decode(&exact.encode("ab  éa", Specials::AsText)), "ab  éa");
    let damaged =
        unigram_writer(true).key("tokenizer.ggml.precompiled_charsmap", 9, &number_array(4, &[[9; 4]]));
    assert!(build(&damaged).unwrap_err().to_string().contains("precompiled_charsmap"));
}

#[test]
fn a_stream_never_shows_half_a_character() {
    let t = build(&sentence_piece_writer(true)).unwrap();
    let mut stream = StreamDecoder::new(&t, Position::Start);
    let ids = t.encode("a→", Specials::AsText);
    let shown: Vec<String> = ids.iter().map(|&id| stream.push(id)).collect();
    assert_eq!(shown, ["a", "", "", "→"]);
    assert_eq!(stream.push(ids[1]), "");
    assert_eq!(stream.push(t.token_id("b").unwrap()), "\u{fffd}b", "a broken character");
    assert_eq!(stream.push(ids[1]), "");
    assert_eq!((stream.finish(), stream.finish()), ("\u{fffd}".to_owned(), String::new()));
    let word = t.token_id("▁a").unwrap();
    let mut stream = StreamDecoder::new(&t, Position::Start);
    assert_eq!(
        (stream.push(1), stream.push(word), stream.push(word)),
        (String::new(), "a".into(), " a".into())
    );
    let mut stream = StreamDecoder::new(&t, Position::Continuation);
    assert_eq!(stream.push(word), " a");
    assert_eq!(stream.push(4_000_000_000), "");
}

#[test]
fn incomplete_metadata_is_refused_by_key() {
    let refused = |writer: Writer, words: &str| {
        let error = build(&writer).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(Writer::default(), "`tokenizer.ggml.model`: it is missing");
    let model = |kind: &str| Writer::default().text("tokenizer.ggml.model", kind);
    refused(model("gpt2"), "`tokenizer.ggml.tokens`");
    refused(model("rwkv").strings("tokenizer.ggml.tokens", &["a"]), "`rwkv`");
    refused(model("gpt2").strings("tokenizer.ggml.tokens", &["a"]), "`tokenizer.ggml.merges`");
    refused(model("llama").strings("tokenizer.ggml.tokens", &["a"]), "`tokenizer.ggml.scores`");
    refused(byte_level_writer("strange"), "`strange`");
    refused(byte_level_writer("gpt-2").number("tokenizer.ggml.bos_token_id", 9999), "9999");
    refused(byte_level_writer("gpt-2").text("tokenizer.ggml.add_bos_token", "yes"), "expected a boolean");
    let short = byte_level_writer("gpt-2").key("x", 4, &[0; 4]);
    assert!(build(&short).is_ok());
    refused(
        model("gpt2")
            .strings("tokenizer.ggml.tokens", &["a"])
            .strings("tokenizer.ggml.merges", &[""; 0])
            .key("tokenizer.ggml.token_type", 9, &kinds(&[1, 1])),
        "2 entries for 1 tokens",
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn byte_level_round_trips(text in "\\PC*|[ \\n\\r\\tholwe1é漢🦀<|im_end>]{0,60}") {
        for pre in ["gpt-2", "qwen2", "llama-bpe", "deepseek-v3"] {
            let t = byte_level_tokenizer(pre);
            prop_assert_eq!(t.decode(&t.encode(&text, Specials::AsText)), text.clone());
        }
    }

    #[test]
    fn sentence_piece_round_trips(text in "[ \\nabcé漢🦀<s>]{0,60}") {
        for prefix in [false, true] {
            let t = build(&sentence_piece_writer(prefix)).unwrap();
            prop_assert_eq!(t.decode(&t.encode(&text, Specials::AsText)), text.clone());
        }
    }

    #[test]
    fn any_tokens_decode_and_streams_agree(ids in prop::collection::vec(0u32..280, 0..40)) {
        for t in [byte_level_tokenizer("gpt-2"), build(&sentence_piece_writer(true)).unwrap()] {
            let mut bytes = Vec::new();
            for &id in ids.iter().filter(|&&id| !t.is_control(id)) {
                t.push_token_bytes(id, &mut bytes);
            }
            let whole = String::from_utf8_lossy(&bytes).into_owned();
            let whole = if t.begins_with_space() { whole.strip_prefix(' ').unwrap_or(&whole) } else { &whole };
            prop_assert_eq!(t.decode(&ids), whole);
        }
    }
}
