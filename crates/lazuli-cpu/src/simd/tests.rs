//! Every vector operation at every supported level against plain Rust, lane by lane.

use super::{Level, MAX_LANES, Simd, math};
use half::{bf16, f16};

/// Reproducible values: ordinary ones over several magnitudes, and the awkward ones.
fn samples(n: usize) -> Vec<f32> {
    let awkward = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 1e-40, -1e-40, 65504.0, 1e30, -1e30];
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    (0..n)
        .map(|i| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let unit = (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
            if i % 5 == 0 {
                awkward[i / 5 % awkward.len()]
            } else {
                unit * 10f32.powi((state >> 8) as i32 % 4)
            }
        })
        .collect()
}

/// Applies operation number `op` to whole vectors of the three inputs.
#[inline(always)]
unsafe fn apply_generic<S: Simd>(s: S, op: usize, x: [&[f32]; 3], out: &mut [f32]) {
    for at in (0..out.len()).step_by(S::LANES) {
        // SAFETY: the slices are multiples of MAX_LANES long.
        unsafe {
            let [a, b, c] = x.map(|v| s.load(v[at..].as_ptr()));
            let y = match op {
                0 => s.add(a, b),
                1 => s.sub(a, b),
                2 => s.mul(a, b),
                3 => s.div(a, b),
                4 => s.fma(a, b, c),
                5 => s.fnma(a, b, c),
                6 => s.min(a, b),
                7 => s.max(a, b),
                8 => s.abs(a),
                9 => s.neg(a),
                10 => s.sqrt(s.abs(a)),
                11 => s.floor(a),
                12 => s.round(a),
                13 => s.copysign(a, b),
                14 => s.select(s.lt(a, b), a, c),
                15 => s.select(s.le(a, b), a, c),
                16 => s.select(s.eq(a, a), b, c),
                17 => s.scale_by_pow2(a, s.splat(-3.0)),
                18 => s.to_f32(
                    s.add_i32(s.to_i32(s.min(s.max(a, s.splat(-1e6)), s.splat(1e6))), s.splat_i32(7)),
                ),
                _ => unreachable!("no such operation"),
            };
            s.store(out[at..].as_mut_ptr(), y);
        }
    }
}

stamp! { unsafe fn apply(op: usize, x: [&[f32]; 3], out: &mut [f32]) = apply_generic; }

fn expected(op: usize, a: f32, b: f32, c: f32) -> f32 {
    match op {
        0 => a + b,
        1 => a - b,
        2 => a * b,
        3 => a / b,
        4 => a.mul_add(b, c),
        5 => (-a).mul_add(b, c),
        6 => {
            if a < b {
                a
            } else {
                b
            }
        }
        7 => {
            if a > b {
                a
            } else {
                b
            }
        }
        8 => a.abs(),
        9 => -a,
        10 => a.abs().sqrt(),
        11 => a.floor(),
        12 => a.round_ties_even(),
        13 => a.copysign(b),
        14 => {
            if a < b {
                a
            } else {
                c
            }
        }
        15 => {
            if a <= b {
                a
            } else {
                c
            }
        }
        16 => b,
        17 => a / 8.0,
        18 => (a.clamp(-1e6, 1e6).round_ties_even() as i32 + 7) as f32,
        _ => unreachable!("no such operation"),
    }
}

use super::stamp;

#[test]
fn arithmetic_gives_the_bits_of_plain_rust() {
    let all = samples(16 * 60 + 2);
    let n = 16 * 60;
    let x = [&all[..n], &all[1..=n], &all[2..n + 2]];
    for level in Level::supported() {
        for op in 0..19 {
            let mut out = vec![0.0; n];
            // SAFETY: every slice is a multiple of MAX_LANES long.
            unsafe { apply(level, op, x, &mut out) };
            for i in 0..n {
                let want = expected(op, x[0][i], x[1][i], x[2][i]);
                let same = out[i].to_bits() == want.to_bits() || (out[i].is_nan() && want.is_nan());
                // The plain level has no fused instruction and rounds a sum of doubles: at most one bit off.
                let close = (op == 4 || op == 5)
                    && level == Level::SCALAR
                    && (out[i] - want).abs() <= want.abs() * 1e-7;
                assert!(
                    same || close,
                    "{level} op {op} of {:?}: {} is not {want}",
                    (x[0][i], x[1][i], x[2][i]),
                    out[i]
                );
            }
        }
    }
}

