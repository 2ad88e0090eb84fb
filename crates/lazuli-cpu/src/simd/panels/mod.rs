//! [`Panels`]: the integer side of a vector level at its native width, for kernels over packed panels.

mod scalar;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;

#[cfg(test)]
mod tests;

use super::float::Simd;

/// Integer dot products of codes that were packed for it, and what packs them: prefill.
pub trait Panels: Simd {
    /// A native vector of bytes, four for each of [`Simd::LANES`].
    type Codes: Copy;

    /// What is added to a signed weight code in a packed panel: 128 where the instruction wants unsigned weights.
    const PANEL_BIAS: u8;
    /// Loads a native vector of panel codes.
    ///
    /// # Safety
    /// `p` must be valid for reading `4 * LANES` bytes.
    unsafe fn codes(self, p: *const u8) -> Self::Codes;
    /// Four activation codes, repeated for every lane.
    ///
    /// # Safety
    /// `p` must be valid for reading 4 bytes.
    unsafe fn codes_splat(self, p: *const i8) -> Self::Codes;
    /// Eight activation codes, four for the even lanes and four for the odd ones.
    ///
    /// # Safety
    /// `p` must be valid for reading 8 bytes.
    unsafe fn codes_splat_two(self, p: *const i8) -> Self::Codes;
    /// Two numbers, one for the even lanes and one for the odd ones.
    ///
    /// # Safety
    /// `p` must be valid for reading both.
    unsafe fn splat_two(self, p: *const i32) -> Self::I;
    /// `acc + x (f >> m) + y (g >> n)` in integers: `f` and `g`, which are not negative, stand in the lower and upper 16 bits
    /// of `factors`, `m` and `n` at `shifts` for all lanes, `0..=15`. Of each 128 bits of `dots`, the first vector has `x` and
    /// `y` of the first two lanes in turn, and the second those of the other two. They fit 16 bits.
    ///
    /// # Safety
    /// `shifts` must be valid for reading two numbers.
    unsafe fn add_interleaved(
        self,
        acc: Self::I,
        dots: [Self::I; 2],
        factors: Self::I,
        shifts: *const i16,
    ) -> Self::I;
    /// `acc + f m + g n` in integers: `f` and `g` stand in the lower and upper 16 bits of `factors`, `m` and `n` at `by` for
    /// all lanes.
    ///
    /// # Safety
    /// `by` must be valid for reading two numbers.
    unsafe fn add_two(self, acc: Self::I, factors: Self::I, by: *const i16) -> Self::I;
    /// `acc + w0 a0 + .. + w3 a3` for each lane, where `w` carries [`Panels::PANEL_BIAS`].
    fn dot_codes(self, acc: Self::I, w: Self::Codes, a: Self::Codes) -> Self::I;
    /// Whether sums of 16 bits pay in panels of small codes ([`Panels::add_narrow`]): where bytes are multiplied to such sums, and
    /// what brings them to 32 bits costs as much again.
    const NARROW: bool = false;
    /// What narrow sums begin with, for codes that `2^(BITS - 1)` was added to.
    #[inline(always)]
    fn narrow_start<const BITS: usize>(self, start: Self::I) -> Self::I {
        // Exact: a start is a multiple of 128, and of fewer than 24 bits.
        let share = (1u32 << (BITS - 1)) as f32 / 128.0;
        self.to_i32(self.mul(self.to_f32(start), self.splat(share)))
    }
    /// `acc + w0 a0 + w1 a1` and `acc + w2 a2 + w3 a3` for each lane, in 16 bits where that pays: codes `w` are not negative,
    /// and sums of any of them fit.
    #[inline(always)]
    fn add_narrow(self, acc: Self::I, w: Self::Codes, a: Self::Codes) -> Self::I {
        self.dot_codes(acc, w, a)
    }
    /// `acc` plus both narrow sums of each lane.
    #[inline(always)]
    fn widen(self, acc: Self::I, narrow: Self::I) -> Self::I {
        self.add_i32(acc, narrow)
    }
    /// [`Panels::add_interleaved`] of narrow sums; both of a lane together fit 16 bits.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn add_interleaved_narrow(
        self,
        acc: Self::I,
        narrow: [Self::I; 2],
        factors: Self::I,
        shifts: *const i16,
    ) -> Self::I {
        let none = self.splat_i32(0);
        let dots = [self.widen(none, narrow[0]), self.widen(none, narrow[1])];
        // SAFETY: the caller's.
        unsafe { self.add_interleaved(acc, dots, factors, shifts) }
    }
    /// Reads a native vector from each of [`Simd::LANES`] rows and hands its columns on: what becomes of them is `to`'s business.
    ///
    /// # Safety
    /// The rows, `stride` bytes apart, must be valid for reading `4 * LANES` bytes each, and `to` must take as many columns.
    unsafe fn transpose<C: Columns<Self>>(self, from: *const u8, stride: usize, to: C);
    /// Stores a native vector of bytes.
    ///
    /// # Safety
    /// `p` must be valid for writing `4 * LANES` bytes.
    unsafe fn store_codes(self, p: *mut u8, x: Self::Codes);
    /// The low nibble of each byte, and the high one.
    fn part_nibbles(self, x: Self::Codes) -> [Self::Codes; 2];
    /// Of each 128 bits the first two lanes of `x` and of `y` in turn, and the other two: what [`Panels::add_interleaved`] asks.
    fn interleave_lanes(self, x: Self::Codes, y: Self::Codes) -> [Self::Codes; 2];
    /// Bytewise wrapping sum with a constant.
    fn add_to_codes(self, x: Self::Codes, y: i8) -> Self::Codes;
    /// `x`, and 16 more in byte `i` of each lane where bit `4 four + i` of that lane of `bits` is set; `four` is below 8.
    fn add_fifths(self, x: Self::Codes, bits: Self::Codes, four: usize) -> Self::Codes;
    /// The bits of each lane from bit `SHIFT` on, as far as `mask` has them.
    fn bits<const SHIFT: u32>(self, x: Self::I, mask: u32) -> Self::I;
    /// The lower 16 bits of the lanes of `low`, and above them those of `high`.
    fn join_words(self, low: Self::I, high: Self::I) -> Self::I;
    /// The half-precision value of the lower 16 bits of each lane.
    fn half_words(self, x: Self::I) -> Self::F;
    /// Stores the lanes as bytes, saturated to `i8`.
    ///
    /// # Safety
    /// `p` must be valid for writing [`Simd::LANES`] bytes.
    unsafe fn store_i8(self, p: *mut i8, x: Self::I);
}

