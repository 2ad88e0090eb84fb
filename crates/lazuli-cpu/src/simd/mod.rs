//! Vector code, written once and chosen at run time.
//!
//! [`Level`] says what the processor has. [`Simd`] is the vector of `f32` that kernels are written over, and
//! [`math`] the functions built on it. [`stamp!`] compiles a generic kernel for every level and makes one entry
//! point that picks by [`Level`]. Nothing depends on the `target-cpu` that the compiler was given.

mod dot;
mod float;
mod level;
pub mod math;
mod panels;
mod scalar;

#[cfg(target_arch = "x86_64")]
pub mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;

#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use dot::{Dot, Fours, even_signs, has_full_byte, six_bits};
pub use float::{MAX_LANES, Simd};
pub use level::{Isa, Level, LevelError};
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use panels::{Columns, Panels, Stored};
pub use scalar::Scalar;

/// Compiles a generic kernel for every vector level and names the entry point that picks one.
///
/// ```ignore
/// #[inline(always)]
/// unsafe fn sum_generic<S: Simd>(s: S, x: *const f32, n: usize) -> f32 { .. }
///
/// stamp! {
///     /// The sum of `n` values.
///     pub unsafe fn sum(x: *const f32, n: usize) -> f32 = sum_generic;
/// }
/// // sum(level, x, n)
/// ```
/// The kernel takes the level's token first, then the arguments; it and everything it calls must be
/// `#[inline(always)]`, because only the stamped wrapper enables the instructions. The right-hand side may carry
/// its other generics, as in `= dot_generic::<_, 4>`. `stamp!` compiles one variant per instruction set;
/// `stamp_dot!` also tells levels with dot-product instructions from those without. Both forms take `fn` (for
/// kernels over slices) and `unsafe fn`.
macro_rules! stamp {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:expr;)+) => {$(
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(level: $crate::simd::Level, $($arg: $ty),*) $(-> $ret)? {
            $crate::simd::stamp_body!(plain level, ($($arg: $ty),*) ($($ret)?) $body)
        }
    )+};
    ($($(#[$meta:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:expr;)+) => {$(
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, clippy::missing_safety_doc)]
        $vis unsafe fn $name(level: $crate::simd::Level, $($arg: $ty),*) $(-> $ret)? {
            $crate::simd::stamp_body!(plain level, ($($arg: $ty),*) ($($ret)?) $body)
        }
    )+};
}

/// [`stamp!`] for kernels over 8-bit dot products: also one variant each for levels with VNNI or dotprod.
macro_rules! stamp_dot {
    ($($(#[$meta:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:expr;)+) => {$(
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, clippy::missing_safety_doc)]
        $vis unsafe fn $name(level: $crate::simd::Level, $($arg: $ty),*) $(-> $ret)? {
            $crate::simd::stamp_body!(dot level, ($($arg: $ty),*) ($($ret)?) $body)
        }
    )+};
}

/// [`stamp_dot!`] for kernels that look codes up: also a variant with AVX-512 VBMI's permutations of bytes, which levels
/// do not tell apart. Within it, what asks for these instructions is no call.
macro_rules! stamp_permute {
    ($($(#[$meta:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:expr;)+) => {$(
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, clippy::missing_safety_doc)]
        $vis unsafe fn $name(level: $crate::simd::Level, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            $crate::simd::stamp_variant!(avx512_vbmi "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c" $crate::simd::Avx512<true>, ($($arg: $ty),*) ($($ret)?) $body);
            #[cfg(target_arch = "x86_64")]
            if level.isa() == $crate::simd::Isa::Avx512 && level.has_dot() && std::arch::is_x86_feature_detected!("avx512vbmi") {
                // SAFETY: the level and the question say that the processor has the instructions.
                return unsafe { avx512_vbmi($($arg),*) };
            }
            $crate::simd::stamp_body!(dot level, ($($arg: $ty),*) ($($ret)?) $body)
        }
    )+};
}

/// One compiled variant: a function that enables `features` and runs the kernel with the token `token`.
macro_rules! stamp_variant {
    ($name:ident $features:literal $token:ty, ($($arg:ident: $ty:ty),*) ($($ret:ty)?) $body:expr) => {
        #[target_feature(enable = $features)]
        #[allow(clippy::too_many_arguments, unused_unsafe)]
        unsafe fn $name($($arg: $ty),*) $(-> $ret)? {
            // SAFETY: the function enables the token's instructions and is only called where they exist.
            unsafe { $body(<$token as $crate::simd::Simd>::assume(), $($arg),*) }
        }
    };
}

