//! What planar formats keep beside their codes: planes of scales and biases.
//!
//! Their type and how many weights share one are known when a product is made, not when it is compiled. To tell them
//! apart for every 256 weights takes as many instructions as to multiply these, so kernels that walk rows have the numbers
//! of some rows [`Spread`] first.

use super::blocks::{Blocks, GROUP, OCTET, read_u16, read_u32, read_u64};
use crate::simd::{Dot, Level, stamp};
use lazuli_quant::ScaleType;
use std::mem::MaybeUninit;

/// What a number of a side plane is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SideType {
    /// Floats of 32 bits.
    F32,
    /// Half precision.
    F16,
    /// The upper halves of floats of 32 bits.
    Bf16,
    /// Exponents alone, of which 255 is NaN. They come as half of what they stand for, as their codes are doubled.
    E8m0,
}

impl SideType {
    const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::E8m0 => 1,
        }
    }
}

impl From<ScaleType> for SideType {
    fn from(scale: ScaleType) -> Self {
        match scale {
            ScaleType::F32 => Self::F32,
            ScaleType::F16 => Self::F16,
            ScaleType::Bf16 => Self::Bf16,
        }
    }
}

/// How the scales of a planar format lie in their planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SideLayout {
    /// Their type.
    pub scale: SideType,
    /// The logarithm (base 2) of how many groups of 32 weights share one.
    pub shift: u32,
}

impl SideLayout {
    /// A float for each 32 weights.
    pub const EACH: Self = Self { scale: SideType::F32, shift: 0 };
    /// An exponent for each 32 weights.
    pub const EXPONENTS: Self = Self { scale: SideType::E8m0, shift: 0 };

    /// Numbers in `bytes` bytes, each as often as there are groups of 32 weights that share it.
    pub fn floats(self, bytes: usize) -> usize {
        (bytes / self.scale.bytes()) << self.shift
    }

    /// Where the numbers of octet `octet` of a row begin.
    #[inline(always)]
    pub fn offset(self, octet: usize) -> usize {
        ((PER_OCTET * octet) >> self.shift) * self.scale.bytes()
    }
}

/// What a planar format keeps beside its codes: pointers to scales, and to biases if it has any.
#[derive(Clone, Copy)]
pub(super) struct Sides {
    pub planes: [*const u8; 2],
    pub layout: SideLayout,
}

impl Sides {
    /// Of formats that have one plane.
    pub const NONE: Self = Self { planes: [std::ptr::null(); 2], layout: SideLayout::EACH };

    /// The sides of octet `octet` of the row that these are the start of.
    #[inline(always)]
    pub fn at<F: Blocks>(self, octet: usize) -> Self {
        let offset = F::side_offset(octet, self.layout);
        let [a, b] = self.planes;
        Self { planes: [a.wrapping_add(offset), b.wrapping_add(offset)], ..self }
    }

    /// The same where a kernel reads them, once they are spread if the format asks for that.
    #[inline(always)]
    pub fn ready_at<F: Blocks>(self, octet: usize) -> Self {
        if !F::SPREAD {
            return self.at::<F>(octet);
        }
        let (offset, [a, b]) = (octet * PER_OCTET * size_of::<f32>(), self.planes);
        Self { planes: [a.wrapping_add(offset), b.wrapping_add(offset)], ..self }
    }

    /// Eight numbers of a plane that was spread.
    #[inline(always)]
    pub unsafe fn eight<S: Dot>(self, s: S, plane: usize) -> S::Eight {
        // SAFETY: the caller has whole octets of every plane.
        unsafe { s.eight(self.planes[plane].cast()) }
    }

    /// The numbers of an octet in `planes` planes as floats in `room`.
    #[inline(always)]
    pub unsafe fn spread<S: Dot>(self, s: S, planes: usize, room: &mut [[f32; PER_OCTET]; 2]) -> Self {
        let mut spread = Self::NONE;
        for plane in 0..planes {
            let to = room[plane].as_mut_ptr();
            // SAFETY: the caller has whole octets of every plane.
            unsafe { s.store_eight(to, eight(s, self.planes[plane], self.layout)) };
            spread.planes[plane] = to.cast();
        }
        spread
    }
}

