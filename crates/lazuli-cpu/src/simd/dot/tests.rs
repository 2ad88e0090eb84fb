//! Every integer operation at every supported level against the plain one, on random and on extreme bytes.

use super::Dot;
use crate::simd::{Level, stamp_dot};

const OPERATIONS: usize = 59;

/// Applies operation `op` to `x` (weights) and `a` (activations) and writes whatever it gives, as bytes.
#[inline(always)]
unsafe fn probe_generic<S: Dot>(s: S, op: usize, x: &[u8; 128], a: &[u8; 128], out: &mut [u8; 128]) {
    let (p, q, to) = (x.as_ptr(), a.as_ptr(), out.as_mut_ptr());
    // SAFETY: all three are 128 bytes, and nothing below touches more.
    unsafe {
        let (w, v) = (s.bytes(p.add(1)), s.bytes(q.add(3)));
        let small = s.shr_mask::<1, 1>(w, 0x7f);
        let bits = p.cast::<u64>().read_unaligned();
        let bytes = p.add(7).cast::<[u64; 2]>().read_unaligned();
        let ones = s.eight_splat(1.0);
        let (mut room, mut other) = ([0.0; 8], [0.0; 8]);
        let one = s.picks(other.as_mut_ptr(), ones);
        let sums = |sums| s.fold_pairs::<0>(s.wide_zero(), sums, one);
        let scales = s.eight_u8(bits);
        let picks = s.picks(room.as_mut_ptr(), scales);
        let factors = s.eight_f16(0x3c00_4000_4200_4400, 0x4500_4600_4700_4800);
        let by_quads = s.wide_scales(p.add(7), s.eight_mul(s.eight_splat_f16(0x3800), factors));
        let products = s.dot_signed(s.signed_start(v), w, v);
        match op {
            0 => s.store_bytes(to, w),
            1 => s.store_bytes(to, s.bytes_pair(p.add(5), q)),
            2 => s.store_bytes(to, s.nibbles(p.add(2))),
            3 => s.store_bytes(to, s.nibbles_pair(p.add(3), q.add(9))),
            4 => s.store_bytes(to, s.low_nibbles(w)),
            5 => s.store_bytes(to, s.high_nibbles(w)),
            6 => s.store_bytes(to, s.shl_mask::<4, 2>(w, 0x30)),
            7 => s.store_bytes(to, s.shr_mask::<0, 3>(w, 0x10)),
            8 => s.store_bytes(to, s.spread_bits(bits, 0x10)),
            9 => s.store_bytes(to, s.or_bytes(w, v)),
            10 => s.store_bytes(to, s.add_byte(w, -77)),
            11 => s.store_wide(to.cast(), sums(s.offset_sums(32, v))),
            12 => s.store_wide(to.cast(), sums(s.dot_unsigned(s.offset_sums(8, v), small, v))),
            13 => s.store_wide(to.cast(), sums(products)),
            14 => s.store_wide(to.cast(), s.fold_pairs::<0>(s.wide_zero(), products, picks)),
            15 => s.store_wide(to.cast(), s.fold_pairs::<3>(s.wide_zero(), products, picks)),
            16 => s.store_wide(to.cast(), s.fold_quads::<1>(s.wide_zero(), products, by_quads)),
            17 => s.store_wide(to.cast(), s.fold_quads::<2>(s.wide_zero(), products, by_quads)),
            18 => s.store_wide(to.cast(), by_quads),
            19 => {
                s.store_eight(to.cast(), s.eight_fma(scales, s.eight_f16(0x3c00_4000, bits & 0x3fff), ones));
            }
            20 => {
                let exact = s.dot_unsigned(s.no_sums(), s.low_nibbles(w), v);
                to.cast::<f32>().write_unaligned(s.sum_of(sums(exact), s.eight_splat(0.0)));
                to.add(4).cast::<f32>().write_unaligned(s.eight_sum(s.eight_mul(scales, ones)));
            }
            21 => {
                let [x, y] = s.two_f16(bits as u32 & 0x3fff_3fff);
                to.cast::<[f32; 2]>().write_unaligned([x, y]);
            }
            22..=25 => {
                // So small that the sum of all lanes, which is what counts, is exact in floats.
                let by = [3i16, 0, 7, 5, 1, 6, 2, 4];
                let small = s.low_nibbles(s.bytes(p));
                let dot = s.dot_unsigned(s.no_sums(), small, small);
                let other = s.dot_unsigned(s.no_sums(), small, s.low_nibbles(v));
                let pairs = s.factors_six_bits([p], by.as_ptr())[0].0;
                let quads = s.factors_i8(bytes, by.as_ptr());
                let acc = match op {
                    22 => s.add_pairs::<0>(dot, [dot, other], pairs),
                    23 => s.add_pairs::<1>(s.no_sums(), [other, dot], pairs),
                    24 => s.add_quads::<0>(dot, [other, dot], quads),
                    _ => s.add_quads::<1>(s.no_sums(), [dot, other], quads),
                };
                let sum = s.sum_of(s.add_wide(s.wide_zero(), acc, 0.5), s.eight_splat(0.0));
                to.cast::<f32>().write_unaligned(sum);
            }
            26..44 => decoding(s, op - 26, (w, bits), p, to),
            44 => {
                to.cast::<[i32; 4]>().write_unaligned(s.sums_of_runs(v));
            }
            45..49 => rounding(s, op - 45, p, to),
            49 => {
                let codes = [s.shr_mask::<2, 2>(w, 0x3f), s.low_nibbles(w)];
                s.store_wide(to.cast(), sums(s.dot_both(codes, [v, v])));
            }
            50 => {
                let (x, a) = (in_places::<S>(x), in_places::<S>(a));
                let dots = |at: usize| {
                    let (codes, a) = (s.bytes(x.as_ptr().add(at)), s.bytes(a.as_ptr().add(at)));
                    s.dot_both([s.low_nibbles(codes), s.high_nibbles(codes)], [a, a])
                };
                s.store_eight(to.cast(), s.eight_blocks([dots(0), dots(64)]));
                // Small whole numbers, whose sums are exact.
                let eights = [ones, scales, s.eight_mul(scales, ones), s.eight_fma(scales, scales, ones)];
                to.add(32).cast::<[f32; 4]>().write_unaligned(s.eight_sums(eights));
            }
            51 => {
                let mut blocks = *x;
                for byte in blocks.iter_mut().skip(1).step_by(2) {
                    *byte &= 0xbb;
                }
                let mut long = [0u8; 256];
                long[..128].copy_from_slice(&blocks);
                long[128..].copy_from_slice(&blocks);
                let [a, b] = s.eight_halves_two::<20>(long.as_ptr());
                let [c, d] = s.eight_halves_two::<24>(long.as_ptr());
                for (i, eight) in [a, b, c, d].into_iter().enumerate() {
                    s.store_eight(to.add(32 * i).cast(), eight);
                }
            }
            52 => {
                // So small that the sum of all lanes, which is what counts, is exact.
                let by = [3i16, 0, 7, 5, 1, 6, 2, 4];
                let numbers: [i16; 16] = std::array::from_fn(|i| i16::from(a[i] as i8));
                let pointers = [by.as_ptr(), numbers.as_slice().as_ptr()];
                let products = s.add_factors_i8(s.wide_zero(), bytes, pointers, 0.5);
                to.cast::<f32>().write_unaligned(s.sum_of(products, s.eight_splat(0.0)));
            }
            53 => six_bits(s, [&x[1..], &x[60..]], a, to.cast()),
            54 => six_bits(s, [&x[9..]], a, to.cast()),
            55 => s.store_half_e8m0(p.add(8), to.cast()),
            56 => {
                let both = [s.bytes_of_four::<16, 0, 0>(p), s.bytes_of_four::<16, 0, 1>(p)];
                store_places(s, both, to);
            }
            57 => heads(s, x, to),
            _ => {
                // A native width: only what every level has is compared.
                let i = (bits % 5) as usize;
                s.store_i8(to.cast(), s.splat_i32([-1000, -128, -77, 127, 1000][i]));
                to.add(4).write_bytes(0, 124);
            }
        }
    }
}

