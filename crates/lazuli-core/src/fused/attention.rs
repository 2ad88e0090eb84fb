//! Attention of a ragged batch over paged keys and values.
//!
//! Positions, sequence numbers and page tables are data, so a decode step has the same structure at every
//! length. Backends run it blocked with an online softmax (Dao et al., 2022); the decomposition below is its
//! meaning, and far too large for real contexts.

use super::Fused;
use crate::{Array, DType, Op, Scalar, Shape};

/// Scaled dot-product attention, grouped queries, causal by position, over the pages of each token's sequence.
///
/// Inputs: `q [tokens, heads, dim]` floats; `keys [pages, kv_heads, page_size, dim]` and
/// `values [pages, kv_heads, page_size, v_dim]`; `page_table [sequences, pages_per_sequence]` i32 (negative:
/// no page); `sequence [tokens]` i32 (a row of the page table; negative: a padding token, result zero);
/// `position [tokens]` i32; and, if `sinks`, `sinks [heads]`. The result is f32 `[tokens, heads, v_dim]`.
///
/// A query at position `p` sees keys at positions `j <= p`, and with a window only `j > p - window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PagedAttention {
    /// Factor of the dot products.
    pub scale: Scalar,
    /// How many positions back a query sees, itself included.
    pub window: Option<u32>,
    /// Scores become `cap * tanh(score / cap)` (Gemma 2).
    pub softcap: Option<Scalar>,
    /// Whether each head has one more logit, of a key that nobody has (GPT-OSS).
    pub sinks: bool,
}

/// The arrays that [`PagedAttention`] reads besides the queries.
pub struct Pages<'a> {
    /// The layer's keys in the pool.
    pub keys: &'a Array,
    /// The layer's values in the pool.
    pub values: &'a Array,
    /// Which pages each sequence has.
    pub page_table: &'a Array,
    /// Which sequence each token belongs to.
    pub sequence: &'a Array,
    /// Where in its sequence each token stands.
    pub position: &'a Array,
}

/// Checks the inputs that say where `tokens` tokens and their pages are: page table, sequences and positions.
pub(super) fn check_placement(inputs: &[&Array], tokens: usize) -> Result<(), String> {
    let integers = inputs.iter().all(|a| a.dtype() == DType::I32);
    if !integers || inputs[0].shape().rank() != 2 || inputs[1..].iter().any(|a| a.shape()[..] != [tokens]) {
        return Err(
            "page table, sequences and positions must be i32 [sequences, pages], [tokens], [tokens]".into()
        );
    }
    Ok(())
}

impl PagedAttention {
    pub(super) fn infer(self, inputs: &[&Array]) -> Result<(Shape, DType), String> {
        let (q, k, v) = (inputs[0].shape(), inputs[1].shape(), inputs[2].shape());
        if q.rank() != 3 || k.rank() != 4 || v.rank() != 4 {
            return Err("takes q [tokens, heads, dim] and pools [pages, kv_heads, page_size, dim]".into());
        }
        if k[..3] != v[..3] || k[3] != q[2] || k[1] == 0 || q[1] % k[1] != 0 {
            return Err("pools, heads and head sizes do not fit one another".into());
        }
        check_placement(&inputs[3..6], q[0])?;
        if inputs.len() != if self.sinks { 7 } else { 6 } {
            return Err("sinks must be given exactly when the attribute says so".into());
        }
        if self.sinks && inputs[6].shape()[..] != q[1..2] {
            return Err(format!("sinks must be [{}]", q[1]));
        }
        Ok(([q[0], q[1], v[3]].into(), DType::F32))
    }

    pub(super) fn decompose(self, inputs: &[&Array]) -> Array {
        let (q, table, sequence, position) = (inputs[0].cast(DType::F32), inputs[3], inputs[4], inputs[5]);
        let (tokens, heads, dim) = (q.shape()[0], q.shape()[1], q.shape()[2]);
        let (kv_heads, page, v_dim) = (inputs[1].shape()[1], inputs[1].shape()[2], inputs[2].shape()[3]);
        let group = heads / kv_heads;
        let len = table.shape()[1] * page;
        let rows = table.maximum(0).gather(&sequence.maximum(0)); // [tokens, pages]
        let fetch = |pool: &Array, dim: usize| {
            let pages = pool.gather(&rows); // [tokens, pages, kv_heads, page, dim]
            let ordered = pages.transpose(&[0, 2, 1, 3, 4]).reshape([tokens, kv_heads, len, dim]);
            ordered.cast(DType::F32)
        };
        let (k, v) = (fetch(inputs[1], dim), fetch(inputs[2], v_dim));
        let grouped = q.reshape([tokens, kv_heads, group, dim]);
        let mut scores = grouped.matmul(&k.t()) * self.scale.get(); // [tokens, kv_heads, group, len]
        if let Some(cap) = self.softcap {
            scores = (scores / cap.get()).tanh() * cap.get();
        }
        let last = position.reshape([tokens, 1, 1, 1]);
        let key = Array::iota(len);
        let mut seen = key.less_equal(&last);
        if let Some(window) = self.window {
            seen = seen.and((&last - window as i32).less(&key));
        }
        scores = seen.select(scores, f32::MIN);
        if self.sinks {
            let sinks = inputs[6].cast(DType::F32).reshape([1, kv_heads, group, 1]);
            scores = Array::concat(&[&scores, &sinks.broadcast_to([tokens, kv_heads, group, 1])], -1);
        }
        let weights = Fused::Softmax(super::Softmax).decompose(&[&scores]).slice(-1, 0..len);
        let out = weights.matmul(&v).reshape([tokens, heads, v_dim]);
        sequence.less(0).reshape([tokens, 1, 1]).select(0.0, out)
    }
}

impl Array {
    /// Attention of `self` `[tokens, heads, dim]` over the pages of each token's sequence; see
    /// [`PagedAttention`]. `sinks` are one logit per head.
    #[track_caller]
    pub fn paged_attention(&self, pages: &Pages<'_>, sinks: Option<&Array>, op: PagedAttention) -> Self {
        let op = PagedAttention { sinks: sinks.is_some(), ..op };
        let Pages { keys, values, page_table, sequence, position } = pages;
        let mut inputs = vec![self, keys, values, page_table, sequence, position];
        inputs.extend(sinks);
        Self::apply(Op::Fused(Fused::PagedAttention(op)), &inputs)
    }
}
