//! Attention over pages: its two phases and their scratch memory.

use lazuli_core::DType;
use lazuli_core::fused::PagedAttention;
use lazuli_core::plan::{Operand, Place, Step};

use super::compile::{Stage, Wave, element};
use super::task::{AttentionTask, Kernel, Loc};
use crate::kernel::attention::{Attention, Shape, Strides};

impl Wave<'_> {
    /// Binds attention; `step`'s inputs are those of [`PagedAttention`].
    pub fn attention(&mut self, op: &PagedAttention, step: &Step) {
        let (q, keys, values, table) = (&step.inputs[0], &step.inputs[1], &step.inputs[2], &step.inputs[3]);
        let (keys_at, key_strides) = self.rows_of_pages(keys);
        let (values_at, value_strides) = self.rows_of_pages(values);
        let shape = Shape {
            tokens: q.shape[0],
            heads: q.shape[1],
            kv_heads: keys.shape[1],
            dim: q.shape[2],
            v_dim: values.shape[3],
            keys: key_strides,
            values: value_strides,
            pages: keys.shape[0],
            page_size: keys.shape[2],
            sequences: table.shape[0],
            pages_per_sequence: table.shape[1],
            kv: element(keys.dtype),
            scale: op.scale.get(),
            softcap: op.softcap.map(lazuli_core::Scalar::get),
            window: op.window.map(|window| window as usize),
        };
        let kernel = Attention::new(self.machine.level, shape);
        let (q_at, q_stride) = self.rows_of_heads(q, DType::F32);
        let mut inputs = vec![q_at, keys_at, values_at];
        inputs.extend(step.inputs[3..6].iter().map(|operand| self.dense(operand)));
        inputs.extend(step.inputs.get(6).map(|sinks| self.dense_f32(sinks)));
        let shared_bytes = kernel.shared_scratch_bytes();
        let shared = Loc::Workspace(self.reserve(shared_bytes));
        self.need_scratch(kernel.worker_scratch_bytes());
        let schedule = self.schedule(kernel, &step.inputs[3..6], &inputs[3..6]);
        let task = || AttentionTask { kernel, shape, q_stride, sinks: op.sinks, shared, schedule };
        let output = Loc::of(&step.output);
        self.push_units(Stage::Main, Kernel::Attend(task()), &inputs, output, 1);
        if shared_bytes > 0 {
            self.push_units(Stage::Join, Kernel::Join(task()), &inputs, output, 1);
        }
    }

    /// The place of a schedule that other layers share, if nothing in a run changes what it is made from.
    fn schedule(&mut self, kernel: Attention, operands: &[Operand], at: &[Loc]) -> Option<usize> {
        let plan = self.plan;
        let stays = |operand: &Operand| matches!(plan.values[operand.value].place, Place::Leaf(_));
        if !operands.iter().zip(at).all(|(operand, at)| stays(operand) && *at == Loc::of(operand)) {
            return None;
        }
        let key = (kernel, [at[0], at[1], at[2]]);
        let known = self.schedules.iter().position(|other| *other == key);
        Some(known.unwrap_or_else(|| {
            self.schedules.push(key);
            self.schedules.len() - 1
        }))
    }

    /// A pool `[pages, heads, page_size, dim]` whose pages may lie apart and whose rows may be parts of longer ones.
    pub fn rows_of_pages(&mut self, pool: &Operand) -> (Loc, Strides) {
        let (heads, page_size, dim) = (pool.shape[1], pool.shape[2], pool.shape[3]);
        let (page, row) = (pool.layout.strides[0], pool.layout.strides[2]);
        let even = pool.layout.strides[1..] == [page_size * row, row, 1];
        if even {
            (Loc::of(pool), Strides { page, row })
        } else {
            (self.dense(pool), Strides::dense(heads, page_size, dim))
        }
    }
}
