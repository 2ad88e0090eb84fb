//! Fused operations: each *means* a graph of primitives, and a backend may run it faster.
//!
//! One file each: attributes, builder, inference, decomposition. A new one is such a file and a line here; it is
//! then right on every backend at once.

mod attention;
mod choice;
mod gated;
mod latent;
mod norm;
mod rope;
mod softmax;

pub use attention::{PagedAttention, Pages};
pub use choice::{ExpertChoice, GroupRank};
pub use gated::{Activation, Gated};
pub use latent::{LatentAttention, Latents};
pub use norm::{LayerNorm, RmsNorm};
pub use rope::{Rope, RopeStyle};
pub use softmax::Softmax;

use crate::{Array, DType, Shape};

macro_rules! fused {
    ($($(#[$doc:meta])* $variant:ident => $name:literal),* $(,)?) => {
        /// A fused operation with its attributes.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum Fused {$(
            $(#[$doc])*
            $variant($variant),
        )*}

        impl Fused {
            /// The operation's name.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }

            /// Shape and type of the result, or what does not fit.
            pub(crate) fn infer(&self, inputs: &[&Array]) -> Result<(Shape, DType), String> {
                match self { $(Self::$variant(op) => op.infer(inputs),)* }
            }

            /// The same value as a graph of primitives.
            pub fn decompose(&self, inputs: &[&Array]) -> Array {
                match self { $(Self::$variant(op) => op.decompose(inputs),)* }
            }
        }
    };
}

fused! {
    /// Softmax along the last axis.
    Softmax => "softmax",
    /// Root mean square normalisation of rows.
    RmsNorm => "rms_norm",
    /// Mean and variance normalisation of rows.
    LayerNorm => "layer_norm",
    /// Rotary position embedding.
    Rope => "rope",
    /// Activation of a gate times another projection.
    Gated => "gated",
    /// Experts chosen among the best groups.
    ExpertChoice => "expert_choice",
    /// Attention of a ragged batch over paged keys and values.
    PagedAttention => "paged_attention",
    /// Attention over pages of latent rows, expanded for each head.
    LatentAttention => "latent_attention",
}

fn float_rows(name: &str, x: &Array) -> Result<(), String> {
    if x.dtype().is_float() && x.shape().rank() >= 1 {
        Ok(())
    } else {
        Err(format!("{name} needs float rows, not {} {}", x.dtype(), x.shape()))
    }
}
