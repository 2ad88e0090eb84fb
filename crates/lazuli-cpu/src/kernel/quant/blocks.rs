//! [`Blocks`]: how kernels see a block format, 256 weights of a row at a time.

use crate::simd::Dot;

/// Weights that kernels take in one step: one block of a K-quant, eight blocks of 32.
pub(super) const OCTET: usize = 256;
/// Weights under one activation scale.
pub(super) const GROUP: usize = 32;

/// A pointer to 256 whole weights of a row.
#[derive(Clone, Copy)]
pub(super) struct Octet(pub *const u8);

impl Octet {
    /// The byte at `offset`.
    #[inline(always)]
    pub unsafe fn at(self, offset: usize) -> *const u8 {
        // SAFETY: the caller keeps the offset within the octet.
        unsafe { self.0.add(offset) }
    }

    /// The eight half-precision numbers `offset` bytes into blocks of `bytes`.
    #[inline(always)]
    pub unsafe fn halves<S: Dot>(self, s: S, bytes: usize, offset: usize) -> S::Eight {
        // SAFETY: the caller keeps `offset + 2` within a block.
        let at = |i| unsafe { u64::from(read_u16(self.at(i * bytes + offset))) };
        let four = |i| at(i) | at(i + 1) << 16 | at(i + 2) << 32 | at(i + 3) << 48;
        s.eight_f16(four(0), four(4))
    }
}

/// The largest octet of any format of blocks of 32.
const OCTET_ROOM: usize = 8 * 34;

/// Room for the end of a row that is not a whole octet.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Remainder([u8; OCTET_ROOM]);

impl Remainder {
    /// Zeros.
    pub fn new() -> Self {
        Self([0; OCTET_ROOM])
    }

    /// Copies `bytes` bytes and makes a whole octet of them: zero blocks follow.
    #[inline(always)]
    pub unsafe fn fill(&mut self, from: *const u8, bytes: usize) -> Octet {
        debug_assert!(bytes <= OCTET_ROOM);
        // SAFETY: the caller vouches for the bytes, fewer than an octet, and has filled as many before.
        unsafe { std::ptr::copy_nonoverlapping(from, self.0.as_mut_ptr(), bytes) };
        Octet(self.0.as_ptr())
    }
}

/// The little-endian 16-bit number at `p`, which needs no alignment.
#[inline(always)]
pub(super) unsafe fn read_u16(p: *const u8) -> u16 {
    // SAFETY: the caller vouches for two bytes.
    u16::from_le(unsafe { p.cast::<u16>().read_unaligned() })
}

/// The little-endian 32-bit number at `p`, which needs no alignment.
#[inline(always)]
pub(super) unsafe fn read_u32(p: *const u8) -> u32 {
    // SAFETY: the caller vouches for four bytes.
    u32::from_le(unsafe { p.cast::<u32>().read_unaligned() })
}

/// A block format whose weights are `scale * (code - OFFSET) + min`, with integer codes.
///
/// Codes come in natural order, 64 at a time. Scales stand for 32 weights each, or for 16 ([`Blocks::FINE`]);
/// mins, where [`Blocks::MINS`] says there are any, for 32.
pub(super) trait Blocks: 'static {
    /// Weights per block: 32 or 256.
    const LEN: usize;
    /// Bytes per block.
    const BYTES: usize;
    /// What is subtracted from a stored code.
    const OFFSET: u8 = 0;
    /// Codes are any `i8`; otherwise they lie in `0..=127`.
    const SIGNED: bool = false;
    /// Weights have a `min`.
    const MINS: bool = false;
    /// Scales stand for 16 weights.
    const FINE: bool = false;
    /// The scales of 256 weights.
    type Scales<S: Dot>: Copy;

    /// Codes `64 C .. 64 C + 64`.
    unsafe fn codes<S: Dot, const C: usize>(s: S, o: Octet) -> S::Bytes;
    /// The scales, each times the one in `by` that stands for its group of 32.
    unsafe fn scales<S: Dot>(s: S, o: Octet, by: S::Eight) -> Self::Scales<S>;
    /// `acc + sums * scales` for the sums of codes `64 C .. 64 C + 64`.
    fn fold<S: Dot, const C: usize>(s: S, acc: S::Wide, sums: S::Sums, scales: Self::Scales<S>) -> S::Wide;
    /// Stores 8 scales, or 16.
    unsafe fn store_scales<S: Dot>(s: S, p: *mut f32, scales: Self::Scales<S>);
    /// The mins; unused where there are none.
    #[inline(always)]
    unsafe fn mins<S: Dot>(s: S, _o: Octet) -> S::Eight {
        s.eight_splat(0.0)
    }

    /// Bytes of 256 weights.
    const OCTET_BYTES: usize = Self::BYTES * (OCTET / Self::LEN);
}

/// The part of [`Blocks`] that formats with a scale for each 32 weights share.
macro_rules! coarse {
    () => {
        type Scales<S: Dot> = S::Eight;
        #[inline(always)]
        fn fold<S: Dot, const C: usize>(s: S, acc: S::Wide, sums: S::Sums, scales: S::Eight) -> S::Wide {
            s.fold_pairs::<C>(acc, sums, scales)
        }
        #[inline(always)]
        unsafe fn store_scales<S: Dot>(s: S, p: *mut f32, scales: S::Eight) {
            // SAFETY: the caller vouches for the room.
            unsafe { s.store_eight(p, scales) }
        }
    };
}
pub(super) use coarse;
