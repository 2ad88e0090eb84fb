//! Random numbers that are the same for the same seed on every platform: xoshiro256++ seeded by SplitMix64
//! (Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators", 2021).

use std::hash::{BuildHasher, Hasher, RandomState};

/// A generator of random numbers. Not for secrets.
#[derive(Debug, Clone)]
pub struct Rng([u64; 4]);

impl Rng {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        // SplitMix64 spreads a seed with few bits over the whole state, which must not be all zeros.
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `0..1`, with 53 random bits.
    pub fn next_unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

/// A seed that nobody chose, different in each call.
pub fn fresh_seed() -> u64 {
    // The standard library keys each of its hash states from the system's entropy.
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_published_sequence() {
        let mut rng = Rng([1, 2, 3, 4]);
        let first: Vec<u64> = (0..5).map(|_| rng.next_u64()).collect();
        assert_eq!(first, [41943041, 58720359, 3588806011781223, 3591011842654386, 9228616714210784205]);
    }

    #[test]
    fn a_seed_fixes_the_sequence() {
        let take = |seed| Rng::new(seed).next_u64();
        // The first output of SplitMix64 for seed 0, by which the state starts, is a published number.
        assert_eq!(Rng::new(0).0[0], 0xe220_a839_7b1d_cdaf);
        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
        assert_ne!(fresh_seed(), fresh_seed());
    }

    #[test]
    fn units_are_spread_evenly() {
        let mut rng = Rng::new(1);
        let mut bins = [0u32; 10];
        for _ in 0..100_000 {
            let x = rng.next_unit();
            assert!((0.0..1.0).contains(&x));
            bins[(x * 10.0) as usize] += 1;
        }
        // Six standard deviations of a bin are 570.
        assert!(bins.iter().all(|&n| n.abs_diff(10_000) < 570), "{bins:?}");
    }
}
