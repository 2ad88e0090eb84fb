//! Fused operations against their decompositions.

use lazuli_core::fused::{Activation, PagedAttention, Pages, RopeStyle};
use lazuli_core::{Array, DType};

use super::Table;
use crate::Random;

pub(super) fn add(table: &mut Table) {
    for dtype in [DType::F32, DType::F16] {
        table.case(format!("softmax {dtype}"), 2e-6, move |r| r.floats([7, 45], dtype).softmax());
        for weight in [DType::F32, DType::F16, DType::BF16] {
            table.case(format!("rms_norm {dtype} {weight}"), 4e-6, move |r| {
                let (x, w) = (r.floats([4, 3, 72], dtype), r.floats([72], weight));
                x.rms_norm(&w, 1e-5, 1.0)
            });
        }
    }
    table.case("layer_norm", 1e-5, |r| {
        let (x, w, b) =
            (r.floats([5, 64], DType::F32), r.floats([64], DType::F16), r.floats([64], DType::F32));
        x.layer_norm(&w, &b, 1e-5)
    });
    table.case("norm of a strided view", 4e-6, |r| {
        let (x, w) = (r.floats([5, 3, 64], DType::F32), r.floats([64], DType::F32));
        x.slice(1, 1..2).rms_norm(&w, 1e-6, 0.0)
    });
    for style in [RopeStyle::Halves, RopeStyle::Interleaved] {
        for (dim, rotated) in [(32, 32), (24, 16), (8, 8), (80, 80)] {
            table.case(format!("rope {style:?} {rotated} of {dim}"), 2e-6, move |r| {
                let angles = r.floats([6, rotated / 2], DType::F32);
                let x = r.floats([6, 9, dim], DType::F32).slice(1, 2..5);
                x.rope(&angles.cos(), &angles.sin(), style)
            });
        }
    }
    for activation in [Activation::Silu, Activation::Gelu, Activation::GeluTanh] {
        table.case(format!("gated {activation:?}"), 4e-6, move |r| {
            let (gate, up) = (r.floats([6, 75], DType::F32), r.floats([6, 75], DType::F32));
            (gate * 1.0).gated(&up, activation)
        });
    }
    attention(table);
}

/// Attention cases: heads, KV heads, head size, page size, and what varies.
#[derive(Clone, Copy)]
struct Attention {
    heads: usize,
    kv_heads: usize,
    dim: usize,
    page: usize,
    op: PagedAttention,
    pool: DType,
    sinks: bool,
    /// Elements of a value, which are the first of the key; `None` for values of their own.
    prefix: Option<usize>,
    /// Whether there is something else between one page and the next.
    apart: bool,
}

fn attention(table: &mut Table) {
    let plain = PagedAttention { scale: 0.2.into(), window: None, softcap: None, sinks: false };
    let base = Attention {
        heads: 4,
        kv_heads: 2,
        dim: 16,
        page: 4,
        op: plain,
        pool: DType::F32,
        sinks: false,
        prefix: None,
        apart: false,
    };
    let mut add = |name: &str, case: Attention| {
        for pool in [DType::F32, DType::F16] {
            let case = Attention { pool, ..case };
            // A prompt of one sequence; single tokens of three; both with padding between them.
            for (kind, runs) in [
                ("prompt", vec![(0, 0, 13)]),
                ("decode", vec![(0, 18, 1), (1, 0, 1), (2, 7, 1)]),
                ("mixed", vec![(2, 5, 6), (-1, 0, 2), (0, 19, 1), (1, 3, 3)]),
            ] {
                table.case(format!("attention {name} {kind} {pool}"), 2e-5, move |r| case.build(r, &runs));
            }
        }
    };
    add("grouped", base);
    add("one kv head", Attention { heads: 3, kv_heads: 1, dim: 24, ..base });
    add("narrow", Attention { heads: 8, kv_heads: 1, dim: 8, ..base });
    add("wide", Attention { heads: 2, kv_heads: 2, dim: 128, page: 8, ..base });
    add("window", Attention { op: PagedAttention { window: Some(5), ..plain }, ..base });
    add("softcap", Attention { op: PagedAttention { softcap: Some(2.0.into()), ..plain }, ..base });
    add("sinks", Attention { sinks: true, ..base });
    let latents = Attention { heads: 20, kv_heads: 1, dim: 40, prefix: Some(24), ..base };
    add("latents", latents);
    add("pages apart", Attention { apart: true, ..base });
    add("latents apart", Attention { apart: true, ..latents });
}

impl Attention {
    /// Random queries and pools; `runs` are (sequence, first position, tokens). Each sequence has 20 tokens of room
    /// in pages that are not in order.
    fn build(self, r: &mut Random, runs: &[(i32, i32, usize)]) -> Array {
        let per_sequence = 20usize.div_ceil(self.page);
        let pages = 3 * per_sequence + 1;
        let shuffled: Vec<i32> = (0..3 * per_sequence).map(|i| ((i * 7 + 3) % pages) as i32).collect();
        let page_table = Array::from_vec(shuffled, [3, per_sequence]);
        let tokens: usize = runs.iter().map(|run| run.2).sum();
        let sequence: Vec<i32> = runs.iter().flat_map(|&(s, _, n)| vec![s; n]).collect();
        let position: Vec<i32> =
            runs.iter().flat_map(|&(_, p, n)| (p..p + n as i32).collect::<Vec<_>>()).collect();
        let lanes = self.kv_heads + usize::from(self.apart);
        let q = r.floats([tokens, self.heads, self.dim], DType::F32);
        let mut pool = || {
            let whole = r.floats([pages, lanes, self.page, self.dim], self.pool);
            if self.apart { whole.slice(1, 0..self.kv_heads) } else { whole }
        };
        let (keys, values) = (pool(), pool());
        let values = self.prefix.map_or(values, |dim| keys.slice(-1, 0..dim));
        let sinks = self.sinks.then(|| r.floats([self.heads], DType::F32));
        let (sequence, position) = (Array::from_vec(sequence, [tokens]), Array::from_vec(position, [tokens]));
        let pages = Pages {
            keys: &keys,
            values: &values,
            page_table: &page_table,
            sequence: &sequence,
            position: &position,
        };
        q.paged_attention(&pages, sinks.as_ref(), self.op)
    }
}
