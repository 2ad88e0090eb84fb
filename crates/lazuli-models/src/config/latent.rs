//! Settings of multi-head latent attention.

use lazuli_nn::{MlaConfig, Rope, RopeScaling, RopeStyle, Yarn};

use super::{Decoder, Keys, bias, rope};
use crate::Result;

/// Reads the sizes of latent attention and its rotation. With YaRN, DeepSeek scales the scores once more by what
/// `mscale_all_dim` says.
pub fn latent(keys: &Keys, decoder: &Decoder) -> Result<(MlaConfig, Rope)> {
    let (nope_dim, rope_dim) = (keys.size("qk_nope_head_dim")?, keys.size("qk_rope_head_dim")?);
    if rope_dim % 2 != 0 {
        return Err(keys.error("qk_rope_head_dim", format!("found {rope_dim}, expected an even number")));
    }
    // Its own code rotates neighbours, and no writer of files reorders them.
    let neighbours = keys.optional("rope_interleave", "true or false")?.unwrap_or(true);
    let style = if neighbours { RopeStyle::Interleaved } else { RopeStyle::Halves };
    let rotated = Decoder { head_dim: rope_dim, ..decoder.clone() };
    let rotation = rope(keys, &rotated, "full_attention", style)?;
    let all = match (&rotation.scaling, yarn_settings(keys)?) {
        (RopeScaling::Yarn(yarn), Some(settings)) => {
            let weight = settings.optional_number("mscale_all_dim")?.unwrap_or(0.0);
            weight * (Yarn::default_attention_factor(yarn.factor) - 1.0) + 1.0
        }
        _ => 1.0,
    };
    let config = MlaConfig {
        hidden: decoder.hidden,
        heads: decoder.heads,
        q_rank: keys.optional_size("q_lora_rank")?,
        kv_rank: keys.size("kv_lora_rank")?,
        nope_dim,
        rope_dim,
        value_dim: keys.size("v_head_dim")?,
        scale: all * all / ((nope_dim + rope_dim) as f32).sqrt(),
        eps: LATENT_EPS,
        bias: bias(keys, "attention_bias")?,
    };
    // The whole length of a query or key; files that say it agree with its parts.
    keys.optional_size("qk_head_dim")?;
    Ok((config, Rope::new(&rotation)))
}

/// The norms of latent rows keep the default of the published code, whatever the model's own is.
const LATENT_EPS: f32 = 1e-6;

fn yarn_settings(keys: &Keys) -> Result<Option<Keys>> {
    match keys.object("rope_parameters")? {
        None => keys.object("rope_scaling"),
        found => Ok(found),
    }
}
