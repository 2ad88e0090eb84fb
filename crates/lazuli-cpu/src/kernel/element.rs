//! [`Element`]: the plain number types that kernels read and write, and loads and stores of each.

use half::{bf16, f16};

use crate::simd::Simd;

/// The type of one number in memory (little-endian).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    BF16,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned byte; a boolean is one that is 0 or 1.
    U8,
}

impl Element {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::U8 => 1,
        }
    }

    /// Reads the element at `p` as `f32` (integers beyond 2^24 are rounded).
    ///
    /// # Safety
    /// `p` must be valid for reading one element and aligned for it.
    #[inline(always)]
    pub(crate) unsafe fn read(self, p: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::F32 => p.cast::<f32>().read(),
                Self::F16 => f16::from_bits(p.cast::<u16>().read()).to_f32(),
                Self::BF16 => bf16::from_bits(p.cast::<u16>().read()).to_f32(),
                Self::I32 => p.cast::<i32>().read() as f32,
                Self::U32 => p.cast::<u32>().read() as f32,
                Self::U8 => f32::from(p.read()),
            }
        }
    }

    /// Writes `value`: rounded to nearest even into floats, truncated and saturated into integers (NaN becomes 0).
    ///
    /// # Safety
    /// `p` must be valid for writing one element and aligned for it.
    #[inline(always)]
    pub(crate) unsafe fn write(self, p: *mut u8, value: f32) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::F32 => p.cast::<f32>().write(value),
                Self::F16 => p.cast::<u16>().write(f16::from_f32(value).to_bits()),
                Self::BF16 => p.cast::<u16>().write(bf16::from_f32(value).to_bits()),
                Self::I32 => p.cast::<i32>().write(value as i32),
                Self::U32 => p.cast::<u32>().write(value as u32),
                Self::U8 => p.write(value as u8),
            }
        }
    }
}

/// A float type in memory as a kernel's type parameter.
pub(crate) trait Float: Copy + 'static {
    /// Its bits.
    type Bits: Copy;

    /// Loads one vector.
    ///
    /// # Safety
    /// `p` must be valid for reading `S::LANES` elements.
    unsafe fn load<S: Simd>(s: S, p: *const Self::Bits) -> S::F;
    /// Loads `n <= S::LANES` elements; the other lanes are zero.
    ///
    /// # Safety
    /// `p` must be valid for reading `n` elements.
    unsafe fn load_partial<S: Simd>(s: S, p: *const Self::Bits, n: usize) -> S::F;
}

/// [`Element::F32`] as a type.
#[derive(Clone, Copy)]
pub(crate) struct F32;
/// [`Element::F16`] as a type.
#[derive(Clone, Copy)]
pub(crate) struct F16;
/// [`Element::BF16`] as a type.
#[derive(Clone, Copy)]
pub(crate) struct BF16;

macro_rules! float {
    ($name:ident, $bits:ty, $load:ident, $load_partial:ident) => {
        impl Float for $name {
            type Bits = $bits;

            #[inline(always)]
            unsafe fn load<S: Simd>(s: S, p: *const $bits) -> S::F {
                // SAFETY: the caller's promise.
                unsafe { s.$load(p) }
            }
            #[inline(always)]
            unsafe fn load_partial<S: Simd>(s: S, p: *const $bits, n: usize) -> S::F {
                // SAFETY: the caller's promise.
                unsafe { s.$load_partial(p, n) }
            }
        }
    };
}
float!(F32, f32, load, load_partial);
float!(F16, u16, load_f16, load_f16_partial);
float!(BF16, u16, load_bf16, load_bf16_partial);

/// Loads `n <= S::LANES` elements as `f32`; the other lanes are zero.
///
/// # Safety
/// `p` must be valid for reading `n` elements and aligned for them.
#[inline(always)]
pub(crate) unsafe fn load_any<S: Simd>(s: S, element: Element, p: *const u8, n: usize) -> S::F {
    // SAFETY: the caller's promise; the array holds a whole vector.
    unsafe {
        match element {
            Element::F32 if n == S::LANES => s.load(p.cast()),
            Element::F32 => s.load_partial(p.cast(), n),
            Element::F16 if n == S::LANES => s.load_f16(p.cast()),
            Element::F16 => s.load_f16_partial(p.cast(), n),
            Element::BF16 if n == S::LANES => s.load_bf16(p.cast()),
            Element::BF16 => s.load_bf16_partial(p.cast(), n),
            Element::I32 | Element::U32 | Element::U8 => {
                let mut lanes = [0.0; crate::simd::MAX_LANES];
                for (i, lane) in lanes.iter_mut().enumerate().take(n) {
                    *lane = element.read(p.add(i * element.size()));
                }
                s.load(lanes.as_ptr())
            }
        }
    }
}

/// Stores the first `n <= S::LANES` lanes as `element`, converted as [`Element::write`] does.
///
/// # Safety
/// `p` must be valid for writing `n` elements and aligned for them.
#[inline(always)]
pub(crate) unsafe fn store_any<S: Simd>(s: S, element: Element, p: *mut u8, n: usize, x: S::F) {
    // SAFETY: the caller's promise; the array holds a whole vector.
    unsafe {
        match element {
            Element::F32 if n == S::LANES => s.store(p.cast(), x),
            Element::F32 => s.store_partial(p.cast(), n, x),
            Element::F16 if n == S::LANES => s.store_f16(p.cast(), x),
            Element::F16 => s.store_f16_partial(p.cast(), n, x),
            Element::BF16 if n == S::LANES => s.store_bf16(p.cast(), x),
            Element::BF16 => s.store_bf16_partial(p.cast(), n, x),
            Element::I32 | Element::U32 | Element::U8 => {
                let mut lanes = [0.0; crate::simd::MAX_LANES];
                s.store(lanes.as_mut_ptr(), x);
                for (i, &lane) in lanes.iter().enumerate().take(n) {
                    element.write(p.add(i * element.size()), lane);
                }
            }
        }
    }
}
