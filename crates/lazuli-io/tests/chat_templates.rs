//! Chat templates of published families render as the reference library renders them; `tools/make_chat_goldens.py`
//! has written what is expected.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use lazuli_io::{ChatTemplate, Message, RenderOptions};
use serde_json::{Map, Value};

/// 2025-07-26 14:05:09.
const CLOCK: u64 = 1_753_538_709;

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn message(value: &Value) -> Message {
    let mut fields = value.as_object().unwrap().clone();
    let mut text = |key: &str| fields.remove(key).and_then(|v| v.as_str().map(str::to_owned)).unwrap();
    let (role, content) = (text("role"), text("content"));
    Message { role, content, extra: fields }
}

fn render(template: &ChatTemplate, case: &Value) -> Result<String, String> {
    let messages: Vec<Message> = case["messages"].as_array().unwrap().iter().map(message).collect();
    let options = RenderOptions {
        add_generation_prompt: case["add_generation_prompt"] != false,
        bos_token: Some("<s>".to_owned()),
        eos_token: Some("</s>".to_owned()),
        tools: case.get("tools").cloned(),
        extra: case["extra"].as_object().cloned().unwrap_or_else(Map::new),
        now: Some(UNIX_EPOCH + Duration::from_secs(CLOCK)),
    };
    template.render(&messages, &options).map_err(|error| error.to_string())
}

/// What differs, in words; `None` is a refusal.
fn difference(found: Result<String, String>, expected: Option<&str>) -> Option<String> {
    match (found, expected) {
        (Err(_), None) => None,
        (Ok(found), Some(expected)) if found == expected => None,
        (Ok(found), Some(expected)) => {
            let same = found.chars().zip(expected.chars()).take_while(|(a, b)| a == b).count();
            let from = same.saturating_sub(40);
            let tail = |text: &str| text.chars().skip(from).take(100).collect::<String>();
            Some(format!("found {:?}, expected {:?}", tail(&found), tail(expected)))
        }
        (Err(error), Some(_)) => Some(format!("refused: {error}")),
        (Ok(found), None) => Some(format!("is rendered, and should be refused: {found:?}")),
    }
}

#[test]
fn templates_render_as_the_reference_renders_them() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/chat");
    let cases: BTreeMap<String, Value> = json(&folder.join("conversations.json"));
    let expected: BTreeMap<String, BTreeMap<String, Option<String>>> = json(&folder.join("expected.json"));
    assert!(expected.len() > 10 && cases.len() > 10);
    let mut wrong = Vec::new();
    for (name, expected) in &expected {
        let source = std::fs::read_to_string(folder.join(format!("templates/{name}.jinja"))).unwrap();
        let template = match ChatTemplate::new(&source) {
            Ok(template) => template,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        for (case, expected) in expected {
            if let Some(what) = difference(render(&template, &cases[case]), expected.as_deref()) {
                wrong.push(format!("{name}, {case}: {what}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
