//! GPT-OSS as its makers publish it: experts in MXFP4 under names of their own, everything else in bf16.

use lazuli_io::Encoding;
use lazuli_quant::Format;
use serde_json::{Value, json};

use super::{Fill, GAIN, Planned, SynthError, SynthFormat, Weight, plain, seed_of};

/// Bytes of a group's codes, which have an axis of their own.
const CODES: usize = 16;

/// The tensors of a file.
pub fn plan(weights: Vec<Weight>, format: SynthFormat) -> Result<Vec<Planned>, SynthError> {
    let packed = match format {
        SynthFormat::Bf16 => false,
        SynthFormat::Mxfp4 => true,
        _ => {
            let what = "gpt_oss is published in MXFP4 and in bf16: choose --format mxfp4 or bf16";
            return Err(SynthError::Unsuitable(what.into()));
        }
    };
    let mut out = Vec::with_capacity(weights.len() * 2);
    for Weight { name, shape } in weights {
        let experts = name.ends_with(".experts.gate_up_proj") || name.ends_with(".experts.down_proj");
        match shape[..] {
            [count, outputs, inputs] if experts && packed => {
                if inputs % Format::Mxfp4.block_len() != 0 {
                    let what = format!("`{name}`: rows of {inputs} do not divide into groups of 32");
                    return Err(SynthError::Unsuitable(what));
                }
                out.extend(blocks(&name, [count, outputs, inputs]));
            }
            // Its float form has the outputs side by side.
            [count, outputs, inputs] if experts => {
                out.push(plain(name, vec![count, inputs, outputs], inputs));
            }
            _ => {
                let inputs = shape.last().copied().unwrap_or(1);
                out.push(plain(name, shape, inputs));
            }
        }
    }
    Ok(out)
}

/// `x_blocks` with sixteen bytes a group, and `x_scales`.
fn blocks(name: &str, [experts, outputs, inputs]: [usize; 3]) -> [Planned; 2] {
    let (groups, seed) = (inputs / Format::Mxfp4.block_len(), seed_of(name));
    let deviation = GAIN / (inputs as f32).sqrt();
    let plane = |end: &str, shape, fill| Planned {
        name: format!("{name}_{end}"),
        shape,
        encoding: Encoding::U8,
        fill,
        seed,
    };
    [
        plane("blocks", vec![experts, outputs, groups, CODES], Fill::Bytes),
        plane("scales", vec![experts, outputs, groups], Fill::Exponents { deviation }),
    ]
}

/// What its settings say of that.
pub fn announcement() -> Value {
    json!({
        "modules_to_not_convert":
            ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"],
        "quant_method": "mxfp4",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countare_named_and_packed_as_published() {
        let listed = || {
            let weight = |name: &str, shape: &[usize]| Weight { name: name.into(), shape: shape.to_vec() };
            vec![
                weight("l.self_attn.q_proj.weight", &[64, 32]),
                weight("l.mlp.experts.gate_up_proj", &[4, 192, 64]),
                weight("l.mlp.experts.gate_up_proj_bias", &[4, 192]),
            ]
        };
        let names = |format| {
            let planned = plan(listed(), format).unwrap();
            planned.into_iter().map(|p| (p.name.clone(), p.shape.clone(), p.bytes())).collect::<Vec<_>>()
        };
        let q = ("l.self_attn.q_proj.weight".to_owned(), vec![64, 32], 4096);
        let bias = ("l.mlp.experts.gate_up_proj_bias".to_owned(), vec![4, 192], 1536);
        let blocks = ("l.mlp.experts.gate_up_proj_blocks".to_owned(), vec![4, 192, 2, 16], 4 * 192 * 32);
        let scales = ("l.mlp.experts.gate_up_proj_scales".to_owned(), vec![4, 192, 2], 4 * 192 * 2);
        assert_eq!(names(SynthFormat::Mxfp4), [q.clone(), blocks, scales, bias.clone()]);
        let whole = ("l.mlp.experts.gate_up_proj".to_owned(), vec![4, 64, 192], 4 * 64 * 192 * 2);
        assert_eq!(names(SynthFormat::Bf16), [q, whole, bias]);
        assert!(plan(listed(), SynthFormat::Q4).unwrap_err().to_string().contains("--format mxfp4"));
    }
}
