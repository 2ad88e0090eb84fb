//! [`Format::decode_row`] and [`Format::encode_row`]: the checks every format shares, then its own file's code.

use crate::{Format, QuantError, affine, fp8_block, iq, k_quants, legacy, mx, nvfp4, ternary};

impl Format {
    /// Decodes row `row` of a `[rows, cols]` array into `out`, `cols` floats long.
    ///
    /// `planes` are the array's whole planes, as many as [`Format::planes`]; each may be longer than needed.
    ///
    /// # Errors
    /// Anything that does not fit together: planes, shape, row or `out`. Any byte content decodes to some float.
    pub fn decode_row(
        self,
        planes: &[&[u8]],
        rows: usize,
        cols: usize,
        row: usize,
        out: &mut [f32],
    ) -> Result<(), QuantError> {
        self.check_planes(planes.iter().map(|plane| plane.len()), rows, cols)?;
        if row >= rows {
            return Err(QuantError::RowOutOfRange { row, rows });
        }
        check_length(out.len(), cols)?;
        self.decode_checked(planes, rows, cols, row, out)
    }

    /// Checks that `planes` hold a `[rows, cols]` array of this format; each may be longer than needed.
    ///
    /// # Errors
    /// Parameters, a shape, a number of planes or a plane's length that do not fit.
    pub fn check(self, planes: &[&[u8]], rows: usize, cols: usize) -> Result<(), QuantError> {
        self.check_planes(planes.iter().map(|plane| plane.len()), rows, cols)
    }

    /// Decodes a whole `[rows, cols]` array into `out`, row after row. Errors as for [`Format::decode_row`].
    pub fn decode(
        self,
        planes: &[&[u8]],
        rows: usize,
        cols: usize,
        out: &mut [f32],
    ) -> Result<(), QuantError> {
        self.check_planes(planes.iter().map(|plane| plane.len()), rows, cols)?;
        check_length(out.len(), self.elements(rows, cols)?)?;
        if cols == 0 {
            return Ok(());
        }
        let mut chunks = out.chunks_exact_mut(cols).enumerate();
        chunks.try_for_each(|(row, out)| self.decode_checked(planes, rows, cols, row, out))
    }

    /// Encodes one row into the planes of a `[1, values.len()]` array.
    ///
    /// Scales that a format stores as f16 are held to f16's finite range.
    ///
    /// # Errors
    /// [`QuantError::NoEncoder`] for formats that can only be read, [`QuantError::NotFinite`] for infinite values or
    /// NaN, and planes too short for the row.
    pub fn encode_row(self, values: &[f32], planes: &mut [&mut [u8]]) -> Result<(), QuantError> {
        self.check_planes(planes.iter().map(|plane| plane.len()), 1, values.len())?;
        self.check_finite(values)?;
        let mut exact: Vec<&mut [u8]> = Vec::with_capacity(planes.len());
        for (index, plane) in planes.iter_mut().enumerate() {
            let bytes =
                self.plane_bytes(index, 1, values.len()).ok_or_else(|| self.bad_shape(1, values.len()))?;
            exact.push(&mut plane[..bytes]);
        }
        self.encode_checked(values, 1, &mut exact)
    }

    /// Encodes a `[rows, cols]` array, row after row, and returns its planes. Errors as for [`Format::encode_row`].
    pub fn encode(self, values: &[f32], rows: usize, cols: usize) -> Result<Vec<Vec<u8>>, QuantError> {
        check_length(values.len(), self.elements(rows, cols)?)?;
        self.check_finite(values)?;
        let mut planes = Vec::new();
        for plane in 0..self.planes() {
            let bytes = self.plane_bytes(plane, rows, cols).ok_or_else(|| self.bad_shape(rows, cols))?;
            planes.push(vec![0; bytes]);
        }
        let step = if let Self::Fp8Block { rows, .. } = self { usize::from(rows) } else { 1 };
        for first in (0..rows).step_by(step) {
            let height = step.min(rows - first);
            let mut slices: Vec<&mut [u8]> = Vec::with_capacity(planes.len());
            for (index, plane) in planes.iter_mut().enumerate() {
                let part =
                    |rows| self.plane_bytes(index, rows, cols).ok_or_else(|| self.bad_shape(rows, cols));
                slices.push(&mut plane[part(first)?..][..part(height)?]);
            }
            self.encode_checked(&values[first * cols..][..height * cols], height, &mut slices)?;
        }
        Ok(planes)
    }

