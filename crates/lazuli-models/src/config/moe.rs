//! Settings of models with experts.

use super::Keys;
use crate::{Error, Result};

/// Beyond any model; it bounds how many tensors a missing one is looked for in.
const MAX_EXPERTS: usize = 1 << 12;

/// The experts of a model's sparse layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sparse {
    /// How many each such layer has.
    pub experts: usize,
    /// `num_experts_per_tok`.
    pub chosen: usize,
    /// The inner length of each.
    pub inner: usize,
}

impl Sparse {
    /// Reads them; how many there are and how long they are is named `count` and `inner`.
    pub fn read(keys: &Keys, count: &str, inner: &str) -> Result<Self> {
        let (experts, chosen) = (keys.size(count)?, keys.size("num_experts_per_tok")?);
        if experts > MAX_EXPERTS {
            return Err(Error::setting(count, format!("found {experts}, expected at most {MAX_EXPERTS}")));
        }
        if chosen > experts {
            let what = format!("found {chosen}, but there are {experts} experts");
            return Err(Error::setting("num_experts_per_tok", what));
        }
        Ok(Self { experts, chosen, inner: keys.size(inner)? })
    }
}

/// Which layers have experts in Qwen's manner: every `decoder_sparse_step`-th, but those in `mlp_only_layers`.
pub fn sparse_layers(keys: &Keys, layers: usize) -> Result<Vec<bool>> {
    let step = keys.optional_size("decoder_sparse_step")?.unwrap_or(1);
    let dense: Vec<usize> = keys.optional("mlp_only_layers", "a list of layers")?.unwrap_or_default();
    Ok((0..layers).map(|layer| (layer + 1) % step == 0 && !dense.contains(&layer)).collect())
}
