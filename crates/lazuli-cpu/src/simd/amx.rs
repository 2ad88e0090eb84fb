//! Tiles of AMX: products of 16 by 32 with 32 by 16 numbers in bfloat16, added up in `f32`.
//!
//! A tile is 16 rows of 64 bytes. Of the left factor a row holds 32 numbers along `k`; of the right one row `i` holds, for each of
//! 16 columns, its numbers `2 i` and `2 i + 1`; of a sum a row holds 16. Products round to nearest and take what is below the
//! normal numbers as zero (Intel, *Architecture Instruction Set Extensions Programming Reference*, TDPBF16PS).

use std::arch::asm;
#[cfg(target_os = "linux")]
use std::arch::x86_64::{__cpuid, __cpuid_count};

/// Rows of a tile, and columns of a sum.
pub const ROWS: usize = 16;
/// Numbers of a row of a factor.
pub const DEPTH: usize = 32;
/// Bytes of a tile's row.
pub const LINE: usize = 64;
/// Bytes of a tile.
pub const TILE: usize = ROWS * LINE;

/// Whether the processor has tiles, and the system lets this process use them: it wants to be asked, since more of a thread has
/// to be saved then.
#[cfg(target_os = "linux")]
pub fn available() -> bool {
    // Leaf 7: bfloat16 products and tiles.
    const NEEDED: u32 = 1 << 22 | 1 << 24;
    // `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`.
    const ARCH_PRCTL: usize = 158;
    const REQUEST: usize = 0x1023;
    const TILE_DATA: usize = 18;
    // SAFETY: every processor of this architecture answers. Newer compilers know that.
    #[allow(unused_unsafe)]
    let has = unsafe { __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & NEEDED == NEEDED };
    if !has {
        return false;
    }
    let result: isize;
    // SAFETY: the call reads and writes no memory; it clobbers what system calls clobber.
    unsafe {
        asm!("syscall", inlateout("rax") ARCH_PRCTL => result, in("rdi") REQUEST, in("rsi") TILE_DATA,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result == 0
}

/// Elsewhere nobody is asked.
#[cfg(not(target_os = "linux"))]
pub fn available() -> bool {
    false
}

/// What the eight tiles are: all whole.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    reserved: [u8; 15],
    lines: [u16; 16],
    rows: [u8; 16],
}

static WHOLE: Config = {
    let (mut lines, mut rows) = ([0; 16], [0; 16]);
    let mut tile = 0;
    while tile < 8 {
        (lines[tile], rows[tile]) = (LINE as u16, ROWS as u8);
        tile += 1;
    }
    Config { palette: 1, reserved: [0; 15], lines, rows }
};

/// The tiles of this thread: four of sums, and two of either factor. What is in them is gone with it.
pub struct Tiles(());

impl Tiles {
    /// Sets them up.
    ///
    /// # Safety
    /// Tiles must be [`available`], and this thread must have no others.
    pub unsafe fn new() -> Self {
        // SAFETY: the caller's; the configuration is read.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const WHOLE, options(readonly, nostack, preserves_flags));
        }
        Self(())
    }

    /// Sets all sums to zero.
    #[inline(always)]
    pub fn zero(&mut self) {
        // SAFETY: the tiles are set up.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nomem, nostack, preserves_flags)
            );
        }
    }

    /// Sets the sums to four tiles, one after the other.
    ///
    /// # Safety
    /// `from` must be valid for reading them.
    #[inline(always)]
    pub unsafe fn load(&mut self, from: *const f32) {
        // SAFETY: the caller's.
        unsafe {
            asm!("tileloadd tmm0, [{p} + {line}]", "tileloadd tmm1, [{p} + {line} + 1024]",
                "tileloadd tmm2, [{p} + {line} + 2048]", "tileloadd tmm3, [{p} + {line} + 3072]",
                p = in(reg) from, line = in(reg) LINE, options(readonly, nostack, preserves_flags));
        }
    }

    /// Stores the sums likewise.
    ///
    /// # Safety
    /// `to` must be valid for writing four tiles.
    #[inline(always)]
    pub unsafe fn store(&self, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe {
            asm!("tilestored [{p} + {line}], tmm0", "tilestored [{p} + {line} + 1024], tmm1",
                "tilestored [{p} + {line} + 2048], tmm2", "tilestored [{p} + {line} + 3072], tmm3",
                p = in(reg) to, line = in(reg) LINE, options(nostack, preserves_flags));
        }
    }

    /// Adds to sums `2 i + j` the products of the `i`th of two left tiles, which stand one after the other, with the `j`th of two
    /// right ones.
    ///
    /// # Safety
    /// All must be valid for reading.
    #[inline(always)]
    pub unsafe fn add_four(&mut self, left: *const u8, right: [*const u8; 2]) {
        // SAFETY: the caller's.
        unsafe {
            asm!("tileloadd tmm4, [{a} + {line}]", "tileloadd tmm6, [{b} + {line}]", "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{c} + {line}]", "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{a} + {line} + 1024]", "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7",
                a = in(reg) left, b = in(reg) right[0], c = in(reg) right[1], line = in(reg) LINE,
                options(readonly, nostack, preserves_flags));
        }
    }

    /// The same with one right tile: adds to sums 0 and 2.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub unsafe fn add_two(&mut self, left: *const u8, right: *const u8) {
        // SAFETY: the caller's.
        unsafe {
            asm!("tileloadd tmm4, [{a} + {line}]", "tileloadd tmm6, [{b} + {line}]", "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{a} + {line} + 1024]", "tdpbf16ps tmm2, tmm5, tmm6",
                a = in(reg) left, b = in(reg) right, line = in(reg) LINE,
                options(readonly, nostack, preserves_flags));
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: the tiles are set up. Released, they need not be saved when another thread takes the core.
        unsafe {
            asm!("tilerelease", options(nomem, nostack, preserves_flags));
        }
    }
}
