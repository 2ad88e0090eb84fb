//! Integer dot products on 64-bit Arm, with `sdot` where there is one: four registers for 64 bytes.
#![allow(clippy::undocumented_unsafe_blocks, unused_unsafe)]
// SAFETY (of every block here): NEON is part of the base architecture, the dot-product instructions are promised by
// the token, and pointers are vouched for by the callers of the trait's unsafe methods.

use super::bits::BitTables;
use super::{Dot, FIRST_LANES, six_bits};
use crate::simd::Neon;
use std::arch::aarch64::*;
use std::arch::asm;
use std::array::from_fn;

/// `i8 x i8` products summed by fours onto `acc`. There is no stable intrinsic for `sdot`.
#[inline(always)]
pub(in crate::simd) unsafe fn sdot<const DOT: bool>(acc: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
    unsafe {
        if DOT {
            let mut acc = acc;
            // The assembler checks the text by itself, without the features of the function it ends up in.
            asm!(".arch_extension dotprod", "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) acc, in(vreg) w, in(vreg) a,
                options(pure, nomem, nostack, preserves_flags));
            acc
        } else {
            let low = vmull_s8(vget_low_s8(w), vget_low_s8(a));
            let high = vmull_high_s8(w, a);
            vaddq_s32(acc, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)))
        }
    }
}

#[inline(always)]
fn signed(x: uint8x16_t) -> int8x16_t {
    unsafe { vreinterpretq_s8_u8(x) }
}

/// `value` in each byte whose bit is set.
#[inline(always)]
fn spread(bits: u16, value: u8) -> uint8x16_t {
    unsafe {
        let bytes = vcombine_u8(vdup_n_u8(bits as u8), vdup_n_u8((bits >> 8) as u8));
        let bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040_2010_0804_0201));
        vandq_u8(vtstq_u8(bytes, bit), vdupq_n_u8(value))
    }
}

/// Left by `n` bits, right when negative, then masked.
#[inline(always)]
fn shift_mask(x: uint8x16_t, n: i32, mask: u8) -> uint8x16_t {
    unsafe { vandq_u8(vshlq_u8(x, vdupq_n_s8(n as i8)), vdupq_n_u8(mask)) }
}

#[inline(always)]
fn scaled<const LANE: i32>(acc: float32x4_t, sums: int32x4_t, scales: float32x4_t) -> float32x4_t {
    unsafe { vfmaq_laneq_f32::<LANE>(acc, vcvtq_f32_s32(sums), scales) }
}

/// [`scaled`] with a lane that is constant after inlining.
#[inline(always)]
fn scaled_by(acc: float32x4_t, sums: int32x4_t, scales: float32x4_t, lane: usize) -> float32x4_t {
    match lane {
        0 => scaled::<0>(acc, sums, scales),
        1 => scaled::<1>(acc, sums, scales),
        2 => scaled::<2>(acc, sums, scales),
        _ => scaled::<3>(acc, sums, scales),
    }
}

/// `acc + sums * factor`, the factor's lane a constant after inlining.
#[inline(always)]
fn add_scaled(acc: int32x4_t, sums: int32x4_t, factors: int32x4_t, lane: usize) -> int32x4_t {
    unsafe {
        match lane {
            0 => vmlaq_laneq_s32::<0>(acc, sums, factors),
            1 => vmlaq_laneq_s32::<1>(acc, sums, factors),
            2 => vmlaq_laneq_s32::<2>(acc, sums, factors),
            _ => vmlaq_laneq_s32::<3>(acc, sums, factors),
        }
    }
}

/// Four half-precision values.
#[inline(always)]
fn from_f16(bits: u64) -> float32x4_t {
    unsafe {
        let half = vcreate_u16(bits);
        let wide: float32x4_t;
        asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) wide, in(vreg) half, options(pure, nomem, nostack, preserves_flags));
        wide
    }
}

