//! [`Dot`]: the integer side of a vector level for weights in their file's own layout: dot products of 8-bit codes.

pub(super) mod scalar;
mod vectors;

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod bits;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;

#[cfg(test)]
pub(super) mod tests;

use super::panels::Panels;
use vectors::note_nan;
pub use vectors::{Fours, even_signs, has_full_byte, six_bits};

/// A window of this that begins `8 - n` lanes in has all bits of its first `n` lanes set, and none of the others.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
static FIRST_LANES: [u32; 16] = {
    let mut lanes = [0; 16];
    let mut i = 0;
    while i < 8 {
        lanes[i] = u32::MAX;
        i += 1;
    }
    lanes
};

/// Integer dot products of quantised codes, and the shuffling that brings packed codes into order.
///
/// Kernels that read a weight file's own layout (decode) are written over fixed logical vectors of 64 bytes, 16 sums and 8
/// scales, whatever the registers: the formats' groups of 16 and 32 codes then fall on the same lanes at every level.
/// Kernels over packed panels (prefill) use the native width: [`Panels`].
///
/// Activation codes lie in `-127..=127` everywhere; -128 is never produced, and the dot products rely on it.
pub trait Dot: Panels {
    /// 64 bytes.
    type Bytes: Copy;
    /// 16 lanes of `i32`.
    type Sums: Copy;
    /// 16 lanes of `f32`.
    type Wide: Copy;
    /// 8 lanes of `f32`.
    type Eight: Copy;
    /// 8 lanes of `f32` to pick from: where that costs instructions, a place in memory.
    type Picks: Copy;
    /// 16 lanes of integers that fit 16 bits.
    type Factors: Copy;

