//! [`Rope`]: rotary position embedding, from a model's settings to the tables that all its layers share.
//!
//! `frequencies` turns settings into one angle per position and pair; this file turns positions into tables,
//! once per forward pass, and rotates with them.

mod frequencies;

use lazuli_core::fused::RopeStyle;
use lazuli_core::{Array, DType};

use crate::BatchArrays;

/// What rotates, and by how much.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// The base of the geometric series of angles.
    pub theta: f32,
    /// Elements of a head that rotate, from the first on; the rest stays.
    pub rotated: usize,
    /// How elements pair up.
    pub style: RopeStyle,
    /// How the angles change for contexts longer than the model was first trained for.
    pub scaling: RopeScaling,
}

/// The ways to stretch positions.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Positions as they are.
    None,
    /// All positions divided by a factor (Chen et al., 2023).
    Linear {
        /// The factor.
        factor: f32,
    },
    /// Long wavelengths divided by a factor, short ones kept, a ramp between (Llama 3.1).
    Llama3 {
        /// The factor.
        factor: f32,
        /// Turns within the original context below which a wavelength is long.
        low_freq_factor: f32,
        /// Turns within the original context above which a wavelength is short.
        high_freq_factor: f32,
        /// The original context.
        original_context: usize,
    },
    /// YaRN (Peng et al., 2023).
    Yarn(Yarn),
    /// Each pair's angle divided by a factor of its own, `[rotated / 2]`.
    Factors(Vec<f32>),
    /// LongRoPE (Ding et al., 2024).
    Long(LongRope),
    /// A larger base in pools for more context than the model was trained for, none within it ("dynamic NTK").
    Dynamic {
        /// The factor.
        factor: f32,
        /// The context the model was trained for.
        original_context: usize,
    },
}

/// LongRoPE: each pair's angle divided by a factor of its own, from one of two lists.
#[derive(Debug, Clone, PartialEq)]
pub struct LongRope {
    /// The factors for sequences within the original context, `[rotated / 2]`.
    pub short: Vec<f32>,
    /// The factors for longer ones. Which list is used depends on the pool's context and not on how long a
    /// sequence is: keys that were rotated by one list cannot be compared with queries of the other. In a pool for no
    /// more than the original context this is what `transformers` computes, in a larger one what llama.cpp does.
    pub long: Vec<f32>,
    /// The context the model was first trained for.
    pub original_context: usize,
    /// Factor of rotated elements.
    pub attention_factor: f32,
}

/// YaRN: pairs that turn often are kept, pairs that turn seldom are divided by a factor, a ramp between; and
/// queries and keys grow a little.
#[derive(Debug, Clone, PartialEq)]
pub struct Yarn {
    /// The factor.
    pub factor: f32,
    /// The context the model was first trained for.
    pub original_context: usize,
    /// Turns within it above which a pair is kept.
    pub beta_fast: f32,
    /// Turns within it below which a pair is fully divided.
    pub beta_slow: f32,
    /// Factor of rotated elements; [`Yarn::default_attention_factor`] unless the model says otherwise.
    pub attention_factor: f32,
    /// Whether the ramp starts and ends at whole pairs.
    pub ramp: YarnRamp,
}

/// Where YaRN's ramp may start and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum YarnRamp {
    /// At whole pairs, rounded outwards.
    Whole,
    /// Anywhere.
    Exact,
}

impl LongRope {
    /// `sqrt(1 + ln(factor) / ln(original_context))`, the paper's recommendation; 1 for factors up to 1.
    pub fn default_attention_factor(factor: f32, original_context: usize) -> f32 {
        let stretch = f64::from(factor).ln() / (original_context as f64).ln();
        if factor <= 1.0 { 1.0 } else { (1.0 + stretch).sqrt() as f32 }
    }
}

impl Yarn {
    /// `0.1 ln(factor) + 1`, the paper's recommendation; 1 for factors up to 1.
    pub fn default_attention_factor(factor: f32) -> f32 {
        if factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 }
    }
}

/// Rotary position embedding of one kind of layers.
#[derive(Debug, Clone)]
pub struct Rope {
    /// Radians per position of each pair, f32 `[rotated / 2]`.
    frequencies: Array,
    /// The same in pools for more context than this.
    beyond: Option<(usize, Beyond)>,
    /// Factor of the rotated elements.
    magnitude: f32,
    style: RopeStyle,
}

/// The angles in pools for more context than the original one.
#[derive(Debug, Clone)]
enum Beyond {
    /// As they are.
    Listed(Array),
    /// From the pool's context. All sequences and positions of a pool share them; `transformers` makes them anew as a
    /// sequence grows, and compares keys that were rotated by earlier ones with queries that were not.
    Stretched(RopeConfig),
}

impl Rope {
    /// Computes the angles that `config` means.
    pub fn new(config: &RopeConfig) -> Self {
        let list = |config: &RopeConfig| list(frequencies::frequencies(config));
        let (beyond, magnitude) = match &config.scaling {
            RopeScaling::Yarn(yarn) => (None, yarn.attention_factor),
            RopeScaling::Long(rope) => {
                let scaling = RopeScaling::Factors(rope.long.clone());
                let long = list(&RopeConfig { scaling, ..config.clone() });
                (Some((rope.original_context, Beyond::Listed(long))), rope.attention_factor)
            }
            &RopeScaling::Dynamic { original_context, .. } => {
                (Some((original_context, Beyond::Stretched(config.clone()))), 1.0)
            }
            _ => (None, 1.0),
        };
        Self { frequencies: list(config), beyond, magnitude, style: config.style }
    }

