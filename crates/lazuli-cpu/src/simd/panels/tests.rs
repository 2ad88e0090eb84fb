//! What panels are made of and multiplied with, at every level: rows in, dot products out.

use crate::simd::dot::tests::inputs;
use crate::simd::{Dot, Isa, Level, Stored, stamp_dot};

/// Lanes of the level's vectors.
fn lanes(level: Level) -> usize {
    match level.isa() {
        Isa::Avx512 => 16,
        Isa::Avx2 => 8,
        Isa::Neon | Isa::Scalar => 4,
    }
}

#[inline(always)]
unsafe fn panel_generic<S: Dot>(s: S, rows: &[[i8; 64]; 16], a: &[i8; 64], out: &mut [i32; 16]) {
    let mut biased = [[0u8; 64]; 16];
    for (to, from) in biased.iter_mut().zip(rows) {
        *to = from.map(|w| (w as u8).wrapping_add(S::PANEL_BIAS));
    }
    let mut panel = [[0u8; 64]; 16];
    // SAFETY: 16 rows of 64 bytes hold the LANES rows of 4 * LANES bytes that any level transposes.
    unsafe {
        s.transpose(biased.as_ptr().cast(), 64, Stored { to: panel.as_mut_ptr().cast(), stride: 64 });
        let mut acc = s.splat_i32(0);
        for k in 0..S::LANES {
            acc = s.dot_codes(acc, s.codes(panel[k].as_ptr()), s.codes_splat(a[4 * k..].as_ptr()));
        }
        s.store_i32(out.as_mut_ptr(), acc);
    }
    let sum: i32 = a[..4 * S::LANES].iter().map(|&a| i32::from(a)).sum();
    for out in out {
        *out -= i32::from(S::PANEL_BIAS) * sum;
    }
}
/// The same in narrow sums of codes of `BITS` bits, of as many weights as fit.
#[inline(always)]
unsafe fn narrow_generic<S: Dot, const BITS: usize>(
    s: S,
    rows: &[[i8; 64]; 16],
    a: &[i8; 64],
    out: &mut [i32; 16],
) {
    let (mut biased, mut panel) = ([[0u8; 64]; 16], [[0u8; 64]; 16]);
    for (to, from) in biased.iter_mut().zip(rows) {
        *to = from.map(|w| ((w >> (8 - BITS)) as u8).wrapping_add(1 << (BITS - 1)));
    }
    // SAFETY: as for `panel_generic`.
    unsafe {
        s.transpose(biased.as_ptr().cast(), 64, Stored { to: panel.as_mut_ptr().cast(), stride: 64 });
        let starts = s.starts_of_runs(s.bytes(a.as_ptr().cast()));
        let mut acc = s.splat_i32(0);
        for run in 0..S::LANES / 4 {
            let mut sums = s.narrow_start::<BITS>(s.splat_i32(starts[run]));
            for k in 4 * run..4 * run + 4 {
                sums = s.add_narrow(sums, s.codes(panel[k].as_ptr()), s.codes_splat(a[4 * k..].as_ptr()));
            }
            acc = s.widen(acc, sums);
        }
        s.store_i32(out.as_mut_ptr(), acc);
    }
    for run in 0..2 {
        let sum = |run: usize| a[16 * run..16 * run + 16].iter().map(|&a| i32::from(a)).sum::<i32>();
        // SAFETY: 64 bytes.
        let starts = unsafe { s.starts_of_runs(s.bytes(a.as_ptr().cast())) };
        let both = S::joint_start(starts[run], starts[run + 1]);
        assert_eq!([starts[run], both].map(S::negative_sum), [-sum(run), -sum(run) - sum(run + 1)]);
    }
}
stamp_dot! {
    unsafe fn narrow_4(rows: &[[i8; 64]; 16], a: &[i8; 64], out: &mut [i32; 16]) = narrow_generic::<_, 4>;
    unsafe fn narrow_5(rows: &[[i8; 64]; 16], a: &[i8; 64], out: &mut [i32; 16]) = narrow_generic::<_, 5>;
    unsafe fn narrow_6(rows: &[[i8; 64]; 16], a: &[i8; 64], out: &mut [i32; 16]) = narrow_generic::<_, 6>;
}
stamp_dot! { unsafe fn panel(rows: &[[i8; 64]; 16], a: &[i8; 64], out: &mut [i32; 16]) = panel_generic; }

