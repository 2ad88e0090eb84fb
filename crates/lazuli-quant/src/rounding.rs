//! Rounding to whole numbers, fast on every machine.

/// The whole number nearest to `value`, ties to even, for magnitudes up to 2^22.
///
/// Adding 1.5 * 2^23 leaves no bits for a fraction, so the addition itself rounds. Without SSE4.1, which plain
/// x86-64 builds may not assume, `f32::round_ties_even` is a call per value.
#[inline]
pub(crate) fn nearest(value: f32) -> f32 {
    const WHOLE: f32 = 12_582_912.0;
    (value + WHOLE) - WHOLE
}

#[cfg(test)]
mod tests {
    #[test]
    fn ties_go_to_even() {
        for step in -4000..4000 {
            let value = step as f32 * 0.125;
            assert_eq!(super::nearest(value), value.round_ties_even());
        }
        assert_eq!(super::nearest(4_194_303.5), 4_194_304.0);
    }
}
