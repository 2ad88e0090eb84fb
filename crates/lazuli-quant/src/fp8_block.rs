//! Block FP8: e4m3 codes and one f32 factor per tile of rows and columns; the last tiles may be ragged.
//!
//! Source: the DeepSeek-V3 report (128 x 128 tiles) and its published checkpoints, where the factors are called
//! `weight_scale_inv` and multiply the codes.

use crate::float8::{e4m3_to_f32, f32_to_e4m3};

/// Decodes one row; `factors` are the bytes of the row of tiles it lies in, `tile_cols` elements to a tile.
pub(crate) fn decode_row(codes: &[u8], factors: &[u8], tile_cols: usize, out: &mut [f32]) {
    for ((out, codes), factor) in
        out.chunks_mut(tile_cols).zip(codes.chunks(tile_cols)).zip(factors.chunks_exact(4))
    {
        let factor = f32::from_le_bytes([factor[0], factor[1], factor[2], factor[3]]);
        for (value, &code) in out.iter_mut().zip(codes) {
            *value = factor * e4m3_to_f32(code);
        }
    }
}

/// Encodes a row of tiles: `values` are its rows of `cols` elements, `factors` its factors.
pub(crate) fn encode_tiles(
    values: &[f32],
    cols: usize,
    tile_cols: usize,
    codes: &mut [u8],
    factors: &mut [u8],
) {
    for (tile, bytes) in factors.chunks_exact_mut(4).enumerate() {
        let columns = tile * tile_cols..cols.min((tile + 1) * tile_cols);
        let rows = || values.chunks_exact(cols).map(|row| &row[columns.clone()]);
        let peak = rows().flatten().fold(0f32, |peak, x| peak.max(x.abs()));
        let factor = (peak / 448.0).max(f32::MIN_POSITIVE);
        bytes.copy_from_slice(&factor.to_le_bytes());
        for (row, codes) in rows().zip(codes.chunks_exact_mut(cols)) {
            for (code, x) in codes[columns.clone()].iter_mut().zip(row) {
                *code = f32_to_e4m3(x / factor);
            }
        }
    }
}
