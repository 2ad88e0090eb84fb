//! Few rows of activations with codes of four bits, or five, in nibbles: four blocks of 32 at a time.
//!
//! The 16 bytes of each of four blocks fill a vector, which holds the first halves of GGUF's blocks in its low nibbles and
//! the second in its high ones. With the activations in that order ([`Row::halved`]) both products of a block end up in
//! the same lanes: one conversion to float and one multiplication by scales serve 128 codes, where [`super::decode`]
//! needs one for each 64. Narrow vectors bring the sums of eight blocks together first, so that one serves 256. Planar formats
//! have neighbours in a byte, and activations in another order for them ([`Row::parted`]).

use super::acts::{FEW, Forms, Row};
use super::blocks::{Blocks, GROUP, OCTET, Octet};
use super::decode::{Job, ROWS, Rooms, Sum, prefetch_weights};
use super::ends;
use super::formats::{Q4_0, Q4_1, Q5_0, Q5_1};
use super::planar::{Affine, E2M1_RAISED, Mxfp4};
use super::tables::GgufMxfp4;
use crate::simd::{Dot, Isa};

/// Such blocks, whose weights are `scale * code + min`.
pub(super) trait Nibbles: Blocks {
    /// Whether a byte holds neighbours; otherwise codes that are half a block apart.
    const NEIGHBOURS: bool = false;

    /// The bytes that hold the codes of half `H` of an octet's blocks ([`Dot::PLACES`]).
    unsafe fn packed<S: Dot, const H: usize>(s: S, o: Octet) -> S::Bytes;
    /// Of half `H` of an octet's blocks ([`Dot::PLACES`]): the first 16 codes of each, and the other 16 of each, or the even and
    /// the odd ones.
    unsafe fn halves<S: Dot, const H: usize>(s: S, o: Octet) -> [S::Bytes; 2];
    /// The scales of the octet's eight blocks, and what is added to each of their weights.
    unsafe fn factors<S: Dot>(s: S, o: Octet) -> [S::Eight; 2];
}

/// Formats by where things lie in a block: the nibbles, and the fifth bits and the min if there are any.
macro_rules! nibbles {
    ($($format:ty: $bytes:literal bytes, nibbles $at:literal
        $(, fifths $fifths:literal)? $(, min $min:literal)? $(, offset $offset:literal)?;)+) => {$(
        impl Nibbles for $format {
            #[inline(always)]
            unsafe fn packed<S: Dot, const H: usize>(s: S, o: Octet) -> S::Bytes {
                // SAFETY: the caller gives eight whole blocks.
                unsafe { s.bytes_of_four::<$bytes, $at, H>(o.at(0)) }
            }
            #[inline(always)]
            unsafe fn halves<S: Dot, const H: usize>(s: S, o: Octet) -> [S::Bytes; 2] {
                // SAFETY: likewise.
                unsafe {
                    let both = Self::packed::<S, H>(s, o);
                    let codes = [s.low_nibbles(both), s.high_nibbles(both)];
                    $(
                        let fifths = s.bits_of_four::<$bytes, $fifths, H>(o.at(0), 0x10);
                        let codes = [s.or_bytes(codes[0], fifths[0]), s.or_bytes(codes[1], fifths[1])];
                    )?
                    codes
                }
            }
            #[inline(always)]
            unsafe fn factors<S: Dot>(s: S, o: Octet) -> [S::Eight; 2] {
                // SAFETY: likewise.
                unsafe {
                    $(
                        const { assert!($min == 2, "the min follows the scale") };
                        return s.eight_halves_two::<$bytes>(o.at(0));
                    )?
                    $(
                        let scales = o.halves::<S, $bytes, 0>(s);
                        return [scales, s.eight_mul(scales, s.eight_splat(-$offset))];
                    )?
                }
            }
        }
    )+};
}