/// Lane `lane` of a bit stream as bytes.
#[inline(always)]
unsafe fn stream_lane<const B: usize, const C: usize>(p: *const u8, lane: usize) -> uint8x16_t {
    unsafe {
        let x = vld1q_u8(p.add(const { BitTables::<B, C>::STARTS }[lane]));
        let words = |shuffle: &'static [u8; 64], factors: &'static [u16; 32]| {
            let pairs = vqtbl1q_u8(x, vld1q_u8(shuffle.as_ptr().add(16 * lane)));
            vmulq_u16(vreinterpretq_u16_u8(pairs), vld1q_u16(factors.as_ptr().add(8 * lane)))
        };
        let even = words(&const { BitTables::<B, C>::EVEN }, &const { BitTables::<B, C>::EVEN_FACTORS });
        let odd = words(&const { BitTables::<B, C>::ODD }, &const { BitTables::<B, C>::ODD_FACTORS });
        let both = vtrn2q_u8(vreinterpretq_u8_u16(even), vreinterpretq_u8_u16(odd));
        vandq_u8(both, vdupq_n_u8(BitTables::<B, C>::MASK))
    }
}

/// 16 signed bytes as floats.
#[inline(always)]
fn floats(x: int8x16_t) -> [float32x4_t; 4] {
    unsafe {
        let (low, high) = (vmovl_s8(vget_low_s8(x)), vmovl_high_s8(x));
        let quads = [
            vmovl_s16(vget_low_s16(low)),
            vmovl_high_s16(low),
            vmovl_s16(vget_low_s16(high)),
            vmovl_high_s16(high),
        ];
        quads.map(|x| vcvtq_f32_s32(x))
    }
}

/// 8 bytes of e4m3 as half precision, over 256.
#[inline(always)]
fn halves(x: int16x8_t) -> [u64; 2] {
    unsafe {
        // Sign and magnitude move to their places at once; the sign's copy between them goes.
        let bits = vandq_u16(vreinterpretq_u16_s16(vshlq_n_s16::<7>(x)), vdupq_n_u16(0xbfff));
        let half = vreinterpretq_u64_u16(bits);
        [vgetq_lane_u64::<0>(half), vgetq_lane_u64::<1>(half)]
    }
}

/// 16 signed bytes, the first in the low bits, times 8 words, each word for two neighbours.
#[inline(always)]
unsafe fn bytes_by_words(x: [u64; 2], by: *const i16) -> [int16x8_t; 2] {
    unsafe {
        let by = vld1q_s16(by);
        let (first, second) =
            (vreinterpret_s8_u64(vcreate_u64(x[0])), vreinterpret_s8_u64(vcreate_u64(x[1])));
        [vmulq_s16(vmovl_s8(first), vzip1q_s16(by, by)), vmulq_s16(vmovl_s8(second), vzip2q_s16(by, by))]
    }
}

impl<const DOT: bool> Dot for Neon<DOT> {
    type Bytes = [uint8x16_t; 4];
    type Sums = [int32x4_t; 4];
    type Wide = [float32x4_t; 4];
    type Eight = [float32x4_t; 2];
    type Picks = Self::Eight;
    type Factors = [int32x4_t; 4];

