//! [`Stream`]: a plan's tensors as bytes, one after the other, with progress and a way to stop.

use std::cell::Cell;

use lazuli_io::Checkpoint;

use super::draft::Origin;
use super::encode::encode;
pub use super::encode::{Encoded, Loss, Write};
use super::error::{QuantizeError, Result};
use super::plan::{Plan, Planned};
use super::rows::Rows;
use crate::store::Progress;

/// Bytes that are copied at once.
const PIECE: usize = 8 << 20;

/// What moves the bytes.
pub struct Stream<'a> {
    checkpoint: &'a Checkpoint,
    threads: usize,
    progress: &'a dyn Progress,
    written: Cell<u64>,
}

impl<'a> Stream<'a> {
    pub fn new(plan: &'a Plan, progress: &'a dyn Progress) -> Self {
        let (checkpoint, threads) = (plan.checkpoint, plan.options.threads);
        Self { checkpoint, threads, progress, written: Cell::new(0) }
    }

    /// Hands the first plane of `tensor` to `write` in pieces and returns the others.
    pub fn tensor(&self, tensor: &Planned, write: &mut Write) -> Result<Encoded> {
        let mut counted = |bytes: &[u8]| {
            if self.progress.stopped() {
                return Err(QuantizeError::Interrupted);
            }
            write(bytes)?;
            self.written.set(self.written.get() + bytes.len() as u64);
            self.progress.at(self.written.get());
            Ok(())
        };
        let encoded = match &tensor.origin {
            Origin::Stored { tensors, .. } if tensor.is_copy() => self.copy(tensors, &mut counted)?,
            origin => {
                let rows = Rows::new(self.checkpoint, &tensor.name, &tensor.shape, origin);
                encode(&rows, tensor.encoding, &tensor.name, self.threads, &mut counted)?
            }
        };
        let rest: usize = encoded.planes.iter().map(Vec::len).sum();
        self.written.set(self.written.get() + rest as u64);
        Ok(encoded)
    }

    fn copy(&self, tensors: &[usize], write: &mut Write) -> Result<Encoded> {
        let mut planes: Vec<Vec<u8>> = Vec::new();
        for &place in tensors {
            let tensor = &self.checkpoint.tensors()[place];
            for piece in self.checkpoint.plane(tensor, 0).chunks(PIECE) {
                write(piece)?;
            }
            planes.resize(tensor.planes.len() - 1, Vec::new());
            for (number, plane) in planes.iter_mut().enumerate() {
                plane.extend_from_slice(self.checkpoint.plane(tensor, number + 1));
            }
        }
        Ok(Encoded { planes, loss: Loss::default() })
    }
}
