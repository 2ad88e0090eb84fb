//! Giving values their places: leaves bring memory, results get their own, all else shares the arena by
//! lifetime. Elementwise steps write over an input that dies with them.

use std::ops::Range;

use smallvec::SmallVec;

use crate::graph::{Graph, Source};
use crate::{Fused, Layout, Op};

use super::fuse::Draft;
use super::{ARENA_ALIGNMENT, Operand, Place, Plan, Step, StepKind, Value};

/// A range of arena bytes and the waves (first to last, inclusive) in which its contents matter.
#[derive(Debug, Clone, Copy)]
struct Slot {
    bytes: usize,
    first: usize,
    last: usize,
}

/// Orders the drafts by wave and places their values.
pub(super) fn place(graph: &Graph, drafts: Vec<Draft>, wave_of: &[usize]) -> Plan {
    let mut order: Vec<(usize, Draft)> = wave_of.iter().copied().zip(drafts).collect();
    order.sort_by_key(|&(wave, _)| wave);
    let mut placer = Placer::new(graph);
    for (_, draft) in &order {
        placer.define(draft);
    }
    let mut last_read = vec![0; placer.values.len()];
    for (wave, draft) in &order {
        for &input in &draft.inputs {
            last_read[placer.value(input)] = *wave;
        }
    }
    let outputs: Vec<Operand> = graph.outputs.iter().map(|&node| placer.operand(node)).collect();
    let output_bytes = placer.place_outputs(&outputs);
    let slots = placer.share_slots(&order, &last_read);
    let arena_bytes = placer.place_slots(&slots);
    let waves = ranges(&order);
    let steps = order
        .into_iter()
        .map(|(_, draft)| Step {
            inputs: draft.inputs.iter().map(|&input| placer.operand(input)).collect(),
            output: placer.operand(draft.output),
            kind: draft.kind,
        })
        .collect();
    Plan { steps, waves, values: placer.values, outputs, arena_bytes, output_bytes }
}

fn ranges(order: &[(usize, Draft)]) -> Vec<Range<usize>> {
    let mut waves: Vec<Range<usize>> = Vec::new();
    for (index, (wave, _)) in order.iter().enumerate() {
        if index > 0 && order[index - 1].0 == *wave {
            if let Some(open) = waves.last_mut() {
                open.end = index + 1;
            }
        } else {
            waves.push(index..index + 1);
        }
    }
    waves
}

struct Placer<'a> {
    graph: &'a Graph,
    /// The value of each node that has storage.
    value_of: Vec<Option<usize>>,
    values: Vec<Value>,
    /// Which arena slot a value lies in.
    slot_of: Vec<Option<usize>>,
    readers: Vec<SmallVec<[u32; 2]>>,
}

impl<'a> Placer<'a> {
    fn new(graph: &'a Graph) -> Self {
        let mut placer = Self {
            graph,
            value_of: vec![None; graph.nodes.len()],
            values: Vec::new(),
            slot_of: Vec::new(),
            readers: graph.readers(),
        };
        let leaves = graph.nodes.iter().enumerate().filter(|(_, n)| matches!(n.source, Source::Leaf { .. }));
        for (number, (index, _)) in leaves.enumerate() {
            placer.add(index, Value { bytes: 0, place: Place::Leaf(number) });
        }
        placer
    }

    fn add(&mut self, node: usize, value: Value) {
        self.value_of[node] = Some(self.values.len());
        self.values.push(value);
        self.slot_of.push(None);
    }

    /// Makes the value that a step writes: new storage, or the KV pool's own when nobody else reads that.
    fn define(&mut self, draft: &Draft) {
        let node = &self.graph.nodes[draft.output as usize];
        if let StepKind::Op(Op::KvWrite { .. }) = draft.kind {
            let (pool, layout) = self.graph.base(draft.inputs[0]);
            let asked = self.graph.outputs.iter().any(|&output| self.graph.base(output).0 == pool);
            let dying = match self.graph.nodes[pool as usize].source {
                Source::Leaf { donated, .. } => donated,
                Source::Op { .. } => true,
            };
            let alone = self.readers[pool as usize].len() == 1 && !asked;
            if dying && alone && layout == node.own_layout() {
                self.value_of[draft.output as usize] = self.value_of[pool as usize];
                return;
            }
        }
        let value = Value { bytes: node.storage_bytes(), place: Place::Arena(0) };
        self.add(draft.output as usize, value);
    }

    fn value(&self, node: u32) -> usize {
        let base = self.graph.base(node).0 as usize;
        self.value_of[base].expect("a node is read only after the step that makes it")
    }

