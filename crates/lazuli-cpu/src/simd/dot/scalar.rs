//! Integer dot products in plain Rust: the definition that the other levels are tested against.
//!
//! There are no instructions to enable here, and 64 bytes of plain code are long: they stay calls.

use super::{Dot, six_bits};
use crate::simd::Scalar;
use half::f16;
use lazuli_quant::float8::e4m3_to_f32;
use std::array::from_fn;

#[inline]
pub(in crate::simd) fn dot4(w: impl Fn(usize) -> i32, a: impl Fn(usize) -> i32, lane: usize) -> i32 {
    (4 * lane..4 * lane + 4).map(|i| w(i) * a(i)).sum()
}

#[inline]
pub(in crate::simd) fn i8_at(x: &[u8], i: usize) -> i32 {
    i32::from(x[i] as i8)
}

impl Dot for Scalar {
    type Bytes = [u8; 64];
    type Sums = [i32; 16];
    type Wide = [f32; 16];
    type Eight = [f32; 8];
    type Picks = [f32; 8];
    type Factors = [i16; 16];

    #[inline(never)]
    unsafe fn bytes(self, p: *const u8) -> [u8; 64] {
        // SAFETY: the caller vouches for 64 bytes.
        unsafe { p.cast::<[u8; 64]>().read() }
    }
    #[inline(never)]
    unsafe fn bytes_pair(self, p: *const u8, q: *const u8) -> [u8; 64] {
        // SAFETY: the caller vouches for 32 bytes at each.
        let (x, y) = unsafe { (p.cast::<[u8; 32]>().read(), q.cast::<[u8; 32]>().read()) };
        from_fn(|i| if i < 32 { x[i] } else { y[i - 32] })
    }
    #[inline]
    unsafe fn store_bytes(self, p: *mut u8, x: [u8; 64]) {
        // SAFETY: the caller vouches for 64 bytes.
        unsafe { p.cast::<[u8; 64]>().write(x) }
    }
    #[inline(never)]
    unsafe fn nibbles(self, p: *const u8) -> [u8; 64] {
        // SAFETY: the caller vouches for 32 bytes.
        let x = unsafe { p.cast::<[u8; 32]>().read() };
        from_fn(|i| if i < 32 { x[i] & 15 } else { x[i - 32] >> 4 })
    }
    #[inline(never)]
    unsafe fn nibbles_pair(self, p: *const u8, q: *const u8) -> [u8; 64] {
        // SAFETY: the caller vouches for 16 bytes at each.
        let x = unsafe { [p.cast::<[u8; 16]>().read(), q.cast::<[u8; 16]>().read()] };
        from_fn(|i| (x[i / 32][i % 16] >> (4 * (i / 16 % 2))) & 15)
    }
    #[inline(never)]
    unsafe fn nibbles_of_eights(self, p: *const u8) -> [u8; 64] {
        // SAFETY: the caller vouches for 32 bytes.
        let x = unsafe { p.cast::<[u8; 32]>().read() };
        from_fn(|i| (x[8 * (i / 16) + i % 8] >> (4 * (i / 8 % 2))) & 15)
    }
    #[inline(never)]
    unsafe fn bytes_of_four<const STRIDE: usize, const AT: usize, const H: usize>(
        self,
        p: *const u8,
    ) -> [u8; 64] {
        // SAFETY: the caller vouches for the blocks.
        from_fn(|i| unsafe { p.add((4 * H + i / 16) * STRIDE + AT + i % 16).read() })
    }
    #[inline(never)]
    fn low_nibbles(self, x: [u8; 64]) -> [u8; 64] {
        x.map(|b| b & 15)
    }
    #[inline(never)]
    fn high_nibbles(self, x: [u8; 64]) -> [u8; 64] {
        x.map(|b| b >> 4)
    }
    #[inline(never)]
    fn shl_mask<const A: i32, const B: i32>(self, x: [u8; 64], mask: u8) -> [u8; 64] {
        from_fn(|i| (x[i] << if i < 32 { A } else { B }) & mask)
    }
    #[inline(never)]
    fn shr_mask<const A: i32, const B: i32>(self, x: [u8; 64], mask: u8) -> [u8; 64] {
        from_fn(|i| (x[i] >> if i < 32 { A } else { B }) & mask)
    }
    #[inline(never)]
    fn spread_bits(self, bits: u64, value: u8) -> [u8; 64] {
        from_fn(|i| if bits >> i & 1 == 1 { value } else { 0 })
    }
    #[inline(never)]
    unsafe fn bit_codes<const B: usize, const C: usize>(self, p: *const u8) -> [u8; 64] {
        from_fn(|i| {
            let bit = (64 * C + i) * B;
            // SAFETY: the caller vouches for the bytes of 256 codes.
            let byte = |at: usize| if at < 32 * B { unsafe { p.add(at).read() } } else { 0 };
            let word = u16::from_le_bytes([byte(bit / 8), byte(bit / 8 + 1)]);
            (word >> (bit % 8)) as u8 & ((1 << B) - 1)
        })
    }
    #[inline(never)]
    fn lookup(self, table: &[i8; 16], x: [u8; 64]) -> [u8; 64] {
        x.map(|i| table[usize::from(i & 15)] as u8)
    }
    #[inline(never)]
    fn trits(self, x: [u8; 64], powers: &[u16; 32]) -> [u8; 64] {
        from_fn(|i| ((u16::from(x[i].wrapping_mul(powers[i / 2] as u8)) * 3) >> 8) as u8)
    }
    #[inline(never)]
    fn words(self, x: [u64; 8]) -> [u8; 64] {
        from_fn(|i| x[i / 8].to_le_bytes()[i % 8])
    }
    #[inline(never)]
    fn negate_where(self, bits: u64, x: [u8; 64]) -> [u8; 64] {
        from_fn(|i| if bits >> i & 1 == 1 { x[i].wrapping_neg() } else { x[i] })
    }
    #[inline(never)]
    fn or_bytes(self, x: [u8; 64], y: [u8; 64]) -> [u8; 64] {
        from_fn(|i| x[i] | y[i])
    }
    #[inline(never)]
    fn add_byte(self, x: [u8; 64], y: i8) -> [u8; 64] {
        x.map(|b| b.wrapping_add(y as u8))
    }