macro_rules! stamp_body {
    ($kind:ident $level:ident, ($($arg:ident: $ty:ty),*) ($($ret:ty)?) $body:expr) => {{
        $crate::simd::stamp_variants!($kind ($($arg: $ty),*) ($($ret)?) $body);
        // SAFETY: a `Level` exists only where the processor has its instructions.
        #[allow(unused_unsafe)]
        unsafe {
            match $level.isa() {
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Isa::Avx512 if $level.has_dot() => avx512_dot($($arg),*),
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Isa::Avx512 => avx512($($arg),*),
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Isa::Avx2 if $level.has_dot() => avx2_dot($($arg),*),
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Isa::Avx2 => avx2($($arg),*),
                #[cfg(target_arch = "aarch64")]
                $crate::simd::Isa::Neon if $level.has_dot() => neon_dot($($arg),*),
                #[cfg(target_arch = "aarch64")]
                $crate::simd::Isa::Neon => neon($($arg),*),
                _ => $body(<$crate::simd::Scalar as $crate::simd::Simd>::assume(), $($arg),*),
            }
        }
    }};
}

/// The variants behind one entry point; `plain` kernels share one variant between levels that differ in dot products.
macro_rules! stamp_variants {
    (plain $args:tt $ret:tt $body:expr) => {
        #[cfg(target_arch = "x86_64")]
        $crate::simd::stamp_variant!(avx512 "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c" $crate::simd::Avx512<false>, $args $ret $body);
        #[cfg(target_arch = "x86_64")]
        use avx512 as avx512_dot;
        #[cfg(target_arch = "x86_64")]
        $crate::simd::stamp_variant!(avx2 "avx2,fma,f16c" $crate::simd::Avx2<false>, $args $ret $body);
        #[cfg(target_arch = "x86_64")]
        use avx2 as avx2_dot;
        #[cfg(target_arch = "aarch64")]
        $crate::simd::stamp_variant!(neon "neon" $crate::simd::Neon<false>, $args $ret $body);
        #[cfg(target_arch = "aarch64")]
        use neon as neon_dot;
    };
    (dot $args:tt $ret:tt $body:expr) => {
        #[cfg(target_arch = "x86_64")]
        $crate::simd::stamp_variant!(avx512_dot "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c" $crate::simd::Avx512<true>, $args $ret $body);
        #[cfg(target_arch = "x86_64")]
        $crate::simd::stamp_variant!(avx512 "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c" $crate::simd::Avx512<false>, $args $ret $body);
        #[cfg(target_arch = "x86_64")]
        $crate::simd::stamp_variant!(avx2_dot "avx2,fma,f16c,avxvnni" $crate::simd::Avx2<true>, $args $ret $body);
        #[cfg(target_arch = "x86_64")]
        $crate::simd::stamp_variant!(avx2 "avx2,fma,f16c" $crate::simd::Avx2<false>, $args $ret $body);
        #[cfg(target_arch = "aarch64")]
        $crate::simd::stamp_variant!(neon_dot "neon,dotprod" $crate::simd::Neon<true>, $args $ret $body);
        #[cfg(target_arch = "aarch64")]
        $crate::simd::stamp_variant!(neon "neon" $crate::simd::Neon<false>, $args $ret $body);
    };
}

/// The same address, of which the compiler knows nothing: loads through it stay as they are written. Of loads that overlap
/// it makes one and shuffles, which cost more than the caches' second look.
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block)] // Nothing is read or written.
pub fn apart(p: *const u8) -> *const u8 {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        let mut p = p;
        // SAFETY: no instruction at all.
        unsafe {
            std::arch::asm!("/* {0} */", inlateout(reg) p, options(pure, nomem, nostack, preserves_flags));
        }
        p
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    p
}

/// `N` values in vector code, each computed from its index: `array!(n in N, s.zero(), s.load(x.add(n)))`, where the
/// middle says what to fill the array with before.
///
/// The closures of `array::from_fn` and `[T; N]::map` are functions of their own: they lack the instructions of the
/// stamped kernel around them, and may stay calls in its innermost loop.
macro_rules! array {
    ($index:ident in $count:ident, $fill:expr, $value:expr) => {{
        let mut all = [$fill; $count];
        for $index in 0..$count {
            all[$index] = $value;
        }
        all
    }};
}

pub(crate) use {array, stamp, stamp_body, stamp_dot, stamp_permute, stamp_variant, stamp_variants};
