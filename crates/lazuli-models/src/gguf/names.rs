//! Tensor names of GGUF files as Hugging Face checkpoints have them.

use super::Dialect;

/// Names behind `blk.N.` and those behind `model.layers.N.`.
pub type Names = &'static [(&'static str, &'static str)];

const GLOBAL: &[(&str, &str)] = &[
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
    ("rope_freqs", "model.rope_factors"),
    ("rope_factors_short", "model.rope_factors_short"),
    ("rope_factors_long", "model.rope_factors_long"),
];

const LAYER: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// One norm before attention and one before the feed-forward part.
pub const NORMS_BEFORE: Names = &[("ffn_norm", "post_attention_layernorm")];

/// One before and one after each (Gemma 2 and later), or after each alone (OLMo 2).
pub const NORMS_BEFORE_AND_AFTER: Names = &[
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

/// The same in the words of GLM-4.
pub const NORMS_OF_GLM: Names = &[
    ("post_attention_norm", "post_self_attn_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("post_ffw_norm", "post_mlp_layernorm"),
];

/// Projections to queries, keys and values in one tensor.
pub const FUSED_ATTENTION: Names = &[("attn_qkv", "self_attn.qkv_proj")];

/// The gate and what it gates in one tensor.
pub const FUSED_MLP: Names = &[("ffn_up", "mlp.gate_up_proj")];

/// Tensors that have no `weight` or `bias` behind their name in Hugging Face checkpoints.
const BARE: &[(&str, &str)] =
    &[("attn_sinks", "self_attn.sinks"), ("exp_probs_b", "mlp.gate.e_score_correction_bias")];

/// The Hugging Face name of the tensor `name`; names without a translation stay (and are refused as unused).
pub fn translate(dialect: &Dialect, name: &str) -> String {
    try_translate(dialect, name).unwrap_or_else(|| name.to_owned())
}

fn try_translate(dialect: &Dialect, name: &str) -> Option<String> {
    let (stem, kind) = name.rsplit_once('.')?;
    let lookup = |table: &[(&str, &'static str)], key: &str| {
        table.iter().find(|(gguf, _)| *gguf == key).map(|(_, hugging_face)| *hugging_face)
    };
    if let Some(found) = lookup(GLOBAL, stem) {
        return Some(format!("{found}.{kind}"));
    }
    let (number, part) = stem.strip_prefix("blk.")?.split_once('.')?;
    if let Some(found) = lookup(BARE, part) {
        return Some(format!("model.layers.{number}.{found}"));
    }
    let own = dialect.names.iter().find_map(|names| lookup(names, part));
    let found = own.or_else(|| lookup(LAYER, part))?;
    Some(format!("model.layers.{number}.{found}.{kind}"))
}

/// The name in GGUF files of the tensor that Hugging Face checkpoints call `name`, if it has one.
pub fn untranslate(dialect: &Dialect, name: &str) -> Option<String> {
    let (stem, kind) = name.rsplit_once('.')?;
    let lookup = |table: &[(&'static str, &str)], key: &str| {
        table.iter().find(|(_, hugging_face)| *hugging_face == key).map(|(gguf, _)| *gguf)
    };
    if let Some(found) = lookup(GLOBAL, stem) {
        return Some(format!("{found}.{kind}"));
    }
    let (number, part) = stem.strip_prefix("model.layers.")?.split_once('.')?;
    let own = dialect.names.iter().find_map(|names| lookup(names, part));
    let found = own.or_else(|| lookup(LAYER, part))?;
    Some(format!("blk.{number}.{found}.{kind}"))
}

#[cfg(test)]
mod tests {
    use super::super::DIALECTS;
    use super::*;

    #[test]
    fn names_are_translated() {
        let cases = [
            ("token_embd.weight", "model.embed_tokens.weight", "model.embed_tokens.weight"),
            (
                "blk.12.ffn_norm.weight",
                "model.layers.12.post_attention_layernorm.weight",
                "model.layers.12.pre_feedforward_layernorm.weight",
            ),
            (
                "blk.0.attn_q.bias",
                "model.layers.0.self_attn.q_proj.bias",
                "model.layers.0.self_attn.q_proj.bias",
            ),
            ("blk.0.strange.weight", "blk.0.strange.weight", "blk.0.strange.weight"),
            ("strange", "strange", "strange"),
        ];
        let dialect = |name| DIALECTS.iter().find(|d| d.architecture == name).unwrap();
        for (gguf, llama, gemma) in cases {
            assert_eq!(translate(dialect("llama"), gguf), llama);
            assert_eq!(translate(dialect("gemma3"), gguf), gemma);
            let back = (gguf != gemma).then(|| gguf.to_owned());
            assert_eq!(untranslate(dialect("gemma3"), gemma), back);
        }
        let fused = translate(dialect("phi3"), "blk.3.ffn_up.weight");
        assert_eq!(fused, "model.layers.3.mlp.gate_up_proj.weight");
    }
}
