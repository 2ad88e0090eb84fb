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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn keys(value: Value) -> Keys {
        let Value::Object(map) = value else { panic!("an object") };
        Keys::new(map, json!({}))
    }

    #[test]
    fn some_layers_have_experts() {
        let all = sparse_layers(&keys(json!({})), 3).unwrap();
        assert_eq!(all, [true; 3]);
        let some = keys(json!({"decoder_sparse_step": 2, "mlp_only_layers": [3]}));
        assert_eq!(sparse_layers(&some, 6).unwrap(), [false, true, false, false, false, true]);
    }

    #[test]
    fn experts_are_enough_and_not_too_many() {
        let read = |experts: usize, chosen: usize| {
            Sparse::read(
                &keys(json!({"n": experts, "num_experts_per_tok": chosen, "inner": 8})),
                "n",
                "inner",
            )
        };
        assert_eq!(read(4, 2).unwrap(), Sparse { experts: 4, chosen: 2, inner: 8 });
        assert!(read(4, 5).unwrap_err().to_string().contains("there are 4 experts"));
        assert!(read(5000, 2).is_err() && read(4, 0).is_err());
    }
}
