//! Where the tiny checkpoints with reference results lie.

use std::path::PathBuf;

/// The folder of a fixture, for example `llama3`.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// A `tokenizer.json` that knows the letters `a` to `z`, as tokens 0 to 25.
pub fn letters_tokenizer() -> String {
    let vocab: Vec<_> =
        ('a'..='z').zip(0..).map(|(letter, id): (char, u32)| format!("\"{letter}\": {id}")).collect();
    let bytes =
        r#"{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}"#;
    format!(
        r#"{{"added_tokens": [], "normalizer": null, "pre_tokenizer": {bytes}, "post_processor": null,
        "decoder": {bytes}, "model": {{"type": "BPE", "vocab": {{{}}}, "merges": []}}}}"#,
        vocab.join(", ")
    )
}
