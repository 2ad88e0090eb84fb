//! [`Calibration`]: what five seconds of measuring say about this machine, kept in the user's configuration.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lazuli_core::{Array, Buffer, DType, Runtime};
use lazuli_planner::machine::Measured;
use lazuli_quant::Format;
use serde::{Deserialize, Serialize};

use crate::backends::RuntimeOptions;
use crate::store::{Places, StoreError};
use crate::{Result, read_bandwidth};

/// What was measured on a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The processor's name; on another one the numbers mean nothing.
    pub processor: String,
    /// The vector level.
    pub simd: String,
    /// Bytes a second read by 1 to all workers.
    pub read: Vec<f64>,
    /// Bytes a second of packed weights (`Q8_0`, more than any cache) in a product with one row.
    pub stream: f64,
    /// Elements a second of K-quants (`Q4_K`, in the cache) in a product with one row.
    pub elements: f64,
    /// Operations a second of a product of packed weights with 512 rows.
    pub operations: f64,
    /// Seconds of a step of a plan that computes next to nothing.
    pub step: f64,
}

/// Share of the bandwidth at which attention reads keys and values in half precision: between what heads of 64 and of
/// 128 were seen to reach.
const KV: f64 = 0.45;

/// Waves of a decoder's layer: norms, projections, rotation, attention and the gated part.
const WAVES: f64 = 10.0;

impl Calibration {
    /// Bytes a second that all workers together read, by the better of two measurements.
    pub fn bandwidth(&self) -> f64 {
        self.read.iter().copied().fold(self.stream, f64::max)
    }

    /// For the planner.
    pub fn measured(&self) -> Measured {
        Measured {
            efficiency: (self.stream / self.bandwidth().max(1.0)).clamp(0.05, 1.0),
            kv_efficiency: KV,
            launch: self.step * WAVES,
            operations: self.operations,
            elements: self.elements,
        }
    }

    /// What was kept, if there is anything readable.
    pub fn load(places: &Places) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path(places)).ok()?).ok()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, places: &Places) -> Result<PathBuf> {
        let path = path(places);
        let failed = |error| StoreError::Io { what: "write", path: path.clone(), error };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        std::fs::write(&path, text).map_err(failed)?;
        Ok(path)
    }
}

fn path(places: &Places) -> PathBuf {
    places.aliases.with_file_name("calibration.json")
}

/// Measures this machine with the workers that `options` describe. Takes about five seconds.
///
/// # Errors
/// If workers or memory cannot be had.
pub fn calibrate(options: &RuntimeOptions) -> Result<Calibration> {
    let workers = options.workers()?;
    let mut read = Vec::new();
    for threads in counts(workers.count()) {
        let few = RuntimeOptions { threads: std::num::NonZeroUsize::new(threads), ..*options };
        read.push(read_bandwidth(&few.workers()?)?);
    }
    let runtime = workers.runtime();
    let product =
        |format, rows, cols, tokens, copies| product(&runtime, format, [rows, cols], tokens, copies);
    // 12 matrices of 36 MB: what one pass leaves in a cache is gone when the next one comes back to it.
    let stream = {
        let bytes = Format::Q8_0.bytes(8192, 4096).unwrap_or(0) as f64;
        12.0 * bytes / product(Format::Q8_0, 8192, 4096, 1, 12)?
    };
    // Half a million elements stay in the cache of the cores.
    let elements = f64::from(1024 * 512) / product(Format::Q4K, 1024, 512, 1, 1)?;
    let operations = 2.0 * 2048.0 * 2048.0 * 512.0 / product(Format::Q8_0, 2048, 2048, 512, 1)?;
    let step = steps(&runtime)?;
    let processor = super::host::processor().unwrap_or_else(|| "this machine".to_owned());
    Ok(Calibration { processor, simd: workers.simd(), read, stream, elements, operations, step })
}

/// 1, 2, 4, .. and all.
fn counts(all: usize) -> Vec<usize> {
    let mut counts: Vec<usize> =
        std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n < all).collect();
    counts.push(all);
    counts
}

/// Seconds of `copies` products of `tokens` rows with as many matrices of zeros, the best of half a second.
fn product(
    runtime: &Runtime,
    format: Format,
    shape: [usize; 2],
    tokens: usize,
    copies: usize,
) -> Result<f64> {
    let [rows, cols] = shape;
    let bytes = format.bytes(rows, cols).unwrap_or(0);
    let mut weights = Vec::new();
    for _ in 0..copies {
        // Untouched pages of zeros are one and the same page: something is written to each.
        let buffer = Buffer::from_vec(vec![1u8; bytes]);
        weights.push(Array::from_planes(&[(buffer, 0)], [rows, cols], DType::Quant(format))?);
    }
    let input = Array::from_vec(vec![0.5f32; tokens * cols], [tokens, cols]);
    best(|| {
        let results: Vec<Array> = weights.iter().map(|w| input.matmul(&w.t())).collect();
        runtime.eval(&results.iter().collect::<Vec<_>>())
    })
}

/// Seconds of a step that computes next to nothing and depends on the one before.
fn steps(runtime: &Runtime) -> Result<f64> {
    const STEPS: usize = 64;
    let weight = Array::from_vec(vec![0.01f32; 64 * 64], [64, 64]);
    let seconds = best(|| {
        let mut x = Array::from_vec(vec![1.0f32; 64], [1, 64]);
        for _ in 0..STEPS {
            x = x.matmul(&weight);
        }
        runtime.eval(&[&x])
    })?;
    Ok(seconds / STEPS as f64)
}

/// The least seconds that `work` took in half a second, after a first time.
fn best(mut work: impl FnMut() -> lazuli_core::Result<()>) -> Result<f64> {
    work()?;
    let (begin, mut least) = (Instant::now(), f64::INFINITY);
    while begin.elapsed() < Duration::from_millis(500) {
        let start = Instant::now();
        work()?;
        least = least.min(start.elapsed().as_secs_f64());
    }
    Ok(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let variable = |name: &str| (name == "LAZULI_CONFIG" || name == "HOME").then(|| dir.path().into());
        let places = Places::from_variables(variable).unwrap();
        assert_eq!(Calibration::load(&places), None);
        let made = Calibration {
            processor: "p".into(),
            simd: "avx2".into(),
            read: vec![1e10, 1.9e10],
            stream: 1.5e10,
            elements: 2e10,
            operations: 1e12,
            step: 2e-6,
        };
        made.save(&places).unwrap();
        assert_eq!(Calibration::load(&places), Some(made.clone()));
        assert_eq!(made.bandwidth(), 1.9e10);
        assert!((made.measured().efficiency - 1.5 / 1.9).abs() < 1e-9);
        assert_eq!([1, 2, 3, 8].map(counts), [vec![1], vec![1, 2], vec![1, 2, 3], vec![1, 2, 4, 8]]);
    }
}
