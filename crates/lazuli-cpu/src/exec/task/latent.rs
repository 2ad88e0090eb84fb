//! Running attention over latent rows: every worker finds the same units in the batch, and decodes their projections.

use lazuli_core::{DType, Result};

use super::super::compile::element;
use super::experts::Geometry;
use super::{Loc, Memory, Scratch, batch, decode_error, index_error};
use crate::kernel::attention;
use crate::kernel::latent::{Arrays, Latent, Schedule, Stored, Up, Ups};
use crate::kernel::matmul_float::{PackedRows, Weights};
use crate::pool::Worker;

/// Attention with what it needs besides its operands.
pub(in crate::exec) struct LatentTask {
    pub kernel: Latent,
    pub shape: attention::Shape,
    pub q_stride: usize,
    pub key: Projection,
    pub value: Projection,
}

/// The projections of all heads.
pub(in crate::exec) struct Projection {
    pub geometry: Geometry,
    pub dtype: DType,
    /// A head's stored rows, and their length.
    pub rows: usize,
    pub cols: usize,
    pub stored: Stored,
}

impl LatentTask {
    /// Computes those units that `worker` is the first to take.
    pub fn run(
        &self,
        inputs: &[Loc],
        output: Loc,
        worker: &Worker<'_>,
        memory: &Memory<'_>,
        scratch: Scratch,
    ) -> Result<()> {
        let at = |i: usize| memory.at(inputs[i]).cast_const();
        let batch = batch(memory, &inputs[2..5], &self.shape);
        let schedule = self.kernel.schedule(batch).map_err(index_error("latent_attention"))?;
        let out = memory.at(output).cast();
        let arrays = Arrays { q: at(0).cast(), q_stride: self.q_stride, rows: at(1), out };
        let mut result = Ok(());
        worker.for_each_chunk(schedule.units(), |unit| {
            if let Err(error) = self.unit(&schedule, unit, &arrays, memory, scratch) {
                result = Err(error);
            }
        });
        result
    }

    fn unit(
        &self,
        schedule: &Schedule<'_>,
        unit: usize,
        arrays: &Arrays,
        memory: &Memory<'_>,
        scratch: Scratch,
    ) -> Result<()> {
        let head = schedule.head(unit);
        self.key.of_head(head, memory, |key| {
            self.value.of_head(head, memory, |value| {
                // SAFETY: the compiler bound operands of these sizes, and sized the scratch; units are disjoint.
                unsafe { self.kernel.run(schedule, unit, arrays, &Ups { key, value }, scratch.start.cast()) };
                Ok(())
            })
        })
    }
}

impl Projection {
    /// Finds the weights of a head for `then`.
    fn of_head(
        &self,
        head: usize,
        memory: &Memory<'_>,
        then: impl FnOnce(Up<'_>) -> Result<()>,
    ) -> Result<()> {
        let stored = self.stored;
        let DType::Quant(format) = self.dtype else {
            let element = element(self.dtype);
            let (data, stride) = (self.geometry.floats(memory, head, element), self.geometry.stride);
            return then(Up { weights: Weights::Float { element, data, stride }, stored });
        };
        let (planes, before) = self.geometry.planes(memory, head, self.cols);
        let source = PackedRows::new(format, &planes, before + self.rows, self.cols)
            .map_err(|e| decode_error(format, &e))?
            .from_row(before);
        then(Up { weights: Weights::Rows(&source), stored })
    }
}