nibbles! {
    Q4_0: 18 bytes, nibbles 2, offset 8.0;
    Q4_1: 20 bytes, nibbles 4, min 2;
    Q5_0: 22 bytes, nibbles 6, fifths 2, offset 16.0;
    Q5_1: 24 bytes, nibbles 8, fifths 4, min 2;
}

impl Nibbles for GgufMxfp4 {
    #[inline(always)]
    unsafe fn packed<S: Dot, const H: usize>(s: S, o: Octet) -> S::Bytes {
        // SAFETY: the caller gives eight whole blocks.
        unsafe { s.bytes_of_four::<17, 1, H>(o.at(0)) }
    }
    #[inline(always)]
    unsafe fn halves<S: Dot, const H: usize>(s: S, o: Octet) -> [S::Bytes; 2] {
        // SAFETY: likewise.
        let both = unsafe { Self::packed::<S, H>(s, o) };
        [s.lookup(&E2M1_RAISED, s.low_nibbles(both)), s.lookup(&E2M1_RAISED, s.high_nibbles(both))]
    }
    #[inline(always)]
    unsafe fn factors<S: Dot>(s: S, o: Octet) -> [S::Eight; 2] {
        // SAFETY: likewise.
        let scales = unsafe { Self::scales(s, o, s.eight_splat(1.0)) };
        [scales, s.eight_mul(scales, s.eight_splat(-f32::from(Self::OFFSET)))]
    }
}

/// The bytes of four blocks whose codes stand as one stream.
#[inline(always)]
unsafe fn packed_stream<S: Dot, const H: usize>(s: S, o: Octet) -> S::Bytes {
    // SAFETY: the caller gives a whole octet.
    unsafe { s.bytes_of_four::<16, 0, H>(o.at(0)) }
}

impl Nibbles for Affine<4> {
    const NEIGHBOURS: bool = true;

    #[inline(always)]
    unsafe fn packed<S: Dot, const H: usize>(s: S, o: Octet) -> S::Bytes {
        // SAFETY: the caller's octet.
        unsafe { packed_stream::<S, H>(s, o) }
    }
    #[inline(always)]
    unsafe fn halves<S: Dot, const H: usize>(s: S, o: Octet) -> [S::Bytes; 2] {
        // SAFETY: likewise.
        let both = unsafe { Self::packed::<S, H>(s, o) };
        [s.low_nibbles(both), s.high_nibbles(both)]
    }
    #[inline(always)]
    unsafe fn factors<S: Dot>(s: S, o: Octet) -> [S::Eight; 2] {
        // SAFETY: likewise.
        unsafe { [o.1.eight(s, 0), o.1.eight(s, 1)] }
    }
}

impl Nibbles for Mxfp4 {
    const NEIGHBOURS: bool = true;

    #[inline(always)]
    unsafe fn packed<S: Dot, const H: usize>(s: S, o: Octet) -> S::Bytes {
        // SAFETY: the caller's octet.
        unsafe { packed_stream::<S, H>(s, o) }
    }
    #[inline(always)]
    unsafe fn halves<S: Dot, const H: usize>(s: S, o: Octet) -> [S::Bytes; 2] {
        // SAFETY: likewise.
        let both = unsafe { Self::packed::<S, H>(s, o) };
        [s.lookup(&E2M1_RAISED, s.low_nibbles(both)), s.lookup(&E2M1_RAISED, s.high_nibbles(both))]
    }
    #[inline(always)]
    unsafe fn factors<S: Dot>(s: S, o: Octet) -> [S::Eight; 2] {
        // SAFETY: likewise.
        let scales = unsafe { o.1.eight(s, 0) };
        [scales, s.eight_mul(scales, s.eight_splat(-f32::from(Self::OFFSET)))]
    }
}

/// Whether the sums of eight blocks are brought together before they are scaled.
const fn together<S: Dot>() -> bool {
    matches!(S::ISA, Isa::Avx2)
}

