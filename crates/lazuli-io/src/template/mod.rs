//! Chat templates: a conversation to the prompt that its model was trained on.
//!
//! Templates are Jinja as the `transformers` library runs them (`apply_chat_template`): blocks are trimmed, and
//! Python's methods, `tojson`, `strftime_now` and `raise_exception` are there. They come from model files, so
//! they run with a bound on work and memory.

mod environment;
mod load;
mod python_json;
#[cfg(test)]
mod tests;
mod time;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use minijinja::Environment;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, or what else the template knows.
    pub role: String,
    /// The text.
    pub content: String,
    /// Further fields that templates read, such as `tool_calls`.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Message {
    /// A message without further fields.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), extra: Map::new() }
    }
}

/// What a template is rendered with besides the messages.
#[derive(Debug, Clone, Default)]
pub struct RenderOptions {
    /// End with what begins the assistant's turn.
    pub add_generation_prompt: bool,
    /// The text of the BOS token; undefined in the template if absent.
    pub bos_token: Option<String>,
    /// The text of the EOS token; undefined in the template if absent.
    pub eos_token: Option<String>,
    /// Tool descriptions, usually a list of JSON schemas.
    pub tools: Option<Value>,
    /// Further variables, such as `enable_thinking`.
    pub extra: Map<String, Value>,
    /// The time that `strftime_now` prints, taken as UTC; the present if absent.
    pub now: Option<SystemTime>,
}

/// A model's chat template, compiled; cheap to clone.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    /// By name: `default`, and often `tool_use`.
    variants: Arc<BTreeMap<String, Variant>>,
}

#[derive(Debug)]
struct Variant {
    source: String,
    environment: Environment<'static>,
}

/// The variant that is used unless there is a reason for another.
const DEFAULT: &str = "default";
/// The variant for conversations with tools, where a model has one.
const TOOL_USE: &str = "tool_use";

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    /// [`Error::Template`] with the line that is wrong.
    pub fn new(source: &str) -> Result<Self> {
        Self::from_variants([(DEFAULT.to_owned(), source.to_owned())])
    }

    /// Compiles templates by name.
    ///
    /// # Errors
    /// [`Error::Template`] if there are none or one does not compile.
    pub fn from_variants(sources: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let mut variants = BTreeMap::new();
        for (name, source) in sources {
            let environment = environment::compile(&source).map_err(|error| {
                Error::Template(format!("`{name}` does not compile: {}", environment::explain(&error)))
            })?;
            if variants.insert(name.clone(), Variant { source, environment }).is_some() {
                return Err(Error::Template(format!("there are two templates named `{name}`")));
            }
        }
        if variants.is_empty() {
            return Err(Error::Template("there is no template in the list".to_owned()));
        }
        Ok(Self { variants: Arc::new(variants) })
    }

    /// The template's text (the default variant's).
    pub fn source(&self) -> &str {
        self.variant(None).map_or("", |variant| &variant.source)
    }

    /// The names of the variants.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variants.keys().map(String::as_str)
    }

    fn variant(&self, tools: Option<&Value>) -> Option<&Variant> {
        let with_tools = tools.and_then(|_| self.variants.get(TOOL_USE));
        let default = || self.variants.get(DEFAULT).or_else(|| self.variants.values().next());
        with_tools.or_else(default)
    }

    /// The prompt for `messages`.
    ///
    /// # Errors
    /// [`Error::Template`] with the template's own words if it refuses the conversation, or if it fails or
    /// works beyond all measure.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<String> {
        let failed = |error: &minijinja::Error| Error::Template(environment::explain(error));
        let variant = self.variant(options.tools.as_ref());
        let variant = variant.ok_or_else(|| Error::Template("there is no template".to_owned()))?;
        let mut context = options.extra.clone();
        let mut set = |key: &str, value: Value| context.insert(key.to_owned(), value);
        set("messages", json!(messages));
        set("add_generation_prompt", options.add_generation_prompt.into());
        set("tools", options.tools.clone().unwrap_or(Value::Null));
        set("documents", Value::Null);
        for (key, token) in [("bos_token", &options.bos_token), ("eos_token", &options.eos_token)] {
            if let Some(token) = token {
                set(key, token.clone().into());
            }
        }
        // Templates copy what they are given a few times; more than that is no honest template.
        let given: usize = messages.iter().map(|message| message.content.len()).sum();
        let mut environment = variant.environment.clone();
        environment.set_fuel(Some(environment::FUEL + given as u64));
        environment::set_time(&mut environment, options.now.unwrap_or_else(SystemTime::now));
        let template = environment.get_template(environment::NAME).map_err(|error| failed(&error))?;
        let context = minijinja::Value::from(minijinja::value::Serde(context));
        template.render(context).map_err(|error| failed(&error))
    }
}
