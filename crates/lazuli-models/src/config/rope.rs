//! Position embeddings: `rope_theta` with `rope_scaling`, or `rope_parameters`, which may differ by layer type.

use lazuli_nn::{LongRope, RopeConfig, RopeScaling, RopeStyle, Yarn, YarnRamp};

use super::{Decoder, Keys};
use crate::Result;

/// Reads the position embedding of layers of the type `layer_type` (a name as in `layer_types`), from
/// `rope_parameters` if it is there, else from `rope_theta` and `rope_scaling`.
///
/// # Errors
/// If a value is malformed, or the kind of scaling or one of its parameters is not supported.
pub fn rope(keys: &Keys, decoder: &Decoder, layer_type: &str, style: RopeStyle) -> Result<RopeConfig> {
    let parameters = match keys.object("rope_parameters")? {
        Some(all) if all.has(layer_type) => all.object(layer_type)?,
        Some(all) => Some(all),
        None => keys.object("rope_scaling")?,
    };
    let outer = |key| keys.optional_number(key);
    let inner = |key| parameters.as_ref().map_or(Ok(None), |p| p.optional_number(key));
    let Some(theta) = inner("rope_theta")?.or(outer("rope_theta")?) else {
        return Err(keys.error("rope_theta", "missing"));
    };
    if theta <= 1.0 {
        return Err(keys.error("rope_theta", format!("found {theta}, expected a number above 1")));
    }
    let share = inner("partial_rotary_factor")?.or(outer("partial_rotary_factor")?).unwrap_or(1.0);
    // The share is a rounded quotient: 80 of 96 must not become 79.
    let rotated = (decoder.head_dim as f32 * share + 1e-3) as usize;
    if !(0.0..=1.0).contains(&share) || rotated == 0 || rotated % 2 != 0 {
        let what = format!("{share} of heads of {} is not an even number of elements", decoder.head_dim);
        return Err(keys.error("partial_rotary_factor", what));
    }
    let original = keys.optional_size("original_max_position_embeddings")?;
    let scaling = parameters.map_or(Ok(RopeScaling::None), |p| scaling(&p, decoder, original, rotated))?;
    Ok(RopeConfig { theta, rotated, style, scaling })
}

fn scaling(keys: &Keys, decoder: &Decoder, outer: Option<usize>, rotated: usize) -> Result<RopeScaling> {
    // Older files say `type`; some say both.
    let old: Option<String> = keys.optional("type", "a name")?;
    let kind = keys.optional("rope_type", "a name")?.or(old).unwrap_or_else(|| "default".to_owned());
    let factor = || keys.positive("factor");
    let original = keys.optional_size("original_max_position_embeddings")?.or(outer);
    let scaling = match kind.as_str() {
        "default" | "none" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: factor()? },
        "dynamic" if rotated == 2 => {
            return Err(keys.error("rope_type", "dynamic needs more than one pair of rotated elements"));
        }
        "dynamic" => {
            // The model's own context, as in `transformers`, whatever else the file says.
            RopeScaling::Dynamic { factor: at_least_one(keys, factor()?)?, original_context: decoder.context }
        }
        "llama3" => llama3(keys, factor()?, original)?,
        "yarn" => RopeScaling::Yarn(yarn(keys, factor()?, original.unwrap_or(decoder.context))?),
        // The first Phi-3 files say `su`.
        "longrope" | "su" => RopeScaling::Long(long(keys, decoder, original, rotated)?),
        other => {
            let what = format!(
                "`{other}` is not supported; default, linear, dynamic, llama3, yarn and longrope are"
            );
            return Err(keys.error("rope_type", what));
        }
    };
    keys.finish(&format!("rope of type {kind}")).map(|()| scaling)
}

/// The base of dynamic scaling would fall below zero with smaller factors.
fn at_least_one(keys: &Keys, factor: f32) -> Result<f32> {
    if factor < 1.0 {
        return Err(keys.error("factor", format!("found {factor}, expected at least 1")));
    }
    Ok(factor)
}

/// LongRoPE whose lists are tensors; `rope_attention_factor` and `original_max_position_embeddings` stand beside the
/// other settings then.
///
/// # Errors
/// If a setting is malformed or the original context is missing.
pub fn long_rope_of_lists(
    keys: &Keys,
    decoder: &Decoder,
    short: Vec<f32>,
    long: Vec<f32>,
) -> Result<LongRope> {
    let original = keys.size("original_max_position_embeddings")?;
    let default = LongRope::default_attention_factor(decoder.context as f32 / original as f32, original);
    let attention_factor = keys.optional_positive("rope_attention_factor")?.unwrap_or(default);
    Ok(LongRope { short, long, original_context: original, attention_factor })
}

fn llama3(keys: &Keys, factor: f32, original: Option<usize>) -> Result<RopeScaling> {
    let (low, high) = (keys.positive("low_freq_factor")?, keys.positive("high_freq_factor")?);
    if high <= low {
        let what = format!("found {high}, expected a number above the low factor {low}");
        return Err(keys.error("high_freq_factor", what));
    }
    let original = original.ok_or_else(|| keys.error("original_max_position_embeddings", "missing"))?;
    Ok(RopeScaling::Llama3 {
        factor,
        low_freq_factor: low,
        high_freq_factor: high,
        original_context: original,
    })
}