/// Adds the products of the first `blocks` of eight blocks of each of `R` rows with `M` rows of activations. What
/// stands after them may be anything.
#[inline(always)]
unsafe fn octet<S: Dot, F: Nibbles, const R: usize, const M: usize>(
    s: S,
    weights: [Octet; R],
    acts: &[Row; M],
    (at, blocks): (usize, usize),
    sums: &mut [[Sum<S>; M]; R],
) {
    // SAFETY: the caller gives whole octets of weights, and activation rows are padded to whole octets.
    unsafe {
        if const { together::<S>() } {
            // Before the factors: loads that overlap with theirs would be split by the compiler.
            let first = half::<S, F, R, M, 0>(s, weights, acts, at);
            let second = half::<S, F, R, M, 1>(s, weights, acts, at);
            let scales = scales::<S, F, R, M>(s, weights, acts, (at, blocks), sums);
            for r in 0..R {
                for m in 0..M {
                    let dots = [first[r][m], second[r][m]];
                    sums[r][m].0 = s.fold_blocks(sums[r][m].0, dots, scales[r][m]);
                }
            }
            return;
        }
        let scales = scales::<S, F, R, M>(s, weights, acts, (at, blocks), sums);
        let first = half::<S, F, R, M, 0>(s, weights, acts, at);
        for r in 0..R {
            for m in 0..M {
                let scales = s.wide_low(scales[r][m]);
                sums[r][m].0 = s.fold_quads::<0>(sums[r][m].0, first[r][m], scales);
            }
        }
        if blocks > OCTET / GROUP / 2 {
            let second = half::<S, F, R, M, 1>(s, weights, acts, at);
            for r in 0..R {
                for m in 0..M {
                    let scales = s.wide_low(scales[r][m]);
                    sums[r][m].0 = s.fold_quads::<1>(sums[r][m].0, second[r][m], scales);
                }
            }
        }
    }
}

/// What the products of an octet are scaled with, 0 after the first `blocks`. Adds its mins to the sums.
#[inline(always)]
unsafe fn scales<S: Dot, F: Nibbles, const R: usize, const M: usize>(
    s: S,
    weights: [Octet; R],
    acts: &[Row; M],
    (at, blocks): (usize, usize),
    sums: &mut [[Sum<S>; M]; R],
) -> [[S::Eight; M]; R] {
    let mut scales = [[s.eight_splat(0.0); M]; R];
    // SAFETY: as for `octet`.
    unsafe {
        for r in 0..R {
            let [mut scale, mut min] = F::factors(s, weights[r]);
            if blocks < OCTET / GROUP {
                scale = s.eight_first(blocks, scale);
                min = s.eight_first(blocks, min);
            }
            for m in 0..M {
                let group = at / GROUP;
                scales[r][m] = s.eight_mul(scale, s.eight(acts[m].scales.add(group)));
                sums[r][m].1 = s.eight_fma(min, s.eight(acts[m].sums.add(group)), sums[r][m].1);
            }
        }
    }
    scales
}

/// The dot products of half an octet.
#[inline(always)]
pub(super) unsafe fn half<S: Dot, F: Nibbles, const R: usize, const M: usize, const H: usize>(
    s: S,
    weights: [Octet; R],
    acts: &[Row; M],
    at: usize,
) -> [[S::Sums; M]; R] {
    let mut dots = [[s.no_sums(); M]; R];
    // SAFETY: as for `octet`.
    unsafe {
        let mut a = [[s.bytes(acts[0].codes); 2]; M];
        for m in 0..M {
            let codes = if F::NEIGHBOURS { acts[m].parted } else { acts[m].halved }.add(at + 128 * H);
            a[m] = [s.bytes(codes), s.bytes(codes.add(64))];
        }
        for r in 0..R {
            let codes = F::halves::<S, H>(s, weights[r]);
            for m in 0..M {
                dots[r][m] = s.dot_both(codes, a[m]);
            }
        }
    }
    dots
}

