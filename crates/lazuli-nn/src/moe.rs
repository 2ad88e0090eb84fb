//! [`Moe`]: a feed-forward part of many experts, of which each token uses a few, and the routers that choose them.
//!
//! Which experts a token gets is data: the graph is the same whatever is chosen, and the weights of experts that
//! nobody chose are not read (`Array::expert_matmul`).

mod experts;
mod router;

use lazuli_core::Array;

pub use experts::{ExpertActivation, ExpertNames, Experts};
pub use router::{Chosen, Groups, Router, RouterConfig, Score};

use crate::{Bias, GatedMlp, Linear, Result, Weights};

/// A feed-forward part of experts, and perhaps one that every token passes.
#[derive(Debug, Clone)]
pub struct Moe {
    router: Router,
    experts: Experts,
    shared: Option<SharedExperts>,
}

/// What every token passes besides its chosen experts: experts merged into one MLP (DeepSeek), perhaps weighted by a
/// gate of its own (Qwen2-MoE).
#[derive(Debug, Clone)]
pub struct SharedExperts {
    mlp: GatedMlp,
    gate: Option<Linear>,
}

impl SharedExperts {
    /// `mlp` for every token as it is.
    pub fn new(mlp: GatedMlp) -> Self {
        Self { mlp, gate: None }
    }

    /// `mlp` times the sigmoid of a projection `weight` `[1, hidden]` that `weights` holds.
    ///
    /// # Errors
    /// If it is missing or has another shape.
    pub fn gated(mlp: GatedMlp, weights: &Weights, hidden: usize) -> Result<Self> {
        Ok(Self { mlp, gate: Some(Linear::load(weights, 1, hidden, Bias::Without)?.fine()) })
    }

    fn forward(&self, x: &Array) -> Array {
        let y = self.mlp.forward(x);
        match &self.gate {
            Some(gate) => gate.forward(x).sigmoid() * y, // [tokens, 1] * [tokens, hidden]
            None => y,
        }
    }
}

impl Moe {
    /// Puts the parts together.
    pub fn new(router: Router, experts: Experts, shared: Option<SharedExperts>) -> Self {
        Self { router, experts, shared }
    }

    /// `[tokens, hidden]` to f32 `[tokens, hidden]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let tokens = x.shape()[0];
        let Chosen { ids, weights } = self.router.forward(x);
        let y = self.experts.forward(x, &ids); // [tokens, chosen, hidden]
        let weights = weights.expand_dims(1); // [tokens, 1, chosen]
        let routed = weights.matmul(&y).reshape([tokens, y.shape()[2]]);
        match &self.shared {
            Some(shared) => routed + shared.forward(x),
            None => routed,
        }
    }
}

/// The feed-forward part of a layer in models where only some layers have experts.
#[derive(Debug, Clone)]
pub enum FeedForward {
    /// One MLP.
    Dense(GatedMlp),
    /// Experts.
    Sparse(Box<Moe>),
}

impl From<GatedMlp> for FeedForward {
    fn from(mlp: GatedMlp) -> Self {
        Self::Dense(mlp)
    }
}

impl From<Moe> for FeedForward {
    fn from(moe: Moe) -> Self {
        Self::Sparse(Box::new(moe))
    }
}

impl FeedForward {
    /// `[tokens, hidden]` to f32 `[tokens, hidden]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        match self {
            Self::Dense(mlp) => mlp.forward(x),
            Self::Sparse(moe) => moe.forward(x),
        }
    }
}
