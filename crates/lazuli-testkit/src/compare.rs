//! Comparing results with the reference interpreter.

use std::fmt;

use lazuli_core::{Array, DType, Runtime};

use crate::{Case, Random};

/// How far a result is from the oracle's.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// Index of the worst element.
    pub at: usize,
    /// What the backend computed.
    pub found: f32,
    /// What the oracle computed.
    pub expected: f32,
    /// The error that was allowed there.
    pub allowed: f32,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, found, expected, allowed } = self;
        write!(f, "element {at} is {found}, expected {expected} within {allowed:.2e}")
    }
}

/// Runs a case on the oracle and on each of the named runtimes, and says what differs or failed. `int8` is the error
/// that packed cases may have on top, for precisions that round activations: the inputs have outliers, so the worst of
/// thousands of results is about a tenth of their scale off; the kernels' own tests compare with the same rounding, and
/// tightly.
pub fn check_case(case: &Case, runtimes: &[(String, Runtime)], int8: f32) -> Vec<String> {
    let expected = match evaluate(case, &Runtime::reference()) {
        Ok(expected) => expected,
        Err(why) => return vec![format!("reference: {}: {why}", case.name)],
    };
    let tolerance = case.tolerance + if case.packed { int8 } else { 0.0 };
    let check = |runtime: &Runtime| {
        let found = evaluate(case, runtime)?;
        if found.len() != expected.len() {
            return Err(format!("{} elements, expected {}", found.len(), expected.len()));
        }
        difference(&found, &expected, tolerance).map_or(Ok(()), |m| Err(m.to_string()))
    };
    let failed = |(label, runtime): &(String, Runtime)| {
        check(runtime).err().map(|why| format!("{label}: {}: {why}", case.name))
    };
    runtimes.iter().filter_map(failed).collect()
}

fn evaluate(case: &Case, runtime: &Runtime) -> Result<Vec<f32>, String> {
    // The same seed for both runs makes the same inputs.
    let result = (case.build)(&mut Random::new(case.seed));
    let readable = if result.dtype() == DType::Bool { result.cast(DType::I32) } else { result };
    let dense: Array = readable.contiguous();
    runtime.eval(&[&dense]).map_err(|e| e.to_string())?;
    let fail = |e: lazuli_core::Error| e.to_string();
    Ok(match dense.dtype() {
        DType::F32 => dense.as_slice::<f32>().map_err(fail)?.to_vec(),
        DType::F16 => dense.as_slice::<half::f16>().map_err(fail)?.iter().map(|v| v.to_f32()).collect(),
        DType::BF16 => dense.as_slice::<half::bf16>().map_err(fail)?.iter().map(|v| v.to_f32()).collect(),
        DType::I32 => dense.as_slice::<i32>().map_err(fail)?.iter().map(|&v| v as f32).collect(),
        DType::U32 => dense.as_slice::<u32>().map_err(fail)?.iter().map(|&v| v as f32).collect(),
        _ => dense.as_slice::<u8>().map_err(fail)?.iter().map(|&v| v.into()).collect(),
    })
}

/// The worst element that differs by more than `tolerance`, relative to the larger of 1 and the root mean square of
/// what was expected; `None` if there is none. NaN matches only NaN, infinities only themselves.
pub fn difference(found: &[f32], expected: &[f32], tolerance: f32) -> Option<Mismatch> {
    let finite = expected.iter().filter(|v| v.is_finite());
    let mean_square = finite.map(|v| f64::from(*v).powi(2)).sum::<f64>() / expected.len().max(1) as f64;
    let allowed = tolerance * (mean_square.sqrt() as f32).max(1.0);
    let excess = |(&f, &e): (&f32, &f32)| {
        if f == e || (f.is_nan() && e.is_nan()) {
            0.0
        } else if f.is_finite() && e.is_finite() {
            (f - e).abs() / allowed.max(e.abs() * tolerance).max(f32::MIN_POSITIVE)
        } else {
            f32::INFINITY
        }
    };
    let worst = found.iter().zip(expected).map(excess).enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let (at, excess) = worst;
    (excess > 1.0).then(|| Mismatch { at, found: found[at], expected: expected[at], allowed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found_and_rounding_is_not() {
        assert_eq!(difference(&[1.0, 2.0], &[1.0, 2.000_001], 1e-5), None);
        assert_eq!(difference(&[1.0, 2.1], &[1.0, 2.0], 1e-5).map(|m| m.at), Some(1));
        assert_eq!(difference(&[f32::NAN], &[0.0], 1.0).map(|m| m.at), Some(0));
        assert_eq!(difference(&[f32::NAN], &[f32::NAN], 1.0), None);
    }
}
