//! Which tensor of a GGUF file gets which block format, by the rules of llama.cpp's `llama-quantize` without an
//! importance matrix: the same file type means the same bits in the same places.
//!
//! Rows that do not divide into a format's blocks fall back to a format that fits, also as that program does.

use lazuli_io::Encoding;
use lazuli_quant::Format;

/// A GGUF file type: a format for most tensors, and rules for the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mixture(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One format, with more bits for the head.
    Even(Format),
    Q2K,
    Q2KS,
    Q3KM,
    Q3KL,
    Q4KS,
    Q4KM,
    Q5KM,
    /// Ternary weights; the table has four bits.
    Ternary(Format),
    /// Four bits from a table.
    Iq4(Format),
    /// MXFP4 for experts, eight bits for the rest; for models without experts, MXFP4 for all matrices of the layers.
    Mxfp4,
}

/// Names, kinds and the numbers that `general.file_type` has for them.
const KINDS: &[(&str, Kind, u32)] = &[
    ("Q4_0", Kind::Even(Format::Q4_0), 2),
    ("Q4_1", Kind::Even(Format::Q4_1), 3),
    ("Q8_0", Kind::Even(Format::Q8_0), 7),
    ("Q5_0", Kind::Even(Format::Q5_0), 8),
    ("Q5_1", Kind::Even(Format::Q5_1), 9),
    ("Q2_K", Kind::Q2K, 10),
    ("Q3_K_S", Kind::Even(Format::Q3K), 11),
    ("Q3_K_M", Kind::Q3KM, 12),
    ("Q3_K_L", Kind::Q3KL, 13),
    ("Q4_K_S", Kind::Q4KS, 14),
    ("Q4_K_M", Kind::Q4KM, 15),
    ("Q5_K_S", Kind::Even(Format::Q5K), 16),
    ("Q5_K_M", Kind::Q5KM, 17),
    ("Q6_K", Kind::Even(Format::Q6K), 18),
    ("Q2_K_S", Kind::Q2KS, 21),
    ("IQ4_NL", Kind::Iq4(Format::Iq4Nl), 25),
    ("IQ4_XS", Kind::Iq4(Format::Iq4Xs), 30),
    ("TQ1_0", Kind::Ternary(Format::Tq1_0), 36),
    ("TQ2_0", Kind::Ternary(Format::Tq2_0), 37),
    ("MXFP4", Kind::Mxfp4, 38),
    ("NVFP4", Kind::Even(Format::GgufNvfp4), 39),
];

/// Other spellings that are in use.
const ALIASES: &[(&str, &str)] =
    &[("Q3_K", "Q3_K_M"), ("Q4_K", "Q4_K_M"), ("Q5_K", "Q5_K_M"), ("MXFP4_MOE", "MXFP4")];

/// What the rules need to know of a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// Layers.
    pub layers: usize,
    /// Heads of queries to a head of keys and values.
    pub heads_per_kv: usize,
    /// Experts of a layer; 0 if the model has none.
    pub experts: usize,
    /// Tensors that hold (or contain) the projection to values.
    pub value_tensors: usize,
    /// Whether the file has `output.weight`, or uses its token table for it.
    pub has_output: bool,
}

/// A tensor as the rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// Its shape, the contiguous axis last.
    pub shape: &'a [usize],
    /// How many tensors with the projection to values come before it.
    pub values_before: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Head,
    Table,
    Values,
    Keys,
    AttentionOutput,
    Down,
    Other,
}