/// The second and third planes of a planar format's rows.
#[derive(Clone, Copy)]
pub(super) struct SidePlanes {
    /// Their rows' start.
    pub first: Sides,
    /// Bytes of one row of each.
    pub row_bytes: [usize; 2],
    /// Weight rows that share a row of scales, and how many rows with the first row's scales come before it.
    pub tile: usize,
    pub skip: usize,
    /// Floats that a row's numbers are spread to.
    pub floats: usize,
}

impl SidePlanes {
    /// Which row of the planes weight row `n`'s is.
    #[inline(always)]
    fn side_row(&self, n: usize) -> usize {
        if self.tile == 1 { n } else { (n + self.skip) / self.tile }
    }

    /// The sides of row `n`.
    #[inline(always)]
    pub fn row(&self, n: usize) -> Sides {
        let row = self.side_row(n);
        let [a, b] = self.first.planes;
        let planes = [a.wrapping_add(row * self.row_bytes[0]), b.wrapping_add(row * self.row_bytes[1])];
        Sides { planes, ..self.first }
    }
}

/// Groups of 32 weights in an octet.
pub(super) const PER_OCTET: usize = OCTET / GROUP;

/// Eight numbers, or four or two in the first lanes, or one in all.
#[inline(always)]
unsafe fn numbers<S: Dot>(s: S, p: *const u8, scale: SideType, count: usize) -> S::Eight {
    // SAFETY: the caller's numbers.
    unsafe {
        match (scale, count) {
            (SideType::F32, 8) => s.eight(p.cast()),
            (SideType::F32, 4) => s.eight_low(read_u64(p), read_u64(p.add(8))),
            (SideType::F32, 2) => s.eight_low(read_u64(p), 0),
            (SideType::F32, _) => s.eight_splat(f32::from_bits(read_u32(p))),
            (SideType::F16, 8) => s.eight_f16(read_u64(p), read_u64(p.add(8))),
            (SideType::F16, 4) => s.eight_f16(read_u64(p), 0),
            (SideType::F16, 2) => s.eight_f16(read_u32(p).into(), 0),
            (SideType::F16, _) => s.eight_splat_f16(read_u16(p)),
            (SideType::Bf16, 8) => s.eight_bf16(read_u64(p), read_u64(p.add(8))),
            (SideType::Bf16, 4) => s.eight_bf16(read_u64(p), 0),
            (SideType::Bf16, 2) => s.eight_bf16(read_u32(p).into(), 0),
            (SideType::Bf16, _) => s.eight_splat(f32::from_bits(u32::from(read_u16(p)) << 16)),
            (SideType::E8m0, 8) => s.eight_half_e8m0_or_nan(read_u64(p)),
            (SideType::E8m0, 4) => s.eight_half_e8m0_or_nan(read_u32(p).into()),
            (SideType::E8m0, 2) => s.eight_half_e8m0_or_nan(read_u16(p).into()),
            (SideType::E8m0, _) => s.eight_half_e8m0_or_nan(0x0101_0101_0101_0101 * u64::from(*p)),
        }
    }
}

/// Eight numbers, one for each 32 weights, from `p` on.
#[inline(always)]
unsafe fn eight<S: Dot>(s: S, p: *const u8, SideLayout { scale, shift }: SideLayout) -> S::Eight {
    // SAFETY: the caller has as many as 256 weights need.
    unsafe {
        match shift {
            0 => numbers(s, p, scale, 8),
            1 => s.eight_repeat::<2>(numbers(s, p, scale, 4)),
            2 => s.eight_repeat::<4>(numbers(s, p, scale, 2)),
            _ => numbers(s, p, scale, 1),
        }
    }
}

/// Floats that are spread at a time, if whole rows have so many.
const AT_ONCE: usize = 512;
/// The most that there is room for, as long rows need it.
pub(super) const ROOM: usize = 2048;

/// The numbers of some rows of weights as floats, one for each 32 weights, whatever they are written as.
#[repr(align(64))]
pub(super) struct Spread {
    /// Of each plane, and an octet's that may be read after them.
    floats: MaybeUninit<[[f32; ROOM + PER_OCTET]; 2]>,
    /// The first row of the planes that these are of, and the weight row up to which they reach.
    first: usize,
    end: usize,
}

impl Spread {
    /// Of no rows.
    #[inline(always)]
    pub fn new() -> Self {
        Self { floats: MaybeUninit::uninit(), first: 0, end: 0 }
    }