    #[inline(always)]
    unsafe fn bytes(self, p: *const u8) -> Self::Bytes {
        unsafe { [vld1q_u8(p), vld1q_u8(p.add(16)), vld1q_u8(p.add(32)), vld1q_u8(p.add(48))] }
    }
    #[inline(always)]
    unsafe fn bytes_pair(self, p: *const u8, q: *const u8) -> Self::Bytes {
        unsafe { [vld1q_u8(p), vld1q_u8(p.add(16)), vld1q_u8(q), vld1q_u8(q.add(16))] }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8, x: Self::Bytes) {
        for (i, x) in x.into_iter().enumerate() {
            unsafe { vst1q_u8(p.add(16 * i), x) }
        }
    }
    #[inline(always)]
    unsafe fn nibbles(self, p: *const u8) -> Self::Bytes {
        unsafe {
            let (x, y, mask) = (vld1q_u8(p), vld1q_u8(p.add(16)), vdupq_n_u8(15));
            [vandq_u8(x, mask), vandq_u8(y, mask), vshrq_n_u8::<4>(x), vshrq_n_u8::<4>(y)]
        }
    }
    #[inline(always)]
    unsafe fn nibbles_pair(self, p: *const u8, q: *const u8) -> Self::Bytes {
        unsafe {
            let (x, y, mask) = (vld1q_u8(p), vld1q_u8(q), vdupq_n_u8(15));
            [vandq_u8(x, mask), vshrq_n_u8::<4>(x), vandq_u8(y, mask), vshrq_n_u8::<4>(y)]
        }
    }
    #[inline(always)]
    unsafe fn nibbles_of_eights(self, p: *const u8) -> Self::Bytes {
        unsafe {
            let both = |at: usize| {
                let x = vld1_u8(p.add(at));
                vcombine_u8(vand_u8(x, vdup_n_u8(15)), vshr_n_u8::<4>(x))
            };
            [both(0), both(8), both(16), both(24)]
        }
    }
    #[inline(always)]
    unsafe fn bytes_of_four<const STRIDE: usize, const AT: usize, const H: usize>(
        self,
        p: *const u8,
    ) -> Self::Bytes {
        from_fn(|i| unsafe { vld1q_u8(p.add((4 * H + i) * STRIDE + AT)) })
    }
    #[inline(always)]
    fn low_nibbles(self, x: Self::Bytes) -> Self::Bytes {
        unsafe { x.map(|x| vandq_u8(x, vdupq_n_u8(15))) }
    }
    #[inline(always)]
    fn high_nibbles(self, x: Self::Bytes) -> Self::Bytes {
        unsafe { x.map(|x| vshrq_n_u8::<4>(x)) }
    }
    #[inline(always)]
    fn shl_mask<const A: i32, const B: i32>(self, x: Self::Bytes, mask: u8) -> Self::Bytes {
        from_fn(|i| shift_mask(x[i], if i < 2 { A } else { B }, mask))
    }
    #[inline(always)]
    fn shr_mask<const A: i32, const B: i32>(self, x: Self::Bytes, mask: u8) -> Self::Bytes {
        from_fn(|i| shift_mask(x[i], if i < 2 { -A } else { -B }, mask))
    }
    #[inline(always)]
    fn spread_bits(self, bits: u64, value: u8) -> Self::Bytes {
        from_fn(|i| spread((bits >> (16 * i)) as u16, value))
    }
    #[inline(always)]
    unsafe fn bit_codes<const B: usize, const C: usize>(self, p: *const u8) -> Self::Bytes {
        unsafe {
            if B == 4 {
                let two = |p| {
                    let x = vld1q_u8(p);
                    let (low, high) = (vandq_u8(x, vdupq_n_u8(15)), vshrq_n_u8::<4>(x));
                    [vzip1q_u8(low, high), vzip2q_u8(low, high)]
                };
                let (x, y) = (two(p.add(32 * C)), two(p.add(32 * C + 16)));
                [x[0], x[1], y[0], y[1]]
            } else {
                from_fn(|lane| stream_lane::<B, C>(p, lane))
            }
        }
    }
    #[inline(always)]
    fn lookup(self, table: &[i8; 16], x: Self::Bytes) -> Self::Bytes {
        unsafe {
            let table = vreinterpretq_u8_s8(vld1q_s8(table.as_ptr()));
            x.map(|x| vqtbl1q_u8(table, x))
        }
    }
    #[inline(always)]
    fn trits(self, x: Self::Bytes, powers: &[u16; 32]) -> Self::Bytes {
        unsafe {
            from_fn(|i| {
                // Powers are below 256, so that their low bytes are all of them.
                let powers = vreinterpretq_u8_u16(vld1q_u16(powers.as_ptr().add(8 * i)));
                let product = vmulq_u8(x[i], vtrn1q_u8(powers, powers));
                let three = vdup_n_u8(3);
                let low = vshrn_n_u16::<8>(vmull_u8(vget_low_u8(product), three));
                vcombine_u8(low, vshrn_n_u16::<8>(vmull_u8(vget_high_u8(product), three)))
            })
        }
    }
    #[inline(always)]
    fn words(self, x: [u64; 8]) -> Self::Bytes {
        unsafe { from_fn(|i| vcombine_u8(vcreate_u8(x[2 * i]), vcreate_u8(x[2 * i + 1]))) }
    }
    #[inline(always)]
    fn negate_where(self, bits: u64, x: Self::Bytes) -> Self::Bytes {
        unsafe {
            // The complement and one more, where the mask is -1.
            from_fn(|i| {
                let mask = spread((bits >> (16 * i)) as u16, 0xff);
                vsubq_u8(veorq_u8(x[i], mask), mask)
            })
        }
    }
    #[inline(always)]
    fn or_bytes(self, x: Self::Bytes, y: Self::Bytes) -> Self::Bytes {
        unsafe { from_fn(|i| vorrq_u8(x[i], y[i])) }
    }
    #[inline(always)]
    fn add_byte(self, x: Self::Bytes, y: i8) -> Self::Bytes {
        unsafe { x.map(|x| vaddq_u8(x, vdupq_n_u8(y as u8))) }
    }