#[test]
fn transposed_panels_give_dot_products_of_rows() {
    for (x, a) in inputs() {
        let rows: [[i8; 64]; 16] =
            std::array::from_fn(|r| std::array::from_fn(|k| x[(5 * r + k) % 128] as i8));
        let a: [i8; 64] = std::array::from_fn(|k| a[k] as i8);
        for level in Level::supported() {
            let mut out = [0i32; 16];
            // SAFETY: the arrays have the lengths that the kernel asks for.
            unsafe { panel(level, &rows, &a, &mut out) };
            let lanes = lanes(level);
            let want = |r: usize, shift: usize| -> i32 {
                (0..4 * lanes).map(|k| i32::from(rows[r][k] >> shift) * i32::from(a[k])).sum()
            };
            for r in 0..lanes {
                assert_eq!(out[r], want(r, 0), "{level} row {r}");
            }
            for (bits, narrow) in [(4, narrow_4), (5, narrow_5), (6, narrow_6)]
                as [(usize, unsafe fn(Level, &[[i8; 64]; 16], &[i8; 64], &mut [i32; 16])); 3]
            {
                // SAFETY: likewise.
                unsafe { narrow(level, &rows, &a, &mut out) };
                for r in 0..lanes {
                    assert_eq!(out[r], want(r, 8 - bits), "{level} row {r} of {bits} bits");
                }
            }
        }
    }
}

/// Of `LANES` rows of two runs of weights: what [`Panels::add_interleaved`] makes of their dot products with `a`, or its like of
/// those of codes of 4 bits in narrow sums, and [`Panels::add_two`] of their factors.
#[inline(always)]
unsafe fn pairs_generic<S: Dot, const NARROW: bool>(
    s: S,
    (low, high): (&[[i8; 4]; 16], &[[i8; 4]; 16]),
    a: &[i8; 8],
    factors: &[[i16; 2]; 16],
    [by, shifts]: [&[i16; 2]; 2],
    out: &mut [i32; 16],
) {
    let bias = if NARROW { 8 } else { S::PANEL_BIAS };
    let biased = |x: [i8; 4]| x.map(|w| (if NARROW { w >> 4 } else { w } as u8).wrapping_add(bias));
    // Lanes of both runs in turn, two rows of each four in the first vector and two in the second.
    let mut panel = [[[0u8; 4]; 16]; 2];
    for row in 0..S::LANES {
        let at = row / 4 * 4 + row % 2 * 2;
        panel[row % 4 / 2][at] = biased(low[row]);
        panel[row % 4 / 2][at + 1] = biased(high[row]);
    }
    let mut runs = [0i8; 64];
    runs[..4].copy_from_slice(&a[..4]);
    runs[16..20].copy_from_slice(&a[4..]);
    // SAFETY: no level has more than 16 lanes.
    unsafe {
        let a = s.codes_splat_two(a.as_ptr());
        let [w, v] = [s.codes(panel[0].as_ptr().cast()), s.codes(panel[1].as_ptr().cast())];
        let starts = s.starts_of_runs(s.bytes(runs.as_ptr().cast()));
        let factors = s.load_i32(factors.as_ptr().cast());
        let (acc, shifts) = (s.splat_i32(7), shifts.as_ptr());
        let sums = if NARROW {
            let start = s.narrow_start::<4>(s.splat_two(starts.as_ptr()));
            let sums = [s.add_narrow(start, w, a), s.add_narrow(start, v, a)];
            s.add_interleaved_narrow(acc, sums, factors, shifts)
        } else {
            let start = if bias == 0 { s.splat_i32(0) } else { s.splat_two(starts.as_ptr()) };
            s.add_interleaved(acc, [s.dot_codes(start, w, a), s.dot_codes(start, v, a)], factors, shifts)
        };
        s.store_i32(out.as_mut_ptr(), s.add_two(sums, factors, by.as_ptr()));
    }
}
stamp_dot! {
    unsafe fn pairs(
        codes: (&[[i8; 4]; 16], &[[i8; 4]; 16]),
        a: &[i8; 8],
        factors: &[[i16; 2]; 16],
        by: [&[i16; 2]; 2],
        out: &mut [i32; 16],
    ) = pairs_generic::<_, false>;
    unsafe fn narrow_pairs(
        codes: (&[[i8; 4]; 16], &[[i8; 4]; 16]),
        a: &[i8; 8],
        factors: &[[i16; 2]; 16],
        by: [&[i16; 2]; 2],
        out: &mut [i32; 16],
    ) = pairs_generic::<_, true>;
}

