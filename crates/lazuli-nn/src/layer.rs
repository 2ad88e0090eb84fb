//! Decoder layers of the two forms that most architectures have.

use lazuli_core::Array;

use crate::{Attention, BatchArrays, FeedForward, GatedMlp, KvPool, RmsNorm, RopeTables};

/// Norms before each half, as in Llama: `x + attention(norm(x))`, then `x + mlp(norm(x))`.
#[derive(Debug, Clone)]
pub struct PreNormLayer {
    /// Before attention.
    pub attention_norm: RmsNorm,
    /// The first half.
    pub attention: Attention,
    /// Before the feed-forward part.
    pub mlp_norm: RmsNorm,
    /// The second half.
    pub mlp: FeedForward,
}

impl PreNormLayer {
    /// `x` `[tokens, hidden]` behind the layer; its keys and values are written into layer `index` of the pool.
    #[track_caller]
    pub fn forward(
        &self,
        x: &Array,
        rope: &RopeTables,
        batch: &BatchArrays,
        kv: &mut KvPool,
        index: usize,
    ) -> Array {
        let x = x + self.attention.forward(&self.attention_norm.forward(x), rope, batch, kv, index);
        let fed = self.mlp.forward(&self.mlp_norm.forward(&x));
        x + fed
    }
}

/// Norms before and after each half, as in Gemma 2: `x + norm(attention(norm(x)))`, then the same with the
/// feed-forward part.
#[derive(Debug, Clone)]
pub struct SandwichLayer {
    /// Before attention.
    pub attention_norm: RmsNorm,
    /// The first half.
    pub attention: Attention,
    /// Behind attention.
    pub attention_out_norm: RmsNorm,
    /// Before the feed-forward part.
    pub mlp_norm: RmsNorm,
    /// The second half.
    pub mlp: GatedMlp,
    /// Behind it.
    pub mlp_out_norm: RmsNorm,
}

impl SandwichLayer {
    /// As [`PreNormLayer::forward`].
    #[track_caller]
    pub fn forward(
        &self,
        x: &Array,
        rope: &RopeTables,
        batch: &BatchArrays,
        kv: &mut KvPool,
        index: usize,
    ) -> Array {
        let attended = self.attention.forward(&self.attention_norm.forward(x), rope, batch, kv, index);
        let x = x + self.attention_out_norm.forward(&attended);
        let fed = self.mlp.forward(&self.mlp_norm.forward(&x));
        x + self.mlp_out_norm.forward(&fed)
    }
}