    #[inline(always)]
    fn no_sums(self) -> Self::Sums {
        unsafe { [vdupq_n_s32(0); 4] }
    }
    #[inline(always)]
    fn offset_sums(self, offset: u8, a: Self::Bytes) -> Self::Sums {
        unsafe {
            let negative = vdupq_n_s8(-(offset as i8));
            from_fn(|i| sdot::<DOT>(vdupq_n_s32(0), negative, signed(a[i])))
        }
    }
    #[inline(always)]
    fn dot_unsigned(self, start: Self::Sums, w: Self::Bytes, a: Self::Bytes) -> Self::Sums {
        self.dot_signed(start, w, a)
    }
    #[inline(always)]
    fn sums_of_runs(self, x: Self::Bytes) -> [i32; 4] {
        unsafe { from_fn(|i| i32::from(vaddlvq_s8(signed(x[i])))) }
    }
    #[inline(always)]
    fn signed_start(self, _a: Self::Bytes) -> Self::Sums {
        self.no_sums()
    }
    #[inline(always)]
    fn dot_signed(self, start: Self::Sums, w: Self::Bytes, a: Self::Bytes) -> Self::Sums {
        unsafe { from_fn(|i| sdot::<DOT>(start[i], signed(w[i]), signed(a[i]))) }
    }

