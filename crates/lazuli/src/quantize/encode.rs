//! Encoding one tensor as a stream: a piece of its rows at a time, on several threads, so that memory does not grow
//! with the tensor.

use std::ops::Range;

use half::{bf16, f16};
use lazuli_io::Encoding;
use lazuli_quant::{Format, QuantError};

use super::error::{QuantizeError, Result};
use super::rows::Rows;

/// Elements that are encoded before they are written.
const PIECE: usize = 1 << 20;

/// Sums over a tensor's elements: what encoding changed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Loss {
    /// Squares of the differences.
    pub missed: f64,
    /// Squares of the values.
    pub power: f64,
}

impl Loss {
    /// The root of the share of the power that was lost.
    pub fn relative(self) -> f64 {
        if self.power == 0.0 { 0.0 } else { (self.missed / self.power).sqrt() }
    }

    /// Both sums of `self` and `other`.
    pub fn plus(self, other: Self) -> Self {
        Self { missed: self.missed + other.missed, power: self.power + other.power }
    }
}

/// What remains after the codes were written.
#[derive(Debug)]
pub struct Encoded {
    /// The planes after the first, which follow it.
    pub planes: Vec<Vec<u8>>,
    /// What was lost.
    pub loss: Loss,
}

/// Takes the next bytes of the first plane.
pub type Write<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

/// Encodes all rows as `encoding` (a float type or a format that can be written), hands the first plane to `write` in
/// pieces, and returns the others whole.
pub fn encode(
    rows: &Rows,
    encoding: Encoding,
    name: &str,
    threads: usize,
    write: &mut Write,
) -> Result<Encoded> {
    let codec = Codec { rows, encoding, name };
    let planes = codec.planes();
    let height = (PIECE / rows.cols().max(1)).max(1);
    let mut encoded = Encoded { planes: vec![Vec::new(); planes - 1], loss: Loss::default() };
    let mut piece = vec![Vec::new(); planes];
    for start in (0..rows.rows()).step_by(height) {
        let part = start..rows.rows().min(start + height);
        for (plane, bytes) in piece.iter_mut().enumerate() {
            bytes.resize(codec.row_bytes(plane) * part.len(), 0);
        }
        encoded.loss = encoded.loss.plus(codec.piece(part, &mut piece, threads)?);
        write(&piece[0])?;
        for (all, part) in encoded.planes.iter_mut().zip(&piece[1..]) {
            all.extend_from_slice(part);
        }
    }
    Ok(encoded)
}

/// The rows of a tensor, and what they become.
struct Codec<'a> {
    rows: &'a Rows<'a>,
    encoding: Encoding,
    name: &'a str,
}

impl Codec<'_> {
    fn planes(&self) -> usize {
        if let Encoding::Quant(format) = self.encoding { format.planes() } else { 1 }
    }

    /// Bytes of one row of a plane; the plan has checked that rows divide.
    fn row_bytes(&self, plane: usize) -> usize {
        match self.encoding {
            Encoding::Quant(format) => format.plane_bytes(plane, 1, self.rows.cols()).unwrap_or(0),
            plain => plain.element_bytes().unwrap_or(0) * self.rows.cols(),
        }
    }

    /// Encodes the rows in `part` into `planes`, which are as long as they need.
    fn piece(&self, part: Range<usize>, planes: &mut [Vec<u8>], threads: usize) -> Result<Loss> {
        let height = part.len().div_ceil(threads.max(1)).max(1);
        let mut split: Vec<_> = planes
            .iter_mut()
            .enumerate()
            .map(|(plane, bytes)| bytes.chunks_mut((self.row_bytes(plane) * height).max(1)))
            .collect();
        let starts: Vec<usize> = part.clone().step_by(height).collect();
        let jobs: Vec<(Range<usize>, Vec<&mut [u8]>)> = starts
            .into_iter()
            .map(|start| {
                let planes = split.iter_mut().map(|chunks| chunks.next().unwrap_or_default()).collect();
                (start..part.end.min(start + height), planes)
            })
            .collect();
        let results: Vec<Result<Loss>> = std::thread::scope(|scope| {
            let run = |(rows, planes)| scope.spawn(move || self.some_rows(rows, planes));
            let handles: Vec<_> = jobs.into_iter().map(run).collect();
            // A panic in a thread is a bug, and goes on as one.
            handles.into_iter().map(|h| h.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
        });
        results.into_iter().try_fold(Loss::default(), |sum, loss| Ok(sum.plus(loss?)))
    }

    fn some_rows(&self, rows: Range<usize>, mut planes: Vec<&mut [u8]>) -> Result<Loss> {
        let cols = self.rows.cols();
        let (mut values, mut decoded) = (vec![0f32; cols], vec![0f32; cols]);
        let mut loss = Loss::default();
        for row in rows {
            self.rows.read(row, &mut values)?;
            let mut slices: Vec<&mut [u8]> = Vec::with_capacity(planes.len());
            for (plane, rest) in planes.iter_mut().enumerate() {
                let (first, after) = std::mem::take(rest).split_at_mut(self.row_bytes(plane));
                slices.push(first);
                *rest = after;
            }
            self.one_row(row, &values, &mut slices, &mut decoded)?;
            for (x, y) in values.iter().zip(&decoded) {
                let (x, y) = (f64::from(*x), f64::from(*y));
                loss.missed += (x - y) * (x - y);
                loss.power += x * x;
            }
        }
        Ok(loss)
    }

    /// Encodes a row and decodes it again.
    fn one_row(
        &self,
        row: usize,
        values: &[f32],
        planes: &mut [&mut [u8]],
        decoded: &mut [f32],
    ) -> Result<()> {
        let bytes = &mut *planes[0];
        match self.encoding {
            Encoding::Quant(format) => return self.quantised(format, values, planes, decoded),
            Encoding::F16 => put(values, bytes, decoded, |x| {
                let x = f16::from_f32(x);
                (x.to_le_bytes(), x.to_f32())
            }),
            Encoding::BF16 => put(values, bytes, decoded, |x| {
                let x = bf16::from_f32(x);
                (x.to_le_bytes(), x.to_f32())
            }),
            _ => put(values, bytes, decoded, |x| (x.to_le_bytes(), x)),
        }
        match decoded.iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(column) => {
                let what =
                    format!("{}, too large for {}: bf16 and f32 can hold it", values[column], self.encoding);
                Err(QuantizeError::Value { tensor: self.name.to_owned(), row, column, what })
            }
        }
    }

    fn quantised(
        &self,
        format: Format,
        values: &[f32],
        planes: &mut [&mut [u8]],
        decoded: &mut [f32],
    ) -> Result<()> {
        let codec = |source: QuantError| QuantizeError::Codec { tensor: self.name.to_owned(), source };
        format.encode_row(values, planes).map_err(codec)?;
        let planes: Vec<&[u8]> = planes.iter().map(|plane| &**plane).collect();
        format.decode_row(&planes, 1, values.len(), 0, decoded).map_err(codec)
    }
}

fn put<const N: usize>(
    values: &[f32],
    bytes: &mut [u8],
    decoded: &mut [f32],
    encode: impl Fn(f32) -> ([u8; N], f32),
) {
    for ((x, bytes), y) in values.iter().zip(bytes.chunks_exact_mut(N)).zip(decoded) {
        let (stored, back) = encode(*x);
        bytes.copy_from_slice(&stored);
        *y = back;
    }
}