    #[inline]
    fn no_sums(self) -> [i32; 16] {
        [0; 16]
    }
    #[inline(never)]
    fn offset_sums(self, offset: u8, a: [u8; 64]) -> [i32; 16] {
        from_fn(|lane| -dot4(|_| i32::from(offset), |i| i8_at(&a, i), lane))
    }
    #[inline(never)]
    fn dot_unsigned(self, start: [i32; 16], w: [u8; 64], a: [u8; 64]) -> [i32; 16] {
        from_fn(|lane| start[lane] + dot4(|i| i32::from(w[i]), |i| i8_at(&a, i), lane))
    }
    #[inline]
    fn sums_of_runs(self, x: [u8; 64]) -> [i32; 4] {
        from_fn(|run| (0..16).map(|i| i8_at(&x, 16 * run + i)).sum())
    }
    #[inline]
    fn signed_start(self, _a: [u8; 64]) -> [i32; 16] {
        [0; 16]
    }
    #[inline(never)]
    fn dot_signed(self, start: [i32; 16], w: [u8; 64], a: [u8; 64]) -> [i32; 16] {
        from_fn(|lane| start[lane] + dot4(|i| i8_at(&w, i), |i| i8_at(&a, i), lane))
    }

    #[inline]
    fn wide_zero(self) -> [f32; 16] {
        [0.0; 16]
    }
    #[inline(always)]
    unsafe fn picks(self, _room: *mut f32, scales: [f32; 8]) -> [f32; 8] {
        scales
    }
    #[inline]
    unsafe fn fold_pairs<const C: usize>(
        self,
        acc: [f32; 16],
        sums: [i32; 16],
        scales: [f32; 8],
    ) -> [f32; 16] {
        from_fn(|i| acc[i] + sums[i] as f32 * scales[2 * C + i / 8])
    }
    #[inline]
    fn fold_quads<const C: usize>(self, acc: [f32; 16], sums: [i32; 16], scales: [f32; 16]) -> [f32; 16] {
        from_fn(|i| acc[i] + sums[i] as f32 * scales[4 * C + i / 4])
    }
    #[inline]
    fn sum_of(self, x: [f32; 16], y: [f32; 8]) -> f32 {
        self.eight_sum(from_fn(|i| (x[i] + x[i + 8]) + y[i]))
    }
    #[inline]
    fn wide_low(self, x: [f32; 8]) -> [f32; 16] {
        from_fn(|i| x[i % 8])
    }
    #[inline]
    unsafe fn wide_scales(self, p: *const u8, by: [f32; 8]) -> [f32; 16] {
        // SAFETY: the caller vouches for 16 bytes.
        let x = unsafe { p.cast::<[u8; 16]>().read() };
        from_fn(|i| i8_at(&x, i) as f32 * (by[i / 2]))
    }
    #[inline]
    unsafe fn wide(self, p: *const f32) -> [f32; 16] {
        // SAFETY: the caller vouches for 16 values.
        unsafe { p.cast::<[f32; 16]>().read_unaligned() }
    }
    #[inline]
    unsafe fn wide_e4m3(self, p: *const u8) -> [f32; 16] {
        // SAFETY: the caller vouches for 16 bytes.
        let x = unsafe { p.cast::<[u8; 16]>().read() };
        x.map(|code| {
            let value = e4m3_to_f32(code);
            // NaN carries on where the numbers end.
            let value = if value.is_nan() { 480f32.copysign(value) } else { value };
            value / 256.0
        })
    }
    #[inline]
    fn has_e4m3_nan(self, x: [u8; 64]) -> bool {
        x.iter().any(|code| code & 0x7f == 0x7f)
    }
    #[inline]
    fn wide_bytes(self, x: [u64; 2]) -> [f32; 16] {
        from_fn(|i| f32::from(x[i / 8].to_le_bytes()[i % 8] as i8))
    }
    #[inline]
    fn wide_twice(self, x: [f32; 8]) -> [f32; 16] {
        from_fn(|i| x[i / 2])
    }
    #[inline]
    fn wide_mul(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        from_fn(|i| a[i] * b[i])
    }
    #[inline]
    fn wide_fma(self, a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline]
    unsafe fn fold_floats<const C: usize>(
        self,
        acc: [f32; 16],
        x: [[f32; 16]; 2],
        scales: [f32; 8],
    ) -> [f32; 16] {
        from_fn(|i| acc[i] + x[0][i] * scales[2 * C] + x[1][i] * scales[2 * C + 1])
    }
    #[inline]
    unsafe fn store_wide(self, p: *mut f32, x: [f32; 16]) {
        // SAFETY: the caller vouches for the room.
        unsafe { p.cast::<[f32; 16]>().write_unaligned(x) }
    }