    #[inline(always)]
    fn wide_zero(self) -> Self::Wide {
        unsafe { [vdupq_n_f32(0.0); 4] }
    }
    #[inline(always)]
    unsafe fn picks(self, _room: *mut f32, scales: Self::Eight) -> Self::Eight {
        scales
    }
    #[inline(always)]
    unsafe fn fold_pairs<const C: usize>(
        self,
        acc: Self::Wide,
        sums: Self::Sums,
        scales: Self::Picks,
    ) -> Self::Wide {
        from_fn(|i| scaled_by(acc[i], sums[i], scales[C / 2], 2 * (C % 2) + i / 2))
    }
    #[inline(always)]
    fn fold_quads<const C: usize>(self, acc: Self::Wide, sums: Self::Sums, scales: Self::Wide) -> Self::Wide {
        from_fn(|i| scaled_by(acc[i], sums[i], scales[C], i))
    }
    #[inline(always)]
    fn sum_of(self, x: Self::Wide, y: Self::Eight) -> f32 {
        unsafe {
            let (low, high) = (vaddq_f32(x[0], x[2]), vaddq_f32(x[1], x[3]));
            self.eight_sum([vaddq_f32(low, y[0]), vaddq_f32(high, y[1])])
        }
    }
    #[inline(always)]
    fn wide_low(self, x: Self::Eight) -> Self::Wide {
        [x[0], x[1], x[0], x[1]]
    }
    #[inline(always)]
    unsafe fn wide_scales(self, p: *const u8, by: Self::Eight) -> Self::Wide {
        unsafe {
            let x = vld1q_s8(p.cast());
            let (low, high) = (vmovl_s8(vget_low_s8(x)), vmovl_high_s8(x));
            let quads = [
                vmovl_s16(vget_low_s16(low)),
                vmovl_high_s16(low),
                vmovl_s16(vget_low_s16(high)),
                vmovl_high_s16(high),
            ];
            let twice = [
                vzip1q_f32(by[0], by[0]),
                vzip2q_f32(by[0], by[0]),
                vzip1q_f32(by[1], by[1]),
                vzip2q_f32(by[1], by[1]),
            ];
            from_fn(|i| vmulq_f32(vcvtq_f32_s32(quads[i]), twice[i]))
        }
    }
    #[inline(always)]
    unsafe fn wide(self, p: *const f32) -> Self::Wide {
        unsafe { [vld1q_f32(p), vld1q_f32(p.add(4)), vld1q_f32(p.add(8)), vld1q_f32(p.add(12))] }
    }
    #[inline(always)]
    unsafe fn wide_e4m3(self, p: *const u8) -> Self::Wide {
        unsafe {
            let x = vld1q_s8(p.cast());
            let (low, high) = (halves(vmovl_s8(vget_low_s8(x))), halves(vmovl_high_s8(x)));
            [from_f16(low[0]), from_f16(low[1]), from_f16(high[0]), from_f16(high[1])]
        }
    }
    #[inline(always)]
    fn has_e4m3_nan(self, x: Self::Bytes) -> bool {
        unsafe {
            let nan = vdupq_n_u8(0x7f);
            let is_nan = |x| vceqq_u8(vandq_u8(x, nan), nan);
            let (a, b) = (vorrq_u8(is_nan(x[0]), is_nan(x[1])), vorrq_u8(is_nan(x[2]), is_nan(x[3])));
            vmaxvq_u8(vorrq_u8(a, b)) != 0
        }
    }
    #[inline(always)]
    fn wide_bytes(self, x: [u64; 2]) -> Self::Wide {
        unsafe { floats(vcombine_s8(vcreate_s8(x[0]), vcreate_s8(x[1]))) }
    }
    #[inline(always)]
    fn wide_twice(self, x: Self::Eight) -> Self::Wide {
        unsafe {
            [vzip1q_f32(x[0], x[0]), vzip2q_f32(x[0], x[0]), vzip1q_f32(x[1], x[1]), vzip2q_f32(x[1], x[1])]
        }
    }
    #[inline(always)]
    fn wide_mul(self, a: Self::Wide, b: Self::Wide) -> Self::Wide {
        unsafe { from_fn(|i| vmulq_f32(a[i], b[i])) }
    }
    #[inline(always)]
    fn wide_fma(self, a: Self::Wide, b: Self::Wide, c: Self::Wide) -> Self::Wide {
        unsafe { from_fn(|i| vfmaq_f32(c[i], a[i], b[i])) }
    }
    #[inline(always)]
    unsafe fn fold_floats<const C: usize>(
        self,
        acc: Self::Wide,
        x: [Self::Wide; 2],
        scales: Self::Picks,
    ) -> Self::Wide {
        unsafe {
            let four = scales[C / 2];
            from_fn(|i| {
                if C % 2 == 0 {
                    vfmaq_laneq_f32::<1>(vfmaq_laneq_f32::<0>(acc[i], x[0][i], four), x[1][i], four)
                } else {
                    vfmaq_laneq_f32::<3>(vfmaq_laneq_f32::<2>(acc[i], x[0][i], four), x[1][i], four)
                }
            })
        }
    }
    #[inline(always)]
    unsafe fn store_wide(self, p: *mut f32, x: Self::Wide) {
        for (i, x) in x.into_iter().enumerate() {
            unsafe { vst1q_f32(p.add(4 * i), x) }
        }
    }

