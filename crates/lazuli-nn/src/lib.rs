//! Layers of language models, and the paged pool of keys and values that they share.
//!
//! Everything here builds graphs of [`lazuli_core`] arrays and computes nothing itself. Layers take named
//! arrays ([`Weights`]) and numbers; they see no file, no weight format, no device and no request. Whatever
//! changes from one step of a generation to the next is the content of a [`BatchArrays`], never a shape.
#![forbid(unsafe_code)]

mod attention;
mod batch;
mod embedding;
mod error;
mod head;
mod kv;
mod layer;
mod linear;
mod mla;
mod mlp;
mod moe;
mod norm;
mod pass;
mod rope;
mod weights;

pub use attention::{Attention, AttentionConfig, HeadNorms, Projections, Rotation, Sinks};
pub use batch::{Batch, BatchArrays, LONG_RUN, Logits, Place};
pub use embedding::Embedding;
pub use error::{Error, Result};
pub use head::Head;
pub use kv::{Group, KvPool, KvSpec, LayerKv, PAGE_SIZE, SequencePages, pages_kept};
pub use layer::{PreNormLayer, SandwichLayer};
pub use linear::{Bias, Linear};
pub use mla::{Mla, MlaConfig};
pub use mlp::GatedMlp;
pub use moe::{
    Chosen, ExpertActivation, ExpertNames, Experts, FeedForward, Groups, Moe, Router, RouterConfig, Score,
    SharedExperts,
};
pub use norm::{LayerNorm, Norm, RmsNorm};
pub use pass::forward_pass;
pub use rope::{LongRope, Rope, RopeConfig, RopeScaling, RopeTables, Yarn, YarnRamp};
pub use weights::Weights;

// What the settings of these layers are written with.
pub use lazuli_core::fused::{Activation, GroupRank, RopeStyle};