impl Mixture {
    /// The file type called `name`, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name.as_str(), |(_, name)| name);
        KINDS.iter().find(|(known, ..)| *known == name).map(|(_, kind, _)| Self(*kind))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind, _)| *kind == self.0).map_or("unnamed", |(name, ..)| name)
    }

    /// The value of `general.file_type`.
    pub fn file_type(self) -> u32 {
        KINDS.iter().find(|(_, kind, _)| *kind == self.0).map_or(0, |(.., number)| *number)
    }

    /// The encoding of a tensor that [`is_packed`]: the mixture's choice, or what its rows fall back to.
    pub fn encoding(self, subject: Subject<'_>, facts: Facts) -> Encoding {
        let cols = subject.shape.last().copied().unwrap_or(1);
        let default_fits = cols % self.default().block_len() == 0;
        let wanted = self.wanted(subject, facts, default_fits);
        fitting(wanted, cols)
    }

    fn default(self) -> Format {
        match self.0 {
            Kind::Even(format) | Kind::Ternary(format) | Kind::Iq4(format) => format,
            Kind::Q2K | Kind::Q2KS => Format::Q2K,
            Kind::Q3KM | Kind::Q3KL => Format::Q3K,
            Kind::Q4KS | Kind::Q4KM => Format::Q4K,
            Kind::Q5KM => Format::Q5K,
            Kind::Mxfp4 => Format::GgufMxfp4,
        }
    }

    fn wanted(self, subject: Subject<'_>, facts: Facts, default_fits: bool) -> Format {
        let default = self.default();
        let role = role(subject.name, facts.has_output);
        if role == Role::Head {
            let eight_bits = self.0 == Kind::Mxfp4 || default == Format::Q8_0 || !default_fits;
            return if eight_bits { Format::Q8_0 } else { Format::Q6K };
        }
        if self.0 == Kind::Mxfp4 {
            let packed = if facts.experts > 0 { subject.shape.len() > 2 } else { role != Role::Table };
            return if packed { Format::GgufMxfp4 } else { Format::Q8_0 };
        }
        match role {
            Role::Table => {
                if matches!(self.0, Kind::Ternary(_)) {
                    Format::Q4K
                } else {
                    default
                }
            }
            Role::Values if facts.experts == 8 => Format::Q8_0,
            Role::Keys if facts.experts == 8 => Format::Q8_0,
            Role::Values => self.values(subject.values_before, facts),
            Role::Down => self.down(layer(subject.name).unwrap_or(0), facts.layers).unwrap_or(default),
            Role::AttentionOutput => self.attention_output(facts).unwrap_or(default),
            Role::Head | Role::Keys | Role::Other => default,
        }
    }

    fn values(self, index: usize, facts: Facts) -> Format {
        let shared = facts.heads_per_kv >= 4;
        let found = match self.0 {
            Kind::Q2K if shared => Format::Q4K,
            Kind::Q2K => Format::Q3K,
            Kind::Q2KS if shared => Format::Q4K,
            Kind::Q3KM if index < 2 => Format::Q5K,
            Kind::Q3KM => Format::Q4K,
            Kind::Q3KL => Format::Q5K,
            Kind::Iq4(_) if shared => Format::Q5K,
            Kind::Q4KM | Kind::Q5KM if deserves_more(index, facts.value_tensors) => Format::Q6K,
            Kind::Q4KS if index < 4 => Format::Q5K,
            other => Self(other).default(),
        };
        // Models of 80 layers whose values eight heads share: the tensor is small, and worth a bit more.
        let is_70b = facts.layers == 80 && facts.heads_per_kv == 8;
        if is_70b && matches!(found, Format::Q3K | Format::Q4K) { Format::Q5K } else { found }
    }

    fn down(self, layer: usize, layers: usize) -> Option<Format> {
        Some(match self.0 {
            Kind::Q2K => Format::Q3K,
            Kind::Q2KS if layer < layers / 8 => Format::Q4K,
            Kind::Q3KM if layer < layers / 16 => Format::Q5K,
            Kind::Q3KM => Format::Q4K,
            Kind::Q3KL => Format::Q5K,
            Kind::Q4KM | Kind::Q5KM if deserves_more(layer, layers) => Format::Q6K,
            Kind::Iq4(_) | Kind::Q4KS if layer < layers / 8 => Format::Q5K,
            _ => return None,
        })
    }

    fn attention_output(self, facts: Facts) -> Option<Format> {
        if facts.experts == 8 {
            let small = matches!(
                self.0,
                Kind::Q2K | Kind::Even(Format::Q3K) | Kind::Q3KM | Kind::Q4KS | Kind::Q4KM | Kind::Iq4(_)
            );
            return small.then_some(Format::Q5K);
        }
        Some(match self.0 {
            Kind::Q2K => Format::Q3K,
            Kind::Q3KM => Format::Q4K,
            Kind::Q3KL => Format::Q5K,
            _ => return None,
        })
    }
}

/// The first and the last eighth of the layers, and every third between.
fn deserves_more(index: usize, count: usize) -> bool {
    index < count / 8 || index >= 7 * count / 8 || (index - count / 8) % 3 == 2
}

fn role(name: &str, has_output: bool) -> Role {
    match name {
        "output.weight" => return Role::Head,
        "token_embd.weight" if !has_output => return Role::Head,
        "token_embd.weight" | "per_layer_token_embd.weight" => return Role::Table,
        _ => {}
    }
    if is_values(name) {
        Role::Values
    } else if name.contains("attn_k.weight") {
        Role::Keys
    } else if name.contains("attn_output.weight") {
        Role::AttentionOutput
    } else if name.contains("ffn_down") {
        Role::Down
    } else {
        Role::Other
    }
}

/// Whether the tensor holds the projection to values, alone or with others.
pub fn is_values(name: &str) -> bool {
    ["attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight"].iter().any(|part| name.contains(part))
}

/// The number in `blk.12.`.
pub fn layer(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}

/// Parts of the names of tensors that stay as they are, beside norms.
const LEFT_ALONE: &[&str] = &[
    "_norm.weight",
    "ffn_gate_inp.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "time_mix_",
    "attn_rel_b.weight",
    ".position_embd",
    ".patch_embd",
];

/// Whether a tensor is packed at all: weights with two axes or more, but not norms, routers and small tables.
pub fn is_packed(name: &str, shape: &[usize]) -> bool {
    let axes = shape.iter().skip_while(|&&n| n == 1).count();
    axes >= 2
        && name.ends_with("weight")
        && !["position_embd.weight", "token_types.weight"].contains(&name)
        && !LEFT_ALONE.iter().any(|part| name.contains(part))
}