    /// The rotations of a batch's tokens: call once per forward pass.
    #[track_caller]
    pub fn tables(&self, batch: &BatchArrays) -> RopeTables {
        let frequencies = match &self.beyond {
            Some((context, beyond)) if batch.context > *context => match beyond {
                Beyond::Listed(frequencies) => frequencies.clone(),
                Beyond::Stretched(config) => list(frequencies::stretched(config, batch.context)),
            },
            _ => self.frequencies.clone(),
        };
        // Angles are products in f32, as the reference implementations compute them.
        let angles = batch.positions.cast(DType::F32).expand_dims(-1) * &frequencies; // [tokens, rotated / 2]
        let scaled = |table: Array| if self.magnitude == 1.0 { table } else { table * self.magnitude };
        RopeTables { cos: scaled(angles.cos()), sin: scaled(angles.sin()), style: self.style }
    }
}

fn list(frequencies: Vec<f32>) -> Array {
    let pairs = frequencies.len();
    Array::from_vec(frequencies, [pairs])
}

/// The rotations of one batch's tokens, shared by layers and heads.
#[derive(Debug, Clone)]
pub struct RopeTables {
    cos: Array,
    sin: Array,
    style: RopeStyle,
}

impl RopeTables {
    /// Rotates heads `[tokens, heads, head_dim]`; the result is f32.
    #[track_caller]
    pub fn rotate(&self, heads: &Array) -> Array {
        heads.rope(&self.cos, &self.sin, self.style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, KvPool, KvSpec, LayerKv, Logits};
    use lazuli_core::{Buffer, Runtime};

    /// One token at each of `positions`, in a pool for `context` tokens.
    fn batch(positions: &[usize], context: usize) -> BatchArrays {
        let layers = vec![LayerKv { heads: 1, key_dim: 1, value_dim: 1, window: None }];
        let spec = KvSpec::for_sequences(layers, DType::F16, positions.len(), context, context);
        let pool = KvPool::new(spec, Buffer::zeroed).unwrap();
        let mut batch = Batch::new(pool.spec());
        for &position in positions {
            let mut pages = pool.sequence();
            pages.grow(position + 1).unwrap();
            batch.push(&pages, position, &[0], Logits::None);
        }
        batch.arrays()
    }

    fn rotated(x: &Array, tables: &RopeTables) -> Vec<f32> {
        let y = tables.rotate(x);
        Runtime::reference().eval(&[&y]).unwrap();
        y.as_slice::<f32>().unwrap().to_vec()
    }

    #[test]
    fn tables_are_cosines_and_sines_of_position_times_frequency() {
        let config =
            RopeConfig { theta: 100.0, rotated: 4, style: RopeStyle::Halves, scaling: RopeScaling::None };
        let tables = Rope::new(&config).tables(&batch(&[0, 3, 70], 128));
        // A head of one pair of ones turns into cosines and sines; the last element is not rotated.
        let x = Array::from_slice(&[1.0f32, 1.0, 0.0, 0.0, 9.0], [1, 1, 5]).broadcast_to([3, 2, 5]);
        let y = rotated(&x, &tables);
        for (token, position) in [0.0f64, 3.0, 70.0].into_iter().enumerate() {
            let (a, b) = (position, position * 0.1);
            let expected = [a.cos(), b.cos(), a.sin(), b.sin(), 9.0];
            for head in 0..2 {
                for (i, expected) in expected.into_iter().enumerate() {
                    let found = f64::from(y[(token * 2 + head) * 5 + i]);
                    assert!((found - expected).abs() < 1e-5, "{token} {head} {i}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_larger_pool_stretches_the_dynamic_base_and_not_the_plan() {
        let scaling = RopeScaling::Dynamic { factor: 2.0, original_context: 64 };
        let rope = Rope::new(&RopeConfig { theta: 100.0, rotated: 4, style: RopeStyle::Halves, scaling });
        let x = Array::from_slice(&[1.0f32, 1.0, 0.0, 0.0], [1, 1, 4]);
        let runtime = Runtime::reference();
        // By hand: twice the context is (2 * 2 - 1) ^ (4 / 2) = 9 times the base, whose root divides the second angle.
        for (context, second) in [(40, 0.1f32), (64, 0.1), (128, 1.0 / 30.0), (256, 1.0 / 70.0)] {
            let y = rope.tables(&batch(&[7], context)).rotate(&x);
            runtime.eval(&[&y]).unwrap();
            let y = y.as_slice::<f32>().unwrap();
            let wanted = [7f32.cos(), (7.0 * second).cos(), 7f32.sin(), (7.0 * second).sin()];
            assert!(y.iter().zip(wanted).all(|(y, w)| (y - w).abs() < 1e-6), "{context}: {y:?} {wanted:?}");
        }
        // One plan for angles that the model holds and one for those made for a pool, however large.
        assert_eq!((runtime.stats().plan_misses, runtime.stats().plan_hits), (2, 2));
    }

    #[test]
    fn the_pools_context_chooses_the_factors_of_long_rope() {
        let long =
            LongRope { short: vec![2.0], long: vec![5.0], original_context: 64, attention_factor: 3.0 };
        let scaling = RopeScaling::Long(long);
        let rope = Rope::new(&RopeConfig { theta: 100.0, rotated: 2, style: RopeStyle::Halves, scaling });
        let x = Array::from_slice(&[1.0f32, 0.0], [1, 1, 2]);
        for (context, factor) in [(64, 2.0), (65, 5.0)] {
            let y = rotated(&x, &rope.tables(&batch(&[7], context)));
            let angle = 7.0f32 / factor;
            assert!((y[0] - 3.0 * angle.cos()).abs() < 1e-5 && (y[1] - 3.0 * angle.sin()).abs() < 1e-5);
        }
    }
}
