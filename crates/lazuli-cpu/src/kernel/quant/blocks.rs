//! [`Blocks`]: how kernels see a block format, 256 weights of a row at a time.

use super::sides::{SideLayout, Sides};
use crate::simd::Dot;

/// Weights that kernels take in one step: one block of a K-quant, eight blocks of 32.
pub(super) const OCTET: usize = 256;
/// Weights under one activation scale.
pub(super) const GROUP: usize = 32;

/// A pointer to 256 whole weights of a row: their codes, and where a planar format keeps the rest of them.
#[derive(Clone, Copy)]
pub(super) struct Octet(pub *const u8, pub Sides);

impl Octet {
    /// Of a format with one plane.
    #[inline(always)]
    pub fn of(at: *const u8) -> Self {
        Self(at, Sides::NONE)
    }

    /// The byte at `offset`.
    #[inline(always)]
    pub unsafe fn at(self, offset: usize) -> *const u8 {
        // SAFETY: the caller keeps the offset within the octet.
        unsafe { self.0.add(offset) }
    }

    /// The eight half-precision numbers `AT` bytes into blocks of `BYTES`.
    #[inline(always)]
    pub unsafe fn halves<S: Dot, const BYTES: usize, const AT: usize>(self, s: S) -> S::Eight {
        // SAFETY: the caller has whole blocks.
        unsafe { s.eight_halves::<BYTES, AT>(self.0) }
    }
}

/// Room for 256 codes that were looked up, or for what they are found by, and for a sign bit of each.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Expanded([u8; OCTET + OCTET / 8]);

impl Expanded {
    /// Zeros.
    #[inline(always)]
    pub fn new() -> Self {
        Self([0; OCTET + OCTET / 8])
    }

    /// Expands the codes of neighbouring rows' octets.
    #[inline(always)]
    pub unsafe fn fill<S: Dot, F: Blocks, const R: usize>(rooms: &mut [Self; R], s: S, octets: &[Octet; R]) {
        let mut to = [std::ptr::null_mut(); R];
        for r in 0..R {
            to[r] = rooms[r].0.as_mut_ptr();
        }
        // SAFETY: the caller gives whole octets, and there is room for 256 codes of each.
        unsafe { F::expand(s, octets, &to) };
    }

    /// The octets with what was expanded of them.
    #[inline(always)]
    pub fn beside<const R: usize>(rooms: &[Self; R], mut octets: [Octet; R]) -> [Octet; R] {
        for r in 0..R {
            octets[r].1.planes = [rooms[r].0.as_ptr(), std::ptr::null()];
        }
        octets
    }
}

/// The largest octet of any format of blocks of 32.
const OCTET_ROOM: usize = 8 * 34;
/// The largest octet's scales: eight of four bytes.
const SIDE_ROOM: usize = 32;

/// Room for the end of a row that is not a whole octet.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Remainder {
    codes: [u8; OCTET_ROOM],
    sides: [[u8; SIDE_ROOM]; 2],
}

impl Remainder {
    /// Zeros.
    pub fn new() -> Self {
        Self { codes: [0; OCTET_ROOM], sides: [[0; SIDE_ROOM]; 2] }
    }

    /// Copies the bytes from octet `at` of a row to the row's end, and makes a whole octet of them: zero blocks
    /// follow. `row` is the row's start, `bytes` and `side_bytes` are its length.
    #[inline(always)]
    pub unsafe fn fill<F: Blocks>(
        &mut self,
        row: Octet,
        at: usize,
        bytes: usize,
        side_bytes: [usize; 2],
    ) -> Octet {
        let mut sides = row.1;
        // SAFETY: the caller vouches for the row, which ends within this octet, and has filled as many bytes before.
        unsafe {
            let codes = self.fill_codes::<F>(row, at, bytes);
            for plane in 0..F::PLANES - 1 {
                let offset = F::side_offset(at, sides.layout);
                let from = sides.planes[plane].add(offset);
                let len = (side_bytes[plane] - offset).min(SIDE_ROOM);
                std::ptr::copy_nonoverlapping(from, self.sides[plane].as_mut_ptr(), len);
                sides.planes[plane] = self.sides[plane].as_ptr();
            }
            Octet(codes, sides)
        }
    }

    /// The same without sides.
    #[inline(always)]
    pub unsafe fn fill_codes<F: Blocks>(&mut self, row: Octet, at: usize, bytes: usize) -> *const u8 {
        let offset = at * F::OCTET_BYTES;
        debug_assert!(bytes - offset <= OCTET_ROOM);
        // SAFETY: likewise.
        unsafe { std::ptr::copy_nonoverlapping(row.0.add(offset), self.codes.as_mut_ptr(), bytes - offset) };
        self.codes.as_ptr()
    }
}