/// What blocks of 22 and of 24 bytes begin with, parted.
#[inline(always)]
unsafe fn heads<S: Dot>(s: S, x: &[u8; 128], to: *mut u8) {
    // No infinities and no NaN, whose bits a comparison of bytes would not find alike.
    let blocks: [u8; 192] = std::array::from_fn(|i| x[i % 127] & if i % 2 == 1 { 0xbb } else { 0xff });
    // SAFETY: eight blocks, and 128 bytes of results.
    unsafe {
        s.part_heads::<22>(blocks.as_ptr(), to.cast(), to.add(32).cast());
        s.part_heads::<24>(blocks.as_ptr(), to.add(64).cast(), to.add(96).cast());
    }
}

/// The sums of a block of each of `R` rows, after scales and mins that `x` has from byte 4 on.
#[inline(always)]
unsafe fn six_bits<S: Dot, const R: usize>(s: S, x: [&[u8]; R], a: &[u8; 128], to: *mut f32) {
    let mut blocks = [[0u8; 20]; R];
    let mut starts = [std::ptr::null(); R];
    for r in 0..R {
        blocks[r].copy_from_slice(&x[r][..20]);
        // Scales and sums so plain that the order in which they are added up does not show.
        blocks[r][..4].copy_from_slice(&[0, 0x3c, 0, 0x30]);
        starts[r] = blocks[r].as_ptr();
    }
    let by = [3i16, 0, 7, 5, 1, 6, 2, 4];
    let group_sums: [f32; 8] = std::array::from_fn(|i| f32::from(a[i] as i8) / 4.0);
    // SAFETY: `x` and `a` are longer than what is read, and there is room for `R` values.
    unsafe {
        let ones = s.spread_bits(a.as_ptr().cast::<u64>().read_unaligned(), 1);
        let dots = s.dot_unsigned(s.no_sums(), ones, s.low_nibbles(s.bytes(a.as_ptr())));
        let factors = s.factors_six_bits(starts, by.as_ptr());
        let (mut acc, mut totals) = ([[(s.wide_zero(), s.eight_splat(0.0))]; R], [[dots]; R]);
        for r in 0..R {
            totals[r][0] = s.add_pairs::<1>(dots, [dots, s.no_sums()], factors[r].0);
        }
        for _ in 0..2 {
            s.add_six_bits(0, &mut acc, &totals, &factors, starts, (0.5, group_sums.as_ptr()));
        }
        s.part_six_bits(&mut acc);
        for (r, [(wide, eight)]) in acc.into_iter().enumerate() {
            to.add(r).write_unaligned(s.sum_of(wide, eight));
        }
    }
}

