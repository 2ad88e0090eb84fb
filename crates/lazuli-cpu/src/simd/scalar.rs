//! The level that runs anywhere: arrays of four lanes in plain Rust.

use super::float::Simd;
use super::level::Isa;
use half::{bf16, f16};

/// The [`Simd`] level of plain Rust.
#[derive(Debug, Clone, Copy)]
pub struct Scalar(());

const LANES: usize = 4;

#[inline(always)]
fn map<A: Copy, B: Copy + Default>(a: [A; LANES], f: impl Fn(A) -> B) -> [B; LANES] {
    let mut out = [B::default(); LANES];
    for (o, x) in out.iter_mut().zip(a) {
        *o = f(x);
    }
    out
}

#[inline(always)]
fn zip<A: Copy, B: Copy, C: Copy + Default>(
    a: [A; LANES],
    b: [B; LANES],
    f: impl Fn(A, B) -> C,
) -> [C; LANES] {
    let mut out = [C::default(); LANES];
    for ((o, x), y) in out.iter_mut().zip(a).zip(b) {
        *o = f(x, y);
    }
    out
}

impl Simd for Scalar {
    const ISA: Isa = Isa::Scalar;
    const LANES: usize = LANES;
    type F = [f32; LANES];
    type I = [i32; LANES];
    type M = [bool; LANES];

    #[inline(always)]
    unsafe fn assume() -> Self {
        Self(())
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::F {
        // SAFETY: the caller vouches for the values.
        unsafe { p.cast::<Self::F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_partial(self, p: *const f32, n: usize) -> Self::F {
        let mut out = [0.0; LANES];
        // SAFETY: the caller vouches for `n <= LANES` values.
        unsafe { std::ptr::copy_nonoverlapping(p.cast::<u8>(), out.as_mut_ptr().cast(), 4 * n) };
        out
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, x: Self::F) {
        // SAFETY: the caller vouches for the room.
        unsafe { p.cast::<Self::F>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn store_partial(self, p: *mut f32, n: usize, x: Self::F) {
        // SAFETY: the caller vouches for room for `n <= LANES` values.
        unsafe { std::ptr::copy_nonoverlapping(x.as_ptr().cast::<u8>(), p.cast(), 4 * n) }
    }
    #[inline(always)]
    unsafe fn load_f16(self, p: *const u16) -> Self::F {
        // SAFETY: the caller vouches for the values.
        map(unsafe { p.cast::<[u16; LANES]>().read_unaligned() }, |b| f16::from_bits(b).to_f32())
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16, x: Self::F) {
        // SAFETY: the caller vouches for the room.
        unsafe { p.cast::<[u16; LANES]>().write_unaligned(map(x, |v| f16::from_f32(v).to_bits())) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> Self::F {
        // SAFETY: the caller vouches for the values.
        map(unsafe { p.cast::<[u16; LANES]>().read_unaligned() }, |b| f32::from_bits(u32::from(b) << 16))
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut u16, x: Self::F) {
        // SAFETY: the caller vouches for the room.
        unsafe { p.cast::<[u16; LANES]>().write_unaligned(map(x, |v| bf16::from_f32(v).to_bits())) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; LANES]
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        zip(zip(a, b, |a, b| (a, b)), c, |(a, b), c| fused(a, b, c))
    }
    #[inline(always)]
    fn fnma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        zip(zip(a, b, |a, b| (a, b)), c, |(a, b), c| fused(-a, b, c))
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        map(a, f32::abs)
    }
    #[inline(always)]
    fn neg(self, a: Self::F) -> Self::F {
        map(a, |x| -x)
    }
    #[inline(always)]
    fn sqrt(self, a: Self::F) -> Self::F {
        map(a, f32::sqrt)
    }
    #[inline(always)]
    fn floor(self, a: Self::F) -> Self::F {
        map(a, f32::floor)
    }
    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        map(a, f32::round_ties_even)
    }
    #[inline(always)]
    fn copysign(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, f32::copysign)
    }
    #[inline(always)]
    fn scale_by_pow2(self, a: Self::F, n: Self::F) -> Self::F {
        zip(a, n, |a, n| {
            let (n, half) = (n as i32, (n as i32) >> 1);
            a * pow2(half) * pow2(n - half)
        })
    }

    #[inline(always)]
    fn lt(self, a: Self::F, b: Self::F) -> Self::M {
        zip(a, b, |a, b| a < b)
    }
    #[inline(always)]
    fn le(self, a: Self::F, b: Self::F) -> Self::M {
        zip(a, b, |a, b| a <= b)
    }
    #[inline(always)]
    #[allow(clippy::float_cmp)]
    fn eq(self, a: Self::F, b: Self::F) -> Self::M {
        zip(a, b, |a, b| a == b)
    }
    #[inline(always)]
    fn select(self, m: Self::M, a: Self::F, b: Self::F) -> Self::F {
        zip(zip(a, b, |a, b| (a, b)), m, |(a, b), m| if m { a } else { b })
    }

    #[inline(always)]
    fn reduce_sum(self, a: Self::F) -> f32 {
        (a[0] + a[2]) + (a[1] + a[3])
    }
    #[inline(always)]
    fn reduce_sum4(self, a: [Self::F; 4]) -> [f32; 4] {
        a.map(|a| self.reduce_sum(a))
    }
    #[inline(always)]
    fn reduce_max(self, a: Self::F) -> f32 {
        a[0].max(a[2]).max(a[1].max(a[3]))
    }
    #[inline(always)]
    fn reduce_min(self, a: Self::F) -> f32 {
        a[0].min(a[2]).min(a[1].min(a[3]))
    }

    #[inline(always)]
    fn splat_i32(self, x: i32) -> Self::I {
        [x; LANES]
    }
    #[inline(always)]
    fn add_i32(self, a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, i32::wrapping_add)
    }
    #[inline(always)]
    unsafe fn load_i32(self, p: *const i32) -> Self::I {
        // SAFETY: the caller vouches for the values.
        unsafe { p.cast::<Self::I>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_i32(self, p: *mut i32, x: Self::I) {
        // SAFETY: the caller vouches for the room.
        unsafe { p.cast::<Self::I>().write_unaligned(x) }
    }
    #[inline(always)]
    fn to_f32(self, a: Self::I) -> Self::F {
        map(a, |x| x as f32)
    }
    #[inline(always)]
    fn to_i32(self, a: Self::F) -> Self::I {
        map(a, |x| x.round_ties_even() as i32)
    }

    #[inline(always)]
    fn prefetch(self, _p: *const u8) {}
    #[inline(always)]
    fn prefetch_write(self, _p: *const u8) {}
    #[inline(always)]
    fn prefetch_l2(self, _p: *const u8) {}
}

/// `a * b + c` rounded once. Where the compiler may not assume FMA, `f32::mul_add` is a slow library call;
/// the product is exact in `f64`, and so is the sum but for a rounding far below that of `f32`.
#[inline(always)]
fn fused(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(target_feature = "fma") || cfg!(target_arch = "aarch64") {
        a.mul_add(b, c)
    } else {
        (f64::from(a) * f64::from(b) + f64::from(c)) as f32
    }
}

#[inline(always)]
fn pow2(n: i32) -> f32 {
    f32::from_bits(((n + 127) as u32) << 23)
}
