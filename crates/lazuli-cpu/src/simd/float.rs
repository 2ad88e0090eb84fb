//! [`Simd`]: vectors of `f32` in the processor's own width, as kernels see them.

use super::level::Isa;

/// One vector level: a zero-sized proof that its instructions may run, and the operations on its `f32` vectors.
///
/// Kernels are written once, generic over `S: Simd`, `#[inline(always)]` all the way down, and compiled for each
/// level by [`stamp!`](crate::simd::stamp). Operations on whole vectors are safe; those that take pointers are
/// `unsafe` and need no alignment. Where a result could differ between instruction sets it is pinned here, so that
/// elementwise operations give the same bits at every level.
pub trait Simd: Copy + Send + Sync + 'static {
    /// The instruction set.
    const ISA: Isa;
    /// Lanes of a native vector.
    const LANES: usize;
    /// A native vector of `f32`.
    type F: Copy;
    /// A native vector of `i32`, [`Simd::LANES`] long.
    type I: Copy;
    /// One truth value per lane.
    type M: Copy;

    /// Claims the level.
    ///
    /// # Safety
    /// The processor must have the level's instructions, and the call must be inlined into a function that
    /// enables them.
    unsafe fn assume() -> Self;

    /// Loads [`Simd::LANES`] values.
    ///
    /// # Safety
    /// `p` must be valid for reading that many.
    unsafe fn load(self, p: *const f32) -> Self::F;
    /// Loads `n <= LANES` values into the first lanes and zero into the others.
    ///
    /// # Safety
    /// `p` must be valid for reading `n` values.
    unsafe fn load_partial(self, p: *const f32, n: usize) -> Self::F;
    /// Stores [`Simd::LANES`] values.
    ///
    /// # Safety
    /// `p` must be valid for writing that many.
    unsafe fn store(self, p: *mut f32, x: Self::F);
    /// Stores the first `n <= LANES` lanes.
    ///
    /// # Safety
    /// `p` must be valid for writing `n` values.
    unsafe fn store_partial(self, p: *mut f32, n: usize, x: Self::F);

    /// Loads [`Simd::LANES`] IEEE half-precision values (their bits).
    ///
    /// # Safety
    /// `p` must be valid for reading that many.
    unsafe fn load_f16(self, p: *const u16) -> Self::F;
    /// Stores [`Simd::LANES`] values as half precision, rounded to nearest even.
    ///
    /// # Safety
    /// `p` must be valid for writing that many.
    unsafe fn store_f16(self, p: *mut u16, x: Self::F);
    /// Loads [`Simd::LANES`] bfloat16 values (their bits).
    ///
    /// # Safety
    /// `p` must be valid for reading that many.
    unsafe fn load_bf16(self, p: *const u16) -> Self::F;
    /// Stores [`Simd::LANES`] values as bfloat16, rounded to nearest even; every NaN stays a NaN.
    ///
    /// # Safety
    /// `p` must be valid for writing that many.
    unsafe fn store_bf16(self, p: *mut u16, x: Self::F);

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::F;
    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c - a * b`, rounded once.
    fn fnma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `a < b ? a : b`: the second operand when either is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a > b ? a : b`: the second operand when either is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `|a|`.
    fn abs(self, a: Self::F) -> Self::F;
    /// `-a`.
    fn neg(self, a: Self::F) -> Self::F;
    /// The square root.
    fn sqrt(self, a: Self::F) -> Self::F;
    /// The largest integer not above `a`.
    fn floor(self, a: Self::F) -> Self::F;
    /// The nearest integer, halves to even.
    fn round(self, a: Self::F) -> Self::F;
    /// The magnitude of `a` with the sign of `b`.
    fn copysign(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * 2^n` for integral `-252 <= n <= 254`; results below the normal range are rounded once or twice.
    fn scale_by_pow2(self, a: Self::F, n: Self::F) -> Self::F;

    /// `a < b`; false when either is NaN.
    fn lt(self, a: Self::F, b: Self::F) -> Self::M;
    /// `a <= b`; false when either is NaN.
    fn le(self, a: Self::F, b: Self::F) -> Self::M;
    /// `a == b`; false when either is NaN.
    fn eq(self, a: Self::F, b: Self::F) -> Self::M;
    /// `m ? a : b`, lane by lane.
    fn select(self, m: Self::M, a: Self::F, b: Self::F) -> Self::F;

    /// The sum of the lanes, in an order of the level's choosing.
    fn reduce_sum(self, a: Self::F) -> f32;
    /// [`Simd::reduce_sum`] of four vectors together, which is cheaper than one by one; the order may differ.
    fn reduce_sum4(self, a: [Self::F; 4]) -> [f32; 4];
    /// The largest lane; unspecified if one is NaN.
    fn reduce_max(self, a: Self::F) -> f32;
    /// The smallest lane; unspecified if one is NaN.
    fn reduce_min(self, a: Self::F) -> f32;

    /// All lanes `x`.
    fn splat_i32(self, x: i32) -> Self::I;
    /// Lane by lane wrapping sum.
    fn add_i32(self, a: Self::I, b: Self::I) -> Self::I;
    /// Loads [`Simd::LANES`] integers.
    ///
    /// # Safety
    /// `p` must be valid for reading that many.
    unsafe fn load_i32(self, p: *const i32) -> Self::I;
    /// Stores [`Simd::LANES`] integers.
    ///
    /// # Safety
    /// `p` must be valid for writing that many.
    unsafe fn store_i32(self, p: *mut i32, x: Self::I);
    /// Integers to `f32`, rounded to nearest even.
    fn to_f32(self, a: Self::I) -> Self::F;
    /// `f32` to integers, rounded to nearest even; unspecified outside the range of `i32`.
    fn to_i32(self, a: Self::F) -> Self::I;

    /// Asks for the cache line at `p`; any address is allowed.
    fn prefetch(self, p: *const u8);
    /// Asks for the cache line at `p` to write it.
    fn prefetch_write(self, p: *const u8);
    /// Asks for the cache line at `p`, as far as the second-level cache.
    fn prefetch_l2(self, p: *const u8);

    /// Zero in all lanes.
    #[inline(always)]
    fn zero(self) -> Self::F {
        self.splat(0.0)
    }

    /// [`Simd::load_f16`] of `n <= LANES` values; the other lanes are zero.
    ///
    /// # Safety
    /// `p` must be valid for reading `n` values.
    #[inline(always)]
    unsafe fn load_f16_partial(self, p: *const u16, n: usize) -> Self::F {
        let mut bits = [0u16; MAX_LANES];
        // SAFETY: the caller vouches for `n` values at `p`, and `n <= LANES <= MAX_LANES`.
        unsafe {
            std::ptr::copy_nonoverlapping(p.cast::<u8>(), bits.as_mut_ptr().cast(), 2 * n);
            self.load_f16(bits.as_ptr())
        }
    }

    /// [`Simd::load_bf16`] of `n <= LANES` values; the other lanes are zero.
    ///
    /// # Safety
    /// `p` must be valid for reading `n` values.
    #[inline(always)]
    unsafe fn load_bf16_partial(self, p: *const u16, n: usize) -> Self::F {
        let mut bits = [0u16; MAX_LANES];
        // SAFETY: as for `load_f16_partial`.
        unsafe {
            std::ptr::copy_nonoverlapping(p.cast::<u8>(), bits.as_mut_ptr().cast(), 2 * n);
            self.load_bf16(bits.as_ptr())
        }
    }

    /// [`Simd::store_f16`] of the first `n <= LANES` lanes.
    ///
    /// # Safety
    /// `p` must be valid for writing `n` values.
    #[inline(always)]
    unsafe fn store_f16_partial(self, p: *mut u16, n: usize, x: Self::F) {
        let mut bits = [0u16; MAX_LANES];
        // SAFETY: the array holds a whole vector, and the caller vouches for `n` values at `p`.
        unsafe {
            self.store_f16(bits.as_mut_ptr(), x);
            std::ptr::copy_nonoverlapping(bits.as_ptr().cast::<u8>(), p.cast(), 2 * n);
        }
    }

    /// [`Simd::store_bf16`] of the first `n <= LANES` lanes.
    ///
    /// # Safety
    /// `p` must be valid for writing `n` values.
    #[inline(always)]
    unsafe fn store_bf16_partial(self, p: *mut u16, n: usize, x: Self::F) {
        let mut bits = [0u16; MAX_LANES];
        // SAFETY: as for `store_f16_partial`.
        unsafe {
            self.store_bf16(bits.as_mut_ptr(), x);
            std::ptr::copy_nonoverlapping(bits.as_ptr().cast::<u8>(), p.cast(), 2 * n);
        }
    }
}

/// No level has more lanes than this.
pub const MAX_LANES: usize = 16;