/// The encoding of rows of `cols`: `format`, or what it falls back to where they do not divide into its blocks.
pub fn fitting(format: Format, cols: usize) -> Encoding {
    let fits = |format: Format| cols % format.block_len() == 0;
    let format = if fits(format) { format } else { fall_back(format) };
    if fits(format) { Encoding::Quant(format) } else { Encoding::F16 }
}

/// The format for rows that do not divide into 256.
fn fall_back(format: Format) -> Format {
    match format {
        Format::Q2K | Format::Q3K | Format::Tq1_0 | Format::Tq2_0 => Format::Q4_0,
        Format::Iq4Xs => Format::Iq4Nl,
        Format::Q4K => Format::Q5_0,
        Format::Q5K => Format::Q5_1,
        _ => Format::Q8_0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts =
        Facts { layers: 32, heads_per_kv: 4, experts: 0, value_tensors: 32, has_output: true };

    fn chosen(mixture: &str, name: &str, cols: usize, facts: Facts) -> String {
        let mixture = Mixture::parse(mixture).unwrap();
        let values_before = layer(name).unwrap_or(0);
        let encoding = mixture.encoding(Subject { name, shape: &[512, cols], values_before }, facts);
        match encoding {
            Encoding::Quant(format) => format.name().into_owned(),
            plain => plain.to_string(),
        }
    }

    #[test]
    fn bits_go_where_llama_cpp_puts_them() {
        let cases = [
            ("Q4_K_M", "output.weight", "Q6_K"),
            ("Q4_K_M", "token_embd.weight", "Q4_K"),
            ("Q4_K_M", "blk.0.attn_v.weight", "Q6_K"),
            ("Q4_K_M", "blk.4.attn_v.weight", "Q4_K"),
            ("Q4_K_M", "blk.6.ffn_down.weight", "Q6_K"),
            ("Q4_K_M", "blk.7.ffn_down.weight", "Q4_K"),
            ("Q4_K_M", "blk.28.ffn_down.weight", "Q6_K"),
            ("Q4_K_S", "blk.3.attn_v.weight", "Q5_K"),
            ("Q4_K_S", "blk.4.attn_v.weight", "Q4_K"),
            ("Q4_K_S", "blk.3.ffn_down.weight", "Q5_K"),
            ("Q3_K_M", "blk.1.attn_v.weight", "Q5_K"),
            ("Q3_K_M", "blk.2.attn_output.weight", "Q4_K"),
            ("Q3_K_M", "blk.2.ffn_up.weight", "Q3_K"),
            ("Q2_K", "blk.2.attn_v.weight", "Q4_K"),
            ("Q2_K", "blk.2.ffn_down.weight", "Q3_K"),
            ("Q5_K_M", "blk.31.attn_v.weight", "Q6_K"),
            ("Q6_K", "blk.31.attn_v.weight", "Q6_K"),
            ("Q8_0", "output.weight", "Q8_0"),
            ("Q4_0", "output.weight", "Q6_K"),
            ("IQ4_XS", "blk.9.attn_v.weight", "Q5_K"),
            ("TQ2_0", "token_embd.weight", "Q4_K"),
        ];
        for (mixture, name, expected) in cases {
            assert_eq!(chosen(mixture, name, 512, FACTS), expected, "{mixture} {name}");
        }
        let tied = Facts { has_output: false, ..FACTS };
        assert_eq!(chosen("Q4_K_M", "token_embd.weight", 512, tied), "Q6_K");
        let eight = Facts { experts: 8, ..FACTS };
        assert_eq!(chosen("Q4_K_M", "blk.5.attn_k.weight", 512, eight), "Q8_0");
    }

    #[test]
    fn rows_that_do_not_divide_fall_back() {
        let cases = [
            ("Q4_K_M", "blk.7.ffn_up.weight", 576, "Q5_0"),
            ("Q4_K_M", "blk.0.attn_v.weight", 576, "Q8_0"),
            ("Q5_K_S", "blk.7.ffn_up.weight", 576, "Q5_1"),
            ("Q2_K", "blk.7.ffn_up.weight", 576, "Q4_0"),
            ("IQ4_XS", "blk.7.ffn_up.weight", 576, "IQ4_NL"),
            ("Q4_K_M", "output.weight", 576, "Q8_0"),
            ("Q4_0", "output.weight", 576, "Q8_0"),
            ("Q4_0", "blk.7.ffn_up.weight", 48, "F16"),
        ];
        for (mixture, name, cols, expected) in cases {
            assert_eq!(chosen(mixture, name, cols, FACTS), expected, "{mixture} {name}");
        }
    }

    #[test]
    fn norms_routers_and_vectors_stay() {
        assert!(is_packed("blk.0.ffn_up.weight", &[8, 8]));
        assert!(is_packed("blk.0.ffn_up_exps.weight", &[4, 8, 8]));
        assert!(!is_packed("blk.0.attn_norm.weight", &[8, 8]));
        assert!(!is_packed("blk.0.ffn_gate_inp.weight", &[8, 8]));
        assert!(!is_packed("blk.0.attn_q.bias", &[8, 8]));
        assert!(!is_packed("x.weight", &[1, 8]));
    }
}
