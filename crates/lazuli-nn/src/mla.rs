//! [`Mla`]: multi-head latent attention (DeepSeek-V2, 2024), in two forms.
//!
//! Keys and values of all heads are projections of one latent row per token: the pool keeps `kv_rank + rope_dim` numbers
//! per token and nothing per head. Few tokens attend *absorbed*: moving a head's key projection to its query, and its
//! value projection behind the attention, leaves attention over the latent rows themselves, whose first part are the
//! values. Long runs attend *expanded*: keys and values of a block of rows are computed for a head in cache, and all
//! tokens of the run use them ([`LatentAttention`]), which takes half the multiplications. A run's length alone decides
//! (`docs/perf-log.md` has the measurements), and the length of the context stays data in both.

use std::ops::Range;

use lazuli_core::Array;
use lazuli_core::fused::{LatentAttention, Latents};

use crate::{BatchArrays, Bias, KvPool, LayerKv, Linear, Place, Result, RmsNorm, RopeTables, Weights};

/// What one layer's latent attention is, in numbers.
#[derive(Debug, Clone)]
pub struct MlaConfig {
    /// Length of the rows that come in and go out.
    pub hidden: usize,
    /// Heads.
    pub heads: usize,
    /// Length of the latent row that queries come from; `None` if they come from the input.
    pub q_rank: Option<usize>,
    /// Length of the latent row that keys and values come from.
    pub kv_rank: usize,
    /// Elements of a head's query and key that have no position.
    pub nope_dim: usize,
    /// Those that are rotated; all heads share one such key.
    pub rope_dim: usize,
    /// Elements of a head's value.
    pub value_dim: usize,
    /// Factor of the dot products.
    pub scale: f32,
    /// Of the norms of latent rows.
    pub eps: f32,
    /// Bias of the projections to latent rows, and of the one back.
    pub bias: Bias,
}

impl MlaConfig {
    /// What the layer keeps of each token: one row, of which values are the first part.
    pub fn kv(&self) -> LayerKv {
        LayerKv { heads: 1, key_dim: self.kv_rank + self.rope_dim, value_dim: 0, window: None }
    }
}

/// One layer's latent attention with its weights.
#[derive(Debug, Clone)]
pub struct Mla {
    queries: Queries,
    latent: Linear,
    latent_norm: RmsNorm,
    /// `[heads, kv_rank, nope_dim]`: queries to latents.
    key_up: Array,
    /// `[heads, value_dim, kv_rank]`: latents to values.
    value_up: Array,
    output: Linear,
    config: MlaConfig,
}

#[derive(Debug, Clone)]
enum Queries {
    Direct(Linear),
    Latent { down: Linear, norm: RmsNorm, up: Linear },
}

impl Mla {
    /// Reads `q_proj` or `q_a_proj`, `q_a_layernorm`, `q_b_proj`; `kv_a_proj_with_mqa`, `kv_a_layernorm`; the heads'
    /// projections as `kv_b_proj` or as `embed_q` and `unembed_out`; and `o_proj`.
    ///
    /// # Errors
    /// If one of them is missing or has another shape.
    pub fn load(weights: &Weights, config: MlaConfig) -> Result<Self> {
        let c = &config;
        let linear = |name, outputs, inputs, bias| Linear::load(&weights.at(name), outputs, inputs, bias);
        let norm = |name, dim| RmsNorm::load(&weights.at(name), dim, c.eps, 0.0);
        let heads = c.heads * (c.nope_dim + c.rope_dim);
        // Every head reads the latents, and the cache keeps them: an error in one is an error in all.
        let queries = match c.q_rank {
            None => Queries::Direct(linear("q_proj", heads, c.hidden, Bias::Without)?),
            Some(rank) => Queries::Latent {
                down: linear("q_a_proj", rank, c.hidden, c.bias)?.fine(),
                norm: norm("q_a_layernorm", rank)?,
                up: linear("q_b_proj", heads, rank, Bias::Without)?,
            },
        };
        let (key_up, value_up) = if weights.contains("embed_q.weight") {
            (
                weights.get("embed_q.weight", [c.heads, c.kv_rank, c.nope_dim])?,
                weights.get("unembed_out.weight", [c.heads, c.value_dim, c.kv_rank])?,
            )
        } else {
            // Rows of a head's key, then of its value: both are views, read where they lie.
            let rows = c.nope_dim + c.value_dim;
            let both = weights.get("kv_b_proj.weight", [c.heads * rows, c.kv_rank])?;
            let both = both.reshape([c.heads, rows, c.kv_rank]);
            (both.slice(1, 0..c.nope_dim).transpose(&[0, 2, 1]), both.slice(1, c.nope_dim..rows))
        };
        Ok(Self {
            queries,
            latent: linear("kv_a_proj_with_mqa", c.kv_rank + c.rope_dim, c.hidden, c.bias)?.fine(),
            latent_norm: norm("kv_a_layernorm", c.kv_rank)?,
            key_up,
            value_up,
            output: linear("o_proj", c.hidden, c.heads * c.value_dim, c.bias)?,
            config,
        })
    }

