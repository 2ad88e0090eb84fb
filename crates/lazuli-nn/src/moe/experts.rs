//! [`Experts`]: the weights of all experts of a layer, however a checkpoint keeps them.

use lazuli_core::Array;
use lazuli_core::fused::Activation;

use crate::{Bias, Result, Weights};

/// What stands between an expert's projections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ExpertActivation {
    /// `activation(gate) * up`.
    Gated(Activation),
    /// `(up + 1) * gate * sigmoid(alpha * gate)`, with `gate` at most `limit` and `up` within `limit` of zero
    /// (GPT-OSS).
    Clamped {
        /// Factor in the sigmoid.
        alpha: f32,
        /// Bound of gate and up.
        limit: f32,
    },
}

impl ExpertActivation {
    fn apply(self, gate: &Array, up: &Array) -> Array {
        match self {
            Self::Gated(activation) => gate.gated(up, activation),
            Self::Clamped { alpha, limit } => {
                let gate = gate.minimum(limit);
                let up = up.minimum(limit).maximum(-limit);
                (up + 1.0) * (&gate * (&gate * alpha).sigmoid())
            }
        }
    }
}

/// What a checkpoint calls the projections of single experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertNames {
    /// To the gate.
    pub gate: &'static str,
    /// To what it gates.
    pub up: &'static str,
    /// Back.
    pub down: &'static str,
}

impl ExpertNames {
    /// As the projections of dense layers are called.
    pub const PROJECTIONS: Self = Self { gate: "gate_proj", up: "up_proj", down: "down_proj" };
    /// As in Mixtral.
    pub const NUMBERED: Self = Self { gate: "w1", up: "w3", down: "w2" };
}

/// The experts of one layer.
#[derive(Debug, Clone)]
pub struct Experts {
    input: Input,
    down: ExpertLinear,
    activation: ExpertActivation,
}

/// The projections to gate and up.
#[derive(Debug, Clone)]
enum Input {
    Separate {
        gate: ExpertLinear,
        up: ExpertLinear,
    },
    /// The rows of all gates, then those of all ups.
    Joined(ExpertLinear),
    /// A row of the gate, then one of up, and so on.
    Alternating(ExpertLinear),
}

/// A projection of each expert: `[experts, outputs, inputs]`, perhaps a stack of tensors that lie apart.
#[derive(Debug, Clone)]
struct ExpertLinear {
    weight: Array,
    bias: Option<Array>,
}

impl ExpertLinear {
    /// `[tokens, inputs]` or `[tokens, chosen, inputs]` to f32 `[tokens, chosen, outputs]`.
    fn forward(&self, x: &Array, ids: &Array) -> Array {
        let y = x.expert_matmul(&self.weight, ids);
        match &self.bias {
            Some(bias) => y + bias.gather(ids),
            None => y,
        }
    }
}

/// Sizes of a layer's experts.
#[derive(Clone, Copy)]
struct Sizes {
    experts: usize,
    inner: usize,
    hidden: usize,
}

impl Experts {
    /// Reads the experts' projections, in the first of these forms that `weights` has: `switch_mlp.gate_proj` and so
    /// on with all experts in one tensor; `experts.gate_up_proj` and `experts.down_proj`, likewise (alternating
    /// rows if the activation is clamped, whose float tensors are `[experts, inputs, outputs]`);
    /// `experts.gate_proj` and so on; `experts.<number>` with the given `names`. Clamped experts have no numbers: if none
    /// of their forms is there, the second is asked for.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn load(
        weights: &Weights,
        [experts, inner, hidden]: [usize; 3],
        (names, bias): (ExpertNames, Bias),
        activation: ExpertActivation,
    ) -> Result<Self> {
        let sizes = Sizes { experts, inner, hidden };
        let whole = weights.at("experts");
        let (input, down) = if weights.contains("switch_mlp.down_proj.weight") {
            Self::stacked(&weights.at("switch_mlp"), sizes, bias)?
        } else if whole.contains("gate_up_proj") {
            Self::joined(&whole, sizes, bias, activation)?
        } else if whole.contains("down_proj.weight") {
            Self::stacked(&whole, sizes, bias)?
        } else if matches!(activation, ExpertActivation::Clamped { .. }) {
            Self::joined(&whole, sizes, bias, activation)?
        } else {
            let all = |name, n, k| -> Result<ExpertLinear> {
                Ok(ExpertLinear {
                    weight: whole.stacked(experts, &format!("{name}.weight"), [n, k])?,
                    bias: None,
                })
            };
            let (gate, up) = (all(names.gate, inner, hidden)?, all(names.up, inner, hidden)?);
            (Input::Separate { gate, up }, all(names.down, hidden, inner)?)
        };
        Ok(Self { input, down, activation })
    }

    fn stacked(weights: &Weights, sizes: Sizes, bias: Bias) -> Result<(Input, ExpertLinear)> {
        let Sizes { experts, inner, hidden } = sizes;
        let read = |name: &str, n: usize, k: usize| -> Result<ExpertLinear> {
            let place = weights.at(name);
            let weight = place.get("weight", [experts, n, k])?;
            let bias = if bias == Bias::With { Some(place.get("bias", [experts, n])?) } else { None };
            Ok(ExpertLinear { weight, bias })
        };
        let (gate, up) = (read("gate_proj", inner, hidden)?, read("up_proj", inner, hidden)?);
        Ok((Input::Separate { gate, up }, read("down_proj", hidden, inner)?))
    }

    fn joined(
        weights: &Weights,
        sizes: Sizes,
        bias: Bias,
        activation: ExpertActivation,
    ) -> Result<(Input, ExpertLinear)> {
        let Sizes { experts, inner, hidden } = sizes;
        let clamped = matches!(activation, ExpertActivation::Clamped { .. });
        let read = |name: &str, n: usize, k: usize| -> Result<ExpertLinear> {
            // The published code of GPT-OSS multiplies rows by matrices; its packed form has outputs as rows.
            let weight = if clamped && weights.float(name) {
                weights.get(name, [experts, k, n])?.transpose(&[0, 2, 1])
            } else {
                weights.get(name, [experts, n, k])?
            };
            let with = bias == Bias::With;
            let bias = if with { Some(weights.get(&format!("{name}_bias"), [experts, n])?) } else { None };
            Ok(ExpertLinear { weight, bias })
        };
        let input = read("gate_up_proj", 2 * inner, hidden)?;
        let input = if clamped { Input::Alternating(input) } else { Input::Joined(input) };
        Ok((input, read("down_proj", hidden, inner)?))
    }

    /// `[tokens, hidden]` to f32 `[tokens, chosen, hidden]`: the results of the experts in `ids` (i32
    /// `[tokens, chosen]`).
    #[track_caller]
    pub fn forward(&self, x: &Array, ids: &Array) -> Array {
        let inner = self.down.weight.shape()[2];
        let (gate, up) = match &self.input {
            Input::Separate { gate, up } => (gate.forward(x, ids), up.forward(x, ids)),
            Input::Joined(both) => {
                let both = both.forward(x, ids); // [tokens, chosen, 2 * inner]
                (both.slice(-1, 0..inner), both.slice(-1, inner..2 * inner))
            }
            Input::Alternating(both) => {
                let (tokens, chosen) = (ids.shape()[0], ids.shape()[1]);
                let pairs = both.forward(x, ids).reshape([tokens, chosen, inner, 2]);
                let part = |i: usize| pairs.slice(-1, i..i + 1).reshape([tokens, chosen, inner]);
                (part(0), part(1))
            }
        };
        self.down.forward(&self.activation.apply(&gate, &up), ids)
    }
}
