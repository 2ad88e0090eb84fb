//! Rows of a table by number: embeddings, plain or packed.

use std::ops::Range;

use lazuli_quant::{Format, QuantError};

use super::copy::copy_row;
use super::error::checked;
use super::{Element, IndexError};
use crate::simd::Level;

/// Gathers rows of a plain table `[rows, cols]`, converted to another element type if need be.
#[derive(Debug, Clone, Copy)]
pub struct Gather {
    /// The vector level.
    pub level: Level,
    /// Rows of the table.
    pub rows: usize,
    /// Elements of a row.
    pub cols: usize,
    /// The table's type.
    pub table: Element,
    /// The output's type.
    pub out: Element,
}

impl Gather {
    /// For each `i` of `units`, writes row `ids[i]` of `table` to row `i` of `out`.
    ///
    /// # Errors
    /// The first id outside of the table; the rows before it are written.
    ///
    /// # Safety
    /// The pointers must be valid for the table and for the output rows, and `ids` for `units`.
    pub unsafe fn run(
        &self,
        units: Range<usize>,
        table: *const u8,
        ids: &[i32],
        out: *mut u8,
    ) -> Result<(), IndexError> {
        for i in units {
            let row = checked("row id", i, ids[i], self.rows)?;
            // SAFETY: the row was checked; the rest is the caller's promise.
            unsafe {
                let from = table.add(row * self.cols * self.table.size());
                let to = out.add(i * self.cols * self.out.size());
                copy_row(self.level, self.table, self.out, self.cols, from, to);
            }
        }
        Ok(())
    }
}

/// Gathers rows of a packed table, decoded to f32.
#[derive(Debug, Clone, Copy)]
pub struct GatherPacked {
    /// The table's format.
    pub format: Format,
    /// Rows of the table.
    pub rows: usize,
    /// Elements of a row.
    pub cols: usize,
}

impl GatherPacked {
    /// Writes row `id` of the table, whose whole planes are `planes`, to `out` (`cols` floats).
    ///
    /// # Errors
    /// An id outside of the table, or planes that do not fit the format and shape.
    pub fn row(&self, planes: &[&[u8]], id: i32, out: &mut [f32]) -> Result<(), QuantError> {
        // An id below zero is reported as the huge row that it is not.
        let row = usize::try_from(id).unwrap_or(usize::MAX);
        self.format.decode_row(planes, self.rows, self.cols, row, out)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Random, levels, stored};
    use super::*;

    #[test]
    fn rows_come_in_the_order_of_the_ids() {
        let (rows, cols) = (9, 37);
        let values = Random::new(2).floats(rows * cols);
        let ids = [3, 0, 8, 3];
        for level in levels() {
            for table in [Element::F32, Element::F16, Element::BF16] {
                for out_element in [Element::F32, table] {
                    let (words, read) = stored(table, &values);
                    let want: Vec<f32> =
                        ids.iter().flat_map(|&id| read[id as usize * cols..][..cols].to_vec()).collect();
                    let (want, _) = stored(out_element, &want);
                    let mut out = vec![0_u32; want.len()];
                    let gather = Gather { level, rows, cols, table, out: out_element };
                    // SAFETY: table and output have their shapes.
                    let done =
                        unsafe { gather.run(0..4, words.as_ptr().cast(), &ids, out.as_mut_ptr().cast()) };
                    assert_eq!((done, out), (Ok(()), want));
                }
            }
        }
    }

    #[test]
    fn an_id_outside_of_the_table_is_an_error() {
        let gather =
            Gather { level: Level::SCALAR, rows: 2, cols: 1, table: Element::F32, out: Element::F32 };
        let (table, mut out) = ([1.0_f32, 2.0], [0.0_f32; 2]);
        for bad in [-1, 2, i32::MAX, i32::MIN] {
            // SAFETY: table and output have their shapes.
            let done = unsafe { gather.run(0..2, table.as_ptr().cast(), &[1, bad], out.as_mut_ptr().cast()) };
            let error = done.expect_err("the id is out of range");
            assert_eq!((error.at, error.found, error.bound), (1, i64::from(bad), 2));
        }
        let packed = GatherPacked { format: Format::Q8_0, rows: 1, cols: 32 };
        let planes: [&[u8]; 1] = [&[0; 34]];
        let mut row = [1.0; 32];
        assert_eq!(packed.row(&planes, 0, &mut row), Ok(()));
        assert_eq!(row, [0.0; 32]);
        assert!(packed.row(&planes, 1, &mut row).is_err());
        assert!(packed.row(&planes, -1, &mut row).is_err());
    }
}