    fn operand(&self, node: u32) -> Operand {
        let graph_node = &self.graph.nodes[node as usize];
        Operand {
            value: self.value(node),
            shape: graph_node.shape.clone(),
            dtype: graph_node.dtype,
            layout: self.graph.base(node).1,
        }
    }

    /// Gives every value that was asked for memory of its own; returns the sizes.
    fn place_outputs(&mut self, outputs: &[Operand]) -> Vec<usize> {
        let mut sizes = Vec::new();
        for output in outputs {
            let value = &mut self.values[output.value];
            if let Place::Arena(_) = value.place {
                value.place = Place::Output(sizes.len());
                sizes.push(value.bytes);
            }
        }
        sizes
    }

    /// Gives each value in the arena a slot; an elementwise step takes over the slot of an input that dies.
    fn share_slots(&mut self, order: &[(usize, Draft)], last_read: &[usize]) -> Vec<Slot> {
        let mut slots: Vec<Slot> = Vec::new();
        for (index, (wave, draft)) in order.iter().enumerate() {
            let value = self.value(draft.output);
            if !matches!(self.values[value].place, Place::Arena(_)) {
                continue;
            }
            let last = last_read[value].max(*wave);
            if let Some(slot) = self.slot_of[value] {
                slots[slot].last = slots[slot].last.max(last);
                continue;
            }
            let reads_beside = |other: usize| {
                let same_wave = order.iter().enumerate().filter(|&(i, (w, _))| w == wave && i != index);
                same_wave.flat_map(|(_, (_, d))| &d.inputs).any(|&input| self.value(input) == other)
            };
            let taken = self.dying_input(draft, *wave, last_read, &reads_beside);
            let slot = taken.unwrap_or_else(|| {
                slots.push(Slot { bytes: self.values[value].bytes, first: *wave, last });
                slots.len() - 1
            });
            slots[slot].last = slots[slot].last.max(last);
            self.slot_of[value] = Some(slot);
        }
        slots
    }

    /// The slot of an input that this elementwise step may overwrite: same size, read as a whole and in order,
    /// by this step alone in its wave and by none later.
    fn dying_input(
        &self,
        draft: &Draft,
        wave: usize,
        last_read: &[usize],
        reads_beside: &dyn Fn(usize) -> bool,
    ) -> Option<usize> {
        if !matches!(draft.kind, StepKind::Chain(_) | StepKind::Op(Op::Fused(Fused::Gated(_)))) {
            return None;
        }
        let output = self.operand(draft.output);
        draft.inputs.iter().find_map(|&input| {
            let operand = self.operand(input);
            let whole = operand.layout == Layout::contiguous(&operand.shape)
                && operand.shape == output.shape
                && operand.dtype.size() == output.dtype.size();
            let once = draft.inputs.iter().filter(|&&i| self.value(i) == operand.value).count() == 1;
            let last = last_read[operand.value] == wave;
            if whole && once && last && !reads_beside(operand.value) {
                self.slot_of[operand.value]
            } else {
                None
            }
        })
    }

    /// Packs slots into the arena, largest first, each at the lowest offset where no slot that lives at the
    /// same time lies. Returns the arena's size.
    fn place_slots(&mut self, slots: &[Slot]) -> usize {
        let mut by_size: Vec<usize> = (0..slots.len()).collect();
        by_size.sort_by_key(|&slot| std::cmp::Reverse(slots[slot].bytes));
        let mut placed: Vec<(usize, usize)> = Vec::new(); // (offset, slot), sorted by offset
        let mut offsets = vec![0; slots.len()];
        let mut arena = 0;
        for slot in by_size {
            let size = slots[slot].bytes.next_multiple_of(ARENA_ALIGNMENT);
            let mut offset = 0;
            for &(start, other) in &placed {
                let together =
                    slots[slot].first <= slots[other].last && slots[other].first <= slots[slot].last;
                if together {
                    if offset + size <= start {
                        break;
                    }
                    offset = offset.max(start + slots[other].bytes.next_multiple_of(ARENA_ALIGNMENT));
                }
            }
            offsets[slot] = offset;
            arena = arena.max(offset + size);
            let at = placed.partition_point(|&(start, _)| start <= offset);
            placed.insert(at, (offset, slot));
        }
        for (value, slot) in self.values.iter_mut().zip(&self.slot_of) {
            if let (Place::Arena(offset), Some(slot)) = (&mut value.place, slot) {
                *offset = offsets[*slot];
            }
        }
        arena
    }
}