/// Eight blocks of 16 bytes in the order of [`Dot::PLACES`].
fn in_places<S: Dot>(x: &[u8; 128]) -> [u8; 128] {
    let mut placed = [0; 128];
    for (block, &place) in x.chunks_exact(16).zip(&S::PLACES) {
        placed[16 * place..][..16].copy_from_slice(block);
    }
    placed
}

/// Stores eight blocks of 16 bytes that stand in the order of [`Dot::PLACES`] in their own.
#[inline(always)]
unsafe fn store_places<S: Dot>(s: S, blocks: [S::Bytes; 2], to: *mut u8) {
    let mut placed = [0; 128];
    // SAFETY: the caller has room for 128 bytes.
    unsafe {
        s.store_bytes(placed.as_mut_ptr(), blocks[0]);
        s.store_bytes(placed.as_mut_ptr().add(64), blocks[1]);
        for (i, &place) in S::PLACES.iter().enumerate() {
            to.add(16 * i).copy_from_nonoverlapping(placed.as_ptr().add(16 * place), 16);
        }
    }
}

/// What one of three operations takes of half `H` of eight blocks.
#[inline(always)]
unsafe fn of_eight<S: Dot, const H: usize>(s: S, op: usize, p: *const u8) -> S::Bytes {
    // SAFETY: the caller has eight blocks of 24 bytes.
    unsafe {
        let [x, y, z] = match op {
            14 => {
                let odd = s.bytes_of_four::<17, 1, H>(p);
                [odd, s.bytes_of_four::<18, 2, H>(p), odd]
            }
            15 => {
                let wide = [s.bytes_of_four::<22, 6, H>(p), s.bytes_of_four::<24, 8, H>(p)];
                [s.bytes_of_four::<20, 4, H>(p), wide[0], wide[1]]
            }
            _ => {
                let [low, high] = s.bits_of_four::<22, 2, H>(p, 0x10);
                [low, s.bits_of_four::<24, 4, H>(p, 0x20)[1], s.add_byte(high, 1)]
            }
        };
        s.or_bytes(x, s.add_byte(s.or_bytes(s.low_nibbles(y), z), 5))
    }
}

