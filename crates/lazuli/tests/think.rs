//! The reasoning of a model from outside: a tiny model whose greedy words are known, with marks among them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, Stdio};

use lazuli::io::Checkpoint;
use lazuli_testkit::fixtures;
use serde_json::{Value, json};

const FIXTURE: &str = "llama-tied";

/// The prompt and what follows it, as the reference implementation found.
fn reference() -> (Vec<usize>, Vec<usize>) {
    let file = Checkpoint::open_tensors(fixtures::path(FIXTURE).join("reference.safetensors")).unwrap();
    let ints = |name| -> Vec<usize> {
        let array = file.array(name).unwrap();
        array.as_slice::<i32>().unwrap().iter().map(|&id| id as usize).collect()
    };
    (ints("input_ids"), ints("greedy"))
}

/// The fixture with a tokenizer whose words are `words`, and a template that gives the question as it stands.
fn model(folder: &Path, words: &[String]) {
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(fixtures::path(FIXTURE).join(name), folder.join(name)).unwrap();
    }
    let added = |(id, content): (usize, &String)| {
        json!({"id": id, "content": content, "special": false, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false})
    };
    let vocabulary: serde_json::Map<String, Value> =
        words.iter().enumerate().map(|(id, word)| (word.clone(), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": words.iter().enumerate().map(added).collect::<Vec<_>>(),
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    });
    let write = |name, value: &Value| std::fs::write(folder.join(name), value.to_string()).unwrap();
    write("tokenizer.json", &tokenizer);
    write("tokenizer_config.json", &json!({"chat_template": "{{ messages[0].content }}"}));
}

/// Stdout and stderr of `lazuli run` with further arguments.
fn run(folder: &Path, prompt: &str, further: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lazuli"));
    command.arg("run").arg(folder).arg(prompt).args(["-n", "12", "-c", "128"]).args(further);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{}", text(output.stderr));
    (text(output.stdout), text(output.stderr))
}

#[test]
fn reasoning_is_shown_hidden_or_alone() {
    let (prompt, greedy) = reference();
    let mut words: Vec<String> = (0..320).map(|id| format!("w{id}.")).collect();
    // A token that has not come before closes the reasoning, and the last one of the prompt opens it.
    let at = (3..9).find(|&i| !greedy[..i].contains(&greedy[i])).unwrap();
    words[*prompt.last().unwrap()] = "<think>".to_owned();
    words[greedy[at]] = "</think>".to_owned();
    let folder = tempfile::tempdir().unwrap();
    model(folder.path(), &words);
    let text = |ids: &[usize]| -> String {
        ids.iter().map(|&id| words[id].as_str()).filter(|word| !word.contains("think")).collect()
    };
    let (reasoning, answer) = (text(&greedy[..at]), text(&greedy[at..12]));
    let question: String = prompt.iter().map(|&id| words[id].as_str()).collect();

    let (out, err) = run(folder.path(), &question, &[]);
    assert_eq!(out, format!("{answer}\n"));
    assert!(err.ends_with(&format!("{reasoning}\n\n")), "{err}");
    let (out, err) = run(folder.path(), &question, &["--think", "hide"]);
    assert_eq!((out, err.contains(&reasoning)), (format!("{answer}\n"), false));
    let (out, _) = run(folder.path(), &question, &["--think", "only"]);
    assert_eq!(out, format!("{reasoning}\n"));
    let (out, err) = run(folder.path(), &question, &["--json"]);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((found["text"].as_str(), found["reasoning"].as_str()), (Some(&*answer), Some(&*reasoning)));
    assert_eq!((found["finish_reason"].as_str(), err.as_str()), (Some("length"), ""));
    let (out, _) = run(folder.path(), &question, &["--json", "--think", "hide"]);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["reasoning"], Value::Null);
}