    /// Loads 64 bytes.
    ///
    /// # Safety
    /// `p` must be valid for reading 64 bytes.
    unsafe fn bytes(self, p: *const u8) -> Self::Bytes;
    /// 32 bytes from `p`, then 32 from `q`.
    ///
    /// # Safety
    /// Both must be valid for reading 32 bytes.
    unsafe fn bytes_pair(self, p: *const u8, q: *const u8) -> Self::Bytes;
    /// Stores 64 bytes.
    ///
    /// # Safety
    /// `p` must be valid for writing 64 bytes.
    unsafe fn store_bytes(self, p: *mut u8, x: Self::Bytes);
    /// The low nibbles of the 32 bytes at `p`, then their high nibbles.
    ///
    /// # Safety
    /// `p` must be valid for reading 32 bytes.
    unsafe fn nibbles(self, p: *const u8) -> Self::Bytes;
    /// The low nibbles of the 16 bytes at `p`, their high nibbles, and the same for the 16 bytes at `q`.
    ///
    /// # Safety
    /// Both must be valid for reading 16 bytes.
    unsafe fn nibbles_pair(self, p: *const u8, q: *const u8) -> Self::Bytes;
    /// The low nibbles of each 8 of the 32 bytes at `p`, each time followed by their high nibbles.
    ///
    /// # Safety
    /// `p` must be valid for reading 32 bytes.
    unsafe fn nibbles_of_eights(self, p: *const u8) -> Self::Bytes;
    /// In which order eight blocks of which 16 bytes each are taken stand in two vectors: block `i` is the `PLACES[i]`th, four
    /// to a vector.
    const PLACES: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
    /// The 16 bytes `AT` bytes into each of four of eight blocks of `STRIDE` bytes, 16 to 24, the last of which end where their
    /// block does: of the first four in the order of [`Dot::PLACES`] if `H` is 0, of the others if it is 1.
    ///
    /// # Safety
    /// `p` must be valid for reading `8 * STRIDE` bytes.
    unsafe fn bytes_of_four<const STRIDE: usize, const AT: usize, const H: usize>(
        self,
        p: *const u8,
    ) -> Self::Bytes;
    /// `value` for each bit that is set of the 32-bit numbers `AT` bytes into the same blocks, 0 for the others: of the low 16
    /// bits of each, and of the high ones.
    ///
    /// # Safety
    /// `p` must be valid for reading `8 * STRIDE` bytes, and `AT` at most 12.
    #[inline(always)]
    unsafe fn bits_of_four<const STRIDE: usize, const AT: usize, const H: usize>(
        self,
        p: *const u8,
        value: u8,
    ) -> [Self::Bytes; 2] {
        let mut bits = [0; 2];
        for i in 0..4 {
            let at = (4 * H + i) * STRIDE + AT;
            // SAFETY: within block `4 H + i`.
            let word = unsafe { u32::from_le(p.add(at).cast::<u32>().read_unaligned()) };
            bits[0] |= u64::from(word & 0xffff) << (16 * i);
            bits[1] |= u64::from(word >> 16) << (16 * i);
        }
        [self.spread_bits(bits[0], value), self.spread_bits(bits[1], value)]
    }
    /// The low nibble of each byte.
    fn low_nibbles(self, x: Self::Bytes) -> Self::Bytes;
    /// The high nibble of each byte.
    fn high_nibbles(self, x: Self::Bytes) -> Self::Bytes;
    /// `(x << n) & mask` with `n = A` in the first 32 bytes and `n = B` in the others; both below 8.
    fn shl_mask<const A: i32, const B: i32>(self, x: Self::Bytes, mask: u8) -> Self::Bytes;
    /// `(x >> n) & mask`, likewise.
    fn shr_mask<const A: i32, const B: i32>(self, x: Self::Bytes, mask: u8) -> Self::Bytes;
    /// `value` in byte `i` where bit `i` of `bits` is set, 0 elsewhere.
    fn spread_bits(self, bits: u64, value: u8) -> Self::Bytes;
    /// Codes `64 C .. 64 C + 64` of 256 that stand at `p` as one little-endian stream of `B` bits each, `B` from 2 to 6.
    ///
    /// # Safety
    /// `p` must be valid for reading `32 * B` bytes.
    unsafe fn bit_codes<const B: usize, const C: usize>(self, p: *const u8) -> Self::Bytes;
    /// `table[x]` for each byte, all below 16.
    fn lookup(self, table: &[i8; 16], x: Self::Bytes) -> Self::Bytes;
    /// `3 (x p mod 256) / 256` for each byte, where `p` is the number of `powers` for it and its neighbour: the leading
    /// digit to base 3 of `x p / 256`.
    fn trits(self, x: Self::Bytes, powers: &[u16; 32]) -> Self::Bytes;
    /// Writes the vectors of 64 indices for each of `R` rows; bit `i` of a number in `high` is the ninth of the row's
    /// index `i`, and none is set unless `WIDE`.
    ///
    /// # Safety
    /// Every pointer in `indices` must be valid for reading 64 bytes, those in `to` for writing 256.
    #[inline(always)]
    unsafe fn expand_fours<const WIDE: bool, const R: usize>(
        self,
        table: &Fours,
        indices: &[*const u8; R],
        high: &[u64; R],
        to: &[*mut u8; R],
    ) {
        for r in 0..R {
            // SAFETY: the caller's promise.
            unsafe { table.each(indices[r], high[r], to[r]) }
        }
    }
    /// [`even_signs`] of the four little-endian numbers at `from`.
    ///
    /// # Safety
    /// `from` must be valid for reading 32 bytes, `to` for writing as many.
    #[inline(always)]
    unsafe fn expand_even_signs(self, from: *const u8, to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { vectors::four_even_signs(from, to) }
    }
    /// 64 values, the first 32 times the first number and the others times the second, rounded to signed bytes. What is
    /// not finite becomes any byte.
    ///
    /// # Safety
    /// `x` must be valid for reading 64 values.
    #[inline(always)]
    unsafe fn rounded(self, x: *const f32, by: [f32; 2]) -> Self::Bytes {
        let mut codes = [0u8; 64];
        // SAFETY: the caller's promise, and no level has more lanes than 32.
        unsafe {
            for i in 0..64 / Self::LANES {
                let at = i * Self::LANES;
                let by = self.splat(by[at / 32]);
                let whole = self.to_i32(self.mul(self.load(x.add(at)), by));
                self.store_i8(codes.as_mut_ptr().add(at).cast(), whole);
            }
            self.bytes(codes.as_ptr())
        }
    }
    /// Stores the fours of four rows of 64 bytes: those of each column after each other, or, if they are `PAIRED`, those of
    /// column `i` and of column `8 + i` of each row.
    ///
    /// # Safety
    /// `to` must be valid for writing 256 bytes.
    #[inline(always)]
    unsafe fn store_woven<const PAIRED: bool>(self, rows: [Self::Bytes; 4], to: *mut u8) {
        let mut bytes = [0u8; 256];
        // SAFETY: 16 fours of four rows, on both sides.
        unsafe {
            for r in 0..4 {
                self.store_bytes(bytes.as_mut_ptr().add(64 * r), rows[r]);
            }
            for i in 0..16 {
                for r in 0..4 {
                    let slot = if PAIRED { (i % 8 * 4 + r) * 2 + i / 8 } else { i * 4 + r };
                    let from = bytes.as_ptr().add(64 * r + 4 * i).cast::<u32>();
                    to.add(4 * slot).cast::<u32>().write_unaligned(from.read_unaligned());
                }
            }
        }
    }
    /// The bits of the largest magnitudes of eight runs of 32 values: those of numbers that are not finite are the largest.
    ///
    /// # Safety
    /// `x` must be valid for reading 256 values.
    #[inline(always)]
    unsafe fn peaks(self, x: *const f32) -> [u32; 8] {
        let mut peaks = [0; 8];
        for run in 0..8 {
            // SAFETY: the caller's promise.
            peaks[run] = unsafe { self.peak(x.add(32 * run), 32) };
        }
        peaks
    }
    /// The same of one run of `count` values, a multiple of 16.
    ///
    /// # Safety
    /// `x` must be valid for reading them.
    #[inline(always)]
    unsafe fn peak(self, x: *const f32, count: usize) -> u32 {
        let mut peak = 0;
        for i in 0..count {
            // SAFETY: the caller's promise.
            let bits = unsafe { x.add(i).cast::<u32>().read_unaligned() } & (u32::MAX >> 1);
            peak = if bits > peak { bits } else { peak };
        }
        peak
    }
    /// The bytes of eight numbers, each in little-endian order.
    fn words(self, x: [u64; 8]) -> Self::Bytes;
    /// `-x` in byte `i` where bit `i` of `bits` is set.
    fn negate_where(self, bits: u64, x: Self::Bytes) -> Self::Bytes;
    /// Bitwise or.
    fn or_bytes(self, x: Self::Bytes, y: Self::Bytes) -> Self::Bytes;
    /// Bytewise wrapping sum with a constant.
    fn add_byte(self, x: Self::Bytes, y: i8) -> Self::Bytes;