    #[inline]
    unsafe fn factors_six_bits<const R: usize>(
        self,
        p: [*const u8; R],
        by: *const i16,
    ) -> [([i16; 16], [f32; 8]); R] {
        // SAFETY: the caller vouches for the blocks and the numbers.
        let (bits, by) = unsafe { (p.map(|p| six_bits(p.add(4))), by.cast::<[i16; 8]>().read_unaligned()) };
        bits.map(|[scales, mins]| {
            let factor = |i: usize| i16::from(scales.to_le_bytes()[i]) * by[i];
            (from_fn(|i| if i < 8 { factor(i) } else { 0 }), self.eight_u8(mins))
        })
    }
    #[inline]
    unsafe fn factors_i8(self, x: [u64; 2], by: *const i16) -> [i16; 16] {
        // SAFETY: the caller vouches for them.
        let by = unsafe { by.cast::<[i16; 8]>().read_unaligned() };
        from_fn(|i| i16::from((x[i / 8] >> (8 * (i % 8))) as i8) * by[i / 2])
    }
    #[inline]
    unsafe fn add_factors_i8(
        self,
        acc: [f32; 16],
        x: [u64; 2],
        [factors, sums]: [*const i16; 2],
        by: f32,
    ) -> [f32; 16] {
        // SAFETY: the caller vouches for them.
        let (factors, sums) =
            unsafe { (self.factors_i8(x, factors), sums.cast::<[i16; 16]>().read_unaligned()) };
        from_fn(|i| acc[i] + (i32::from(factors[i]) * i32::from(sums[i])) as f32 * by)
    }
    #[inline]
    fn add_pairs<const H: usize>(
        self,
        acc: [i32; 16],
        [x, y]: [[i32; 16]; 2],
        factors: [i16; 16],
    ) -> [i32; 16] {
        let factor = |i| i32::from(factors[i]);
        from_fn(|i| {
            let at = 4 * H + i / 8 * 2;
            acc[i] + x[i] * factor(at) + y[i] * factor(at + 1)
        })
    }
    #[inline]
    fn add_quads<const H: usize>(
        self,
        acc: [i32; 16],
        [x, y]: [[i32; 16]; 2],
        factors: [i16; 16],
    ) -> [i32; 16] {
        let factor = |i| i32::from(factors[i]);
        from_fn(|i| {
            let at = 8 * H + i / 4;
            acc[i] + x[i] * factor(at) + y[i] * factor(at + 4)
        })
    }
    #[inline]
    fn add_wide(self, acc: [f32; 16], sums: [i32; 16], by: f32) -> [f32; 16] {
        from_fn(|i| acc[i] + sums[i] as f32 * by)
    }
    #[inline]
    fn two_f16(self, bits: u32) -> [f32; 2] {
        [bits as u16, (bits >> 16) as u16].map(|bits| f16::from_bits(bits).to_f32())
    }

