//! Memory read in one long stream: the speed that no kernel which uses each weight once can exceed; and asked for early.

use crate::simd::{Level, Simd, stamp};

/// Vectors that are added apart, so that no addition waits for the one before.
const SUMS: usize = 4;

/// The wrapping sum of `words`, at the speed at which this core can read them.
pub fn sum(level: Level, words: &[i32]) -> i32 {
    add_up(level, words)
}

/// A cache line, in bytes.
const LINE: usize = 64;
/// The smallest page of memory, in bytes.
pub(in crate::kernel) const PAGE: usize = 4096;

/// Asks for `bytes` bytes, as far as the second-level cache: any address will do.
pub fn ask(level: Level, start: *const u8, bytes: usize) {
    ask_lines(level, start, bytes);
}

/// Asks for one line of each page of `bytes` bytes that will be read soon, and so for where these pages lie: walks of page
/// tables go on beside each other, while a core that comes to a page unprepared waits for its walk. Any address will do.
pub fn ask_pages(level: Level, start: *const u8, bytes: usize) {
    ask_one_of_each_page(level, start, bytes);
}

/// Whether what this processor fetches ahead by itself follows two neighbouring rows within one page as well as one: Intel's
/// cores do (measured on Granite Rapids), AMD's follow one better (Zen 5).
pub(in crate::kernel) fn follows_two() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        static ANSWER: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        *ANSWER.get_or_init(|| {
            // SAFETY: every processor of this architecture answers. Newer compilers know that.
            #[allow(unused_unsafe)]
            let maker = unsafe { std::arch::x86_64::__cpuid(0) };
            [maker.ebx, maker.edx, maker.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

stamp! {
    fn add_up(words: &[i32]) -> i32 = add_up_generic;
    fn ask_lines(start: *const u8, bytes: usize) = ask_each_line;
    fn ask_one_of_each_page(start: *const u8, bytes: usize) = ask_each_page;
}

/// [`ask`] within a kernel.
#[inline(always)]
pub(in crate::kernel) fn ask_each_line<S: Simd>(s: S, start: *const u8, bytes: usize) {
    for at in (0..bytes).step_by(LINE) {
        s.prefetch_l2(start.wrapping_add(at));
    }
}

/// Bytes that are asked for little by little, in so many steps of other work.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Ahead {
    /// Where they begin: any address will do.
    pub start: *const u8,
    /// How many there are.
    pub bytes: usize,
    /// Steps, at least one.
    pub steps: usize,
}

impl Ahead {
    /// Nothing.
    pub const NONE: Self = Self { start: std::ptr::null(), bytes: 0, steps: 1 };

    /// Asks for the share of step `step`, as far as the second-level cache.
    #[inline(always)]
    pub fn ask<S: Simd>(self, s: S, step: usize) {
        let lines = self.bytes.div_ceil(LINE);
        let mut line = lines * step / self.steps;
        while line < lines * (step + 1) / self.steps {
            s.prefetch_l2(self.start.wrapping_add(line * LINE));
            line += 1;
        }
    }
}

/// [`ask_pages`] within a kernel.
#[inline(always)]
pub(in crate::kernel) fn ask_each_page<S: Simd>(s: S, start: *const u8, bytes: usize) {
    for at in (0..bytes).step_by(PAGE) {
        s.prefetch_l2(start.wrapping_add(at));
    }
}

#[inline(always)]
fn add_up_generic<S: Simd>(s: S, words: &[i32]) -> i32 {
    let mut sums = [s.splat_i32(0); SUMS];
    let (start, step) = (words.as_ptr(), SUMS * S::LANES);
    let whole = words.len() / step * step;
    let mut at = 0;
    while at < whole {
        for i in 0..SUMS {
            // SAFETY: `at + step` is at most `whole`, which the slice has.
            sums[i] = s.add_i32(sums[i], unsafe { s.load_i32(start.add(at + i * S::LANES)) });
        }
        at += step;
    }
    let mut lanes = [0; 16];
    let mut total = 0i32;
    for sums in sums {
        // SAFETY: no level has more than 16 lanes.
        unsafe { s.store_i32(lanes.as_mut_ptr(), sums) };
        for &lane in &lanes[..S::LANES] {
            total = total.wrapping_add(lane);
        }
    }
    for &word in &words[whole..] {
        total = total.wrapping_add(word);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_are_read_at_every_level() {
        let words: Vec<i32> = (0..1003).map(|i: i32| i.wrapping_mul(0x1234_5677)).collect();
        for level in Level::supported() {
            for len in [0, 1, 63, 64, 65, 1003] {
                let expected = words[..len].iter().fold(0i32, |a, &b| a.wrapping_add(b));
                assert_eq!(sum(level, &words[..len]), expected, "{level}, {len} words");
            }
        }
    }
}
