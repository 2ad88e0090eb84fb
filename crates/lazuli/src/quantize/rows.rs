//! [`Rows`]: the rows of a tensor as floats, whatever the source stores.

use half::{bf16, f16};
use lazuli_io::{Checkpoint, Encoding, TensorInfo};
use lazuli_models::convert::RowOrder;

use super::draft::Origin;
use super::error::{QuantizeError, Result};

/// One tensor's rows.
#[derive(Debug)]
pub struct Rows<'a> {
    checkpoint: &'a Checkpoint,
    name: &'a str,
    origin: &'a Origin,
    height: usize,
    cols: usize,
}

/// Rows and elements of a row of a tensor of `shape`: all axes but the last count rows.
pub fn matrix(shape: &[usize]) -> (usize, usize) {
    let cols = shape.last().copied().unwrap_or(1);
    (shape.iter().rev().skip(1).product(), cols)
}

impl<'a> Rows<'a> {
    /// The rows of a tensor of `shape` called `name`.
    pub fn new(checkpoint: &'a Checkpoint, name: &'a str, shape: &[usize], origin: &'a Origin) -> Self {
        let (height, cols) = matrix(shape);
        Self { checkpoint, name, origin, height, cols }
    }

    /// How many.
    pub fn rows(&self) -> usize {
        self.height
    }

    /// Elements of each.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Reads row `row` into `out`, `cols` floats long.
    pub fn read(&self, row: usize, out: &mut [f32]) -> Result<()> {
        let (tensors, order, add) = match self.origin {
            Origin::Stored { tensors, rows, add } => (tensors, *rows, *add),
            Origin::Computed(values) => {
                out.copy_from_slice(&values[row * self.cols..][..self.cols]);
                return Ok(());
            }
        };
        let height = self.height / tensors.len().max(1);
        let tensor = &self.checkpoint.tensors()[tensors[row / height]];
        if tensor.shape.len() < 2 && order != RowOrder::Same {
            // A vector's elements are what a matrix's rows are.
            let mut all = vec![0.0; out.len()];
            self.decode(tensor, 1, 0, &mut all)?;
            for (place, x) in out.iter_mut().enumerate() {
                *x = all[order.source(place)] + add;
            }
        } else {
            self.decode(tensor, height, order.source(row % height), out)?;
            if add != 0.0 {
                for x in out.iter_mut() {
                    *x += add;
                }
            }
        }
        match out.iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(column) => {
                let what = format!("{}, expected a finite number: the file is damaged", out[column]);
                Err(QuantizeError::Value { tensor: tensor.name.clone(), row, column, what })
            }
        }
    }

    fn decode(&self, tensor: &TensorInfo, rows: usize, row: usize, out: &mut [f32]) -> Result<()> {
        let part =
            |width: usize| &self.checkpoint.plane(tensor, 0)[row * self.cols * width..][..self.cols * width];
        match tensor.encoding {
            Encoding::F32 => read(part(4), out, f32::from_le_bytes),
            Encoding::F16 => read(part(2), out, |b| f16::from_le_bytes(b).to_f32()),
            Encoding::BF16 => read(part(2), out, |b| bf16::from_le_bytes(b).to_f32()),
            Encoding::Quant(format) => {
                let planes: Vec<&[u8]> =
                    (0..tensor.planes.len()).map(|plane| self.checkpoint.plane(tensor, plane)).collect();
                let codec = |source| QuantizeError::Codec { tensor: tensor.name.clone(), source };
                format.decode_row(&planes, rows, self.cols, row, out).map_err(codec)?;
            }
            other => {
                return Err(QuantizeError::Tensor {
                    tensor: self.name.to_owned(),
                    shape: tensor.shape.clone(),
                    format: "floats".to_owned(),
                    what: format!("the source stores it as {other}"),
                });
            }
        }
        Ok(())
    }
}

fn read<const N: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    for (value, bytes) in out.iter_mut().zip(bytes.chunks_exact(N)) {
        *value = decode(bytes.try_into().expect("a chunk of N bytes"));
    }
}
