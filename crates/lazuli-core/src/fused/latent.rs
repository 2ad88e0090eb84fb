//! Attention over pages of latent rows, for runs of many tokens (DeepSeek-V2, 2024).
//!
//! A head's keys and values are projections of the rows. Absorbing the projections into queries and results, as the
//! decomposition does, is cheapest for few tokens; a backend may instead expand the rows block by block, which many
//! tokens pay for. Which tokens come here is the caller's choice, so that it depends on shapes alone.

use super::attention::check_placement;
use super::{Fused, PagedAttention, Pages};
use crate::{Array, DType, Op, Scalar, Shape};

/// Causal attention whose keys and values are expanded, for each head, from latent rows in pages.
///
/// Inputs: `q [tokens, heads, nope + rope]` floats, the last `rope` elements rotated; `latents
/// [pages, 1, page_size, rank + rope]`, the last `rope` elements the rotated key of all heads; `key_up
/// [heads, rank, nope]` and `value_up [heads, value_dim, rank]`, floats or packed; then `page_table`, `sequence` and
/// `position` as in [`PagedAttention`]. The result is f32 `[tokens, heads, value_dim]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LatentAttention {
    /// Factor of the dot products.
    pub scale: Scalar,
}

/// The arrays that [`LatentAttention`] reads besides the queries.
pub struct Latents<'a> {
    /// The layer's rows in the pool.
    pub rows: &'a Array,
    /// Rows to the keys of each head, as queries go: `[heads, rank, nope]`.
    pub key_up: &'a Array,
    /// Rows to the values of each head: `[heads, value_dim, rank]`.
    pub value_up: &'a Array,
    /// Which pages each sequence has.
    pub page_table: &'a Array,
    /// Which sequence each token belongs to.
    pub sequence: &'a Array,
    /// Where in its sequence each token stands.
    pub position: &'a Array,
}

impl LatentAttention {
    pub(super) fn infer(self, inputs: &[&Array]) -> Result<(Shape, DType), String> {
        let [q, rows, key_up, value_up] = [0, 1, 2, 3].map(|i| &inputs[i].shape()[..]);
        let (&[tokens, heads, dim], &[_, 1, _, row]) = (q, rows) else {
            return Err("takes q [tokens, heads, dim] and a pool [pages, 1, page_size, rank + rope]".into());
        };
        let (&[key_heads, rank, nope], &[value_heads, value_dim, value_rank]) = (key_up, value_up) else {
            return Err("takes projections [heads, rank, nope] and [heads, value_dim, rank]".into());
        };
        let fits = key_heads == heads && value_heads == heads && value_rank == rank && nope <= dim;
        if !fits || rank + dim != row + nope {
            return Err("heads, rank and head sizes do not fit one another".into());
        }
        let weight = |array: &Array| array.dtype().is_float() || array.dtype().is_quantised();
        if !weight(inputs[2]) || !weight(inputs[3]) {
            return Err("projections must be floats or packed".into());
        }
        check_placement(&inputs[4..7], tokens)?;
        Ok(([tokens, heads, value_dim].into(), DType::F32))
    }

    /// The absorbed form.
    pub(super) fn decompose(self, inputs: &[&Array]) -> Array {
        let (q, rows, key_up, value_up) = (inputs[0], inputs[1], inputs[2], inputs[3]);
        let (rank, nope) = (key_up.shape()[1], key_up.shape()[2]);
        let rotated = q.slice(-1, nope..q.shape()[2]);
        let latents = Latents {
            rows,
            key_up,
            value_up,
            page_table: inputs[4],
            sequence: inputs[5],
            position: inputs[6],
        };
        debug_assert_eq!(rank + rotated.shape()[2], rows.shape()[3]);
        q.slice(-1, 0..nope).absorbed_attention(&rotated, &latents, self)
    }
}

impl Array {
    /// Attention of `self` `[tokens, heads, nope + rope]` over latent rows; see [`LatentAttention`].
    #[track_caller]
    pub fn latent_attention(&self, latents: &Latents<'_>, op: LatentAttention) -> Self {
        let Latents { rows, key_up, value_up, page_table, sequence, position } = latents;
        let inputs = [self, rows, key_up, value_up, page_table, sequence, position];
        Self::apply(Op::Fused(Fused::LatentAttention(op)), &inputs)
    }

    /// The same value by [`PagedAttention`] over the rows themselves: the projection to keys is absorbed into the
    /// queries, that to values follows. `self` `[tokens, heads, nope]` and `rotated` `[tokens, heads, rope]` are the
    /// parts of the queries.
    #[track_caller]
    pub fn absorbed_attention(&self, rotated: &Self, latents: &Latents<'_>, op: LatentAttention) -> Self {
        let Latents { rows, key_up, value_up, page_table, sequence, position } = *latents;
        let (tokens, heads, rank) = (self.shape()[0], self.shape()[1], key_up.shape()[1]);
        // Each head is an expert that every token chooses.
        let each = Self::iota(heads).broadcast_to([tokens, heads]);
        let q = self.expert_matmul(key_up, &each); // [tokens, heads, rank]
        let q = Self::concat(&[&q, rotated], -1); // [tokens, heads, rank + rope]
        let values = rows.slice(-1, 0..rank);
        let pages = Pages { keys: rows, values: &values, page_table, sequence, position };
        let op = PagedAttention { scale: op.scale, window: None, softcap: None, sinks: false };
        q.paged_attention(&pages, None, op).expert_matmul(value_up, &each) // [tokens, heads, value_dim]
    }
}
