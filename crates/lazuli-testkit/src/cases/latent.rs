//! Attention that expands latent rows, against its absorbed form: weights of several kinds as models store them.

use lazuli_core::fused::{LatentAttention, Latents};
use lazuli_core::quant::{Format, ScaleType};
use lazuli_core::{Array, DType};

use super::Table;
use crate::Random;

/// Runs of tokens: sequence (negative: padding), first position, length.
type Runs = &'static [(i32, i32, usize)];

#[derive(Clone, Copy)]
struct Latent {
    heads: usize,
    nope: usize,
    rope: usize,
    value: usize,
    rank: usize,
    page: usize,
    pool: DType,
    weights: Weights,
}

/// How the projections are stored.
#[derive(Clone, Copy)]
enum Weights {
    /// `[heads, rank, nope]` and `[heads, value, rank]`.
    Apart(DType),
    /// Rows `[heads, nope + value, rank]`, of which both are views.
    Together(DType),
}

const PROMPT: Runs = &[(0, 0, 75)];
const CONTINUED: Runs = &[(1, 90, 61)];
const RAGGED: Runs = &[(2, 5, 49), (-1, 0, 3), (0, 0, 20), (1, 140, 10), (-1, 9, 1)];
const LONG: Runs = &[(0, 130, 530), (1, 0, 2)];
const ONE: Runs = &[(0, 64, 1)];
const PADDING: Runs = &[(-1, 0, 4)];

pub(super) fn add(table: &mut Table) {
    let base = Latent {
        heads: 3,
        nope: 16,
        rope: 8,
        value: 24,
        rank: 64,
        page: 16,
        pool: DType::F16,
        weights: Weights::Apart(DType::F32),
    };
    // Either form rounds sums of hundreds, and the oracle is the other form.
    let mut add = |name: &str, case: Latent, runs: Runs| {
        table.case(format!("latents {name} {runs:?}"), 5e-5, move |r| case.build(r, runs));
    };
    for runs in [PROMPT, CONTINUED, RAGGED, ONE, PADDING] {
        add("apart", base, runs);
        add("together", Latent { weights: Weights::Together(DType::BF16), ..base }, runs);
    }
    let q4 = Format::Affine { bits: 4, group: 32, scale: ScaleType::Bf16 };
    let wide = Latent { nope: 64, value: 96, rank: 256, ..base };
    for format in [q4, Format::Q8_0, Format::Q4K, Format::Fp8Block { rows: 32, cols: 32 }] {
        let together = Weights::Together(DType::Quant(format));
        add(&format!("together {format:?}"), Latent { weights: together, ..wide }, CONTINUED);
    }
    add("apart in four bits", Latent { weights: Weights::Apart(DType::Quant(q4)), ..wide }, RAGGED);
    for pool in [DType::F32, DType::BF16] {
        add(&format!("pool {pool}"), Latent { pool, page: 7, ..base }, RAGGED);
    }
    add("odd sizes", Latent { heads: 2, nope: 21, rope: 6, value: 50, rank: 37, ..base }, PROMPT);
    add("long", Latent { heads: 1, nope: 8, rope: 4, value: 8, rank: 16, ..base }, LONG);
}

impl Latent {
    fn build(self, r: &mut Random, runs: Runs) -> Array {
        let longest = runs.iter().map(|run| run.1 as usize + run.2).max().unwrap_or(1);
        let per_sequence = longest.div_ceil(self.page);
        let pages = 3 * per_sequence + 2;
        // Pages that are not in order.
        let step = if pages % 7 == 0 { 11 } else { 7 };
        let table: Vec<i32> = (0..3 * per_sequence).map(|i| ((i * step + 3) % pages) as i32).collect();
        let tokens: usize = runs.iter().map(|run| run.2).sum();
        let sequence: Vec<i32> = runs.iter().flat_map(|&(s, _, n)| vec![s; n]).collect();
        let position: Vec<i32> =
            runs.iter().flat_map(|&(_, p, n)| (p..p + n as i32).collect::<Vec<_>>()).collect();
        let (key_up, value_up) = self.projections(r);
        let dim = self.nope + self.rope;
        let q = r.floats([tokens, self.heads, dim], DType::F32);
        let rows = r.floats([pages, 1, self.page, self.rank + self.rope], self.pool);
        let latents = Latents {
            rows: &rows,
            key_up: &key_up,
            value_up: &value_up,
            page_table: &Array::from_vec(table, [3, per_sequence]),
            sequence: &Array::from_vec(sequence, [tokens]),
            position: &Array::from_vec(position, [tokens]),
        };
        let scale = 1.0 / (dim as f32).sqrt();
        q.latent_attention(&latents, LatentAttention { scale: scale.into() })
    }

    fn projections(self, r: &mut Random) -> (Array, Array) {
        let mut weights = |heads: usize, rows: usize, cols: usize, dtype: DType| {
            let all = match dtype {
                DType::Quant(format) => r.packed(heads * rows, cols, format),
                // About as small as packed ones.
                other => (r.floats([heads * rows, cols], DType::F32) * 0.05).cast(other),
            };
            all.reshape([heads, rows, cols])
        };
        let Self { heads, nope, value, rank, .. } = self;
        match self.weights {
            Weights::Apart(dtype) => (weights(heads, rank, nope, dtype), weights(heads, value, rank, dtype)),
            Weights::Together(dtype) => {
                let both = weights(heads, nope + value, rank, dtype);
                (both.slice(1, 0..nope).transpose(&[0, 2, 1]), both.slice(1, nope..nope + value))
            }
        }
    }
}