    fn decode_checked(
        self,
        planes: &[&[u8]],
        rows: usize,
        cols: usize,
        row: usize,
        out: &mut [f32],
    ) -> Result<(), QuantError> {
        // One row of a plane: for tiled formats' factors, one row of tiles.
        let part = |plane: usize, row: usize| {
            let stride = self.plane_bytes(plane, 1, cols).ok_or_else(|| self.bad_shape(rows, cols))?;
            Ok(&planes[plane][row * stride..][..stride])
        };
        let bytes = part(0, row)?;
        match self {
            Self::Q4_0 => each_block(bytes, out, legacy::decode_q4_0),
            Self::Q4_1 => each_block(bytes, out, legacy::decode_q4_1),
            Self::Q5_0 => each_block(bytes, out, legacy::decode_q5_0),
            Self::Q5_1 => each_block(bytes, out, legacy::decode_q5_1),
            Self::Q8_0 => each_block(bytes, out, legacy::decode_q8_0),
            Self::Q2K => each_block(bytes, out, k_quants::decode_q2_k),
            Self::Q3K => each_block(bytes, out, k_quants::decode_q3_k),
            Self::Q4K => each_block(bytes, out, k_quants::decode_q4_k),
            Self::Q5K => each_block(bytes, out, k_quants::decode_q5_k),
            Self::Q6K => each_block(bytes, out, k_quants::decode_q6_k),
            Self::Iq4Nl => each_block(bytes, out, iq::decode_iq4_nl),
            Self::Iq4Xs => each_block(bytes, out, iq::decode_iq4_xs),
            Self::Iq2Xxs => each_block(bytes, out, iq::decode_iq2_xxs),
            Self::Iq2Xs => each_block(bytes, out, iq::decode_iq2_xs),
            Self::Iq2S => each_block(bytes, out, iq::decode_iq2_s),
            Self::Iq3Xxs => each_block(bytes, out, iq::decode_iq3_xxs),
            Self::Iq3S => each_block(bytes, out, iq::decode_iq3_s),
            Self::Iq1S => each_block(bytes, out, iq::decode_iq1_s),
            Self::Iq1M => each_block(bytes, out, iq::decode_iq1_m),
            Self::Tq1_0 => each_block(bytes, out, ternary::decode_tq1_0),
            Self::Tq2_0 => each_block(bytes, out, ternary::decode_tq2_0),
            Self::GgufMxfp4 => each_block(bytes, out, mx::decode_gguf_mxfp4),
            Self::GgufNvfp4 => each_block(bytes, out, nvfp4::decode_gguf_nvfp4),
            Self::Affine { bits, group, scale } => {
                affine::decode_row((bits, group, scale), bytes, part(1, row)?, part(2, row)?, out);
            }
            Self::Mxfp4 => mx::decode_mxfp4_row(bytes, part(1, row)?, out),
            Self::Nvfp4 => mx::decode_nvfp4_row(bytes, part(1, row)?, out),
            Self::Mxfp8 => mx::decode_mxfp8_row(bytes, part(1, row)?, out),
            Self::Fp8Block { rows: tile_rows, cols: tile_cols } => {
                let factors = part(1, row / usize::from(tile_rows))?;
                fp8_block::decode_row(bytes, factors, tile_cols.into(), out);
            }
        }
        Ok(())
    }

