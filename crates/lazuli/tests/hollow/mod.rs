//! Models of a published shape in 4 bits without weights: tensors of one shape share one piece of memory, which nobody
//! has written, so that the largest models there are can be planned, and run, where nothing of them is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use lazuli::core::{Array, Buffer, DType};
use lazuli::models::{self, CausalLm};
use lazuli::planner::{ModelShape, catalogue};
use lazuli::quant::{Format, ScaleType};
use serde_json::{Value, json};

/// MLX's 4 bits.
const FORMAT: Format = Format::Affine { bits: 4, group: 64, scale: ScaleType::Bf16 };

/// A model of a catalogue entry's shape, with the planner's description of it.
pub fn hollow(entry: &str) -> (ModelShape, Box<dyn CausalLm>) {
    let entry = catalogue::find(entry).unwrap();
    let (shape, mut config) = (entry.shape().unwrap(), entry.config.clone());
    config["rms_norm_eps"] = json!(1e-5);
    config["rope_theta"] = json!(10_000.0);
    let mut maker = Maker { config: entry.config.clone(), made: Vec::new(), arrays: Vec::new() };
    maker.matrix("model.embed_tokens", &[maker.size("vocab_size"), maker.size("hidden_size")]);
    maker.matrix("lm_head", &[maker.size("vocab_size"), maker.size("hidden_size")]);
    maker.row("model.norm.weight", maker.size("hidden_size"));
    let latent = entry.config["model_type"] == "deepseek_v3";
    for layer in 0..maker.size("num_hidden_layers") {
        let at = format!("model.layers.{layer}");
        maker.row(&format!("{at}.input_layernorm.weight"), maker.size("hidden_size"));
        maker.row(&format!("{at}.post_attention_layernorm.weight"), maker.size("hidden_size"));
        if latent {
            maker.latent(&format!("{at}.self_attn"));
        } else {
            maker.grouped(&format!("{at}.self_attn"));
        }
        if latent && layer >= maker.size("first_k_dense_replace") {
            maker.experts(&format!("{at}.mlp"));
        } else {
            maker.dense(&format!("{at}.mlp"), maker.size("intermediate_size"));
        }
    }
    if latent {
        let published = json!({"n_group": 8, "topk_group": 4, "routed_scaling_factor": 2.5, "norm_topk_prob": true,
            "scoring_func": "sigmoid", "topk_method": "noaux_tc", "hidden_act": "silu"});
        config.as_object_mut().unwrap().extend(published.as_object().unwrap().clone());
    }
    (shape, models::from_arrays(&config, maker.arrays).unwrap())
}

struct Maker {
    config: Value,
    made: Vec<(Vec<usize>, Array)>,
    arrays: Vec<(String, Array)>,
}

impl Maker {
    fn size(&self, key: &str) -> usize {
        self.config[key].as_u64().unwrap() as usize
    }

    fn matrix(&mut self, name: &str, shape: &[usize]) {
        let known = self.made.iter().find(|(made, _)| made == shape).map(|(_, array)| array.clone());
        let array = known.unwrap_or_else(|| {
            let (cols, rows) = (shape[shape.len() - 1], shape[..shape.len() - 1].iter().product());
            let plane = |plane| Buffer::zeroed(FORMAT.plane_bytes(plane, rows, cols).unwrap()).unwrap();
            let planes: Vec<_> = (0..3).map(|index| (plane(index), 0)).collect();
            let array = Array::from_planes(&planes, [rows, cols], DType::Quant(FORMAT)).unwrap();
            let array = array.reshape(shape);
            self.made.push((shape.to_vec(), array.clone()));
            array
        });
        self.arrays.push((format!("{name}.weight"), array));
    }

    fn plain(&mut self, name: &str, shape: &[usize]) {
        let bytes = 2 * shape.iter().product::<usize>();
        let array = Array::from_buffer(Buffer::zeroed(bytes).unwrap(), 0, shape, DType::BF16).unwrap();
        self.arrays.push((name.to_owned(), array));
    }

    fn row(&mut self, name: &str, length: usize) {
        self.plain(name, &[length]);
    }

    fn dense(&mut self, at: &str, inner: usize) {
        let hidden = self.size("hidden_size");
        self.matrix(&format!("{at}.gate_proj"), &[inner, hidden]);
        self.matrix(&format!("{at}.up_proj"), &[inner, hidden]);
        self.matrix(&format!("{at}.down_proj"), &[hidden, inner]);
    }

    fn grouped(&mut self, at: &str) {
        let (hidden, heads) = (self.size("hidden_size"), self.size("num_attention_heads"));
        let (dim, kv) = (hidden / heads, self.size("num_key_value_heads"));
        self.matrix(&format!("{at}.q_proj"), &[heads * dim, hidden]);
        self.matrix(&format!("{at}.k_proj"), &[kv * dim, hidden]);
        self.matrix(&format!("{at}.v_proj"), &[kv * dim, hidden]);
        self.matrix(&format!("{at}.o_proj"), &[hidden, heads * dim]);
    }

    /// With the heads' projections as MLX's files have them, one tensor for keys and one for values.
    fn latent(&mut self, at: &str) {
        let (hidden, heads) = (self.size("hidden_size"), self.size("num_attention_heads"));
        let (query, rank, value) =
            (self.size("q_lora_rank"), self.size("kv_lora_rank"), self.size("v_head_dim"));
        let (nope, rope) = (self.size("qk_nope_head_dim"), self.size("qk_rope_head_dim"));
        self.matrix(&format!("{at}.q_a_proj"), &[query, hidden]);
        self.row(&format!("{at}.q_a_layernorm.weight"), query);
        self.matrix(&format!("{at}.q_b_proj"), &[heads * (nope + rope), query]);
        self.matrix(&format!("{at}.kv_a_proj_with_mqa"), &[rank + rope, hidden]);
        self.row(&format!("{at}.kv_a_layernorm.weight"), rank);
        self.matrix(&format!("{at}.embed_q"), &[heads, rank, nope]);
        self.matrix(&format!("{at}.unembed_out"), &[heads, value, rank]);
        self.matrix(&format!("{at}.o_proj"), &[hidden, heads * value]);
    }

    fn experts(&mut self, at: &str) {
        let (hidden, count) = (self.size("hidden_size"), self.size("n_routed_experts"));
        let inner = self.size("moe_intermediate_size");
        self.plain(&format!("{at}.gate.weight"), &[count, hidden]);
        self.row(&format!("{at}.gate.e_score_correction_bias"), count);
        self.matrix(&format!("{at}.switch_mlp.gate_proj"), &[count, inner, hidden]);
        self.matrix(&format!("{at}.switch_mlp.up_proj"), &[count, inner, hidden]);
        self.matrix(&format!("{at}.switch_mlp.down_proj"), &[count, hidden, inner]);
        let shared = inner * self.size("n_shared_experts");
        self.dense(&format!("{at}.shared_experts"), shared);
    }
}
