//! Experts that a Hugging Face checkpoint keeps one by one, stacked as MLX's models have them.

use std::collections::BTreeMap;

use lazuli_io::Checkpoint;

use super::draft::{DraftTensor, Origin};

/// Joins `{layer}.experts.{n}.{projection}.weight` for all `n` to `{layer}.switch_mlp.{projection}.weight` of shape
/// `[experts, rows, cols]`, in the place of the first. What is not complete, or of several shapes, stays as it is.
pub fn stack_experts(tensors: &[DraftTensor], checkpoint: &Checkpoint) -> Vec<DraftTensor> {
    let mut groups: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
    for (place, tensor) in tensors.iter().enumerate() {
        if let Some((name, number)) = expert(&tensor.name) {
            groups.entry(name).or_default().push((number, place));
        }
    }
    groups.retain(|_, members| {
        members.sort_unstable();
        let first = members[0].1;
        let alike = |place: usize| {
            tensors[place].shape == tensors[first].shape
                && tensors[place].stored(checkpoint) == tensors[first].stored(checkpoint)
        };
        members.iter().enumerate().all(|(i, &(number, place))| i == number && alike(place))
    });
    let mut stacked = Vec::with_capacity(tensors.len());
    for (place, tensor) in tensors.iter().enumerate() {
        let group = expert(&tensor.name).and_then(|(name, _)| groups.get_key_value(&name));
        let Some((name, members)) = group else {
            stacked.push(tensor.clone());
            continue;
        };
        if members.iter().map(|(_, place)| *place).min() == Some(place) {
            stacked.push(join(name, members, tensors));
        }
    }
    stacked
}

fn join(name: &str, members: &[(usize, usize)], tensors: &[DraftTensor]) -> DraftTensor {
    let mut origin = tensors[members[0].1].origin.clone();
    if let Origin::Stored { tensors: places, .. } = &mut origin {
        *places = members.iter().flat_map(|&(_, place)| sources(&tensors[place])).collect();
    }
    let shape = [&[members.len()][..], &tensors[members[0].1].shape].concat();
    DraftTensor { name: name.to_owned(), shape, origin }
}

fn sources(tensor: &DraftTensor) -> Vec<usize> {
    match &tensor.origin {
        Origin::Stored { tensors, .. } => tensors.clone(),
        Origin::Computed(_) => Vec::new(),
    }
}

/// The stacked tensor's name, and the expert's number.
fn expert(name: &str) -> Option<(String, usize)> {
    let (layer, rest) = name.split_once(".experts.")?;
    let (number, rest) = rest.split_once('.')?;
    let projection = match rest.strip_suffix(".weight")? {
        "w1" => "gate_proj",
        "w2" => "down_proj",
        "w3" => "up_proj",
        other if !other.contains('.') => other,
        _ => return None,
    };
    Some((format!("{layer}.switch_mlp.{projection}.weight"), number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_are_known_by_their_names() {
        let name = |name: &str| expert(name).map(|(name, number)| format!("{name} {number}"));
        let mixtral = name("model.layers.3.block_sparse_moe.experts.7.w2.weight");
        assert_eq!(mixtral.unwrap(), "model.layers.3.block_sparse_moe.switch_mlp.down_proj.weight 7");
        let qwen = name("model.layers.3.mlp.experts.12.up_proj.weight");
        assert_eq!(qwen.unwrap(), "model.layers.3.mlp.switch_mlp.up_proj.weight 12");
        for other in
            ["model.layers.3.mlp.experts.gate_up_proj", "model.layers.3.mlp.shared_experts.up_proj.weight"]
        {
            assert_eq!(name(other), None);
        }
    }
}