#[inline(always)]
unsafe fn memory_generic<S: Simd>(s: S, kind: usize, n: usize, src: *const u8, dst: *mut u8) {
    // SAFETY: the caller gives `n <= LANES` values on both sides, or whole vectors for `n == LANES`.
    unsafe {
        let (src16, dst16) = (src.cast::<u16>(), dst.cast::<u16>());
        match kind {
            0 if n == S::LANES => s.store(dst.cast(), s.load(src.cast())),
            0 => s.store_partial(dst.cast(), n, s.load_partial(src.cast(), n)),
            1 if n == S::LANES => s.store_f16(dst16, s.load_f16(src16)),
            1 => s.store_f16_partial(dst16, n, s.load_f16_partial(src16, n)),
            2 if n == S::LANES => s.store_bf16(dst16, s.load_bf16(src16)),
            _ => s.store_bf16_partial(dst16, n, s.load_bf16_partial(src16, n)),
        }
    }
}
#[inline(always)]
fn lanes_generic<S: Simd>(_s: S) -> usize {
    S::LANES
}
stamp! { unsafe fn memory(kind: usize, n: usize, src: *const u8, dst: *mut u8) = memory_generic; }
stamp! { fn lanes() -> usize = lanes_generic; }

#[test]
fn loads_and_stores_move_exactly_n_values() {
    for level in Level::supported() {
        for n in 0..=lanes(level) {
            for (kind, size) in [(0, 4), (1, 2), (2, 2)] {
                // Values of every kind that survive the round trip: small normal numbers.
                let src: Vec<u8> = (0..n)
                    .flat_map(|i| {
                        let v = i as f32 + 1.0;
                        match kind {
                            0 => v.to_le_bytes().to_vec(),
                            1 => f16::from_f32(v).to_bits().to_le_bytes().to_vec(),
                            _ => bf16::from_f32(v).to_bits().to_le_bytes().to_vec(),
                        }
                    })
                    .collect();
                let mut dst = vec![0xa5u8; (MAX_LANES + 1) * 4];
                // SAFETY: `src` has `n` values and `dst` room for more than a vector.
                unsafe { memory(level, kind, n, src.as_ptr(), dst.as_mut_ptr()) };
                assert_eq!(dst[..n * size], src[..], "{level} kind {kind} n {n}");
                assert!(
                    dst[n * size..].iter().all(|&b| b == 0xa5),
                    "{level} kind {kind} n {n} wrote too far"
                );
            }
        }
    }
}

#[inline(always)]
unsafe fn convert_generic<S: Simd>(s: S, to_half: usize, x: &[f32], out: &mut [u16], back: &mut [f32]) {
    for at in (0..x.len()).step_by(S::LANES) {
        // SAFETY: the slices are multiples of MAX_LANES long.
        unsafe {
            let v = s.load(x[at..].as_ptr());
            let (p, q) = (out[at..].as_mut_ptr(), back[at..].as_mut_ptr());
            if to_half == 1 {
                s.store_f16(p, v);
                s.store(q, s.load_f16(p));
            } else {
                s.store_bf16(p, v);
                s.store(q, s.load_bf16(p));
            }
        }
    }
}
stamp! { unsafe fn convert(to_half: usize, x: &[f32], out: &mut [u16], back: &mut [f32]) = convert_generic; }