    /// Zero in all lanes.
    fn no_sums(self) -> Self::Sums;
    /// `-offset * (a0 + a1 + a2 + a3)` for each four bytes of activations: where a dot product with codes that are
    /// stored with `offset` added has to start. `offset` is at most 127.
    fn offset_sums(self, offset: u8, a: Self::Bytes) -> Self::Sums;
    /// `start + w0 a0 + .. + w3 a3` for each four bytes; codes `w` in `0..=127`, so that no 16-bit sum saturates.
    fn dot_unsigned(self, start: Self::Sums, w: Self::Bytes, a: Self::Bytes) -> Self::Sums;
    /// The dot products of both pairs together, codes in `0..=63`.
    #[inline(always)]
    fn dot_both(self, w: [Self::Bytes; 2], a: [Self::Bytes; 2]) -> Self::Sums {
        self.dot_unsigned(self.dot_unsigned(self.no_sums(), w[0], a[0]), w[1], a[1])
    }
    /// The sums of 16 signed bytes each.
    fn sums_of_runs(self, x: Self::Bytes) -> [i32; 4];
    /// What [`Dot::dot_signed`] starts from.
    fn signed_start(self, a: Self::Bytes) -> Self::Sums;
    /// `w0 a0 + .. + w3 a3` for each four bytes, any `i8` as `w`; `start` comes from [`Dot::signed_start`] of `a`.
    fn dot_signed(self, start: Self::Sums, w: Self::Bytes, a: Self::Bytes) -> Self::Sums;

