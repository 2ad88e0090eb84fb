//! Panels in plain Rust: the definition that the other levels are tested against.

use super::{Columns, Panels};
use crate::simd::dot::scalar::{dot4, i8_at};
use crate::simd::{Scalar, Simd};
use half::f16;
use std::array::from_fn;

impl Panels for Scalar {
    type Codes = [u8; 16];

    const PANEL_BIAS: u8 = 0;
    #[inline]
    unsafe fn codes(self, p: *const u8) -> [u8; 16] {
        // SAFETY: the caller vouches for 16 bytes.
        unsafe { p.cast::<[u8; 16]>().read() }
    }
    #[inline]
    unsafe fn codes_splat(self, p: *const i8) -> [u8; 16] {
        // SAFETY: the caller vouches for 4 bytes.
        let x = unsafe { p.cast::<[u8; 4]>().read() };
        from_fn(|i| x[i % 4])
    }
    #[inline]
    unsafe fn codes_splat_two(self, p: *const i8) -> [u8; 16] {
        // SAFETY: the caller vouches for 8 bytes.
        let x = unsafe { p.cast::<[u8; 8]>().read() };
        from_fn(|i| x[i % 8])
    }
    #[inline]
    unsafe fn splat_two(self, p: *const i32) -> [i32; 4] {
        // SAFETY: the caller vouches for two numbers.
        let x = unsafe { p.cast::<[i32; 2]>().read_unaligned() };
        from_fn(|i| x[i % 2])
    }
    #[inline]
    unsafe fn add_interleaved(
        self,
        acc: [i32; 4],
        dots: [[i32; 4]; 2],
        factors: [i32; 4],
        shifts: *const i16,
    ) -> [i32; 4] {
        // SAFETY: the caller vouches for two numbers.
        let [m, n] = unsafe { shifts.cast::<[i16; 2]>().read_unaligned() };
        from_fn(|i| {
            let [x, y] = from_fn(|j| dots[i / 2][i % 2 * 2 + j]);
            acc[i] + x * i32::from(factors[i] as i16 >> m) + y * (factors[i] >> 16 >> n)
        })
    }
    #[inline]
    unsafe fn add_two(self, acc: [i32; 4], factors: [i32; 4], by: *const i16) -> [i32; 4] {
        // SAFETY: the caller vouches for two numbers.
        let by = unsafe { by.cast::<[i16; 2]>().read_unaligned() }.map(i32::from);
        from_fn(|i| acc[i] + i32::from(factors[i] as i16) * by[0] + (factors[i] >> 16) * by[1])
    }
    #[inline]
    fn dot_codes(self, acc: [i32; 4], w: [u8; 16], a: [u8; 16]) -> [i32; 4] {
        from_fn(|lane| acc[lane] + dot4(|i| i8_at(&w, i), |i| i8_at(&a, i), lane))
    }
    #[inline]
    unsafe fn transpose<C: Columns<Self>>(self, from: *const u8, stride: usize, to: C) {
        // SAFETY: the caller vouches for four rows of four dwords, and for room for four columns.
        unsafe {
            let rows: [[u8; 16]; 4] = from_fn(|row| from.add(row * stride).cast::<[u8; 16]>().read());
            for j in 0..Self::LANES {
                to.take(self, j, from_fn(|i| rows[i / 4][4 * j + i % 4]));
            }
        }
    }
    #[inline]
    unsafe fn store_codes(self, p: *mut u8, x: [u8; 16]) {
        // SAFETY: the caller vouches for 16 bytes.
        unsafe { p.cast::<[u8; 16]>().write(x) }
    }
    #[inline]
    fn part_nibbles(self, x: [u8; 16]) -> [[u8; 16]; 2] {
        [x.map(|x| x & 15), x.map(|x| x >> 4)]
    }
    #[inline]
    fn interleave_lanes(self, x: [u8; 16], y: [u8; 16]) -> [[u8; 16]; 2] {
        from_fn(|half| from_fn(|i| if i / 4 % 2 == 0 { x } else { y }[8 * half + i / 8 * 4 + i % 4]))
    }
    #[inline]
    fn add_to_codes(self, x: [u8; 16], y: i8) -> [u8; 16] {
        x.map(|x| x.wrapping_add(y as u8))
    }
    #[inline]
    fn add_fifths(self, x: [u8; 16], bits: [u8; 16], four: usize) -> [u8; 16] {
        from_fn(|i| x[i] + (bits[i / 4 * 4 + four / 2] >> (four % 2 * 4 + i % 4) & 1) * 16)
    }
    #[inline]
    fn bits<const SHIFT: u32>(self, x: [i32; 4], mask: u32) -> [i32; 4] {
        x.map(|x| (x as u32 >> SHIFT & mask) as i32)
    }
    #[inline]
    fn join_words(self, low: [i32; 4], high: [i32; 4]) -> [i32; 4] {
        from_fn(|i| low[i] & 0xffff | high[i] << 16)
    }
    #[inline]
    fn half_words(self, x: [i32; 4]) -> [f32; 4] {
        x.map(|x| f16::from_bits(x as u16).to_f32())
    }
    #[inline]
    unsafe fn store_i8(self, p: *mut i8, x: [i32; 4]) {
        // SAFETY: the caller vouches for 4 bytes.
        unsafe { p.cast::<[i8; 4]>().write(x.map(|v| v.clamp(-128, 127) as i8)) }
    }
}
