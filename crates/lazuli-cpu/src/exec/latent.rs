//! Attention that expands latent rows: where its projections lie, and its scratch memory.

use lazuli_core::fused::LatentAttention;
use lazuli_core::plan::{Operand, Step};
use lazuli_core::{DType, Result};

use super::compile::{Stage, Wave, element, unsupported};
use super::task::latent::{LatentTask, Projection};
use super::task::{Kernel, Loc};
use crate::kernel::attention;
use crate::kernel::latent::{Latent, Shape, Stored};

impl Wave<'_> {
    /// Binds the attention; `step`'s inputs are those of [`LatentAttention`]. Both precisions compute in f32.
    ///
    /// # Errors
    /// Packed projections whose rows do not follow one another.
    pub fn latent_attention(&mut self, op: LatentAttention, step: &Step) -> Result<()> {
        let (q, rows, table) = (&step.inputs[0], &step.inputs[1], &step.inputs[4]);
        let (key_up, value_up) = (&step.inputs[2], &step.inputs[3]);
        let (rows_at, keys) = self.rows_of_pages(rows);
        let shape = Shape {
            rows: attention::Shape {
                tokens: q.shape[0],
                heads: q.shape[1],
                kv_heads: 1,
                dim: rows.shape[3],
                v_dim: value_up.shape[1],
                keys,
                values: keys,
                pages: rows.shape[0],
                page_size: rows.shape[2],
                sequences: table.shape[0],
                pages_per_sequence: table.shape[1],
                kv: element(rows.dtype),
                scale: op.scale.get(),
                softcap: None,
                window: None,
            },
            nope: key_up.shape[2],
            rank: key_up.shape[1],
        };
        // Queries go from keys to rows: the outputs are the columns.
        let key = self.projection(key_up, [Stored::Latents, Stored::Outputs], step)?;
        let value = self.projection(value_up, [Stored::Outputs, Stored::Latents], step)?;
        let kernel = Latent::new(self.machine.level, shape, self.machine.threads);
        self.need_scratch(kernel.worker_scratch_bytes());
        let (q_at, q_stride) = self.rows_of_heads(q, DType::F32);
        let mut inputs = vec![q_at, rows_at];
        inputs.extend(step.inputs[4..7].iter().map(|operand| self.dense(operand)));
        let task = LatentTask { kernel, shape: shape.rows, q_stride, key, value };
        self.push_units(Stage::Main, Kernel::AttendLatents(task), &inputs, Loc::of(&step.output), 1);
        Ok(())
    }

    /// Where a projection `[heads, n, k]` lies; `stored` says what its rows are if they lie along `k`, and if across.
    fn projection(&mut self, up: &Operand, stored: [Stored; 2], step: &Step) -> Result<Projection> {
        let (geometry, across) = self.geometry(up);
        let (rows, cols) = if across { (geometry.k, geometry.n) } else { (geometry.n, geometry.k) };
        let packed = up.dtype.is_quantised();
        let strides = &up.layout.strides;
        let one = if across { strides[1] } else { strides[2] };
        if packed && (one != 1 || geometry.stride != cols || geometry.step % cols != 0) {
            return Err(unsupported(step, "rows of packed projections must follow one another"));
        }
        Ok(Projection { geometry, dtype: up.dtype, rows, cols, stored: stored[usize::from(across)] })
    }
}
