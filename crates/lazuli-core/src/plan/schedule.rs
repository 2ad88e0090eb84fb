//! Ordering steps into waves: a step runs one wave after the last of the steps that it reads from.

use std::collections::HashMap;

use crate::graph::Graph;

use super::fuse::Draft;

/// The wave of each draft step, in the drafts' order. Equal numbers may run together.
pub(super) fn waves(graph: &Graph, drafts: &[Draft]) -> Vec<usize> {
    let mut made_in: HashMap<u32, usize> = HashMap::with_capacity(drafts.len());
    drafts
        .iter()
        .map(|draft| {
            let after = |&input: &u32| made_in.get(&graph.base(input).0).map_or(0, |wave| wave + 1);
            let wave = draft.inputs.iter().map(after).max().unwrap_or(0);
            made_in.insert(draft.output, wave);
            wave
        })
        .collect()
}
