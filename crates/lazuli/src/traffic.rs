//! [`DecodeTraffic`]: the bytes that generating one token must move, read off the plan that does it.

use lazuli_core::plan::{Operand, Plan, StepKind};
use lazuli_core::{Fused, Op};

/// What one decode step of one sequence reads from memory: weights, and keys and values of its context. Dividing
/// by the time of a step gives a speed that can be compared with the memory's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeTraffic {
    /// Bytes of weights. Of an embedding that is looked up, only the rows read; of experts, only as many as a token
    /// uses.
    pub weights: usize,
    attention: Vec<LayerTraffic>,
}

/// What one layer's attention reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LayerTraffic {
    bytes_per_token: usize,
    window: Option<usize>,
}

impl DecodeTraffic {
    /// The traffic of `plan`, which appends one token to one sequence.
    pub fn of(plan: &Plan) -> Self {
        let attention = plan.steps.iter().filter_map(|step| match &step.kind {
            StepKind::Op(Op::Fused(Fused::PagedAttention(attention))) => Some(LayerTraffic {
                bytes_per_token: kv_bytes(&step.inputs[1], &step.inputs[2]),
                window: attention.window.map(|w| w as usize),
            }),
            _ => None,
        });
        Self { weights: plan.summary().weight_bytes, attention: attention.collect() }
    }

    /// Bytes of keys and values that a step reads when the sequence has `tokens` tokens, its own included.
    pub fn kv(&self, tokens: usize) -> usize {
        let seen = |layer: &LayerTraffic| layer.window.map_or(tokens, |window| tokens.min(window));
        self.attention.iter().map(|layer| layer.bytes_per_token * seen(layer)).sum()
    }

    /// Mean of weights, keys and values over `steps` steps that begin with a context of `depth` tokens.
    pub fn mean(&self, depth: usize, steps: usize) -> f64 {
        let kv: f64 = (1..=steps).map(|step| self.kv(depth + step) as f64).sum();
        self.weights as f64 + kv / steps.max(1) as f64
    }
}

/// Bytes that one token takes in the pools of keys and values, which latent attention has in one.
fn kv_bytes(keys: &Operand, values: &Operand) -> usize {
    row_bytes(keys) + if values.value == keys.value { 0 } else { row_bytes(values) }
}

/// Bytes that one token takes in a pool `[pages, heads, page_size, dim]`.
fn row_bytes(pool: &Operand) -> usize {
    pool.dtype.bytes(pool.shape[1], pool.shape[3]).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_bound_what_is_read() {
        let layer = |window| LayerTraffic { bytes_per_token: 10, window };
        let traffic = DecodeTraffic { weights: 1000, attention: vec![layer(None), layer(Some(4))] };
        assert_eq!((traffic.kv(3), traffic.kv(6)), (60, 100));
        assert!((traffic.mean(3, 2) - (1000.0 + 80.0_f64.midpoint(90.0))).abs() < 1e-9);
    }
}