/// The little-endian 16-bit number at `p`, which needs no alignment.
#[inline(always)]
pub(super) unsafe fn read_u16(p: *const u8) -> u16 {
    // SAFETY: the caller vouches for two bytes.
    u16::from_le(unsafe { p.cast::<u16>().read_unaligned() })
}

/// The little-endian 64-bit number at `p`, which needs no alignment.
#[inline(always)]
pub(super) unsafe fn read_u64(p: *const u8) -> u64 {
    // SAFETY: the caller vouches for eight bytes.
    u64::from_le(unsafe { p.cast::<u64>().read_unaligned() })
}

/// The little-endian 32-bit number at `p`, which needs no alignment.
#[inline(always)]
pub(super) unsafe fn read_u32(p: *const u8) -> u32 {
    // SAFETY: the caller vouches for four bytes.
    u32::from_le(unsafe { p.cast::<u32>().read_unaligned() })
}

/// A format whose weights are `scale * (code - OFFSET) + min`, with integer codes or [`Blocks::FLOAT`] ones.
///
/// Codes come 64 at a time, in natural order unless they are centred. Scales stand for 32 weights each, or for 16 ([`Blocks::FINE`]);
/// so do mins, where [`Blocks::MINS`] says there are any.
pub(super) trait Blocks: 'static {
    /// Weights per block: 32, 64 or 256.
    const LEN: usize;
    /// Bytes per block, in the plane of codes if there are more.
    const BYTES: usize;
    /// Planes: codes, scales, biases.
    const PLANES: usize = 1;
    /// The numbers in the planes after the first are floats, one for each 32 weights, when a kernel comes to them, whatever
    /// they are written as: [`super::sides`].
    const SPREAD: bool = false;
    /// What is subtracted from a stored code.
    const OFFSET: u8 = 0;
    /// Codes are any `i8`; otherwise they lie in `0..=127`.
    const SIGNED: bool = false;
    /// Codes lie in `0..=127` and are magnitudes, whose signs are bits of their own ([`Blocks::signs`]).
    const SIGN_BITS: bool = false;
    /// Codes are e4m3 floats over 256 ([`Dot::wide_e4m3`]), and neither offset nor signed; there are no mins.
    const FLOAT: bool = false;
    /// Weights have a `min`.
    const MINS: bool = false;
    /// Scales stand for 16 weights.
    const FINE: bool = false;
    /// Codes have so many bits: minus [`Blocks::OFFSET`] they lie in `-2^(BITS - 1)..2^(BITS - 1)` or, where there are mins, in
    /// `0..2^BITS`. At least 4, fewer count as so many.
    const BITS: usize = 8;
    /// Scales stand for 32 weights and are one float times integers of 12 bits: a panel holds what
    /// [`Pairs`](super::pairs::Pairs) says then.
    const INTEGER: bool = false;
    /// The scales of 256 weights.
    type Scales<S: Dot>: Copy;
    /// The same to pick from: [`Dot::Picks`].
    type Picks<S: Dot>: Copy;

    /// Whether codes are looked up 256 at a time before anything else ([`Blocks::expand`]); the octet's first side, which
    /// formats with one plane have no other use for, points to them then. Blocks are whole octets then.
    #[inline(always)]
    fn expanded<S: Dot>() -> bool {
        false
    }
    /// Codes `64 C .. 64 C + 64`; of [`Blocks::INTEGER`] formats in the order of [`Row::paired`](super::acts::Row).
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes;
    /// A set bit for each of those codes that is negative; unused unless [`Blocks::SIGN_BITS`].
    #[inline(always)]
    unsafe fn signs<S: Dot, const C: usize>(_o: Octet) -> u64 {
        0
    }
    /// Writes the 256 codes of each octet, or what [`Blocks::codes`] finds them by, and sign bits after as much room as codes
    /// take where they are of use; unused unless [`Blocks::expanded`].
    #[inline(always)]
    unsafe fn expand<S: Dot, const R: usize>(_s: S, _octets: &[Octet; R], _to: &[*mut u8; R]) {}
    /// The scales, each times the one in `by` that stands for its group of 32.
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> Self::Scales<S>;
    /// Prepares scales for picking, with room for 8 values as [`Dot::picks`] wants it.
    unsafe fn picks<S: Dot>(s: S, room: *mut f32, scales: Self::Scales<S>) -> Self::Picks<S>;
    /// `acc + sums * scales` for the sums of codes `64 C .. 64 C + 64`.
    unsafe fn fold<S: Dot, const C: usize>(
        s: S,
        acc: S::Wide,
        sums: S::Sums,
        scales: Self::Picks<S>,
    ) -> S::Wide;
    /// The same for the products of [`Blocks::FLOAT`] codes: 16 sums of codes `64 C .. 64 C + 32`, and 16 of the rest.
    #[inline(always)]
    unsafe fn fold_floats<S: Dot, const C: usize>(
        _s: S,
        acc: S::Wide,
        _products: [S::Wide; 2],
        _scales: Self::Picks<S>,
    ) -> S::Wide {
        acc
    }
    /// Stores 8 scales, or 16.
    unsafe fn store_scales<S: Dot>(s: S, p: *mut f32, scales: Self::Scales<S>);
    /// The mins of 32 weights each; unused where there are none.
    #[inline(always)]
    unsafe fn mins<S: Dot>(s: S, _o: Octet) -> S::Eight {
        s.eight_splat(0.0)
    }
    /// What is subtracted from 16 weights each, so the negative of their mins, times their group's number in `by`;
    /// unused unless [`Blocks::FINE`].
    #[inline(always)]
    unsafe fn fine_mins<S: Dot>(s: S, _o: Octet, _by: S::Eight) -> S::Wide {
        s.wide_zero()
    }
    /// Bytes from a row's first scale (and bias) to the first of octet `octet`; unused for one plane.
    #[inline(always)]
    fn side_offset(octet: usize, layout: SideLayout) -> usize {
        layout.offset(octet)
    }

    /// Bytes of 256 weights.
    const OCTET_BYTES: usize = Self::BYTES * (OCTET / Self::LEN);
}