    #[inline(always)]
    unsafe fn factors_six_bits<const R: usize>(
        self,
        p: [*const u8; R],
        by: *const i16,
    ) -> [(Self::Factors, Self::Eight); R] {
        unsafe {
            let mut all = [([vdupq_n_s32(0); 4], self.eight_splat(0.0)); R];
            for r in 0..R {
                let [scales, mins] = six_bits(p[r].add(4));
                let scales = vreinterpretq_s16_u16(vmovl_u8(vcreate_u8(scales)));
                let factors = vmulq_s16(scales, vld1q_s16(by));
                (all[r].0[0], all[r].0[1]) = (vmovl_s16(vget_low_s16(factors)), vmovl_high_s16(factors));
                all[r].1 = self.eight_u8(mins);
            }
            all
        }
    }
    #[inline(always)]
    unsafe fn factors_i8(self, x: [u64; 2], by: *const i16) -> Self::Factors {
        unsafe {
            let [low, high] = bytes_by_words(x, by);
            [
                vmovl_s16(vget_low_s16(low)),
                vmovl_high_s16(low),
                vmovl_s16(vget_low_s16(high)),
                vmovl_high_s16(high),
            ]
        }
    }
    #[inline(always)]
    unsafe fn add_factors_i8(
        self,
        acc: Self::Wide,
        x: [u64; 2],
        [factors, sums]: [*const i16; 2],
        by: f32,
    ) -> Self::Wide {
        unsafe {
            let [low, high] = bytes_by_words(x, factors);
            let (first, second) = (vld1q_s16(sums), vld1q_s16(sums.add(8)));
            let products = [
                vmull_s16(vget_low_s16(low), vget_low_s16(first)),
                vmull_high_s16(low, first),
                vmull_s16(vget_low_s16(high), vget_low_s16(second)),
                vmull_high_s16(high, second),
            ];
            from_fn(|i| vfmaq_n_f32(acc[i], vcvtq_f32_s32(products[i]), by))
        }
    }
    #[inline(always)]
    fn add_pairs<const H: usize>(
        self,
        acc: Self::Sums,
        [x, y]: [Self::Sums; 2],
        factors: Self::Factors,
    ) -> Self::Sums {
        from_fn(|i| {
            let at = i / 2 * 2;
            add_scaled(add_scaled(acc[i], x[i], factors[H], at), y[i], factors[H], at + 1)
        })
    }
    #[inline(always)]
    fn add_quads<const H: usize>(
        self,
        acc: Self::Sums,
        [x, y]: [Self::Sums; 2],
        factors: Self::Factors,
    ) -> Self::Sums {
        from_fn(|i| add_scaled(add_scaled(acc[i], x[i], factors[2 * H], i), y[i], factors[2 * H + 1], i))
    }
    #[inline(always)]
    fn add_wide(self, acc: Self::Wide, sums: Self::Sums, by: f32) -> Self::Wide {
        unsafe { from_fn(|i| vfmaq_n_f32(acc[i], vcvtq_f32_s32(sums[i]), by)) }
    }
    #[inline(always)]
    fn two_f16(self, bits: u32) -> [f32; 2] {
        unsafe {
            let x = from_f16(u64::from(bits));
            [vgetq_lane_f32::<0>(x), vgetq_lane_f32::<1>(x)]
        }
    }