    /// Sees to it that the numbers of `count` weight rows from row `n` on are here, or of as many as there are up to row `end`.
    /// Rows are asked for in ascending order.
    #[inline(always)]
    pub unsafe fn hold(&mut self, level: Level, sides: &SidePlanes, (n, count): (usize, usize), end: usize) {
        if self.end < end && self.end < n + count {
            // SAFETY: the caller's rows.
            unsafe { self.hold_from(level, sides, (n, count), end) }
        }
    }

    #[inline(never)]
    unsafe fn hold_from(&mut self, level: Level, sides: &SidePlanes, (n, count): (usize, usize), end: usize) {
        self.first = sides.side_row(n);
        let rows = (AT_ONCE / sides.floats).max(sides.side_row(end.min(n + count) - 1) + 1 - self.first);
        let rows = rows.min(sides.side_row(end - 1) + 1 - self.first);
        self.end = (self.first + rows) * sides.tile - sides.skip;
        for plane in 0..2 {
            let numbers = rows * sides.row_bytes[plane] / sides.first.layout.scale.bytes();
            let from = sides.first.planes[plane].wrapping_add(self.first * sides.row_bytes[plane]);
            let to = self.floats.as_mut_ptr().cast::<f32>().wrapping_add(plane * (ROOM + PER_OCTET));
            // SAFETY: the caller's rows exist, and there is room for so many.
            unsafe {
                spread(level, from, sides.first.layout, numbers, to);
                to.add(rows * sides.floats).cast::<[f32; PER_OCTET]>().write([0.0; PER_OCTET]);
            }
        }
    }

    /// The sides of weight row `n`, which are here.
    #[inline(always)]
    pub fn row(&self, sides: &SidePlanes, n: usize) -> Sides {
        let at = (sides.side_row(n) - self.first) * sides.floats;
        let first = self.floats.as_ptr().cast::<f32>().wrapping_add(at);
        let planes = [first.cast(), first.wrapping_add(ROOM + PER_OCTET).cast()];
        Sides { planes, layout: SideLayout::EACH }
    }
}

stamp! {
    /// Writes `count` numbers as floats, each as often as there are groups of 32 weights that share it, and up to seven more.
    /// The same code for every format, and so compiled once.
    unsafe fn spread(from: *const u8, layout: SideLayout, count: usize, to: *mut f32) = spread_generic;
}

#[inline(always)]
unsafe fn spread_generic<S: Dot>(s: S, from: *const u8, layout: SideLayout, count: usize, to: *mut f32) {
    // SAFETY: the caller's numbers. Each call has its type as a constant.
    unsafe {
        match layout.scale {
            SideType::F32 => spread_numbers(s, from, (SideType::F32, layout.shift), count, to),
            SideType::F16 => spread_numbers(s, from, (SideType::F16, layout.shift), count, to),
            SideType::Bf16 => spread_numbers(s, from, (SideType::Bf16, layout.shift), count, to),
            SideType::E8m0 => spread_numbers(s, from, (SideType::E8m0, layout.shift), count, to),
        }
    }
}

#[inline(always)]
unsafe fn spread_numbers<S: Dot>(
    s: S,
    from: *const u8,
    (scale, shift): (SideType, u32),
    count: usize,
    to: *mut f32,
) {
    let (times, bytes, mut at) = (1 << shift, scale.bytes(), 0);
    // SAFETY: the caller's numbers, and room for each as often.
    unsafe {
        match shift {
            0 => {
                while scale == SideType::E8m0 && at + 16 <= count {
                    s.store_half_e8m0(from.add(at), to.add(at));
                    at += 16;
                }
                while at + 8 <= count {
                    s.store_eight(to.add(at), numbers(s, from.add(at * bytes), scale, 8));
                    at += 8;
                }
            }
            1 => {
                while at + 8 <= count {
                    let eight = numbers(s, from.add(at * bytes), scale, 8);
                    s.store_wide(to.add(2 * at), s.wide_twice(eight));
                    at += 8;
                }
            }
            2 => {
                while at + 4 <= count {
                    let twice = s.eight_repeat::<2>(numbers(s, from.add(at * bytes), scale, 4));
                    s.store_wide(to.add(4 * at), s.wide_twice(twice));
                    at += 4;
                }
            }
            _ => {}
        }
        while at < count {
            // What is written too much is the next number's, or nobody's.
            let (number, mut i) = (numbers(s, from.add(at * bytes), scale, 1), 0);
            while i < times {
                s.store_eight(to.add(at * times + i), number);
                i += 8;
            }
            at += 1;
        }
    }
}
