//! From settings as in a `config.json` to a [`ModelShape`].

use serde_json::{Map, Value};

use super::{Attention, Extras, Head, Layer, Mlp, ModelShape};
use crate::{Error, Result};

/// Beyond any model: they bound what a damaged file makes this crate allocate.
const MAX_LAYERS: usize = 1 << 14;
const MAX_SIZE: usize = 1 << 26;
const MAX_PARAMETERS: u64 = 1 << 50;

impl ModelShape {
    /// Reads the settings of a model: those of its text part, where it has several. Settings that change neither
    /// memory nor speed are not looked at.
    ///
    /// # Errors
    /// [`Error::Setting`] if a needed setting is missing or senseless.
    pub fn from_config(name: &str, config: &Value) -> Result<Self> {
        let keys = Keys::new(config)?;
        let layers = keys.size("num_hidden_layers")?;
        if layers > MAX_LAYERS {
            return Err(Error::setting("num_hidden_layers", format!("it is {layers}, beyond any model")));
        }
        let windows = keys.windows(layers)?;
        let attention = keys.attention()?;
        let layer = |(index, window)| Ok(Layer { attention, window, mlp: keys.mlp(index)? });
        let shape = Self {
            name: name.to_owned(),
            hidden: keys.size("hidden_size")?,
            vocabulary: keys.size("vocab_size")?,
            context: keys.or("max_position_embeddings", 2048)?,
            head: keys.head(),
            extras: keys.extras(),
            layers: windows.into_iter().enumerate().map(layer).collect::<Result<_>>()?,
            architecture: keys.kind,
        };
        match shape.parameters() {
            n if n <= MAX_PARAMETERS => Ok(shape),
            n => Err(Error::setting("config.json", format!("its {n} parameters are beyond any model"))),
        }
    }
}

struct Keys {
    kind: String,
    map: Map<String, Value>,
}

impl Keys {
    fn new(config: &Value) -> Result<Self> {
        let Value::Object(outer) = config else {
            return Err(Error::setting("config.json", "it is no object"));
        };
        let mut map =
            outer.get("text_config").and_then(Value::as_object).cloned().unwrap_or_else(|| outer.clone());
        if let (None, Some(tied)) = (map.get("tie_word_embeddings"), outer.get("tie_word_embeddings")) {
            map.insert("tie_word_embeddings".to_owned(), tied.clone());
        }
        let kind = map.get("model_type").or_else(|| outer.get("model_type")).and_then(Value::as_str);
        let kind = kind.ok_or_else(|| Error::setting("model_type", "missing"))?.to_owned();
        if kind.starts_with("gemma3") {
            // What published files leave out, because it equals the library's defaults.
            let defaults = [
                ("vocab_size", 262_208),
                ("num_attention_heads", 8),
                ("num_key_value_heads", 4),
                ("head_dim", 256),
                ("max_position_embeddings", 131_072),
                ("sliding_window", 4096),
            ];
            for (key, value) in defaults {
                map.entry(key).or_insert_with(|| value.into());
            }
        }
        Ok(Self { kind, map })
    }

