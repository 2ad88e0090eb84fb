//! Where models keep their chat templates.

use std::path::Path;

use serde_json::Value;

use super::{ChatTemplate, DEFAULT};
use crate::checkpoint::{Checkpoint, Kind};
use crate::error::{Error, Result};
use crate::gguf::Metadata;
use crate::json::read_json;
use crate::mmap::MappedFile;

impl ChatTemplate {
    /// The template that comes with a model; `None` if it has none (a base model).
    ///
    /// # Errors
    /// [`Error::Template`] if it does not compile, else what is wrong with the file it stands in.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Option<Self>> {
        match checkpoint.kind() {
            Kind::Gguf(metadata) => Self::from_gguf(metadata),
            Kind::HuggingFace(_) => Self::from_folder(checkpoint.path()),
            Kind::Tensors => Ok(None),
        }
    }

    /// The template in GGUF metadata: `tokenizer.chat_template`, and its variants by name.
    ///
    /// # Errors
    /// As for [`ChatTemplate::from_checkpoint`].
    pub fn from_gguf(metadata: &Metadata) -> Result<Option<Self>> {
        const KEY: &str = "tokenizer.chat_template";
        let mut sources = Vec::new();
        if let Some(source) = metadata.str(KEY)? {
            sources.push((DEFAULT.to_owned(), source.to_owned()));
        }
        if let Some(names) = metadata.strings("tokenizer.chat_templates")? {
            for index in 0..names.len() {
                let name = names.text(index).unwrap_or_default();
                let source = metadata.str(&format!("{KEY}.{name}"))?;
                if let Some(source) = source.filter(|_| name != DEFAULT || sources.is_empty()) {
                    sources.push((name.to_owned(), source.to_owned()));
                }
            }
        }
        Self::from_found(sources)
    }

    /// The template in a model's folder: `chat_template.jinja` (and `additional_chat_templates/`), else
    /// `chat_template.json`, else `tokenizer_config.json`.
    ///
    /// # Errors
    /// As for [`ChatTemplate::from_checkpoint`].
    pub fn from_folder(folder: &Path) -> Result<Option<Self>> {
        let plain = folder.join("chat_template.jinja");
        if plain.is_file() {
            let mut sources = vec![(DEFAULT.to_owned(), read_text(&plain)?)];
            sources.extend(additional(&folder.join("additional_chat_templates"))?);
            return Self::from_found(sources);
        }
        for name in ["chat_template.json", "tokenizer_config.json"] {
            let path = folder.join(name);
            if path.is_file() {
                let sources = in_json(&read_json(&path)?, &path)?;
                if !sources.is_empty() {
                    return Self::from_found(sources);
                }
            }
        }
        Ok(None)
    }

    fn from_found(sources: Vec<(String, String)>) -> Result<Option<Self>> {
        if sources.is_empty() { Ok(None) } else { Self::from_variants(sources).map(Some) }
    }
}

fn read_text(path: &Path) -> Result<String> {
    let bytes = MappedFile::open(path)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Error::Template(format!("{} is not valid UTF-8", path.display())))?;
    Ok(text.to_owned())
}

fn additional(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut sources = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(sources) };
    for entry in entries {
        let path = entry.map_err(|source| Error::Open { path: folder.to_owned(), source })?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if let Some(stem) = stem.filter(|_| path.extension().is_some_and(|e| e == "jinja")) {
            sources.push((stem.to_owned(), read_text(&path)?));
        }
    }
    Ok(sources)
}

/// `chat_template` is a string, or a list of `{"name": .., "template": ..}`.
fn in_json(json: &Value, path: &Path) -> Result<Vec<(String, String)>> {
    let wrong = || Error::Json {
        path: path.to_owned(),
        what: "`chat_template` should be a string or a list of objects with `name` and `template`".to_owned(),
    };
    match json.get("chat_template") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(source)) => Ok(vec![(DEFAULT.to_owned(), source.clone())]),
        Some(Value::Array(list)) => {
            let text = |item: &Value, key| item.get(key).and_then(Value::as_str).map(str::to_owned);
            let named = |item| Some((text(item, "name")?, text(item, "template")?));
            list.iter().map(|item| named(item).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Gguf;
    use crate::gguf::tests::Writer;
    use crate::template::{Message, RenderOptions};

    fn rendered(template: &ChatTemplate, tools: Option<Value>) -> String {
        template.render(&[Message::new("user", "x")], &RenderOptions { tools, ..Default::default() }).unwrap()
    }

    #[test]
    fn folders_are_searched_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        assert!(ChatTemplate::from_folder(dir.path()).unwrap().is_none());
        write("tokenizer_config.json", r#"{"chat_template":null}"#);
        assert!(ChatTemplate::from_folder(dir.path()).unwrap().is_none());
        write("tokenizer_config.json", r#"{"chat_template":7}"#);
        assert!(matches!(ChatTemplate::from_folder(dir.path()), Err(Error::Json { .. })));
        let list =
            r#"{"chat_template":[{"name":"default","template":"d"},{"name":"tool_use","template":"t"}]}"#;
        write("tokenizer_config.json", list);
        let found = ChatTemplate::from_folder(dir.path()).unwrap().unwrap();
        assert_eq!(
            (rendered(&found, None), rendered(&found, Some(Value::Array(vec![])))),
            ("d".into(), "t".into())
        );
        write("chat_template.json", r#"{"chat_template":"j"}"#);
        assert_eq!(rendered(&ChatTemplate::from_folder(dir.path()).unwrap().unwrap(), None), "j");
        write("chat_template.jinja", "plain\n");
        std::fs::create_dir(dir.path().join("additional_chat_templates")).unwrap();
        write("additional_chat_templates/tool_use.jinja", "more");
        let found = ChatTemplate::from_folder(dir.path()).unwrap().unwrap();
        assert_eq!((rendered(&found, None), found.names().count()), ("plain".to_owned(), 2));
    }

    #[test]
    fn gguf_variants() {
        let parse = |writer: Writer| ChatTemplate::from_gguf(&Gguf::parse(&writer.file()).unwrap().metadata);
        assert!(parse(Writer::default()).unwrap().is_none());
        let both = Writer::default()
            .text("tokenizer.chat_template", "d")
            .strings("tokenizer.chat_templates", &["default", "tool_use"])
            .text("tokenizer.chat_template.default", "x")
            .text("tokenizer.chat_template.tool_use", "t");
        let found = parse(both).unwrap().unwrap();
        assert_eq!((rendered(&found, None), rendered(&found, Some(Value::Null))), ("d".into(), "t".into()));
        assert!(parse(Writer::default().text("tokenizer.chat_template", "{% if %}")).is_err());
    }
}