    /// Zero in all lanes.
    fn wide_zero(self) -> Self::Wide;
    /// `acc + sums * scale`, where lane `i` of the sums takes scale `2 C + i / 8`: two groups of 32 codes.
    ///
    /// # Safety
    /// The scales' room must be as [`Dot::picks`] left it.
    unsafe fn fold_pairs<const C: usize>(
        self,
        acc: Self::Wide,
        sums: Self::Sums,
        scales: Self::Picks,
    ) -> Self::Wide;
    /// Eight scales to pick from.
    ///
    /// # Safety
    /// `room` must be valid for writing 8 values, and stay as it is while scales are picked.
    unsafe fn picks(self, room: *mut f32, scales: Self::Eight) -> Self::Picks;
    /// `acc + sums * scale`, where lane `i` of the sums takes scale `4 C + i / 4`: four groups of 16 codes.
    fn fold_quads<const C: usize>(self, acc: Self::Wide, sums: Self::Sums, scales: Self::Wide) -> Self::Wide;
    /// `acc + sums * scale`, where the four lanes of the sums of each of eight blocks, in the order of [`Dot::PLACES`], take its
    /// scale. Sums fit 16 bits, and so do those of two.
    #[inline(always)]
    fn fold_blocks(self, acc: Self::Wide, sums: [Self::Sums; 2], scales: Self::Eight) -> Self::Wide {
        let scales = self.wide_low(scales);
        self.fold_quads::<1>(self.fold_quads::<0>(acc, sums[0], scales), sums[1], scales)
    }
    /// What four lanes of the same sums come to for each block.
    #[inline(always)]
    fn eight_blocks(self, sums: [Self::Sums; 2]) -> Self::Eight {
        // SAFETY: there are 8 values, either time.
        unsafe {
            let blocks = Self::PLACES.map(|place| {
                let only: [f32; 8] = std::array::from_fn(|lane| f32::from(u8::from(lane == place % 4)));
                let only = self.wide_low(self.eight(only.as_ptr()));
                let sum = self.fold_quads::<0>(self.wide_zero(), sums[place / 4], only);
                self.sum_of(sum, self.eight_splat(0.0))
            });
            self.eight(blocks.as_ptr())
        }
    }
    /// The sum of the lanes of both.
    fn sum_of(self, x: Self::Wide, y: Self::Eight) -> f32;
    /// The 8 values in the first lanes; the others are whatever they are.
    fn wide_low(self, x: Self::Eight) -> Self::Wide;
    /// 16 signed bytes times the 8 scales, each scale for two neighbours.
    ///
    /// # Safety
    /// `p` must be valid for reading 16 bytes.
    unsafe fn wide_scales(self, p: *const u8, by: Self::Eight) -> Self::Wide;
    /// Loads 16 values.
    ///
    /// # Safety
    /// `p` must be valid for reading them.
    unsafe fn wide(self, p: *const f32) -> Self::Wide;
    /// 16 floats of 8 bits in the e4m3 format, each divided by 256; what stands for NaN becomes 480 / 256, which
    /// [`Dot::has_e4m3_nan`] is to tell.
    ///
    /// # Safety
    /// `p` must be valid for reading 16 bytes.
    unsafe fn wide_e4m3(self, p: *const u8) -> Self::Wide;
    /// Whether one of 64 bytes is an e4m3 NaN.
    fn has_e4m3_nan(self, x: Self::Bytes) -> bool;
    /// 16 signed bytes, the first in the low bits of `x[0]`.
    fn wide_bytes(self, x: [u64; 2]) -> Self::Wide;
    /// Each of 8 values for two neighbours.
    fn wide_twice(self, x: Self::Eight) -> Self::Wide;
    /// `a * b`.
    fn wide_mul(self, a: Self::Wide, b: Self::Wide) -> Self::Wide;
    /// `a * b + c`, rounded once.
    fn wide_fma(self, a: Self::Wide, b: Self::Wide, c: Self::Wide) -> Self::Wide;
    /// `acc + x[0] * scales[2 C] + x[1] * scales[2 C + 1]`.
    ///
    /// # Safety
    /// As for [`Dot::fold_pairs`].
    unsafe fn fold_floats<const C: usize>(
        self,
        acc: Self::Wide,
        x: [Self::Wide; 2],
        scales: Self::Picks,
    ) -> Self::Wide;
    /// Stores 16 values.
    ///
    /// # Safety
    /// `p` must be valid for writing them.
    unsafe fn store_wide(self, p: *mut f32, x: Self::Wide);

