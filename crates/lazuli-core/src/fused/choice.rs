//! The choice of experts among groups: DeepSeek-V2's and -V3's group-limited routing.

use super::Fused;
use crate::{Array, DType, Op, Shape};

/// Indices of the `count` largest scores of each row, the largest first and the first of equals first, among those
/// of the best groups alone. Groups are equal runs of the row.
///
/// Input: scores `[tokens, experts]`, floats. The result is i32 `[tokens, count]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExpertChoice {
    /// How many experts a token gets.
    pub count: usize,
    /// Into how many groups the experts are divided; 1 for no groups.
    pub groups: usize,
    /// How many of the groups a token may choose from.
    pub kept: usize,
    /// What makes a group good.
    pub rank: GroupRank,
}

/// What the value of a group of experts is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupRank {
    /// Its largest score (DeepSeek-V2).
    Largest,
    /// The sum of its two largest scores (DeepSeek-V3).
    TwoLargest,
}

impl ExpertChoice {
    pub(super) fn infer(self, inputs: &[&Array]) -> Result<(Shape, DType), String> {
        let (shape, dtype) = (inputs[0].shape(), inputs[0].dtype());
        let &[tokens, experts] = &shape[..] else {
            return Err("scores must be [tokens, experts]".into());
        };
        let divides = self.groups > 0 && experts % self.groups == 0 && self.kept <= self.groups;
        let per_group = experts.checked_div(self.groups).unwrap_or(0);
        if !dtype.is_float() || !divides || self.count > self.kept * per_group {
            return Err(format!("{self:?} cannot be made of {experts} {dtype} scores"));
        }
        if self.rank == GroupRank::TwoLargest && self.groups > 1 && per_group < 2 {
            return Err("groups of one have no two largest scores".into());
        }
        Ok(([tokens, self.count].into(), DType::I32))
    }

    pub(super) fn decompose(self, inputs: &[&Array]) -> Array {
        let scores = inputs[0].cast(DType::F32);
        if self.groups == self.kept {
            return scores.top_k(self.count);
        }
        let (tokens, experts) = (scores.shape()[0], scores.shape()[1]);
        let grouped = scores.reshape([tokens, self.groups, experts / self.groups]);
        let value = match self.rank {
            GroupRank::Largest => grouped.max(-1),
            GroupRank::TwoLargest => {
                let flat = grouped.reshape([tokens * self.groups, experts / self.groups]);
                flat.take_along(&flat.top_k(2)).sum(-1).reshape([tokens, self.groups])
            }
        };
        let best = value.top_k(self.kept).expand_dims(1); // [tokens, 1, kept]
        let index = Array::iota(self.groups).reshape([self.groups, 1]);
        let kept = index.equals(&best).cast(DType::F32).sum(-1); // [tokens, groups]
        let allowed = Array::from(0.5).less(&kept).expand_dims(-1);
        allowed.select(&grouped, f32::NEG_INFINITY).reshape([tokens, experts]).top_k(self.count)
    }
}

impl Array {
    /// The experts that each row of scores `[tokens, experts]` chooses, i32 `[tokens, count]`: see
    /// [`ExpertChoice`].
    #[track_caller]
    pub fn expert_choice(&self, op: ExpertChoice) -> Self {
        Self::apply(Op::Fused(Fused::ExpertChoice(op)), &[self])
    }
}