/// Operations that round values and bring their codes into the order of tiles.
#[inline(always)]
unsafe fn rounding<S: Dot>(s: S, op: usize, p: *const u8, to: *mut u8) {
    let mut values = [0f32; 256];
    for (i, value) in values.iter_mut().enumerate() {
        // SAFETY: one of 128 bytes.
        *value = (f32::from(unsafe { p.add(i * 7 % 128).read() }) - 117.5) * (1 + i / 32) as f32;
    }
    let mut woven = [0u8; 256];
    // SAFETY: 256 values, 256 bytes woven of four rows, and 128 to write.
    unsafe {
        let rows = [0_usize, 21, 42, 64].map(|at| s.bytes(p.add(at)));
        match op {
            0 => s.store_bytes(to, s.rounded(values.as_ptr().add(13), [0.5, 0.123])),
            1 => {
                to.cast::<[u32; 8]>().write_unaligned(s.peaks(values.as_ptr()));
                to.add(32).cast::<u32>().write_unaligned(s.peak(values.as_ptr().add(3), 112));
                values[40] = f32::NAN;
                values[100] = f32::NEG_INFINITY;
                to.add(36).cast::<[u32; 8]>().write_unaligned(s.peaks(values.as_ptr()));
            }
            2 => s.store_woven::<false>(rows, woven.as_mut_ptr()),
            _ => s.store_woven::<true>(rows, woven.as_mut_ptr()),
        }
    }
    if op >= 2 {
        for (i, pair) in woven.chunks_exact(2).enumerate() {
            // Twice as many bytes as there is room for: each two make one that depends on both.
            let both = pair[0].rotate_left(3) ^ pair[1].wrapping_mul(5);
            // SAFETY: one of 128 bytes.
            unsafe { to.add(i).write(both) };
        }
    }
}