    /// Of `R` blocks of Q4_K or Q5_K the scales, each times its number in `by`, and the mins, for [`Dot::add_six_bits`]:
    /// how they are spread over the rows is the level's business.
    ///
    /// # Safety
    /// Each of `p` must be valid for reading 20 bytes and `by` for 8 values; products must fit 16 bits.
    unsafe fn factors_six_bits<const R: usize>(
        self,
        p: [*const u8; R],
        by: *const i16,
    ) -> [(Self::Factors, Self::Eight); R];
    /// Adds `d unit totals - dmin mins sums` of `R` blocks, which begin with their `d` and `dmin`, to `acc` of row `m`. The
    /// mins are those of [`Dot::factors_six_bits`], the sums those of 8 groups.
    ///
    /// # Safety
    /// Each of `p` must be valid for reading 4 bytes and `sums` for 8 values.
    #[inline(always)]
    unsafe fn add_six_bits<const R: usize, const M: usize>(
        self,
        m: usize,
        acc: &mut [[(Self::Wide, Self::Eight); M]; R],
        totals: &[[Self::Sums; M]; R],
        factors: &[(Self::Factors, Self::Eight); R],
        p: [*const u8; R],
        (unit, sums): (f32, *const f32),
    ) {
        for r in 0..R {
            // SAFETY: the caller's promise.
            unsafe {
                let [d, dmin] = self.two_f16(u32::from_le(p[r].cast::<u32>().read_unaligned()));
                let (wide, eight) = &mut acc[r][m];
                *wide = self.add_wide(*wide, totals[r][m], d * unit);
                let mins = self.eight_mul(factors[r].1, self.eight_splat(-dmin));
                *eight = self.eight_fma(mins, self.eight(sums), *eight);
            }
        }
    }
    /// After the last block: gives each of the rows that were added up together what is its own.
    #[inline(always)]
    fn part_six_bits<const R: usize, const M: usize>(self, _acc: &mut [[(Self::Wide, Self::Eight); M]; R]) {}
    /// 16 signed bytes, the first in the low bits of `x[0]`, times 8 numbers, each number for two neighbours.
    ///
    /// # Safety
    /// `by` must be valid for reading 8 values; products must fit 16 bits.
    unsafe fn factors_i8(self, x: [u64; 2], by: *const i16) -> Self::Factors;
    /// `acc + by * products`, whose products are those of [`Dot::factors_i8`] with 16 numbers at `sums`, below 2^15 in
    /// magnitude where two neighbours are added up. In which lanes they end up is the level's business.
    ///
    /// # Safety
    /// As there, and `sums` must be valid for reading 16 values.
    unsafe fn add_factors_i8(
        self,
        acc: Self::Wide,
        x: [u64; 2],
        numbers: [*const i16; 2],
        by: f32,
    ) -> Self::Wide;
    /// `acc + sums * factors` in integers. Of `sums[0]` the first 8 lanes take factor `4 H` and the others `4 H + 2`, of
    /// `sums[1]` factors `4 H + 1` and `4 H + 3`. Sums fit 16 bits. In which lanes the products end up is the level's
    /// business: their sum over all lanes is what counts.
    fn add_pairs<const H: usize>(
        self,
        acc: Self::Sums,
        sums: [Self::Sums; 2],
        factors: Self::Factors,
    ) -> Self::Sums;
    /// The same where lane `i` of `sums[j]` takes factor `8 H + 4 j + i / 4`.
    fn add_quads<const H: usize>(
        self,
        acc: Self::Sums,
        sums: [Self::Sums; 2],
        factors: Self::Factors,
    ) -> Self::Sums;
    /// `acc + sums * by`, in floats.
    fn add_wide(self, acc: Self::Wide, sums: Self::Sums, by: f32) -> Self::Wide;
    /// Two neighbouring half-precision numbers, the first in the low bits.
    fn two_f16(self, bits: u32) -> [f32; 2];