    /// `[tokens, hidden]` to f32 `[tokens, hidden]`. The tokens' latent rows are written into `layer` of the pool
    /// first, so that tokens of one run see each other.
    #[track_caller]
    pub fn forward(
        &self,
        x: &Array,
        rope: &RopeTables,
        batch: &BatchArrays,
        kv: &mut KvPool,
        layer: usize,
    ) -> Array {
        let (c, tokens) = (&self.config, x.shape()[0]);
        let q = match &self.queries {
            Queries::Direct(projection) => projection.forward(x),
            Queries::Latent { down, norm, up } => up.forward(&norm.forward(&down.forward(x))),
        };
        let q = q.reshape([tokens, c.heads, c.nope_dim + c.rope_dim]);
        let nope = q.slice(-1, 0..c.nope_dim);
        let rotated = rope.rotate(&q.slice(-1, c.nope_dim..c.nope_dim + c.rope_dim));

        let row = self.latent.forward(x); // [tokens, kv_rank + rope_dim]
        let latent = self.latent_norm.forward(&row.slice(-1, 0..c.kv_rank)).expand_dims(1);
        let rotated_key = rope.rotate(&row.slice(-1, c.kv_rank..c.kv_rank + c.rope_dim).expand_dims(1));
        let row = Array::concat(&[&latent, &rotated_key], -1); // [tokens, 1, kv_rank + rope_dim]
        let place = &batch.places[kv.group(layer)];
        let rows = kv.write_keys(layer, &row, &place.slots);
        let values = self.attend([&nope, &rotated], &rows, batch, place); // [tokens, heads, value_dim]
        self.output.forward(&values.reshape([tokens, c.heads * c.value_dim]))
    }

