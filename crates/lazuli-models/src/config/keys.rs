//! [`Keys`]: settings read one by one, and the refusal of those that nobody read.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Error, Result};

/// Numbers above this are damage, not sizes: it bounds what sizes can add up to.
const MAX_SIZE: usize = 1 << 30;

/// One JSON object of settings. `null` counts as absent.
#[derive(Debug)]
pub struct Keys {
    values: Map<String, Value>,
    /// Keys above this object, for messages.
    path: String,
    read: RefCell<BTreeSet<String>>,
}

impl Keys {
    /// The settings `values`, and `defaults` for those that are absent.
    pub fn new(mut values: Map<String, Value>, defaults: Value) -> Self {
        if let Value::Object(defaults) = defaults {
            for (key, value) in defaults {
                if values.get(&key).is_none_or(Value::is_null) {
                    values.insert(key, value);
                }
            }
        }
        Self { values, path: String::new(), read: RefCell::default() }
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    /// An error about the setting `key`.
    pub fn error(&self, key: &str, what: impl Into<String>) -> Error {
        Error::setting(self.full(key), what)
    }

    /// Whether `key` has a value. Asking does not count as reading it.
    pub fn has(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|value| !value.is_null())
    }

    /// Whether the file has `key`, be it to say `null`, which then means off and not the default.
    pub fn states(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The value of `key`, if it is there; `expected` says what it should be.
    pub fn optional<T: DeserializeOwned>(&self, key: &str, expected: &str) -> Result<Option<T>> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        self.read.borrow_mut().insert(key.to_owned());
        if value.is_null() {
            return Ok(None);
        }
        let wrong = |_| self.error(key, format!("found {}, expected {expected}", shortened(value)));
        T::deserialize(value).map(Some).map_err(wrong)
    }

    /// A length or count, from 1 on.
    pub fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        let size = self.optional::<usize>(key, "a positive integer")?;
        match size {
            Some(size) if size == 0 || size > MAX_SIZE => {
                Err(self.error(key, format!("found {size}, expected an integer from 1 to {MAX_SIZE}")))
            }
            size => Ok(size),
        }
    }

    /// A length or count, from 1 on, that must be there.
    pub fn size(&self, key: &str) -> Result<usize> {
        self.present(key, self.optional_size(key)?)
    }

    /// A finite number, if it is there.
    pub fn optional_number(&self, key: &str) -> Result<Option<f32>> {
        match self.optional::<f64>(key, "a number")? {
            Some(x) if !(x as f32).is_finite() => Err(self.error(key, format!("{x} is out of range"))),
            x => Ok(x.map(|x| x as f32)),
        }
    }

    /// A finite number above 0, if it is there.
    pub fn optional_positive(&self, key: &str) -> Result<Option<f32>> {
        match self.optional_number(key)? {
            Some(x) if x <= 0.0 => Err(self.error(key, format!("found {x}, expected a positive number"))),
            x => Ok(x),
        }
    }

    /// A finite number above 0 that must be there.
    pub fn positive(&self, key: &str) -> Result<f32> {
        self.present(key, self.optional_positive(key)?)
    }

    /// A text that must be there.
    pub fn text(&self, key: &str) -> Result<String> {
        self.present(key, self.optional(key, "a text")?)
    }

    /// A flag; absent means false.
    pub fn flag(&self, key: &str) -> Result<bool> {
        Ok(self.optional(key, "true or false")?.unwrap_or(false))
    }

    /// Reads a setting that may be there with the one value that the architecture's code has built in.
    pub fn built_in(&self, key: &str, value: impl Into<Value>) -> Result<()> {
        let value = value.into();
        let found: Option<Value> = self.optional(key, "a value")?;
        let same = |found: &Value| *found == value || (found.is_number() && found.as_f64() == value.as_f64());
        match found {
            Some(found) if !same(&found) => {
                let what = format!("{} is not supported, only {value}", shortened(&found));
                Err(self.error(key, what))
            }
            _ => Ok(()),
        }
    }

    /// The settings in the object at `key`, if it is there.
    pub fn object(&self, key: &str) -> Result<Option<Self>> {
        let values = self.optional::<Map<String, Value>>(key, "an object")?;
        Ok(values.map(|values| Self {
            values,
            path: format!("{}.", self.full(key)),
            read: RefCell::default(),
        }))
    }

    fn present<T>(&self, key: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.error(key, "missing"))
    }

    /// Refuses settings that nobody read and that could change results, for an architecture called `name`.
    ///
    /// # Errors
    /// [`Error::UnsupportedSettings`] that lists them.
    pub fn finish(&self, name: &str) -> Result<()> {
        let read = self.read.borrow();
        let refused: Vec<String> = self
            .values
            .iter()
            .filter(|(key, value)| !read.contains(*key) && !is_off(value) && !is_harmless(key))
            .map(|(key, value)| format!("`{}` = {}", self.full(key), shortened(value)))
            .collect();
        if refused.is_empty() {
            return Ok(());
        }
        Err(Error::UnsupportedSettings { architecture: name.to_owned(), settings: refused.join(", ") })
    }
}