/// Operations that only bring codes and scales into order.
#[inline(always)]
unsafe fn decoding<S: Dot>(s: S, op: usize, (w, bits): (S::Bytes, u64), p: *const u8, to: *mut u8) {
    let powers = std::array::from_fn(|i| [1, 3, 9, 27, 81][i % 5]);
    let table = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
    // SAFETY: as for the caller; a row of 256 codes of 3 bits is 96 bytes, and wider ones come from a copy.
    unsafe {
        let mut long = [0u8; 272];
        for (i, byte) in long.iter_mut().enumerate() {
            *byte = p.add(i % 127).read();
        }
        let eight = s.eight_f16(bits & 0xbbff_bbff_bbff_bbff, 0x4500_4600_4700_c800);
        match op {
            0 => s.store_bytes(to, s.bit_codes::<2, 3>(p)),
            1 => s.store_bytes(to, s.bit_codes::<3, 0>(p)),
            2 => s.store_bytes(to, s.bit_codes::<3, 3>(p)),
            3 => s.store_bytes(to, s.bit_codes::<4, 1>(p)),
            4 => s.store_bytes(to, s.bit_codes::<5, 3>(long.as_ptr())),
            5 => s.store_bytes(to, s.bit_codes::<6, 3>(long.as_ptr())),
            6 => {
                s.store_bytes(to, s.lookup(&table, s.low_nibbles(w)));
                s.store_bytes(to.add(64), s.nibbles_of_eights(p.add(5)));
            }
            7 => s.store_bytes(to, s.trits(w, &powers)),
            8 => s.store_bytes(to, s.negate_where(bits, s.words([bits, 1, 2, 3, 4, bits, 6, 7]))),
            9 => s.store_wide(to.cast(), s.wide_mul(s.wide_bytes([bits, !bits]), s.wide_twice(eight))),
            10 => {
                s.store_wide(to.cast(), s.wide_e4m3(p));
                to.add(64).write(u8::from(s.has_e4m3_nan(w)));
                to.add(65).write(u8::from(s.has_e4m3_nan(s.shr_mask::<1, 1>(w, 0x3f))));
            }
            11 => {
                let x = [s.wide_e4m3(p), s.wide_bytes([bits, !bits])];
                let mut room = [0.0; 8];
                let picks = s.picks(room.as_mut_ptr(), s.eight_u8(bits));
                s.store_wide(to.cast(), s.fold_floats::<1>(s.wide_fma(x[0], x[1], x[0]), x, picks));
            }
            12 => {
                s.store_eight(to.cast(), s.eight_repeat::<2>(s.eight_bf16(bits & !0x0080_0080_0080_0080, 0)));
                s.store_eight(to.add(32).cast(), s.eight_repeat::<4>(s.eight_low(bits & !0x80_0000, 0)));
            }
            13 => {
                // No infinities and no NaN, whose bits a comparison of bytes would not find alike.
                for byte in long.iter_mut().skip(1).step_by(2) {
                    *byte &= 0xbb;
                }
                let p = long.as_ptr();
                s.store_eight(
                    to.cast(),
                    s.eight_fma(s.eight_halves::<18, 0>(p), eight, s.eight_halves::<20, 2>(p)),
                );
                s.store_eight(to.add(32).cast(), s.eight_halves::<22, 0>(p));
                s.store_eight(to.add(64).cast(), s.eight_halves::<24, 2>(p));
                s.store_eight(to.add(96).cast(), s.eight_halves::<34, 0>(p));
            }
            14..=16 => {
                let p = long.as_ptr().add(1);
                store_places(s, [of_eight::<S, 0>(s, op, p), of_eight::<S, 1>(s, op, p)], to);
            }
            _ => {
                s.store_eight(to.cast(), s.eight_half_e8m0(bits));
                s.store_eight(to.add(32).cast(), s.eight_tops::<1>(p));
                s.store_eight(to.add(64).cast(), s.eight_tops::<2>(p));
                s.store_eight(
                    to.add(96).cast(),
                    s.eight_splat(s.sum_of(s.wide_bytes([bits, !bits]), s.eight_splat(0.0))),
                );
                let some = s.dot_unsigned(s.no_sums(), s.low_nibbles(w), s.low_nibbles(w));
                let low = s.fold_quads::<1>(s.wide_zero(), some, s.wide_low(s.eight_u8(bits)));
                to.add(96).cast::<f32>().write_unaligned(s.sum_of(low, s.eight_u8(bits)));
            }
        }
    }
}
stamp_dot! { unsafe fn probe(op: usize, x: &[u8; 128], a: &[u8; 128], out: &mut [u8; 128]) = probe_generic; }

/// Weights and activations: random ones, and all extremes; activations are never -128.
pub(in crate::simd) fn inputs() -> Vec<([u8; 128], [u8; 128])> {
    let mut state = 7u64;
    let mut byte = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    let mut all: Vec<([u8; 128], [u8; 128])> = (0..50)
        .map(|_| (std::array::from_fn(|_| byte()), std::array::from_fn(|_| byte().max(1) ^ 0x80)))
        .collect();
    for w in [0x80u8, 0x7f, 0xff, 0] {
        for a in [127i8, -127] {
            all.push(([w; 128], [a as u8; 128]));
        }
    }
    for (_, a) in &mut all {
        for v in a {
            *v = if *v == 0x80 { 0x81 } else { *v };
        }
    }
    all
}

#[test]
fn integer_operations_agree_with_the_plain_level() {
    for (x, a) in inputs() {
        for op in 0..OPERATIONS {
            let mut want = [0u8; 128];
            // SAFETY: the arrays have the lengths that the kernel asks for.
            unsafe { probe(Level::SCALAR, op, &x, &a, &mut want) };
            for level in Level::supported() {
                let mut got = [0u8; 128];
                // SAFETY: as above.
                unsafe { probe(level, op, &x, &a, &mut got) };
                assert_eq!(got, want, "{level} operation {op}");
            }
        }
    }
}
