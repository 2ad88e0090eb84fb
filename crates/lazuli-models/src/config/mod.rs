//! Settings as Hugging Face's `config.json` writes them, typed.
//!
//! `keys` reads single settings and refuses those that nobody reads, `rope` reads position embeddings, and this
//! file has what all decoders share. What only one architecture has stands in that architecture's file.

mod keys;
mod latent;
mod moe;
mod rope;

pub use keys::Keys;
pub use latent::latent;
pub use moe::{Sparse, sparse_layers};
pub use rope::{long_rope_of_lists, rope};

use lazuli_nn::{Activation, AttentionConfig, Bias};

use crate::{Error, Result};

/// Beyond any model; they bound what is allocated before the first tensor is looked for.
const MAX_HEAD_DIM: usize = 1 << 16;
const MAX_LAYERS: usize = 1 << 16;

/// The settings that all decoders have.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// `hidden_size`.
    pub hidden: usize,
    /// `intermediate_size`: the inner length of the feed-forward part.
    pub inner: usize,
    /// `num_hidden_layers`.
    pub layers: usize,
    /// `num_attention_heads`.
    pub heads: usize,
    /// `num_key_value_heads`.
    pub kv_heads: usize,
    /// `head_dim`.
    pub head_dim: usize,
    /// `vocab_size`.
    pub vocabulary: usize,
    /// `max_position_embeddings`.
    pub context: usize,
    /// `rms_norm_eps`, or `layer_norm_eps` where a model has that.
    pub eps: f32,
    /// `tie_word_embeddings`.
    pub head: HeadWeight,
}

/// Where the projection to logits comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadWeight {
    /// `lm_head.weight`.
    Own,
    /// The embedding's table.
    Tied,
}

impl Decoder {
    /// Reads them; the architecture's defaults are part of `keys`.
    pub fn read(keys: &Keys) -> Result<Self> {
        let (hidden, heads) = (keys.size("hidden_size")?, keys.size("num_attention_heads")?);
        let head_dim = match keys.optional_size("head_dim")? {
            Some(dim) => dim,
            None if hidden % heads == 0 => hidden / heads,
            None => {
                return Err(Error::setting(
                    "head_dim",
                    format!("missing, and {hidden} is no multiple of {heads}"),
                ));
            }
        };
        let kv_heads = keys.optional_size("num_key_value_heads")?.unwrap_or(heads);
        if heads % kv_heads != 0 {
            let what = format!("{kv_heads} does not divide the {heads} heads of the queries");
            return Err(Error::setting("num_key_value_heads", what));
        }
        if head_dim % 2 != 0 || head_dim > MAX_HEAD_DIM {
            let what = format!("found {head_dim}, expected an even number up to {MAX_HEAD_DIM}");
            return Err(Error::setting("head_dim", what));
        }
        let layers = keys.size("num_hidden_layers")?;
        if layers > MAX_LAYERS {
            let what = format!("found {layers}, expected at most {MAX_LAYERS}");
            return Err(Error::setting("num_hidden_layers", what));
        }
        Ok(Self {
            hidden,
            heads,
            kv_heads,
            head_dim,
            inner: keys.size("intermediate_size")?,
            layers,
            vocabulary: keys.size("vocab_size")?,
            context: keys.size("max_position_embeddings")?,
            eps: keys.positive(if keys.has("layer_norm_eps") { "layer_norm_eps" } else { "rms_norm_eps" })?,
            head: if keys.flag("tie_word_embeddings")? { HeadWeight::Tied } else { HeadWeight::Own },
        })
    }
}

impl Decoder {
    /// Attention with these numbers and without options.
    pub fn attention(&self) -> AttentionConfig {
        AttentionConfig::plain(self.hidden, self.heads, self.kv_heads, self.head_dim)
    }
}

/// Reads the flag of a bias; absent means none.
pub fn bias(keys: &Keys, key: &str) -> Result<Bias> {
    Ok(if keys.flag(key)? { Bias::With } else { Bias::Without })
}

/// Reads the name of an activation function.
pub fn activation(keys: &Keys, key: &str) -> Result<Activation> {
    match keys.text(key)?.as_str() {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu" => Ok(Activation::Gelu),
        "gelu_pytorch_tanh" | "gelu_new" => Ok(Activation::GeluTanh),
        other => {
            let what = format!("activation `{other}` is not supported; silu, gelu and gelu_pytorch_tanh are");
            Err(Error::setting(key, what))
        }
    }
}

/// Which positions a layer's attention sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All.
    Full,
    /// Those of a sliding window.
    Sliding,
}

/// Reads `layer_types`, if it is there: one name for each layer.
pub fn layer_types(keys: &Keys, layers: usize) -> Result<Option<Vec<Reach>>> {
    let Some(names) = keys.optional::<Vec<String>>("layer_types", "a list of names")? else {
        return Ok(None);
    };
    if names.len() != layers {
        let what = format!("{} names for {layers} layers", names.len());
        return Err(Error::setting("layer_types", what));
    }
    let reach = |name: &String| match name.as_str() {
        "full_attention" => Ok(Reach::Full),
        "sliding_attention" => Ok(Reach::Sliding),
        other => Err(Error::setting("layer_types", format!("`{other}` is not supported"))),
    };
    names.iter().map(reach).collect::<Result<_>>().map(Some)
}

/// Reads `sliding_window`: how many positions a query sees, itself included.
pub fn window(keys: &Keys) -> Result<Option<u32>> {
    // Some writers mean none by 0.
    let window = keys.optional::<usize>("sliding_window", "a number of positions")?;
    let Some(window) = window.filter(|&window| window > 0) else { return Ok(None) };
    u32::try_from(window)
        .map(Some)
        .map_err(|_| Error::setting("sliding_window", format!("{window} is too large")))
}

/// Each layer's reach: `layer_types`, or all but every `sliding_window_pattern`-th slide; `pattern` is the default.
pub fn reaches(keys: &Keys, layers: usize, pattern: usize) -> Result<Vec<Reach>> {
    let named = keys.optional_size("sliding_window_pattern")?;
    // The library writes the same number under a private name too.
    let private = keys.optional_size("_sliding_window_pattern")?;
    let pattern = named.or(private).unwrap_or(pattern);
    let by_pattern = |layer: usize| if (layer + 1) % pattern == 0 { Reach::Full } else { Reach::Sliding };
    let types = layer_types(keys, layers)?;
    Ok(types.unwrap_or_else(|| (0..layers).map(by_pattern).collect()))
}

/// Each layer's window in Qwen's manner: `layer_types`, or the layers from `max_window_layers` on; none unless
/// `use_sliding_window` is set.
pub fn upper_windows(keys: &Keys, layers: usize) -> Result<Vec<Option<u32>>> {
    let size = window(keys)?;
    let types = layer_types(keys, layers)?;
    let first = keys.optional::<usize>("max_window_layers", "a number of layers")?.unwrap_or(28);
    if !keys.flag("use_sliding_window")? {
        return Ok(vec![None; layers]);
    }
    let slides = |layer: usize| types.as_ref().map_or(layer >= first, |t| t[layer] == Reach::Sliding);
    Ok((0..layers).map(|layer| size.filter(|_| slides(layer))).collect())
}