    /// The parts of the queries over the `rows` of the pool: `[tokens, heads, value_dim]`.
    fn attend(
        &self,
        [nope, rotated]: [&Array; 2],
        rows: &Array,
        batch: &BatchArrays,
        place: &Place,
    ) -> Array {
        let op = LatentAttention { scale: self.config.scale.into() };
        let form = |tokens: Range<usize>| {
            let (nope, rotated) = (nope.slice(0, tokens.clone()), rotated.slice(0, tokens.clone()));
            let latents = Latents {
                rows,
                key_up: &self.key_up,
                value_up: &self.value_up,
                page_table: &place.page_table,
                sequence: &batch.sequence.slice(0, tokens.clone()),
                position: &batch.positions.slice(0, tokens.clone()),
            };
            if tokens.start < batch.long {
                Array::concat(&[&nope, &rotated], -1).latent_attention(&latents, op)
            } else {
                nope.absorbed_attention(&rotated, &latents, op)
            }
        };
        let (long, tokens) = (batch.long, nope.shape()[0]);
        if long == 0 || long == tokens {
            return form(0..tokens);
        }
        Array::concat(&[&form(0..long), &form(long..tokens)], 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, KvSpec, LONG_RUN, Logits, Rope, RopeConfig, RopeScaling, SequencePages};
    use lazuli_core::fused::RopeStyle;
    use lazuli_core::{Buffer, DType, Runtime};

    const HIDDEN: usize = 12;

    /// Numbers without a pattern.
    fn floats(seed: usize, shape: [usize; 2]) -> Array {
        let value = |i: usize| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0;
        Array::from_vec((0..shape[0] * shape[1]).map(value).collect::<Vec<f32>>(), shape)
    }

    fn mla() -> Mla {
        let config = MlaConfig {
            hidden: HIDDEN,
            heads: 3,
            q_rank: None,
            kv_rank: 8,
            nope_dim: 6,
            rope_dim: 4,
            value_dim: 5,
            scale: 0.3,
            eps: 1e-6,
            bias: Bias::Without,
        };
        let weight = |(seed, (name, shape)): (usize, (&str, [usize; 2]))| {
            (format!("{name}.weight"), floats(seed + 1, shape))
        };
        let shapes = [
            ("q_proj", [3 * 10, HIDDEN]),
            ("kv_a_proj_with_mqa", [8 + 4, HIDDEN]),
            ("kv_b_proj", [3 * (6 + 5), 8]),
            ("o_proj", [HIDDEN, 3 * 5]),
        ];
        let norm = ("kv_a_layernorm.weight".to_owned(), Array::from_vec(vec![1.0f32; 8], [8]));
        let weights = Weights::new(shapes.into_iter().enumerate().map(weight).chain([norm]));
        Mla::load(&weights, config).unwrap()
    }

    struct Pass {
        mla: Mla,
        kv: KvPool,
    }

    impl Pass {
        /// Results for the rows of `x`, which are the positions of the sequences that `runs` name, in this order.
        fn run(
            &mut self,
            x: &Array,
            sequences: &mut [SequencePages],
            runs: &[(usize, Range<usize>)],
        ) -> Vec<f32> {
            let mut batch = Batch::new(self.kv.spec());
            for (sequence, positions) in runs {
                let pages = &mut sequences[*sequence];
                pages.grow(positions.len()).unwrap();
                batch.push(pages, positions.start, &vec![0; positions.len()], Logits::None);
            }
            let rope =
                RopeConfig { theta: 1e4, rotated: 4, style: RopeStyle::Halves, scaling: RopeScaling::None };
            let arrays = batch.arrays();
            let tables = Rope::new(&rope).tables(&arrays);
            let y = self.mla.forward(x, &tables, &arrays, &mut self.kv, 0);
            let mut wanted = self.kv.pending();
            wanted.push(&y);
            Runtime::reference().eval(&wanted).unwrap();
            y.as_slice::<f32>().unwrap().to_vec()
        }
    }

    #[test]
    fn a_long_run_is_token_by_token_whatever_comes_behind_it() {
        let mla = mla();
        let spec = KvSpec::for_sequences(vec![mla.config.kv()], DType::F32, 4, 192, 192);
        let mut pass = Pass { kv: KvPool::new(spec, Buffer::zeroed).unwrap(), mla };
        let len = LONG_RUN + 3;
        let x = floats(9, [len + 2, HIDDEN]);
        let mut sequences: Vec<SequencePages> = (0..4).map(|_| pass.kv.sequence()).collect();
        let together = pass.run(&x, &mut sequences, &[(0, 0..len), (1, 0..2)]);
        let mut single = Vec::new();
        for token in 0..len + 2 {
            let run = if token < len { (2, token..token + 1) } else { (3, token - len..token - len + 1) };
            single.extend(pass.run(&x.slice(0, token..token + 1), &mut sequences, &[run]));
        }
        let diff = together.iter().zip(&single).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(together.len() == single.len() && diff <= 1e-5, "{diff}");
    }
}