/// For each four of a lane's 32 bits the byte that it is in, for each byte of 128 bits as shuffles within them ask.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
static BYTES_OF_FOURS: [[u8; 16]; 8] = {
    let mut bytes = [[0; 16]; 8];
    let mut i = 0;
    while i < 8 * 16 {
        bytes[i / 16][i % 16] = (i % 16 / 4 * 4 + i / 16 / 2) as u8;
        i += 1;
    }
    bytes
};

/// Which bits of that byte they are, for each byte of a lane: of even fours the lower ones.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const BITS_OF_FOURS: [i32; 2] = [0x0804_0201, 0x8040_2010_u32 as i32];

/// What takes the columns of transposed rows.
pub trait Columns<S: Panels>: Copy {
    /// Takes column `j`: dword `j` of every row.
    ///
    /// # Safety
    /// There must be room for it.
    unsafe fn take(self, s: S, j: usize, column: S::Codes);
}

/// Columns that are stored as they are, each at the start of a row of its own.
#[derive(Clone, Copy)]
pub struct Stored {
    /// The first of these rows.
    pub to: *mut u8,
    /// Bytes from one to the next.
    pub stride: usize,
}

impl<S: Panels> Columns<S> for Stored {
    #[inline(always)]
    unsafe fn take(self, s: S, j: usize, column: S::Codes) {
        // SAFETY: the caller's promise.
        unsafe { s.store_codes(self.to.add(j * self.stride), column) }
    }
}
