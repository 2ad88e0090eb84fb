//! Prompts: text or a conversation, as the tokens that a model expects.

use lazuli_engine::Reasoning;
use lazuli_io::{ChatTemplate, Message, RenderOptions, Specials, Tokenizer};
use serde_json::{Map, Value};

use crate::{Result, thinking};

/// A conversation as a model expects it, and how it will mark its reasoning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatPrompt {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// For [`lazuli_engine::Request::reasoning`]; `None` for models that mark none.
    pub reasoning: Option<Reasoning>,
}

/// A text to be continued: BOS if the model uses one, and the text, in which nothing is a control token.
pub fn text_prompt(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    with_bos(tokenizer, tokenizer.encode(text, Specials::AsText))
}

/// A conversation to be answered, as `template` writes it; `variables` are what the template knows besides, such as
/// `enable_thinking`. BOS comes first if the model uses one, whether or not
/// the template writes it.
///
/// # Errors
/// If the template refuses the conversation or fails.
pub fn chat_prompt(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    messages: &[Message],
    variables: &Map<String, Value>,
) -> Result<ChatPrompt> {
    let text = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id));
    let options = RenderOptions {
        add_generation_prompt: true,
        bos_token: text(tokenizer.bos()),
        eos_token: text(tokenizer.eos()),
        extra: variables.clone(),
        ..RenderOptions::default()
    };
    let rendered = template.render(messages, &options)?;
    let tokens = with_bos(tokenizer, tokenizer.encode(&rendered, Specials::Parse));
    Ok(ChatPrompt { tokens, reasoning: thinking::reasoning(tokenizer, template, &rendered) })
}

fn with_bos(tokenizer: &Tokenizer, mut tokens: Vec<u32>) -> Vec<u32> {
    let bos = tokenizer.bos().filter(|_| tokenizer.add_bos());
    if let Some(bos) = bos.filter(|bos| tokens.first() != Some(bos)) {
        tokens.insert(0, bos);
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use lazuli_engine::reasoning::{Marks, Part};
    use serde_json::json;

    /// Characters `a` and `b`, and two control tokens; `add_bos` is the model's wish.
    fn tokenizer(add_bos: bool) -> Tokenizer {
        with_tokens(add_bos, &[])
    }

    /// The same with further tokens, from 4 on.
    fn with_tokens(add_bos: bool, further: &[&str]) -> Tokenizer {
        let control = |id: u32, content: &str| {
            json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
                   "rstrip": false, "normalized": false})
        };
        let mut added = vec![control(0, "<s>"), control(1, "</s>")];
        added.extend((4..).zip(further).map(|(id, text)| control(id, text)));
        let json = json!({
            "version": "1.0",
            "added_tokens": added,
            "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
            "model": {"type": "BPE", "vocab": {"<s>": 0, "</s>": 1, "a": 2, "b": 3}, "merges": []},
        });
        let settings = json!({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": add_bos});
        Tokenizer::from_json(json.to_string().as_bytes(), &settings, &[]).expect("a tokenizer")
    }

    #[test]
    fn the_beginning_is_marked_once_if_the_model_wants_it() {
        let (with, without) = (tokenizer(true), tokenizer(false));
        assert_eq!(text_prompt(&with, "ab"), [0, 2, 3]);
        assert_eq!(text_prompt(&without, "ab"), [2, 3]);
        let messages = [Message::new("user", "a")];
        let plain = ChatTemplate::new("{{ messages[0].content }}{{ eos_token }}").expect("it compiles");
        let marked = ChatTemplate::new("{{ bos_token }}{{ messages[0].content }}").expect("it compiles");
        let chat = |tokenizer, template| {
            chat_prompt(tokenizer, template, &messages, &Map::new()).expect("it renders").tokens
        };
        assert_eq!(chat(&with, &plain), [0, 2, 1]);
        assert_eq!(chat(&with, &marked), [0, 2]);
        assert_eq!(chat(&without, &plain), [2, 1]);
        assert_eq!(chat(&without, &marked), [0, 2]);
    }

    #[test]
    fn reasoning_is_found_by_token_or_by_text() {
        let messages = [Message::new("user", "a")];
        let reasoning = |tokenizer: &Tokenizer, source: &str| {
            let template = ChatTemplate::new(source).expect("it compiles");
            chat_prompt(tokenizer, &template, &messages, &Map::new()).expect("it renders").reasoning
        };
        let plain = tokenizer(false);
        assert_eq!(reasoning(&plain, "{{ messages[0].content }}"), None);
        let found = reasoning(&plain, "{{ messages[0].content }}<think>\n").expect("a mark in the template");
        assert!(matches!(found.marks, Marks::Text { .. }) && found.first == Part::Reasoning);
        let closed = reasoning(&plain, "a<think>\n\n</think>\n\n").expect("a mark in the template");
        assert_eq!(closed.first, Part::Answer);
        let thinks = with_tokens(false, &["<think>", "</think>"]);
        let found = reasoning(&thinks, "{{ messages[0].content }}").expect("tokens");
        assert_eq!(found, Reasoning { marks: Marks::Tokens { open: 4, close: 5 }, first: Part::Answer });
        let harmony = with_tokens(false, &["<|start|>", "<|channel|>", "<|message|>", "<|end|>"]);
        let found = reasoning(&harmony, "<|start|>assistant").expect("channels");
        assert_eq!(found.marks, Marks::Channels { start: 4, channel: 5, message: 6, end: 7 });
    }

    #[test]
    fn variables_reach_the_template() {
        let template = ChatTemplate::new("{{ 'a' if on is defined and on else 'b' }}").expect("it compiles");
        let prompt = |variables: Value| {
            let variables = variables.as_object().expect("an object").clone();
            chat_prompt(&tokenizer(false), &template, &[], &variables).expect("it renders").tokens
        };
        assert_eq!((prompt(json!({})), prompt(json!({"on": true}))), (vec![3], vec![2]));
    }
}