    #[inline(always)]
    unsafe fn eight(self, p: *const f32) -> Self::Eight {
        unsafe { [vld1q_f32(p), vld1q_f32(p.add(4))] }
    }
    #[inline(always)]
    unsafe fn store_eight(self, p: *mut f32, x: Self::Eight) {
        unsafe {
            vst1q_f32(p, x[0]);
            vst1q_f32(p.add(4), x[1]);
        }
    }
    #[inline(always)]
    fn eight_splat(self, x: f32) -> Self::Eight {
        unsafe { [vdupq_n_f32(x); 2] }
    }
    #[inline(always)]
    fn eight_splat_f16(self, bits: u16) -> Self::Eight {
        let four = from_f16(u64::from(bits) * 0x0001_0001_0001_0001);
        [four; 2]
    }
    #[inline(always)]
    fn eight_f16(self, low: u64, high: u64) -> Self::Eight {
        [from_f16(low), from_f16(high)]
    }
    #[inline(always)]
    fn eight_bf16(self, low: u64, high: u64) -> Self::Eight {
        unsafe { [low, high].map(|x| vreinterpretq_f32_u32(vshll_n_u16::<16>(vcreate_u16(x)))) }
    }
    #[inline(always)]
    fn eight_low(self, low: u64, high: u64) -> Self::Eight {
        unsafe { [vcombine_f32(vcreate_f32(low), vcreate_f32(high)); 2] }
    }
    #[inline(always)]
    fn eight_repeat<const N: usize>(self, x: Self::Eight) -> Self::Eight {
        unsafe {
            if N == 2 {
                [vzip1q_f32(x[0], x[0]), vzip2q_f32(x[0], x[0])]
            } else {
                [vdupq_laneq_f32::<0>(x[0]), vdupq_laneq_f32::<1>(x[0])]
            }
        }
    }
    #[inline(always)]
    unsafe fn eight_tops<const STEP: usize>(self, p: *const u8) -> Self::Eight {
        unsafe {
            let load = |at: usize| vreinterpretq_u32_u8(vld1q_u8(p.add(16 * at)));
            let words = if STEP == 1 {
                [load(0), load(1)]
            } else {
                [vuzp2q_u32(load(0), load(1)), vuzp2q_u32(load(2), load(3))]
            };
            words.map(|x| vcvtq_f32_u32(vshrq_n_u32::<28>(x)))
        }
    }
    #[inline(always)]
    fn eight_half_e8m0(self, x: u64) -> Self::Eight {
        unsafe {
            let words = vmovl_u8(vcreate_u8(x));
            [vmovl_u16(vget_low_u16(words)), vmovl_high_u16(words)].map(|x| {
                let normal = vshlq_n_u32::<23>(vsubq_u32(x, vdupq_n_u32(1)));
                // The two smallest are subnormal.
                let small = vshlq_u32(vdupq_n_u32(0x20_0000), vreinterpretq_s32_u32(x));
                let is_small = vcltq_u32(x, vdupq_n_u32(2));
                vreinterpretq_f32_u32(vbslq_u32(is_small, small, normal))
            })
        }
    }
    #[inline(always)]
    fn eight_u8(self, x: u64) -> Self::Eight {
        unsafe {
            let words = vmovl_u8(vcreate_u8(x));
            [vcvtq_f32_u32(vmovl_u16(vget_low_u16(words))), vcvtq_f32_u32(vmovl_high_u16(words))]
        }
    }
    #[inline(always)]
    fn eight_mul(self, a: Self::Eight, b: Self::Eight) -> Self::Eight {
        unsafe { [vmulq_f32(a[0], b[0]), vmulq_f32(a[1], b[1])] }
    }
    #[inline(always)]
    fn eight_fma(self, a: Self::Eight, b: Self::Eight, c: Self::Eight) -> Self::Eight {
        unsafe { [vfmaq_f32(c[0], a[0], b[0]), vfmaq_f32(c[1], a[1], b[1])] }
    }
    #[inline(always)]
    fn eight_first(self, count: usize, x: Self::Eight) -> Self::Eight {
        unsafe {
            let lanes = FIRST_LANES.as_ptr().add(8 - count.min(8));
            let first =
                |x, lanes| vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x), vld1q_u32(lanes)));
            [first(x[0], lanes), first(x[1], lanes.add(4))]
        }
    }
    #[inline(always)]
    fn eight_sum(self, x: Self::Eight) -> f32 {
        unsafe { vaddvq_f32(vaddq_f32(x[0], x[1])) }
    }
}