/// `R` neighbouring weight rows from row `n` on, times `M` rows of activations from row `token` on; past the last row
/// of either it is repeated, and not written again. `ahead` is how far what is prefetched meanwhile lies ahead.
#[inline(always)]
unsafe fn rows<S: Dot, F: Nibbles, const R: usize, const M: usize>(
    s: S,
    job: &Job,
    (n, token, ahead): (usize, usize, usize),
    rooms: &mut Rooms<R>,
) {
    let k = job.shape.k;
    // SAFETY: the job's rows exist, whole rows of `k` weights.
    unsafe {
        let acts = job.activations::<M>(token);
        if token == 0 {
            job.prefetch_sides::<S, F>(s, n, R);
        }
        let row = rooms.rows::<F>(job, n);
        let mut sums = [[(s.wide_zero(), s.eight_splat(0.0)); M]; R];
        let (mut octets, mut stream) = (row, row[0].0.wrapping_add(ahead));
        let whole = k / OCTET;
        for index in 0..whole {
            if token == 0 {
                prefetch_weights(s, stream, R * F::OCTET_BYTES);
                stream = stream.wrapping_add(R * F::OCTET_BYTES);
            }
            for r in 0..R {
                octets[r].1 = row[r].1.ready_at::<F>(index);
            }
            octet::<S, F, R, M>(s, octets, &acts, (index * OCTET, OCTET / GROUP), &mut sums);
            for r in 0..R {
                octets[r].0 = octets[r].0.add(F::OCTET_BYTES);
            }
        }
        if k % OCTET > 0 {
            if token == 0 {
                prefetch_weights(s, stream, R * (job.row_bytes - whole * F::OCTET_BYTES));
            }
            for r in 0..R {
                octets[r] = rooms.end::<S, F>(s, job, (r, row[r]), (n + r, whole));
            }
            octet::<S, F, R, M>(s, octets, &acts, (whole * OCTET, k % OCTET / GROUP), &mut sums);
        }
        job.write(s, (n, token), &sums);
    }
}

#[inline(always)]
unsafe fn walk<S: Dot, F: Nibbles, const R: usize, const M: usize>(s: S, job: &Job) {
    let mut rooms = Rooms::new();
    for n in job.rows.clone().step_by(R) {
        job.ask_pages(s, n, R);
        let ahead = job.ahead(n, R);
        for token in (0..job.shape.m).step_by(M) {
            // SAFETY: the caller's job, handed on row by row.
            unsafe { rows::<S, F, R, M>(s, job, (n, token, ahead), &mut rooms) }
        }
    }
}

/// What is read of activations.
pub(super) const fn forms<F: Nibbles>() -> Forms {
    if F::NEIGHBOURS { Forms::PARTED } else { Forms::HALVED }
}

/// Multiplies the job's rows, of blocks of nibbles.
///
/// # Safety
/// As for [`super::decode::decode`].
#[inline(always)]
pub(super) unsafe fn decode<S: Dot, F: Nibbles>(s: S, job: &Job) {
    // SAFETY: the caller's.
    unsafe {
        match job.room_for::<F>(job.at_a_time::<S>(1, ROWS, 1)) {
            (1, 1) if const { together::<S>() && F::PLANES == 1 } => ends::walk::<S, F>(s, job),
            (ROWS, 1) if const { F::PLANES == 1 } && job.shape.k % OCTET > 0 => ends::walk::<S, F>(s, job),
            (1, 1) => walk::<S, F, 1, 1>(s, job),
            (2, 1) => walk::<S, F, 2, 1>(s, job),
            (ROWS, 1) => walk::<S, F, ROWS, 1>(s, job),
            (_, FEW) => walk::<S, F, 1, FEW>(s, job),
            _ => walk::<S, F, 1, 2>(s, job),
        }
    }
}
