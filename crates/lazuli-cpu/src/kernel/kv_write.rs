//! Writing new key or value rows into the pages of the KV pool.

use std::ops::Range;

use super::copy::copy_row;
use super::error::checked;
use super::{Element, IndexError};
use crate::simd::Level;

/// Puts `rows [tokens, heads, dim]` into a pool `[pages, heads, page_size, dim]`, whose pages may lie apart.
#[derive(Debug, Clone, Copy)]
pub struct KvWrite {
    /// The vector level.
    pub level: Level,
    /// KV heads.
    pub heads: usize,
    /// Elements of one head's row.
    pub dim: usize,
    /// Pages of the pool.
    pub pages: usize,
    /// Tokens of a page.
    pub page_size: usize,
    /// Elements from one page to the next.
    pub page: usize,
    /// Elements from one token's rows to the next token's, in the input.
    pub stride: usize,
    /// The input's type.
    pub rows: Element,
    /// The pool's type.
    pub pool: Element,
}

impl KvWrite {
    /// Writes the tokens `units`; token `t` goes to `slots[t]` = `page * page_size + row`, or nowhere if that is negative.
    ///
    /// # Errors
    /// The first slot beyond the pool; the tokens before it are written.
    ///
    /// # Safety
    /// The pointers must be valid for the rows and for the pool; nobody else may touch the pool's slots of these tokens.
    pub unsafe fn run(
        &self,
        units: Range<usize>,
        rows: *const u8,
        slots: &[i32],
        pool: *mut u8,
    ) -> Result<(), IndexError> {
        for token in units {
            if slots[token] < 0 {
                continue;
            }
            let slot = checked("kv slot", token, slots[token], self.pages * self.page_size)?;
            let (page, row) = (slot / self.page_size, slot % self.page_size);
            for head in 0..self.heads {
                let from = (token * self.stride + head * self.dim) * self.rows.size();
                let to = (page * self.page + (head * self.page_size + row) * self.dim) * self.pool.size();
                // SAFETY: the slot was checked; the rest is the caller's promise.
                unsafe { copy_row(self.level, self.rows, self.pool, self.dim, rows.add(from), pool.add(to)) };
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Random, levels};
    use super::*;

    #[test]
    fn rows_land_in_their_slots_and_nowhere_else() {
        let (heads, dim, pages, page_size) = (2, 24, 3, 4);
        let slots = [5, -1, 0, 11];
        let (stride, page) = (heads * dim + 3, heads * page_size * dim + 5);
        let rows = Random::new(3).floats(slots.len() * stride);
        for level in levels() {
            let kv = KvWrite {
                level,
                heads,
                dim,
                pages,
                page_size,
                page,
                stride,
                rows: Element::F32,
                pool: Element::F16,
            };
            let mut pool = vec![0x1234_u16; pages * page];
            let mut want = pool.clone();
            // SAFETY: rows and pool have their shapes.
            let done = unsafe { kv.run(0..4, rows.as_ptr().cast(), &slots, pool.as_mut_ptr().cast()) };
            assert_eq!(done, Ok(()));
            for (token, slot) in slots.iter().enumerate().filter(|(_, slot)| **slot >= 0) {
                let (first, row) = (*slot as usize / page_size * page, *slot as usize % page_size);
                for (head, i) in (0..heads).flat_map(|head| (0..dim).map(move |i| (head, i))) {
                    let value = half::f16::from_f32(rows[token * stride + head * dim + i]);
                    want[first + (head * page_size + row) * dim + i] = value.to_bits();
                }
            }
            assert!(pool == want, "{level}");
            // SAFETY: as above.
            let beyond = unsafe { kv.run(0..1, rows.as_ptr().cast(), &[12], pool.as_mut_ptr().cast()) };
            assert_eq!(beyond.map_err(|error| (error.found, error.bound)), Err((12, 12)));
            assert!(pool == want, "{level}: nothing is written beyond the pool");
        }
    }
}