    fn optional(&self, key: &str) -> Result<Option<usize>> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                match value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= MAX_SIZE) {
                    Some(n) => Ok(Some(n)),
                    None => Err(Error::setting(key, format!("it is {value}, expected a size"))),
                }
            }
        }
    }

    /// A size above zero.
    fn size(&self, key: &str) -> Result<usize> {
        let found = self.optional(key)?.ok_or_else(|| Error::setting(key, "missing"))?;
        if found == 0 { Err(Error::setting(key, "it is 0, expected a size")) } else { Ok(found) }
    }

    fn or(&self, key: &str, default: usize) -> Result<usize> {
        Ok(self.optional(key)?.unwrap_or(default))
    }

    fn first(&self, keys: &[&str]) -> Result<Option<usize>> {
        keys.iter().map(|key| self.optional(key)).find(|found| !matches!(found, Ok(None))).unwrap_or(Ok(None))
    }

    fn is(&self, key: &str) -> Option<bool> {
        self.map.get(key).and_then(Value::as_bool)
    }

    fn head(&self) -> Head {
        let tied = self.is("tie_word_embeddings").unwrap_or_else(|| self.kind.starts_with("gemma"));
        if tied { Head::Tied } else { Head::Own }
    }

    fn attention(&self) -> Result<Attention> {
        let heads = self.size("num_attention_heads")?;
        if let Some(kv_rank) = self.optional("kv_lora_rank")? {
            return Ok(Attention::Latent {
                heads,
                query_rank: self.optional("q_lora_rank")?,
                kv_rank,
                nope: self.size("qk_nope_head_dim")?,
                rope: self.size("qk_rope_head_dim")?,
                value: self.size("v_head_dim")?,
            });
        }
        let head_dim = match self.optional("head_dim")? {
            Some(dim) => dim,
            None => self.size("hidden_size")? / heads,
        };
        Ok(Attention::Grouped { heads, kv_heads: self.or("num_key_value_heads", heads)?, head_dim })
    }

    /// The window of each layer.
    fn windows(&self, layers: usize) -> Result<Vec<Option<usize>>> {
        let window = self.optional("sliding_window")?.filter(|w| *w > 0);
        let Some(window) = window.filter(|_| self.is("use_sliding_window") != Some(false)) else {
            return Ok(vec![None; layers]);
        };
        if let Some(types) = self.map.get("layer_types").and_then(Value::as_array) {
            if types.len() != layers {
                let what = format!("{} entries for {layers} layers", types.len());
                return Err(Error::setting("layer_types", what));
            }
            let slides = |kind: &Value| kind.as_str() == Some("sliding_attention");
            return Ok(types.iter().map(|kind| slides(kind).then_some(window)).collect());
        }
        let pattern = match self.kind.as_str() {
            kind if kind.starts_with("gemma3") => {
                self.first(&["sliding_window_pattern", "_sliding_window_pattern"])?.unwrap_or(6)
            }
            "gemma2" | "gpt_oss" => 2,
            _ => return Ok(vec![Some(window); layers]),
        };
        let full = |layer: usize| match self.kind.as_str() {
            "gpt_oss" | "gemma2" => layer % 2 == 1,
            _ => (layer + 1) % pattern.max(1) == 0,
        };
        Ok((0..layers).map(|layer| (!full(layer)).then_some(window)).collect())
    }

    fn mlp(&self, layer: usize) -> Result<Mlp> {
        let count = self.first(&["num_experts", "num_local_experts", "n_routed_experts"])?.filter(|n| *n > 0);
        let Some(count) = count.filter(|_| !self.is_dense(layer)) else {
            return Ok(Mlp::Dense { inner: self.size("intermediate_size")? });
        };
        let inner = match self.optional("moe_intermediate_size")? {
            Some(inner) => inner,
            None => self.size("intermediate_size")?,
        };
        let active = self.first(&["num_experts_per_tok", "experts_per_token"])?.unwrap_or(0);
        if active == 0 || active > count {
            let what = format!("it is {active}, expected 1 to {count}, the number of experts");
            return Err(Error::setting("num_experts_per_tok", what));
        }
        let gated = self.optional("shared_expert_intermediate_size")?;
        let shared = gated.unwrap_or(self.or("n_shared_experts", 0)?.saturating_mul(inner));
        Ok(Mlp::Experts {
            count,
            active,
            inner,
            shared,
            shared_gate: usize::from(gated.is_some_and(|n| n > 0)),
        })
    }

    /// Whether a layer of a model with experts has none.
    fn is_dense(&self, layer: usize) -> bool {
        let number = |key| self.map.get(key).and_then(Value::as_u64).map(|n| n as usize);
        let listed = self.map.get("mlp_only_layers").and_then(Value::as_array);
        let listed = listed.is_some_and(|list| list.iter().any(|n| n.as_u64() == Some(layer as u64)));
        let step = number("decoder_sparse_step").unwrap_or(1).max(1);
        listed || (layer + 1) % step != 0 || layer < number("first_k_dense_replace").unwrap_or(0)
    }

    fn extras(&self) -> Extras {
        let kind = self.kind.as_str();
        let biased = self.is("attention_bias") == Some(true);
        let four = kind.starts_with("gemma2") || kind.starts_with("gemma3");
        Extras {
            row_norms: if four { 4 } else { 2 },
            head_norms: usize::from(kind.starts_with("qwen3") || kind.starts_with("gemma3")),
            qkv_bias: usize::from(biased || kind.starts_with("qwen2")),
            output_bias: usize::from(biased),
            sinks: usize::from(kind == "gpt_oss"),
            router_bias: usize::from(kind == "gpt_oss" || kind == "deepseek_v3"),
            expert_bias: usize::from(kind == "gpt_oss"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KvFormat;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn windows_follow_the_settings() {
        let gemma = json!({"model_type": "gemma3", "text_config": {
            "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024}});
        let shape = ModelShape::from_config("g", &gemma).unwrap();
        assert_eq!(shape.windowed_layers(), 29);
        assert_eq!((shape.vocabulary, shape.head), (262_208, Head::Tied));
        let mut config = gemma["text_config"].clone();
        config["model_type"] = "gemma3_text".into();
        config["layer_types"] = json!(["full_attention"]);
        let error = ModelShape::from_config("g", &config).unwrap_err().to_string();
        assert!(error.contains("1 entries for 34 layers"), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        for key in
            ["num_hidden_layers", "hidden_size", "vocab_size", "num_attention_heads", "intermediate_size"]
        {
            let mut config = json!({"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64,
                "vocab_size": 100, "num_attention_heads": 4, "intermediate_size": 128});
            config[key] = json!(0);
            let error = ModelShape::from_config("m", &config).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
            config.as_object_mut().unwrap().remove(key);
            let error = ModelShape::from_config("m", &config).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_settings_panic(keys in proptest::collection::vec((0usize..16, any::<i64>()), 0..12)) {
            let names = ["num_hidden_layers", "hidden_size", "vocab_size", "num_attention_heads", "head_dim",
                "intermediate_size", "num_experts", "num_experts_per_tok", "sliding_window", "kv_lora_rank",
                "num_key_value_heads", "first_k_dense_replace", "decoder_sparse_step", "qk_rope_head_dim",
                "moe_intermediate_size", "n_shared_experts"];
            let mut config = json!({"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64,
                "vocab_size": 100, "num_attention_heads": 4, "intermediate_size": 128});
            for (index, value) in keys {
                config[names[index]] = json!(value);
            }
            if let Ok(shape) = ModelShape::from_config("m", &config) {
                prop_assert!(shape.active_parameters() <= shape.parameters());
                prop_assert!(shape.kv_read_bytes(KvFormat::Q8_0, 1 << 20) < u64::MAX);
            }
        }
    }
}
