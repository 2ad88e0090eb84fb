//! Chat templates as published models write them, and hostile ones.

use serde_json::json;
use std::time::{Duration, UNIX_EPOCH};

use super::*;

/// ChatML with a default system prompt, in SmolLM2's manner.
const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Llama 3's: trimmed contents, headers, BOS before the first.
const LLAMA3: &str = "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";

/// Gemma's: the system prompt goes into the first user turn; roles must alternate.
const GEMMA: &str = "{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\n\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = \"\" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception(\"roles must alternate\") }}
    {%- endif -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else \"\") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}{{ item['text'] | trim }}{%- endfor -%}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<start_of_turn>model\n' }}
{%- endif -%}
";

/// Mistral's, with a namespace, a filter over the messages and tools before the last question.
const MISTRAL: &str = r#"
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.function.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}{{- ", " }}{%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, not " + message["role"]) }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
{%- endfor %}
"#;

fn turns(list: &[(&str, &str)]) -> Vec<Message> {
    list.iter().map(|&(role, content)| Message::new(role, content)).collect()
}

fn options() -> RenderOptions {
    RenderOptions {
        add_generation_prompt: true,
        bos_token: Some("<s>".to_owned()),
        eos_token: Some("</s>".to_owned()),
        ..RenderOptions::default()
    }
}

fn render(source: &str, messages: &[(&str, &str)]) -> String {
    ChatTemplate::new(source).unwrap().render(&turns(messages), &options()).unwrap()
}

/// What one expression prints.
fn prints(expression: &str) -> String {
    render(&format!("{{{{ {expression} }}}}"), &[])
}

fn refusal(source: &str, messages: &[(&str, &str)]) -> String {
    let error = match ChatTemplate::new(source) {
        Ok(template) => template.render(&turns(messages), &options()).unwrap_err(),
        Err(error) => error,
    };
    error.to_string()
}

const TALK: &[(&str, &str)] =
    &[("system", "Be brief."), ("user", " Hi "), ("assistant", "Hello!"), ("user", "Why?")];

#[test]
fn chatml() {
    assert_eq!(
        render(CHATML, &[("user", "Hi")]),
        "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(
        render(CHATML, TALK),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn llama3() {
    assert_eq!(
        render(LLAMA3, TALK),
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    );
}

#[test]
fn gemma() {
    assert_eq!(
        render(GEMMA, TALK),
        "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n<start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n"
    );
    let error = refusal(GEMMA, &[("user", "a"), ("user", "b")]);
    assert!(error.contains("roles must alternate"), "{error}");
}

#[test]
fn mistral() {
    assert_eq!(render(MISTRAL, TALK), "<s>[INST]  Hi [/INST] Hello!</s>[INST] Be brief.\n\nWhy?[/INST]");
    let tools =
        json!([{"type": "function", "function": {"name": "f<", "parameters": {"b": [1, 2.5], "a": "é"}}}]);
    let options = RenderOptions { tools: Some(tools), ..options() };
    let template = ChatTemplate::new(MISTRAL).unwrap();
    assert_eq!(
        template.render(&turns(&[("user", "Hi")]), &options).unwrap(),
        r#"<s>[AVAILABLE_TOOLS] [{"type": "function", "function": {"name": "f<", "parameters": {"b": [1, 2.5], "a": "é"}}}][/AVAILABLE_TOOLS][INST] Hi[/INST]"#
    );
    assert!(refusal(MISTRAL, &[("critic", "x")]).contains("not critic"));
}

#[test]
fn python_is_spoken() {
    for (expression, expected) in [
        ("'  a b '.strip().split(' ')[-1]", "b"),
        ("'<think>x</think>y'.split('</think>')[-1].lstrip('\\n')", "y"),
        ("'abc'.startswith('ab') and 'abc'.endswith('c')", "True"),
        ("'a-b'.replace('-', '+').upper()", "A+B"),
        ("{'k': 1}.items() | list | length", "1"),
        ("{'k': 1}.get('x', 'none')", "none"),
        ("[1, 2, 3][1:] | join(',')", "2,3"),
        ("[1, 2, 3][::-1] | first", "3"),
        ("none", "None"),
        ("(none is iterable, undefined_name is iterable, [] is iterable) | list", "[False, True, True]"),
        ("1 == 2", "False"),
        ("undefined_name", ""),
        ("undefined_name is defined", "False"),
        ("'a' if true else 'b'", "a"),
        ("range(3) | join", "012"),
        ("'%s' | format('x')", "x"),
        ("[{'role': 'u'}] | map(attribute='role') | join", "u"),
        ("('a' ~ 1 ~ 'b') | length", "3"),
        ("{'a': 1, 'b': [true, none]} | tojson", r#"{"a": 1, "b": [true, null]}"#),
        (
            "{'b': '<é>', 'a': []} | tojson(sort_keys=true, ensure_ascii=true)",
            r#"{"a": [], "b": "<\u00e9>"}"#,
        ),
        ("{'a': [1, {}]} | tojson(indent=2)", "{\n  \"a\": [\n    1,\n    {}\n  ]\n}"),
        ("[1, 2] | tojson(separators=(',', ':'))", "[1,2]"),
        ("'a\\n\\\"b' | tojson", r#""a\n\"b""#),
    ] {
        assert_eq!(prints(expression), expected, "{expression}");
    }
}

#[test]
fn blocks_are_trimmed_and_generation_is_transparent() {
    let source =
        "{% for m in messages %}\n    {% if true %}\n{{ m.content }}\n    {% endif %}\n{% endfor %}\nend\n";
    assert_eq!(render(source, &[("user", "a"), ("user", "b")]), "a\nb\nend");
    let source =
        "{% for m in messages %}{% generation %}{{ m.content }}{%- endgeneration -%}\n |{% endfor %}";
    assert_eq!(render(source, &[("user", "a")]), "a|");
    let source =
        "{% for m in messages %}{% if loop.index0 == 1 %}{% break %}{% endif %}{{ m.role }}{% endfor %}";
    assert_eq!(render(source, &[("user", "a"), ("user", "b")]), "user");
    let source = "{%- macro f(x) %}[{{ x }}]{% endmacro %}{{ f('a') }}{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}";
    assert_eq!(render(source, &[("user", "a")]), "[a]1");
}

#[test]
fn time_and_further_variables() {
    let template = ChatTemplate::new("{{ strftime_now('%d %b %Y') }} {{ enable_thinking }}").unwrap();
    let mut options = options();
    options.now = Some(UNIX_EPOCH + Duration::from_secs(1_709_208_000));
    options.extra.insert("enable_thinking".to_owned(), json!(false));
    assert_eq!(template.render(&[], &options).unwrap(), "29 Feb 2024 False");
    let mut message = Message::new("tool", "x");
    message.extra.insert("name".to_owned(), json!("clock"));
    let template = ChatTemplate::new("{{ messages[0].name }}").unwrap();
    assert_eq!(template.render(&[message], &RenderOptions::default()).unwrap(), "clock");
}

#[test]
fn hostile_templates_end() {
    let endless = "{% for a in range(90000) %}{% for b in range(90000) %}{% for c in range(90000) %}{% endfor %}{% endfor %}{% endfor %}";
    assert!(refusal(endless, &[]).contains("does not come to an end"));
    let doubling = format!("{{% set x = 'xxxxxxxx' %}}{}", "{% set x = x ~ x %}".repeat(60));
    assert!(refusal(&doubling, &[]).contains("does not come to an end"));
    let deep = "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}";
    assert!(!refusal(deep, &[]).is_empty());
    assert!(!refusal(&"{% if true %}".repeat(10_000), &[]).is_empty());
    assert!(!refusal(&format!("{{{{ {}1{} }}}}", "(".repeat(10_000), ")".repeat(10_000)), &[]).is_empty());
    assert!(!refusal("{{ [1][0].x.y }}", &[]).is_empty());
    assert!(refusal("{{ 'a' | no_such_filter }}", &[]).contains("no_such_filter"));
    assert!(refusal("a\nb{% endif %}", &[]).contains("line 2"));
}
