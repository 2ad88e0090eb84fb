//! [`Tensor`]: the weights of a model, each kind of each layer as one entry.

use super::{Attention, Head, Mlp, ModelShape};

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Rows looked up by token.
    Embedding,
    /// Projection to logits.
    Head,
    /// Projection to queries (both halves of it, where it is compressed).
    Query,
    /// Projection to keys.
    Key,
    /// Projection to values.
    Value,
    /// Projections to and from the compressed row of latent attention.
    Latent,
    /// Projection out of attention.
    AttentionOut,
    /// Gates and inner rows of the dense or shared part.
    Up,
    /// Back from the inner rows.
    Down,
    /// Gates and inner rows of experts.
    ExpertUp,
    /// Back from the inner rows of experts.
    ExpertDown,
    /// The choice of experts.
    Router,
    /// Norms, biases and other single rows.
    Small,
}

impl Part {
    /// Whether rows are multiplied with it.
    pub fn is_product(self) -> bool {
        !matches!(self, Self::Embedding | Self::Small)
    }
}

/// `copies` matrices `[rows, cols]` of one kind in one layer (or outside all layers).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tensor {
    /// What for.
    pub part: Part,
    /// In which layer; 0 for those outside.
    pub layer: usize,
    /// How many alike.
    pub copies: usize,
    /// Rows.
    pub rows: usize,
    /// Elements of a row.
    pub cols: usize,
    /// The share of it that one decode step of one sequence reads.
    pub share: f64,
}

impl Tensor {
    /// Elements of all copies.
    pub fn elements(&self) -> u64 {
        (self.copies as u64).saturating_mul(self.rows as u64).saturating_mul(self.cols as u64)
    }
}

impl ModelShape {
    /// All weights.
    pub fn tensors(&self) -> Vec<Tensor> {
        let mut list = List { tensors: Vec::new(), layer: 0 };
        let (h, v) = (self.hidden, self.vocabulary);
        match self.head {
            // The table is read whole as the projection.
            Head::Tied => list.add(Part::Head, v, h),
            Head::Own => {
                list.push(Part::Embedding, 1, (v, h), 1.0 / v.max(1) as f64);
                list.add(Part::Head, v, h);
            }
        }
        list.add(Part::Small, 1, h);
        for (index, layer) in self.layers.iter().enumerate() {
            list.layer = index;
            list.attention(self, layer.attention);
            list.mlp(self, layer.mlp);
            list.small(self.extras.row_norms * h);
        }
        list.tensors
    }
}

struct List {
    tensors: Vec<Tensor>,
    layer: usize,
}

impl List {
    fn push(&mut self, part: Part, copies: usize, (rows, cols): (usize, usize), share: f64) {
        if copies > 0 && rows > 0 && cols > 0 {
            self.tensors.push(Tensor { part, layer: self.layer, copies, rows, cols, share });
        }
    }

    fn add(&mut self, part: Part, rows: usize, cols: usize) {
        self.push(part, 1, (rows, cols), 1.0);
    }

    fn small(&mut self, elements: usize) {
        self.push(Part::Small, 1, (1, elements), 1.0);
    }

    fn attention(&mut self, model: &ModelShape, attention: Attention) {
        let (h, extras) = (model.hidden, &model.extras);
        match attention {
            Attention::Grouped { heads, kv_heads, head_dim } => {
                self.add(Part::Query, heads * head_dim, h);
                self.add(Part::Key, kv_heads * head_dim, h);
                self.add(Part::Value, kv_heads * head_dim, h);
                self.add(Part::AttentionOut, h, heads * head_dim);
                self.small(extras.head_norms * 2 * head_dim);
                self.small(extras.qkv_bias * (heads + 2 * kv_heads) * head_dim);
                self.small(extras.sinks * heads);
            }
            Attention::Latent { heads, query_rank, kv_rank, nope, rope, value } => {
                let from = query_rank.unwrap_or(h);
                if let Some(rank) = query_rank {
                    self.add(Part::Query, rank, h);
                    self.small(rank);
                }
                self.add(Part::Query, heads * (nope + rope), from);
                self.add(Part::Latent, kv_rank + rope, h);
                self.small(kv_rank);
                self.add(Part::Latent, heads * (nope + value), kv_rank);
                self.add(Part::AttentionOut, h, heads * value);
            }
        }
        self.small(extras.output_bias * h);
    }

    fn mlp(&mut self, model: &ModelShape, mlp: Mlp) {
        let (h, extras) = (model.hidden, &model.extras);
        match mlp {
            Mlp::Dense { inner } => self.dense(h, inner),
            Mlp::Experts { count, active, inner, shared, shared_gate } => {
                let share = active as f64 / count.max(1) as f64;
                self.push(Part::ExpertUp, 2 * count, (inner, h), share);
                self.push(Part::ExpertDown, count, (h, inner), share);
                self.add(Part::Router, count, h);
                self.small(extras.router_bias * count);
                self.push(Part::Small, count, (1, extras.expert_bias * (2 * inner + h)), share);
                self.dense(h, shared);
                self.add(Part::Router, shared_gate, h);
            }
        }
    }

    fn dense(&mut self, hidden: usize, inner: usize) {
        self.push(Part::Up, 2, (inner, hidden), 1.0);
        self.add(Part::Down, hidden, inner);
    }
}
