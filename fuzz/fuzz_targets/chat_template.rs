//! Chat templates: any text compiles or is refused, and rendering ends.
#![no_main]

use lazuli_io::{ChatTemplate, Message, RenderOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| {
    let Ok(template) = ChatTemplate::new(source) else { return };
    let messages = ["system", "user", "assistant", "user"].map(|role| Message::new(role, "Some text\n"));
    let options = RenderOptions {
        add_generation_prompt: true,
        bos_token: Some("<s>".to_owned()),
        eos_token: Some("</s>".to_owned()),
        tools: Some(serde_json::json!([{"type": "function", "function": {"name": "f", "parameters": {}}}])),
        ..RenderOptions::default()
    };
    let _ = template.render(&messages, &options);
});
