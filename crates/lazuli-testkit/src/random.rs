//! Reproducible random inputs.

use half::{bf16, f16};
use lazuli_core::quant::Format;
use lazuli_core::{Array, Buffer, DType, Shape};

/// A small generator (xorshift64*), the same on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator whose numbers depend on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A whole number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() >> 33) as usize % bound
    }

    /// A number in -1..1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// About normal (a sum of uniforms), with now and then a value ten times as large: activations look so.
    pub fn activation(&mut self) -> f32 {
        let normal: f32 = (0..6).map(|_| self.unit()).sum::<f32>() * 0.7;
        if self.below(50) == 0 { normal * 10.0 } else { normal }
    }

    /// `len` activations.
    pub fn activations(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.activation()).collect()
    }

    /// A float array of random activations, rounded to `dtype`.
    ///
    /// # Panics
    /// If `dtype` is not a float.
    pub fn floats(&mut self, shape: impl Into<Shape>, dtype: DType) -> Array {
        let shape = shape.into();
        let values = self.activations(shape.elements());
        match dtype {
            DType::F32 => Array::from_vec(values, shape),
            DType::F16 => Array::from_vec(values.into_iter().map(f16::from_f32).collect(), shape),
            DType::BF16 => Array::from_vec(values.into_iter().map(bf16::from_f32).collect(), shape),
            other => panic!("{other} is not a float"),
        }
    }

    /// An i32 array of numbers below `bound`.
    pub fn indices(&mut self, shape: impl Into<Shape>, bound: usize) -> Array {
        let shape = shape.into();
        Array::from_vec((0..shape.elements()).map(|_| self.below(bound) as i32).collect(), shape)
    }

    /// Packed weights `[rows, cols]`, encoded from random numbers.
    ///
    /// # Panics
    /// If the format has no encoder or does not divide the columns.
    pub fn packed(&mut self, rows: usize, cols: usize, format: Format) -> Array {
        let values: Vec<f32> = (0..rows * cols).map(|_| self.activation() * 0.05).collect();
        let planes = format.encode(&values, rows, cols).expect("the format encodes such rows");
        let planes: Vec<(Buffer, usize)> = planes.into_iter().map(|p| (Buffer::from_vec(p), 0)).collect();
        Array::from_planes(&planes, [rows, cols], DType::Quant(format)).expect("the encoder fills its planes")
    }
}