    #[inline]
    unsafe fn eight(self, p: *const f32) -> [f32; 8] {
        // SAFETY: the caller vouches for the values.
        unsafe { p.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline]
    unsafe fn store_eight(self, p: *mut f32, x: [f32; 8]) {
        // SAFETY: the caller vouches for the room.
        unsafe { p.cast::<[f32; 8]>().write_unaligned(x) }
    }
    #[inline]
    fn eight_splat(self, x: f32) -> [f32; 8] {
        [x; 8]
    }
    #[inline]
    fn eight_splat_f16(self, bits: u16) -> [f32; 8] {
        [f16::from_bits(bits).to_f32(); 8]
    }
    #[inline]
    fn eight_f16(self, low: u64, high: u64) -> [f32; 8] {
        from_fn(|i| f16::from_bits(([low, high][i / 4] >> (16 * (i % 4))) as u16).to_f32())
    }
    #[inline]
    fn eight_bf16(self, low: u64, high: u64) -> [f32; 8] {
        from_fn(|i| f32::from_bits((([low, high][i / 4] >> (16 * (i % 4))) as u32) << 16))
    }
    #[inline]
    fn eight_low(self, low: u64, high: u64) -> [f32; 8] {
        from_fn(|i| f32::from_bits(([low, high][i / 2 % 2] >> (32 * (i % 2))) as u32))
    }
    #[inline]
    fn eight_repeat<const N: usize>(self, x: [f32; 8]) -> [f32; 8] {
        from_fn(|i| x[i / N])
    }
    #[inline]
    unsafe fn eight_tops<const STEP: usize>(self, p: *const u8) -> [f32; 8] {
        // SAFETY: the caller vouches for the bytes.
        from_fn(|i| f32::from(unsafe { p.add(4 * STEP * (i + 1) - 1).read() } >> 4))
    }
    #[inline]
    fn eight_half_e8m0(self, x: u64) -> [f32; 8] {
        x.to_le_bytes().map(|code| match code {
            0 | 1 => f32::from_bits(0x20_0000 << code),
            _ => f32::from_bits(u32::from(code - 1) << 23),
        })
    }
    #[inline]
    fn eight_u8(self, x: u64) -> [f32; 8] {
        x.to_le_bytes().map(f32::from)
    }
    #[inline]
    fn eight_mul(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        from_fn(|i| a[i] * b[i])
    }
    #[inline]
    fn eight_fma(self, a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline]
    fn eight_first(self, count: usize, x: [f32; 8]) -> [f32; 8] {
        from_fn(|i| if i < count { x[i] } else { 0.0 })
    }
    #[inline]
    fn eight_sum(self, x: [f32; 8]) -> f32 {
        ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
    }
}