    /// Encodes `rows` rows whose planes are given: one row, or for tiled formats one row of tiles.
    fn encode_checked(self, values: &[f32], rows: usize, planes: &mut [&mut [u8]]) -> Result<(), QuantError> {
        match (self, planes) {
            (Self::Q4_0, [bytes]) => fill_blocks(values, bytes, legacy::encode_q4_0),
            (Self::Q4_1, [bytes]) => fill_blocks(values, bytes, legacy::encode_q4_1),
            (Self::Q5_0, [bytes]) => fill_blocks(values, bytes, legacy::encode_q5_0),
            (Self::Q5_1, [bytes]) => fill_blocks(values, bytes, legacy::encode_q5_1),
            (Self::Q8_0, [bytes]) => fill_blocks(values, bytes, legacy::encode_q8_0),
            (Self::Q2K, [bytes]) => fill_blocks(values, bytes, k_quants::encode_q2_k),
            (Self::Q3K, [bytes]) => fill_blocks(values, bytes, k_quants::encode_q3_k),
            (Self::Q4K, [bytes]) => fill_blocks(values, bytes, k_quants::encode_q4_k),
            (Self::Q5K, [bytes]) => fill_blocks(values, bytes, k_quants::encode_q5_k),
            (Self::Q6K, [bytes]) => fill_blocks(values, bytes, k_quants::encode_q6_k),
            (Self::Iq4Nl, [bytes]) => fill_blocks(values, bytes, iq::encode_iq4_nl),
            (Self::Iq4Xs, [bytes]) => fill_blocks(values, bytes, iq::encode_iq4_xs),
            (Self::Tq1_0, [bytes]) => fill_blocks(values, bytes, ternary::encode_tq1_0),
            (Self::Tq2_0, [bytes]) => fill_blocks(values, bytes, ternary::encode_tq2_0),
            (Self::GgufMxfp4, [bytes]) => fill_blocks(values, bytes, mx::encode_gguf_mxfp4),
            (Self::GgufNvfp4, [bytes]) => fill_blocks(values, bytes, nvfp4::encode_gguf_nvfp4),
            (Self::Affine { bits, group, scale }, [codes, scales, biases]) => {
                affine::encode_row((bits, group, scale), values, codes, scales, biases);
            }
            (Self::Mxfp4, [codes, scales]) => mx::encode_mxfp4_row(values, codes, scales),
            (Self::Nvfp4, [codes, scales]) => mx::encode_nvfp4_row(values, codes, scales),
            (Self::Mxfp8, [codes, scales]) => mx::encode_mxfp8_row(values, codes, scales),
            (Self::Fp8Block { cols: tile_cols, .. }, [codes, factors]) => {
                let cols = values.len() / rows.max(1);
                fp8_block::encode_tiles(values, cols, tile_cols.into(), codes, factors);
            }
            _ => return Err(QuantError::NoEncoder { format: self }),
        }
        Ok(())
    }

    fn check_planes(
        self,
        found: impl ExactSizeIterator<Item = usize>,
        rows: usize,
        cols: usize,
    ) -> Result<(), QuantError> {
        if !self.parameters_exist() {
            return Err(QuantError::BadParameters { format: self });
        }
        if found.len() != self.planes() {
            return Err(QuantError::WrongPlaneCount {
                format: self,
                found: found.len(),
                expected: self.planes(),
            });
        }
        for (plane, found) in found.enumerate() {
            let expected = self.plane_bytes(plane, rows, cols).ok_or_else(|| self.bad_shape(rows, cols))?;
            if found < expected {
                return Err(QuantError::ShortPlane { format: self, plane, rows, cols, found, expected });
            }
        }
        Ok(())
    }

    fn check_finite(self, values: &[f32]) -> Result<(), QuantError> {
        match values.iter().position(|x| !x.is_finite()) {
            Some(index) => Err(QuantError::NotFinite { format: self, index }),
            None => Ok(()),
        }
    }

    fn elements(self, rows: usize, cols: usize) -> Result<usize, QuantError> {
        rows.checked_mul(cols).ok_or_else(|| self.bad_shape(rows, cols))
    }

    fn bad_shape(self, rows: usize, cols: usize) -> QuantError {
        QuantError::BadShape { format: self, rows, cols }
    }
}

fn check_length(found: usize, expected: usize) -> Result<(), QuantError> {
    if found == expected { Ok(()) } else { Err(QuantError::WrongLength { found, expected }) }
}

/// Decodes consecutive blocks; both lengths were checked to be whole blocks.
fn each_block<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    for (block, out) in bytes.chunks_exact(BYTES).zip(out.chunks_exact_mut(LEN)) {
        decode(block.try_into().expect("a chunk of BYTES"), out.try_into().expect("a chunk of LEN"));
    }
}

/// Encodes consecutive blocks; both lengths were checked to be whole blocks.
fn fill_blocks<const BYTES: usize, const LEN: usize>(
    values: &[f32],
    bytes: &mut [u8],
    encode: impl Fn(&[f32; LEN], &mut [u8; BYTES]),
) {
    for (values, block) in values.chunks_exact(LEN).zip(bytes.chunks_exact_mut(BYTES)) {
        encode(values.try_into().expect("a chunk of LEN"), block.try_into().expect("a chunk of BYTES"));
    }
}