    /// Loads 8 values.
    ///
    /// # Safety
    /// `p` must be valid for reading them.
    unsafe fn eight(self, p: *const f32) -> Self::Eight;
    /// Stores 8 values.
    ///
    /// # Safety
    /// `p` must be valid for writing them.
    unsafe fn store_eight(self, p: *mut f32, x: Self::Eight);
    /// All lanes `x`.
    fn eight_splat(self, x: f32) -> Self::Eight;
    /// All lanes the half-precision value of these bits.
    fn eight_splat_f16(self, bits: u16) -> Self::Eight;
    /// 8 half-precision values, the first in the low bits of `low`.
    fn eight_f16(self, low: u64, high: u64) -> Self::Eight;
    /// The half-precision values `AT` bytes into 8 blocks of `STRIDE` bytes: both even, `AT` below 4, `STRIDE` from 18
    /// to 34.
    ///
    /// # Safety
    /// `p` must be valid for reading `8 * STRIDE` bytes.
    #[inline(always)]
    unsafe fn eight_halves<const STRIDE: usize, const AT: usize>(self, p: *const u8) -> Self::Eight {
        let mut words = [0; 2];
        for i in 0..8 {
            // SAFETY: within block `i`.
            let word = unsafe { u16::from_le(p.add(i * STRIDE + AT).cast::<u16>().read_unaligned()) };
            words[i / 4] |= u64::from(word) << (16 * (i % 4));
        }
        self.eight_f16(words[0], words[1])
    }
    /// Stores the half-precision values that 8 blocks of `STRIDE` bytes, 22 to 24, begin with at `halves`, as floats, and the
    /// little-endian 32-bit numbers after them at `words`.
    ///
    /// # Safety
    /// `p` must be valid for reading `8 * STRIDE` bytes, the others for writing eight numbers.
    #[inline(always)]
    unsafe fn part_heads<const STRIDE: usize>(self, p: *const u8, halves: *mut f32, words: *mut u32) {
        // SAFETY: the caller's promise.
        unsafe {
            self.store_eight(halves, self.eight_halves::<STRIDE, 0>(p));
            for i in 0..8 {
                words.add(i).write_unaligned(p.add(i * STRIDE + 2).cast::<u32>().read_unaligned());
            }
        }
    }
    /// The half-precision values that 8 blocks of `STRIDE` bytes, 18 to 24, begin with, and those that follow them.
    ///
    /// # Safety
    /// `p` must be valid for reading `8 * STRIDE` bytes.
    #[inline(always)]
    unsafe fn eight_halves_two<const STRIDE: usize>(self, p: *const u8) -> [Self::Eight; 2] {
        // SAFETY: the caller's promise.
        unsafe { [self.eight_halves::<STRIDE, 0>(p), self.eight_halves::<STRIDE, 2>(p)] }
    }
    /// 8 values of bfloat16, the first in the low bits of `low`.
    fn eight_bf16(self, low: u64, high: u64) -> Self::Eight;
    /// Four values from their bits, two in each number, the first in the low bits of `low`; the other lanes are
    /// whatever they are.
    fn eight_low(self, low: u64, high: u64) -> Self::Eight;
    /// Lane `i / N` in lane `i`; `N` is 2 or 4.
    fn eight_repeat<const N: usize>(self, x: Self::Eight) -> Self::Eight;
    /// The top 4 bits of 8 little-endian numbers of `32 * STEP` bits each; `STEP` is 1 or 2.
    ///
    /// # Safety
    /// `p` must be valid for reading `32 * STEP` bytes.
    unsafe fn eight_tops<const STEP: usize>(self, p: *const u8) -> Self::Eight;
    /// `2^(x - 128)` for 8 unsigned bytes, the first in the low bits: half the value of an e8m0 scale.
    fn eight_half_e8m0(self, x: u64) -> Self::Eight;
    /// The same, and NaN where the byte is 255, as e8m0 has it.
    #[inline(always)]
    fn eight_half_e8m0_or_nan(self, x: u64) -> Self::Eight {
        let halves = self.eight_half_e8m0(x);
        if !has_full_byte(x) {
            return halves;
        }
        let mut lanes = [0.0; 8];
        // SAFETY: there are eight.
        unsafe {
            self.store_eight(lanes.as_mut_ptr(), halves);
            note_nan(x, &mut lanes);
            self.eight(lanes.as_ptr())
        }
    }
    /// Writes that of 16 bytes.
    ///
    /// # Safety
    /// `from` must be valid for reading 16 bytes, `to` for writing as many floats.
    #[inline(always)]
    unsafe fn store_half_e8m0(self, from: *const u8, to: *mut f32) {
        for at in [0, 8] {
            // SAFETY: the caller's memory.
            unsafe {
                let x = u64::from_le(from.add(at).cast::<u64>().read_unaligned());
                self.store_eight(to.add(at), self.eight_half_e8m0_or_nan(x));
            }
        }
    }
    /// 8 unsigned bytes, the first in the low bits.
    fn eight_u8(self, x: u64) -> Self::Eight;
    /// `a * b`.
    fn eight_mul(self, a: Self::Eight, b: Self::Eight) -> Self::Eight;
    /// `a * b + c`, rounded once.
    fn eight_fma(self, a: Self::Eight, b: Self::Eight, c: Self::Eight) -> Self::Eight;
    /// The first `count` lanes, and 0 in the others, whatever stood there.
    fn eight_first(self, count: usize, x: Self::Eight) -> Self::Eight;
    /// The sum of the lanes.
    fn eight_sum(self, x: Self::Eight) -> f32;
    /// The sums of four vectors' lanes.
    #[inline(always)]
    fn eight_sums(self, x: [Self::Eight; 4]) -> [f32; 4] {
        [self.eight_sum(x[0]), self.eight_sum(x[1]), self.eight_sum(x[2]), self.eight_sum(x[3])]
    }

