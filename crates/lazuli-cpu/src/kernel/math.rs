//! The elementwise functions that [`crate::simd::math`] leaves out: those built of its pieces, and the rare ones that
//! go lane by lane through the standard library.

use crate::simd::{MAX_LANES, Simd, math};

/// The error function, within a few units in the last place.
///
/// Below 1 its Taylor series, above it formula 7.1.26 of Abramowitz and Stegun, whose absolute error is 1.5e-7.
#[inline(always)]
pub(crate) fn erf<S: Simd>(s: S, x: S::F) -> S::F {
    let a = s.abs(x);
    let z = s.mul(a, a);
    let mut series = s.splat(SERIES[0]);
    for &coefficient in &SERIES[1..] {
        series = s.fma(series, z, s.splat(coefficient));
    }
    let small = s.mul(series, a);
    let t = s.div(s.splat(1.0), s.fma(s.splat(0.327_591_1), a, s.splat(1.0)));
    let mut tail = s.splat(TAIL[0]);
    for &coefficient in &TAIL[1..] {
        tail = s.fma(tail, t, s.splat(coefficient));
    }
    let large = s.fnma(s.mul(tail, t), math::exp(s, s.neg(z)), s.splat(1.0));
    // The comparison is false for NaN, and NaN then comes through `small`.
    s.copysign(s.select(s.lt(s.splat(1.0), a), large, small), x)
}

/// `2 / sqrt(pi) * (-1)^n / (n! (2 n + 1))` for n = 10 down to 0.
const SERIES: [f32; 11] = [
    1.480_719_2e-8,
    -1.636_584_4e-7,
    1.646_211_4e-6,
    -1.492_565e-5,
    1.205_533_3e-4,
    -8.548_327e-4,
    5.223_977_6e-3,
    -2.686_617e-2,
    1.128_379_2e-1,
    -3.761_263_8e-1,
    std::f32::consts::FRAC_2_SQRT_PI,
];
/// The coefficients a5 to a1 of formula 7.1.26.
const TAIL: [f32; 5] = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6];

/// `x / 2 * (1 + erf(x / sqrt 2))`, the exact form of GELU.
#[inline(always)]
pub(crate) fn gelu<S: Simd>(s: S, x: S::F) -> S::F {
    let half = s.mul(s.splat(0.5), x);
    s.fma(half, erf(s, s.mul(s.splat(std::f32::consts::FRAC_1_SQRT_2), x)), half)
}

/// Calls `f` for each lane.
#[inline(always)]
pub(crate) fn by_lane<S: Simd>(s: S, x: S::F, f: fn(f32) -> f32) -> S::F {
    let mut lanes = [0.0_f32; MAX_LANES];
    // SAFETY: the array holds a whole vector.
    unsafe {
        s.store(lanes.as_mut_ptr(), x);
        for lane in &mut lanes[..S::LANES] {
            *lane = f(*lane);
        }
        s.load(lanes.as_ptr())
    }
}

/// Calls `f` for each pair of lanes.
#[inline(always)]
pub(crate) fn by_lane2<S: Simd>(s: S, x: S::F, y: S::F, f: fn(f32, f32) -> f32) -> S::F {
    let (mut a, mut b) = ([0.0_f32; MAX_LANES], [0.0_f32; MAX_LANES]);
    // SAFETY: the arrays hold a whole vector each.
    unsafe {
        s.store(a.as_mut_ptr(), x);
        s.store(b.as_mut_ptr(), y);
        for (a, b) in a.iter_mut().zip(&b).take(S::LANES) {
            *a = f(*a, *b);
        }
        s.load(a.as_ptr())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::testing::levels;
    use super::*;
    use crate::simd::stamp;

    /// The error function in f64: its Taylor series, or 1 where that is the nearest f32.
    pub(crate) fn erf(x: f64) -> f64 {
        if x.abs() > 5.0 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..120 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    stamp! {
        unsafe fn erf_of(x: *mut f32) = erf_in_place;
    }

    #[inline(always)]
    unsafe fn erf_in_place<S: Simd>(s: S, x: *mut f32) {
        // SAFETY: the test hands in a whole vector.
        unsafe { s.store(x, super::erf(s, s.load(x))) };
    }

    #[test]
    fn erf_is_close_everywhere() {
        assert!((erf(0.5) - 0.520_499_877_813_046_5).abs() < 1e-15);
        assert!((erf(2.0) - 0.995_322_265_018_952_7).abs() < 1e-13);
        for level in levels() {
            for step in -6000..6000 {
                let x = step as f32 / 1000.0;
                let mut lanes = [x; MAX_LANES];
                // SAFETY: the array holds the longest vector.
                unsafe { erf_of(level, lanes.as_mut_ptr()) };
                let want = erf(f64::from(x));
                assert!(
                    (f64::from(lanes[0]) - want).abs() <= 4e-7 * want.abs(),
                    "{level} {x}: {} {want}",
                    lanes[0]
                );
            }
            for (x, want) in [(f32::INFINITY, 1.0), (f32::NEG_INFINITY, -1.0), (1e-30, 1.128_379_2e-30)] {
                let mut lanes = [x; MAX_LANES];
                // SAFETY: as above.
                unsafe { erf_of(level, lanes.as_mut_ptr()) };
                assert_eq!(lanes[0], want);
            }
            let mut lanes = [f32::NAN; MAX_LANES];
            // SAFETY: as above.
            unsafe { erf_of(level, lanes.as_mut_ptr()) };
            assert!(lanes[0].is_nan());
        }
    }
}
