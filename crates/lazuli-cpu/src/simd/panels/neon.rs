//! Panels on 64-bit Arm.
#![allow(clippy::undocumented_unsafe_blocks, unused_unsafe)]
// SAFETY (of every block here): NEON is part of the base architecture, the dot-product instructions are promised by
// the token, and pointers are vouched for by the callers of the trait's unsafe methods.

use super::{BITS_OF_FOURS, BYTES_OF_FOURS, Columns, Panels};
use crate::simd::dot::neon::sdot;
use crate::simd::{Neon, Simd};
use std::arch::aarch64::*;
use std::array::from_fn;

/// `i16 x i16` products summed by twos onto `acc`.
#[inline(always)]
unsafe fn add_products(acc: int32x4_t, a: int16x8_t, b: int16x8_t) -> int32x4_t {
    unsafe {
        let low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
        vaddq_s32(acc, vpaddq_s32(low, vmull_high_s16(a, b)))
    }
}

impl<const DOT: bool> Panels for Neon<DOT> {
    type Codes = int8x16_t;

    const PANEL_BIAS: u8 = 0;
    #[inline(always)]
    unsafe fn codes(self, p: *const u8) -> int8x16_t {
        unsafe { vld1q_s8(p.cast()) }
    }
    #[inline(always)]
    unsafe fn codes_splat(self, p: *const i8) -> int8x16_t {
        unsafe { vreinterpretq_s8_s32(vdupq_n_s32(p.cast::<i32>().read_unaligned())) }
    }
    #[inline(always)]
    unsafe fn codes_splat_two(self, p: *const i8) -> int8x16_t {
        unsafe { vreinterpretq_s8_s64(vdupq_n_s64(p.cast::<i64>().read_unaligned())) }
    }
    #[inline(always)]
    unsafe fn splat_two(self, p: *const i32) -> int32x4_t {
        unsafe { vreinterpretq_s32_s64(vdupq_n_s64(p.cast::<i64>().read_unaligned())) }
    }
    #[inline(always)]
    unsafe fn add_interleaved(
        self,
        acc: int32x4_t,
        dots: [int32x4_t; 2],
        factors: int32x4_t,
        shifts: *const i16,
    ) -> int32x4_t {
        unsafe {
            let dots = vcombine_s16(vmovn_s32(dots[0]), vmovn_s32(dots[1]));
            // Shifts to the left by negative numbers.
            let shifts = vreinterpretq_s16_s32(vdupq_n_s32(shifts.cast::<i32>().read_unaligned()));
            add_products(acc, dots, vshlq_s16(vreinterpretq_s16_s32(factors), vnegq_s16(shifts)))
        }
    }
    #[inline(always)]
    unsafe fn add_two(self, acc: int32x4_t, factors: int32x4_t, by: *const i16) -> int32x4_t {
        unsafe {
            let by = vreinterpretq_s16_s32(vdupq_n_s32(by.cast::<i32>().read_unaligned()));
            add_products(acc, vreinterpretq_s16_s32(factors), by)
        }
    }
    #[inline(always)]
    fn dot_codes(self, acc: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
        unsafe { sdot::<DOT>(acc, w, a) }
    }
    #[inline(always)]
    unsafe fn transpose<C: Columns<Self>>(self, from: *const u8, stride: usize, to: C) {
        unsafe {
            let r: [uint32x4_t; 4] = from_fn(|i| vreinterpretq_u32_u8(vld1q_u8(from.add(i * stride))));
            let t = [
                vtrn1q_u32(r[0], r[1]),
                vtrn2q_u32(r[0], r[1]),
                vtrn1q_u32(r[2], r[3]),
                vtrn2q_u32(r[2], r[3]),
            ];
            let q = t.map(|x| vreinterpretq_u64_u32(x));
            let columns = [
                vtrn1q_u64(q[0], q[2]),
                vtrn1q_u64(q[1], q[3]),
                vtrn2q_u64(q[0], q[2]),
                vtrn2q_u64(q[1], q[3]),
            ];
            for (i, column) in columns.into_iter().enumerate() {
                to.take(self, i, vreinterpretq_s8_u64(column));
            }
        }
    }
    #[inline(always)]
    unsafe fn store_codes(self, p: *mut u8, x: int8x16_t) {
        unsafe { vst1q_s8(p.cast(), x) }
    }
    #[inline(always)]
    fn part_nibbles(self, x: int8x16_t) -> [int8x16_t; 2] {
        unsafe {
            let x = vreinterpretq_u8_s8(x);
            [vreinterpretq_s8_u8(vandq_u8(x, vdupq_n_u8(15))), vreinterpretq_s8_u8(vshrq_n_u8::<4>(x))]
        }
    }
    #[inline(always)]
    fn interleave_lanes(self, x: int8x16_t, y: int8x16_t) -> [int8x16_t; 2] {
        unsafe {
            let (x, y) = (vreinterpretq_s32_s8(x), vreinterpretq_s32_s8(y));
            [vreinterpretq_s8_s32(vzip1q_s32(x, y)), vreinterpretq_s8_s32(vzip2q_s32(x, y))]
        }
    }
    #[inline(always)]
    fn add_to_codes(self, x: int8x16_t, y: i8) -> int8x16_t {
        unsafe { vaddq_s8(x, vdupq_n_s8(y)) }
    }
    #[inline(always)]
    fn add_fifths(self, x: int8x16_t, bits: int8x16_t, four: usize) -> int8x16_t {
        unsafe {
            let bytes = vqtbl1q_s8(bits, vld1q_u8(BYTES_OF_FOURS[four].as_ptr()));
            let set = vtstq_s8(bytes, vreinterpretq_s8_s32(vdupq_n_s32(BITS_OF_FOURS[four % 2])));
            vaddq_s8(x, vreinterpretq_s8_u8(vandq_u8(set, vdupq_n_u8(16))))
        }
    }
    #[inline(always)]
    fn bits<const SHIFT: u32>(self, x: int32x4_t, mask: u32) -> int32x4_t {
        unsafe {
            // A shift to the left by a negative number: zero is none to the right.
            let x = vshlq_u32(vreinterpretq_u32_s32(x), vdupq_n_s32(-(SHIFT as i32)));
            vreinterpretq_s32_u32(vandq_u32(x, vdupq_n_u32(mask)))
        }
    }
    #[inline(always)]
    fn join_words(self, low: int32x4_t, high: int32x4_t) -> int32x4_t {
        unsafe { vsliq_n_s32::<16>(low, high) }
    }
    #[inline(always)]
    fn half_words(self, x: int32x4_t) -> float32x4_t {
        unsafe {
            let words = vmovn_u32(vreinterpretq_u32_s32(x));
            let mut halves = [0u16; 4];
            vst1_u16(halves.as_mut_ptr(), words);
            self.load_f16(halves.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut i8, x: int32x4_t) {
        unsafe {
            let words = vqmovn_s32(x);
            let bytes = vqmovn_s16(vcombine_s16(words, words));
            vst1_lane_s32::<0>(p.cast(), vreinterpret_s32_s8(bytes));
        }
    }
}