#[test]
fn half_precision_rounds_to_nearest_even() {
    let mut x = samples(16 * 40);
    x.extend([
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::from_bits(0x7f80_0001),
        65519.9,
        65520.0,
        3e-8,
        6e-8,
    ]);
    x.extend([
        1.0 + 1.0 / 256.0,
        1.0 + 3.0 / 256.0,
        1.0 + 1.0 / 2048.0,
        1.0 + 3.0 / 2048.0,
        f32::MAX,
        0.0,
        0.0,
        0.0,
    ]);
    for level in Level::supported() {
        for to_half in [0, 1] {
            let (mut bits, mut back) = (vec![0u16; x.len()], vec![0.0f32; x.len()]);
            // SAFETY: every slice is a multiple of MAX_LANES long.
            unsafe { convert(level, to_half, &x, &mut bits, &mut back) };
            for i in 0..x.len() {
                let (want, wide) = if to_half == 1 {
                    (f16::from_f32(x[i]).to_bits(), f16::from_f32(x[i]).to_f32())
                } else {
                    (bf16::from_f32(x[i]).to_bits(), bf16::from_f32(x[i]).to_f32())
                };
                let same = bits[i] == want && back[i].to_bits() == wide.to_bits();
                assert!(
                    same || (x[i].is_nan() && back[i].is_nan()),
                    "{level} {} -> {:#x}, not {want:#x}",
                    x[i],
                    bits[i]
                );
            }
        }
    }
}

#[inline(always)]
unsafe fn reduce_generic<S: Simd>(s: S, x: &[f32]) -> [f32; 3] {
    // SAFETY: the slice holds MAX_LANES values.
    let v = unsafe { s.load(x.as_ptr()) };
    s.prefetch(x.as_ptr().cast());
    s.prefetch_l2(std::ptr::null());
    [s.reduce_sum(v), s.reduce_max(v), s.reduce_min(v)]
}
stamp! { unsafe fn reduce(x: &[f32]) -> [f32; 3] = reduce_generic; }

#[test]
fn reductions_see_every_lane() {
    for level in Level::supported() {
        let n = lanes(level);
        for hot in 0..n {
            let mut x = [1.0f32; MAX_LANES];
            x[hot] = 9.0;
            // SAFETY: MAX_LANES values.
            assert_eq!(unsafe { reduce(level, &x) }[..2], [8.0 + n as f32, 9.0], "{level}");
            x[hot] = -9.0;
            // SAFETY: MAX_LANES values.
            assert_eq!(unsafe { reduce(level, &x) }[2], -9.0, "{level}");
        }
    }
}

#[inline(always)]
unsafe fn reduce4_generic<S: Simd>(s: S, x: &[f32]) -> [f32; 4] {
    // SAFETY: the slice holds 4 * MAX_LANES values.
    s.reduce_sum4(std::array::from_fn(|i| unsafe { s.load(x.as_ptr().add(i * MAX_LANES)) }))
}
stamp! { unsafe fn reduce4(x: &[f32]) -> [f32; 4] = reduce4_generic; }

#[test]
fn four_sums_at_once_are_four_sums() {
    // Powers of two, so that a lane that is lost, doubled or in the wrong sum shows, and sums are exact.
    let x: Vec<f32> = (0..4 * MAX_LANES).map(|i| ((i / MAX_LANES + 1) << (i % MAX_LANES)) as f32).collect();
    for level in Level::supported() {
        let want: Vec<f32> = x.chunks(MAX_LANES).map(|x| x[..lanes(level)].iter().sum()).collect();
        // SAFETY: 4 * MAX_LANES values.
        assert_eq!(unsafe { reduce4(level, &x) }[..], want, "{level}");
    }
}