/// An array with an element for each number, the expression written out: `array::map` is a function that may stay a
/// call, and then so do the instructions in its closure.
macro_rules! unrolled {
    ($i:ident in 0..8 => $element:expr) => {
        unrolled!($i in [0_usize, 1, 2, 3, 4, 5, 6, 7] => $element)
    };
    ($i:ident in [$first:expr, $($value:expr),+] => $element:expr) => {
        [{ let $i = $first; $element }, $({ let $i = $value; $element }),+]
    };
}
pub(super) use unrolled;

/// The part of [`Blocks`] that formats with a scale for each 32 weights share.
macro_rules! coarse {
    () => {
        type Scales<S: Dot> = S::Eight;
        type Picks<S: Dot> = S::Picks;
        #[inline(always)]
        unsafe fn picks<S: Dot>(s: S, room: *mut f32, scales: S::Eight) -> S::Picks {
            // SAFETY: the caller vouches for the room.
            unsafe { s.picks(room, scales) }
        }
        #[inline(always)]
        unsafe fn fold<S: Dot, const C: usize>(
            s: S,
            acc: S::Wide,
            sums: S::Sums,
            scales: S::Picks,
        ) -> S::Wide {
            // SAFETY: the caller vouches for the scales.
            unsafe { s.fold_pairs::<C>(acc, sums, scales) }
        }
        #[inline(always)]
        unsafe fn fold_floats<S: Dot, const C: usize>(
            s: S,
            acc: S::Wide,
            products: [S::Wide; 2],
            scales: S::Picks,
        ) -> S::Wide {
            // SAFETY: the caller vouches for the scales.
            unsafe { s.fold_floats::<C>(acc, products, scales) }
        }
        #[inline(always)]
        unsafe fn store_scales<S: Dot>(s: S, p: *mut f32, scales: S::Eight) {
            // SAFETY: the caller vouches for the room.
            unsafe { s.store_eight(p, scales) }
        }
    };
}
pub(super) use coarse;

/// The part of [`Blocks`] that formats with a scale for each 16 weights share.
macro_rules! fine {
    () => {
        const FINE: bool = true;
        type Scales<S: Dot> = S::Wide;
        type Picks<S: Dot> = S::Wide;
        #[inline(always)]
        unsafe fn picks<S: Dot>(_s: S, _room: *mut f32, scales: S::Wide) -> S::Wide {
            scales
        }
        #[inline(always)]
        unsafe fn fold<S: Dot, const C: usize>(
            s: S,
            acc: S::Wide,
            sums: S::Sums,
            scales: S::Wide,
        ) -> S::Wide {
            s.fold_quads::<C>(acc, sums, scales)
        }
        #[inline(always)]
        unsafe fn store_scales<S: Dot>(s: S, p: *mut f32, scales: S::Wide) {
            // SAFETY: the caller vouches for the room.
            unsafe { s.store_wide(p, scales) }
        }
    };
}
pub(super) use fine;