#[test]
fn interleaved_runs_are_scaled_each_by_its_own_factor() {
    for (x, a) in inputs() {
        let run = |at: usize| -> [[i8; 4]; 16] {
            std::array::from_fn(|r| std::array::from_fn(|k| x[(at + 7 * r + k) % 128] as i8))
        };
        let (low, high) = (run(0), run(31));
        let a: [i8; 8] = std::array::from_fn(|k| (a[k] as i8).max(-127) / 4);
        let factors: [[i16; 2]; 16] =
            std::array::from_fn(|r| [i16::from(x[r] & 63), i16::from(x[r + 40] & 63)]);
        let (by, shifts) = ([i16::from(x[3]), i16::from(x[90])], [i16::from(x[5] % 6), i16::from(x[91] % 6)]);
        for level in Level::supported() {
            let (mut out, mut narrow) = ([0; 16], [0; 16]);
            // SAFETY: the arrays have the lengths that the kernels ask for.
            unsafe {
                pairs(level, (&low, &high), &a, &factors, [&by, &shifts], &mut out);
                narrow_pairs(level, (&low, &high), &a, &factors, [&by, &shifts], &mut narrow);
            }
            let lanes = lanes(level);
            for (r, shift) in (0..lanes).flat_map(|r| [(r, 0), (r, 4)]) {
                let dot = |w: &[i8; 4], a: &[i8]| -> i32 {
                    w.iter().zip(a).map(|(&w, &a)| i32::from(w >> shift) * i32::from(a)).sum()
                };
                let [f, g] = factors[r].map(i32::from);
                let [m, n] = by.map(i32::from);
                let want = 7
                    + dot(&low[r], &a[..4]) * (f >> shifts[0])
                    + dot(&high[r], &a[4..]) * (g >> shifts[1])
                    + m * f
                    + n * g;
                let got = if shift == 0 { out[r] } else { narrow[r] };
                assert_eq!(got, want, "{level} row {r} of {} bits", 8 - shift);
            }
        }
    }
}

/// What becomes of the first vector of `x` and of `y`: nibbles, lanes in turn, bits, joined words, halves, fifth bits.
#[inline(always)]
unsafe fn words_generic<S: Dot>(s: S, x: &[u8; 64], y: &[u8; 64], out: &mut [[u8; 64]; 17]) {
    // SAFETY: no level has vectors of more than 64 bytes.
    unsafe {
        let [a, b] = [s.codes(x.as_ptr()), s.codes(y.as_ptr())];
        let [low, high] = s.part_nibbles(a);
        let [first, other] = s.interleave_lanes(a, b);
        for (to, codes) in out.iter_mut().zip([low, high, first, other]) {
            s.store_codes(to.as_mut_ptr(), codes);
        }
        for four in 0..8 {
            s.store_codes(out[8 + four].as_mut_ptr(), s.add_fifths(low, b, four));
        }
        s.store_codes(out[16].as_mut_ptr(), s.add_to_codes(a, -100));
        let [a, b] = [s.load_i32(x.as_ptr().cast()), s.load_i32(y.as_ptr().cast())];
        s.store_i32(out[4].as_mut_ptr().cast(), s.bits::<0>(a, 0x3f3f_3f3f));
        s.store_i32(out[5].as_mut_ptr().cast(), s.bits::<18>(a, 0xfff));
        s.store_i32(out[6].as_mut_ptr().cast(), s.join_words(a, b));
        s.store(out[7].as_mut_ptr().cast(), s.half_words(a));
    }
}
stamp_dot! { unsafe fn words(x: &[u8; 64], y: &[u8; 64], out: &mut [[u8; 64]; 17]) = words_generic; }

#[test]
fn words_and_nibbles_are_parted_and_joined() {
    for (x, y) in inputs() {
        let [x, y] = [x, y].map(|x| -> [u8; 64] { std::array::from_fn(|i| x[i]) });
        let dword = |x: &[u8; 64], i: usize| u32::from_le_bytes(std::array::from_fn(|b| x[4 * i + b]));
        for level in Level::supported() {
            let mut out = [[0; 64]; 17];
            // SAFETY: the processor has the level.
            unsafe { words(level, &x, &y, &mut out) };
            let lanes = lanes(level);
            for i in 0..lanes {
                let (a, b) = (dword(&x, i), dword(&y, i));
                // Of each four lanes two in turn, from the first or from the third on.
                let from =
                    |start: usize| dword(if i % 2 == 0 { &x } else { &y }, i / 4 * 4 + start + i % 4 / 2);
                let half = half::f16::from_bits(a as u16).to_f32();
                let want = [
                    a & 0x0f0f_0f0f,
                    a >> 4 & 0x0f0f_0f0f,
                    from(0),
                    from(2),
                    a & 0x3f3f_3f3f,
                    a >> 18 & 0xfff,
                    a & 0xffff | b << 16,
                    half.to_bits(),
                ];
                let bytes = |of: &dyn Fn(usize) -> u8| u32::from_le_bytes(std::array::from_fn(of));
                let fifths = |four: usize| {
                    bytes(&|byte| (x[4 * i + byte] & 15) + (b >> (4 * four + byte) & 1) as u8 * 16)
                };
                let summed = bytes(&|byte| x[4 * i + byte].wrapping_sub(100));
                let want = want.into_iter().chain((0..8).map(fifths)).chain([summed]);
                for (what, want) in want.enumerate() {
                    let got = dword(&out[what], i);
                    let same = what == 7 && half.is_nan() && f32::from_bits(got).is_nan();
                    assert!(got == want || same, "{level} result {what} lane {i}: {got:#x}, not {want:#x}");
                }
            }
        }
    }
}
