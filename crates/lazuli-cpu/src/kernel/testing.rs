//! What the kernels' tests share: every vector level of this machine, repeatable random numbers, comparison.

pub(crate) use crate::simd::Level;

/// Every vector level that differs for float kernels, best first.
pub(crate) fn levels() -> Vec<Level> {
    let mut levels = Level::supported();
    levels.dedup_by_key(|level| level.isa());
    levels
}

/// A small generator (xorshift): tests want the same numbers on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 20) as usize % bound
    }

    /// Uniform in `-1..1`.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.unit()).collect()
    }
}

/// `values` in memory as `element` (in words, so that they are aligned), and the numbers that are then there.
pub(crate) fn stored(element: super::Element, values: &[f32]) -> (Vec<u32>, Vec<f32>) {
    let mut words = vec![0_u32; (values.len() * element.size()).div_ceil(4)];
    let base = words.as_mut_ptr().cast::<u8>();
    let mut read = Vec::new();
    for (i, &value) in values.iter().enumerate() {
        // SAFETY: the vector has room for `values.len()` elements.
        unsafe {
            element.write(base.add(i * element.size()), value);
            read.push(element.read(base.add(i * element.size())));
        }
    }
    (words, read)
}

/// Fails if some `got` is further from `want` than `relative` times the larger of 1 and its size.
#[track_caller]
pub(crate) fn assert_close(what: &str, got: &[f32], want: &[f64], relative: f64) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        if got.is_nan() && want.is_nan() || f64::from(got) == want {
            continue;
        }
        let error = (f64::from(got) - want).abs();
        assert!(error <= relative * want.abs().max(1.0), "{what} at {i}: got {got}, want {want}");
    }
}
