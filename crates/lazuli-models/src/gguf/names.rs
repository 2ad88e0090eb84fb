//! Tensor names of GGUF files as Hugging Face checkpoints have them.

use super::Dialect;

/// Where the norms of a layer stand, which decides what `ffn_norm` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerNorms {
    /// One before attention and one before the feed-forward part.
    Before,
    /// One before and one after each (Gemma 2 and later).
    BeforeAndAfter,
}

const GLOBAL: &[(&str, &str)] = &[
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
    ("rope_freqs", "model.rope_factors"),
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

const NORMS_BEFORE: &[(&str, &str)] = &[("ffn_norm", "post_attention_layernorm")];

const NORMS_BEFORE_AND_AFTER: &[(&str, &str)] = &[
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

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
    let norms = match dialect.norms {
        LayerNorms::Before => NORMS_BEFORE,
        LayerNorms::BeforeAndAfter => NORMS_BEFORE_AND_AFTER,
    };
    let found = lookup(LAYER, part).or_else(|| lookup(norms, part))?;
    Some(format!("model.layers.{number}.{found}.{kind}"))
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
        }
    }
}