#[inline(always)]
unsafe fn function_generic<S: Simd>(s: S, which: usize, x: &[f32], out: &mut [f32]) {
    for at in (0..x.len()).step_by(S::LANES) {
        // SAFETY: the slices are multiples of MAX_LANES long.
        unsafe {
            let v = s.load(x[at..].as_ptr());
            let y = match which {
                0 => math::exp(s, v),
                1 => math::tanh(s, v),
                2 => math::sigmoid(s, v),
                3 => math::silu(s, v),
                _ => math::gelu_tanh(s, v),
            };
            s.store(out[at..].as_mut_ptr(), y);
        }
    }
}
stamp! { unsafe fn function(which: usize, x: &[f32], out: &mut [f32]) = function_generic; }

/// Distance in units of the last place of `want`.
fn ulps(got: f32, want: f64) -> f64 {
    let step = f64::from((want.abs() as f32).max(f32::MIN_POSITIVE)) * f64::from(f32::EPSILON) / 2.0;
    let power = 2f64.powf(step.log2().ceil());
    (f64::from(got) - want).abs() / power
}

fn worst(which: usize, range: (f32, f32), truth: fn(f64) -> f64, level: Level) -> f64 {
    let n = 16 * 20_000;
    let x: Vec<f32> = (0..n).map(|i| range.0 + (range.1 - range.0) * (i as f32 / (n - 1) as f32)).collect();
    let mut out = vec![0.0; n];
    // SAFETY: both slices are a multiple of MAX_LANES long.
    unsafe { function(level, which, &x, &mut out) };
    x.iter().zip(&out).map(|(&x, &y)| ulps(y, truth(f64::from(x)))).fold(0.0, f64::max)
}

#[test]
fn functions_are_as_accurate_as_they_say() {
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let gelu = |x: f64| 0.5 * x * (1.0 + (0.7978845608028654 * (x + 0.044715 * x * x * x)).tanh());
    for level in Level::supported() {
        assert!(worst(0, (-87.0, 88.7), f64::exp, level) <= 2.0, "exp {level}");
        assert!(worst(0, (-1.0, 1.0), f64::exp, level) <= 2.0, "exp near 0 {level}");
        assert!(worst(1, (-12.0, 12.0), f64::tanh, level) <= 4.0, "tanh {level}");
        assert!(worst(1, (-0.7, 0.7), f64::tanh, level) <= 4.0, "tanh near 0 {level}");
        assert!(worst(2, (-80.0, 80.0), |x| 1.0 / (1.0 + (-x).exp()), level) <= 4.0, "sigmoid {level}");
        assert!(worst(3, (-80.0, 80.0), silu, level) <= 5.0, "silu {level}");
        // Where GELU's two terms cancel only the absolute error is small.
        let n = 16 * 1000;
        let x: Vec<f32> = (0..n).map(|i| i as f32 * 20.0 / n as f32 - 10.0).collect();
        let mut out = vec![0.0; n];
        // SAFETY: both slices are a multiple of MAX_LANES long.
        unsafe { function(level, 4, &x, &mut out) };
        for (&x, &y) in x.iter().zip(&out) {
            assert!(
                (f64::from(y) - gelu(f64::from(x))).abs() <= 1e-6 * f64::from(x.abs().max(1.0)),
                "gelu {level} {x}"
            );
        }
    }
}

#[test]
fn exp_meets_its_limits() {
    let mut x = [0.0f32; MAX_LANES];
    x[..8].copy_from_slice(&[f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 200.0, -200.0, 0.0, -103.0, 88.8]);
    for level in Level::supported() {
        let mut y = [0.0f32; MAX_LANES];
        // SAFETY: MAX_LANES values on both sides.
        unsafe { function(level, 0, &x, &mut y) };
        assert_eq!(y[..2], [f32::INFINITY, 0.0], "{level}");
        assert!(y[2].is_nan(), "{level}");
        assert_eq!([y[3], y[4], y[5], y[7]], [f32::INFINITY, 0.0, 1.0, f32::INFINITY], "{level}");
        assert!(y[6] > 0.0 && y[6] < 3e-45, "{level}: e^-103 is the smallest denormal, not {}", y[6]);
    }
}