/// Whether a value says that an option is not used.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(x) => x.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { format!("{}..", text.chars().take(58).collect::<String>()) }
}

/// Settings that do not change what a forward pass computes: names and versions, how the model was trained,
/// how the library that wrote them runs it, token ids and defaults of sampling.
const HARMLESS: &[&str] = &[
    "architectures",
    "aux_loss_alpha",
    "attention_dropout",
    "attn_implementation",
    "auto_map",
    "bad_words_ids",
    "cache_implementation",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "ep_size",
    "embd_pdrop",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_llama_config",
    "label2id",
    "length_penalty",
    "max_length",
    "max_window_layers",
    "min_length",
    "model_type",
    "name_or_path",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_nextn_predict_layers",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "pruned_heads",
    "remove_invalid_values",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "sep_token_id",
    "seq_aux",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "use_cache",
];

fn is_harmless(key: &str) -> bool {
    let token = key.ends_with("_token_id") || key.ends_with("_token_index");
    // Underscores mark what a library keeps for itself.
    token || key.starts_with('_') || key.starts_with("unsloth") || HARMLESS.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn keys(value: Value) -> Keys {
        let Value::Object(map) = value else { panic!("an object") };
        Keys::new(map, json!({"layers": 2, "theta": 10000.0}))
    }

    #[test]
    fn values_are_typed_and_defaults_fill_gaps() {
        let keys =
            keys(json!({"hidden": 64, "layers": null, "bad": "x", "zero": 0, "huge": 1e300, "on": true}));
        assert_eq!((keys.size("hidden").unwrap(), keys.size("layers").unwrap()), (64, 2));
        assert_eq!(keys.positive("theta").unwrap(), 10000.0);
        assert!(keys.flag("on").unwrap() && !keys.flag("absent").unwrap());
        let message = |result: Result<usize>| result.unwrap_err().to_string();
        assert_eq!(message(keys.size("bad")), "setting `bad`: found \"x\", expected a positive integer");
        assert_eq!(
            message(keys.size("zero")),
            "setting `zero`: found 0, expected an integer from 1 to 1073741824"
        );
        assert_eq!(message(keys.size("none")), "setting `none`: missing");
        assert!(keys.positive("huge").is_err());
        assert!(keys.built_in("layers", 2.0).is_ok() && keys.built_in("absent", "x").is_ok());
        let refused = keys.built_in("hidden", 1).unwrap_err().to_string();
        assert_eq!(refused, "setting `hidden`: 64 is not supported, only 1");
    }

    #[test]
    fn what_nobody_read_is_refused_unless_it_is_off_or_harmless() {
        let keys = keys(json!({
            "layers": 1, "use_cache": true, "eos_token_id": [1, 2], "_private": 1, "option": false,
            "logit_scale": 2.0, "inner": {"known": 1, "unknown": "y"},
        }));
        keys.size("layers").unwrap();
        keys.positive("theta").unwrap();
        let inner = keys.object("inner").unwrap().unwrap();
        inner.size("known").unwrap();
        let message = keys.finish("llama").unwrap_err().to_string();
        assert!(message.contains("llama model are not supported: `logit_scale` = 2.0;"), "{message}");
        assert!(inner.finish("llama").unwrap_err().to_string().contains("`inner.unknown` = \"y\""));
    }
}