fn long(keys: &Keys, decoder: &Decoder, original: Option<usize>, rotated: usize) -> Result<LongRope> {
    let original = original.ok_or_else(|| keys.error("original_max_position_embeddings", "missing"))?;
    let factors = |key: &str| {
        let list: Vec<f32> = keys.optional(key, "a list of numbers")?.unwrap_or_default();
        if list.len() == rotated / 2 && list.iter().all(|x| x.is_finite() && *x > 0.0) {
            return Ok(list);
        }
        let what = format!("found {} numbers, expected {} positive ones", list.len(), rotated / 2);
        Err(keys.error(key, what))
    };
    let factor = keys.optional_positive("factor")?;
    let factor = factor.unwrap_or(decoder.context as f32 / original as f32);
    let default = LongRope::default_attention_factor(factor, original);
    Ok(LongRope {
        short: factors("short_factor")?,
        long: factors("long_factor")?,
        original_context: original,
        attention_factor: keys.optional_positive("attention_factor")?.unwrap_or(default),
    })
}

fn yarn(keys: &Keys, factor: f32, original_context: usize) -> Result<Yarn> {
    let or = |key, default| keys.optional_positive(key).map(|x| x.unwrap_or(default));
    let weight = |key| keys.optional_number(key).map(|x| x.unwrap_or(0.0));
    let (mscale, mscale_all) = (weight("mscale")?, weight("mscale_all_dim")?);
    // DeepSeek's variant: the ratio of two weighted logarithms in place of the paper's one.
    let weighted = |mscale: f32| mscale * (Yarn::default_attention_factor(factor) - 1.0) + 1.0;
    let default = if mscale != 0.0 && mscale_all != 0.0 {
        weighted(mscale) / weighted(mscale_all)
    } else {
        Yarn::default_attention_factor(factor)
    };
    let ramp = match keys.optional("truncate", "true or false")? {
        Some(false) => YarnRamp::Exact,
        _ => YarnRamp::Whole,
    };
    Ok(Yarn {
        factor,
        original_context,
        beta_fast: or("beta_fast", 32.0)?,
        beta_slow: or("beta_slow", 1.0)?,
        attention_factor: or("attention_factor", default)?,
        ramp,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(settings: Value, layer_type: &str) -> Result<RopeConfig> {
        let Value::Object(map) = settings else { panic!("an object") };
        let keys = Keys::new(
            map,
            json!({
                "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 1, "num_hidden_layers": 1,
                "vocab_size": 1, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6,
            }),
        );
        rope(&keys, &Decoder::read(&keys)?, layer_type, RopeStyle::Halves)
    }

    #[test]
    fn both_forms_mean_the_same() {
        let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64});
        let old = read(json!({"rope_theta": 500000.0, "rope_scaling": llama3}), "full_attention").unwrap();
        let mut new = llama3.clone();
        new["rope_theta"] = json!(500000.0);
        assert_eq!(read(json!({"rope_parameters": new}), "full_attention").unwrap(), old);
        assert_eq!((old.theta, old.rotated), (500000.0, 16));
    }

    #[test]
    fn parameters_may_differ_by_layer_type() {
        let settings = json!({"rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        }});
        let full = read(settings.clone(), "full_attention").unwrap();
        assert_eq!((full.theta, full.scaling), (1e6, RopeScaling::Linear { factor: 8.0 }));
        let sliding = read(settings, "sliding_attention").unwrap();
        assert_eq!((sliding.theta, sliding.scaling), (1e4, RopeScaling::None));
    }

    #[test]
    fn yarn_has_defaults() {
        let scaling = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024});
        let RopeScaling::Yarn(yarn) =
            read(json!({"rope_theta": 1e4, "rope_scaling": scaling}), "full_attention").unwrap().scaling
        else {
            panic!("yarn")
        };
        assert_eq!((yarn.original_context, yarn.beta_fast, yarn.ramp), (1024, 32.0, YarnRamp::Whole));
        assert!((yarn.attention_factor - 1.138_629_4).abs() < 1e-6);
    }

    #[test]
    fn dynamic_scaling_begins_where_the_context_ends() {
        let scaling = json!({"type": "dynamic", "factor": 2.0});
        let config = read(json!({"rope_theta": 1e4, "rope_scaling": scaling}), "full_attention").unwrap();
        assert_eq!(config.scaling, RopeScaling::Dynamic { factor: 2.0, original_context: 4096 });
    }

    #[test]
    fn long_rope_has_a_factor_of_its_contexts() {
        let lists = |n: usize| {
            let scaling = json!({"type": "su", "short_factor": vec![1.0; n], "long_factor": vec![2.0; 8]});
            let original = json!(512);
            read(
                json!({"rope_theta": 1e4, "rope_scaling": scaling, "original_max_position_embeddings": original}),
                "full_attention",
            )
        };
        let RopeScaling::Long(long) = lists(8).unwrap().scaling else { panic!("long") };
        assert_eq!((long.original_context, long.short[7], long.long[7]), (512, 1.0, 2.0));
        // 4096 of 512: the root of 1 + log_512(8).
        assert!((long.attention_factor - (4.0f32 / 3.0).sqrt()).abs() < 1e-6);
        let message = lists(7).unwrap_err().to_string();
        assert!(message.contains("`rope_scaling.short_factor`: found 7 numbers, expected 8"), "{message}");
    }

    #[test]
    fn unknown_kinds_and_parameters_are_refused_by_name() {
        let refusal = |scaling: Value| {
            let settings = json!({"rope_theta": 1e4, "rope_scaling": scaling});
            read(settings, "full_attention").unwrap_err().to_string()
        };
        let message = refusal(json!({"rope_type": "spiral", "factor": 2.0}));
        assert!(message.contains("`rope_scaling.rope_type`: `spiral` is not supported"), "{message}");
        let message = refusal(json!({"rope_type": "linear", "factor": 2.0, "mrope_section": [1, 2]}));
        assert!(message.contains("`rope_scaling.mrope_section` = [1,2]"), "{message}");
        let message = refusal(json!({"rope_type": "linear", "factor": 0.0}));
        assert!(message.contains("`rope_scaling.factor`: found 0, expected a positive number"), "{message}");
    }
}