    /// Where dot products with runs of 16 signed bytes start if 128 was added to the other codes: -128 times the bytes' sums.
    /// With narrow sums it is for codes that 1 was added to: in the lower 16 bits minus the sum of the first two of each
    /// four bytes, in the upper ones that of the others.
    #[inline(always)]
    fn starts_of_runs(self, x: Self::Bytes) -> [i32; 4] {
        let [a, b, c, d] = self.sums_of_runs(x);
        [-128 * a, -128 * b, -128 * c, -128 * d]
    }
    /// Where dot products with two runs start.
    #[inline(always)]
    fn joint_start(a: i32, b: i32) -> i32 {
        if Self::NARROW { (a + b) & 0xffff | ((a >> 16) + (b >> 16)) << 16 } else { a + b }
    }
    /// Where a dot product starts so for codes that `2^(bits - 1)` was added to.
    #[inline(always)]
    fn raised_start(start: i32, bits: u32) -> i32 {
        if Self::NARROW {
            start << (bits - 1) & 0xffff | start >> 16 << (bits + 15)
        } else {
            start >> (8 - bits)
        }
    }
    /// Minus the sum of the bytes that a dot product starts so with.
    #[inline(always)]
    fn negative_sum(start: i32) -> i32 {
        if Self::NARROW { i32::from(start as i16) + (start >> 16) } else { start / 128 }
    }
}
