//! Plans for people: a line per step, and totals.

use std::fmt;

use crate::{Fused, Op};

use super::{ChainOp, Operand, Place, Plan, Step, StepKind};

/// Totals of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanSummary {
    /// Number of steps.
    pub steps: usize,
    /// Number of waves: barriers plus one.
    pub waves: usize,
    /// Bytes that the steps read, keys and values of earlier tokens not counted.
    pub bytes_read: usize,
    /// Bytes of packed or float weights among them (leaves of two and more axes, rows really used).
    pub weight_bytes: usize,
    /// Bytes that the steps write.
    pub bytes_written: usize,
    /// Bytes of the arena.
    pub arena_bytes: usize,
    /// Bytes of the results.
    pub output_bytes: usize,
}

impl Step {
    /// A short name: the operation, or the operations of a chain joined by `+`.
    pub fn name(&self) -> String {
        match &self.kind {
            StepKind::Op(Op::Unary(op)) => format!("{op:?}").to_lowercase(),
            StepKind::Op(Op::Binary(op)) => format!("{op:?}").to_lowercase(),
            StepKind::Op(Op::Reduce { kind, .. }) => format!("{kind:?}").to_lowercase(),
            StepKind::Op(op) => op.name().to_string(),
            StepKind::Chain(chain) => {
                let names = chain.instrs.iter().filter_map(|instr| match instr.op {
                    ChainOp::Const(_) => None,
                    ChainOp::Move => Some("cast".to_string()),
                    ChainOp::Unary(op) => Some(format!("{op:?}").to_lowercase()),
                    ChainOp::Binary(op) => Some(format!("{op:?}").to_lowercase()),
                    ChainOp::Select => Some("select".to_string()),
                });
                names.collect::<Vec<_>>().join("+")
            }
        }
    }

    /// Bytes that the step reads. Lookups count the rows they read, not the table; attention counts its
    /// queries and leaves out the cache, whose length is data.
    pub fn bytes_read(&self) -> usize {
        (0..self.inputs.len()).map(|input| self.input_bytes(input)).sum()
    }

    fn input_bytes(&self, input: usize) -> usize {
        let operand = &self.inputs[input];
        match &self.kind {
            StepKind::Op(Op::Gather) if input == 0 => {
                let rows = self.inputs[1].shape.elements();
                rows * operand.bytes().checked_div(operand.shape[0]).unwrap_or(0)
            }
            StepKind::Op(Op::ExpertMatmul) if input == 1 => {
                // Each chosen expert once, at most all of them.
                let experts = operand.shape[0];
                operand.bytes() / experts * self.inputs[2].shape.elements().min(experts)
            }
            StepKind::Op(Op::KvWrite { .. }) if input == 0 => 0,
            StepKind::Op(Op::Fused(Fused::PagedAttention(_))) if input == 1 || input == 2 => 0,
            StepKind::Op(Op::Fused(Fused::LatentAttention(_))) if input == 1 => 0,
            _ if operand.layout.strides.contains(&0) => 4,
            _ => operand.bytes(),
        }
    }

    /// Bytes that the step writes.
    pub fn bytes_written(&self) -> usize {
        let written = match self.kind {
            StepKind::Op(Op::KvWrite { .. }) => &self.inputs[1],
            _ => &self.output,
        };
        written.bytes()
    }
}

impl Plan {
    /// Adds up the plan.
    pub fn summary(&self) -> PlanSummary {
        let is_weight = |operand: &Operand| {
            let leaf = matches!(self.values[operand.value].place, Place::Leaf(_));
            leaf && (operand.dtype.is_quantised() || (operand.dtype.is_float() && operand.shape.rank() >= 2))
        };
        let weights = self.steps.iter().flat_map(|step| {
            let inputs = step.inputs.iter().enumerate();
            inputs.filter(|(_, o)| is_weight(o)).map(|(i, _)| step.input_bytes(i))
        });
        PlanSummary {
            steps: self.steps.len(),
            waves: self.waves.len(),
            bytes_read: self.steps.iter().map(Step::bytes_read).sum(),
            weight_bytes: weights.sum(),
            bytes_written: self.steps.iter().map(Step::bytes_written).sum(),
            arena_bytes: self.arena_bytes,
            output_bytes: self.output_bytes.iter().sum(),
        }
    }

    fn place_name(&self, operand: &Operand) -> String {
        match self.values[operand.value].place {
            Place::Leaf(leaf) => format!("leaf {leaf}"),
            Place::Arena(offset) => format!("arena+{offset}"),
            Place::Output(output) => format!("output {output}"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, wave) in self.waves.iter().enumerate() {
            for (index, step) in self.steps[wave.clone()].iter().enumerate() {
                let mark = if index == 0 { format!("{number:>4}") } else { "   +".to_string() };
                let output = &step.output;
                writeln!(
                    f,
                    "{mark} {:<24} {:<6} {:<20} {:<16} reads {:>12}  writes {:>10}",
                    step.name(),
                    output.dtype.to_string(),
                    output.shape.to_string(),
                    self.place_name(output),
                    step.bytes_read(),
                    step.bytes_written(),
                )?;
            }
        }
        let sum = self.summary();
        write!(
            f,
            "{} steps in {} waves, {} bytes read ({} of weights), {} written, arena {} bytes, results {} bytes",
            sum.steps,
            sum.waves,
            sum.bytes_read,
            sum.weight_bytes,
            sum.bytes_written,
            sum.arena_bytes,
            sum.output_bytes
        )
    }
}
