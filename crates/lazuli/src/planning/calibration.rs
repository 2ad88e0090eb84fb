//! [`Calibration`]: what five seconds of measuring say about this machine, kept in the user's configuration.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lazuli_core::fused::{PagedAttention, Pages};
use lazuli_core::{Array, Buffer, DType, Repeater, Runtime};
use lazuli_nn::PAGE_SIZE;
use lazuli_planner::machine::{Attention, Measured};
use lazuli_planner::{ByPacking, Packing};
use lazuli_quant::{Format, ScaleType};
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
    /// Bytes a second read by 1 to all workers, at best: what nothing exceeds.
    pub read: Vec<f64>,
    /// Bytes a second of weights, more than any cache, in products with one row, by their packing.
    pub weights: ByPacking,
    /// Operations a second of products with 512 rows, by the packing of the weights.
    pub products: ByPacking,
    /// Seconds of a byte of keys and values in attention of one token.
    pub attention_byte: f64,
    /// Seconds of an operation of it.
    pub attention_operation: f64,
    /// Operations a second of attention of 512 tokens.
    pub prompt_attention: f64,
    /// Seconds of a step of a plan that computes next to nothing.
    pub step: f64,
}

/// Waves of steps of a decoder's layer, each of which ends with all workers waiting for the last: norms, projections,
/// rotation, attention, the gated part, sums. Counted in plans of Qwen2 (13), SmolLM2 (12) and Gemma 3 (15). What is
/// prepared within a wave is less than the product that a measured step is.
const WAVES: f64 = 13.0;

/// How often everything is measured. Memory that is shared with neighbours swings within seconds, and what the planner
/// wants is a usual moment and not the best.
const ROUNDS: usize = 5;

impl Calibration {
    /// Bytes a second that all workers together read, by the better of two measurements.
    pub fn bandwidth(&self) -> f64 {
        self.read.iter().chain(&self.weights).copied().fold(0.0, f64::max)
    }

    /// For the planner.
    pub fn measured(&self) -> Measured {
        Measured {
            weights: self.weights,
            products: self.products,
            attention: Attention { byte: self.attention_byte, operation: self.attention_operation },
            prompt_attention: self.prompt_attention,
            launch: self.step * WAVES,
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
    let bench = Bench { memory: Buffer::from_vec(vec![FILL; MEMORY]), runtime: &runtime };
    let rounds = (0..ROUNDS).map(|_| bench.round()).collect::<Result<Vec<_>>>()?;
    let usual = |of: &dyn Fn(&Round) -> f64| median(rounds.iter().map(of).collect());
    let processor = super::host::processor().unwrap_or_else(|| "this machine".to_owned());
    let simd = workers.simd();
    Ok(Calibration {
        processor,
        simd,
        read,
        weights: std::array::from_fn(|index| usual(&|round| round.weights[index])),
        products: std::array::from_fn(|index| usual(&|round| round.products[index])),
        attention_byte: usual(&|round| round.attention.0),
        attention_operation: usual(&|round| round.attention.1),
        prompt_attention: usual(&|round| round.prompt_attention),
        step: usual(&|round| round.step),
    })
}

/// Everything but the memory itself, measured once.
struct Round {
    weights: ByPacking,
    products: ByPacking,
    attention: (f64, f64),
    prompt_attention: f64,
    step: f64,
}

/// 1, 2, 4, .. and all.
fn counts(all: usize) -> Vec<usize> {
    let mut counts: Vec<usize> =
        std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n < all).collect();
    counts.push(all);
    counts
}

/// Far more than any cache: what one pass leaves in it is gone when the next one comes back to it.
const MEMORY: usize = 192 << 20;
/// As two bytes of a float a number near one, in either half precision; untouched pages would all be the same one.
const FILL: u8 = 0x3c;

/// Memory that all measurements read, as weights of any format and as keys and values.
struct Bench<'a> {
    memory: Buffer,
    runtime: &'a Runtime,
}

impl Bench<'_> {
    fn round(&self) -> Result<Round> {
        let (mut weights, mut products) = (ByPacking::default(), ByPacking::default());
        for (index, packing) in Packing::ALL.into_iter().enumerate() {
            weights[index] = self.weights(packing)?;
            products[index] = self.products(packing)?;
        }
        let (attention, prompt_attention) = (self.attention()?, self.prompt_attention()?);
        Ok(Round { weights, products, attention, prompt_attention, step: steps(self.runtime)? })
    }

    /// A matrix of a packing's usual format that lies `offset` bytes into the memory, and the bytes that it takes.
    fn matrix(&self, packing: Packing, [rows, cols]: [usize; 2], offset: usize) -> Result<(Array, usize)> {
        let Some(format) = format(packing) else {
            let array = Array::from_buffer(self.memory.clone(), offset, [rows, cols], DType::BF16)?;
            return Ok((array, 2 * rows * cols));
        };
        let (mut planes, mut end) = (Vec::new(), offset);
        for plane in 0..format.planes() {
            planes.push((self.memory.clone(), end));
            end += format.plane_bytes(plane, rows, cols).unwrap_or(0).next_multiple_of(64);
        }
        Ok((Array::from_planes(&planes, [rows, cols], DType::Quant(format))?, end - offset))
    }

    /// Bytes a second of weights in products with one row.
    fn weights(&self, packing: Packing) -> Result<f64> {
        const SIDE: usize = 4096;
        let (mut matrices, mut end) = (Vec::new(), 0);
        loop {
            let size = self.matrix(packing, [SIDE, SIDE], 0)?.1;
            if end + size > MEMORY {
                break;
            }
            matrices.push(self.matrix(packing, [SIDE, SIDE], end)?.0);
            end += size;
        }
        let input = Array::from_vec(vec![0.5f32; SIDE], [1, SIDE]);
        let seconds = usual(0.04, || {
            let results: Vec<Array> = matrices.iter().map(|w| input.matmul(&w.t())).collect();
            self.runtime.eval(&results.iter().collect::<Vec<_>>())
        })?;
        Ok(end as f64 / seconds)
    }

    /// Operations a second of products with 512 rows.
    fn products(&self, packing: Packing) -> Result<f64> {
        const SIDE: usize = 2048;
        const TOKENS: usize = 512;
        let matrix = self.matrix(packing, [SIDE, SIDE], 0)?.0;
        let input = Array::from_vec(vec![0.5f32; TOKENS * SIDE], [TOKENS, SIDE]);
        let seconds = usual(0.03, || self.runtime.eval(&[&input.matmul(&matrix.t())]))?;
        Ok(2.0 * (SIDE * SIDE * TOKENS) as f64 / seconds)
    }

    /// Seconds of a byte and of an operation of one token's attention: of two shapes that read the same bytes, one has
    /// eight times the operations.
    fn attention(&self) -> Result<(f64, f64)> {
        const DEPTH: usize = 4096;
        let (few, many) = (Heads { queries: 8, keys: 8, dim: 64 }, Heads { queries: 32, keys: 4, dim: 128 });
        let (bytes, copies) = (few.bytes(DEPTH), MEMORY / few.bytes(DEPTH));
        let one = |heads: Heads| -> Result<f64> {
            let seconds = usual(0.04, || {
                let results = (0..copies).map(|copy| self.attend(heads, 1, DEPTH, copy * bytes));
                let results: Vec<Array> = results.collect::<lazuli_core::Result<_>>()?;
                self.runtime.eval(&results.iter().collect::<Vec<_>>())
            })?;
            Ok(seconds / copies as f64)
        };
        let (least, most) = (one(few)?, one(many)?);
        let operations = |heads: Heads| (heads.queries * 4 * heads.dim * DEPTH) as f64;
        let operation = ((most - least) / (operations(many) - operations(few))).max(0.0);
        Ok(((least - operation * operations(few)).max(0.0) / bytes as f64, operation))
    }

    /// Operations a second of attention of 512 tokens behind as many others.
    fn prompt_attention(&self) -> Result<f64> {
        const TOKENS: usize = 512;
        let heads = Heads { queries: 16, keys: 4, dim: 128 };
        let seconds = usual(0.04, || self.runtime.eval(&[&self.attend(heads, TOKENS, 2 * TOKENS, 0)?]))?;
        let pairs: usize = (TOKENS + 1..=2 * TOKENS).sum();
        Ok((heads.queries * 4 * heads.dim * pairs) as f64 / seconds)
    }

    /// Attention of the last `tokens` of `depth` tokens over keys and values that lie `offset` bytes into the memory.
    fn attend(&self, heads: Heads, tokens: usize, depth: usize, offset: usize) -> lazuli_core::Result<Array> {
        let shape = [depth / PAGE_SIZE, heads.keys, PAGE_SIZE, heads.dim];
        let half = heads.bytes(depth) / 2;
        let cache = |offset| Array::from_buffer(self.memory.clone(), offset, shape, DType::F16);
        let list = |values: Vec<i32>| Array::from_vec(values, [tokens]);
        let table: Vec<i32> = (0..shape[0] as i32).collect();
        let pages = Pages {
            keys: &cache(offset)?,
            values: &cache(offset + half)?,
            page_table: &Array::from_vec(table, [1, shape[0]]),
            sequence: &list(vec![0; tokens]),
            position: &list((depth - tokens..depth).map(|position| position as i32).collect()),
        };
        let queries = vec![0.01f32; tokens * heads.queries * heads.dim];
        let queries = Array::from_vec(queries, [tokens, heads.queries, heads.dim]);
        let op = PagedAttention { scale: 0.1f32.into(), window: None, softcap: None, sinks: false };
        Ok(queries.paged_attention(&pages, None, op))
    }
}

#[derive(Clone, Copy)]
struct Heads {
    queries: usize,
    keys: usize,
    dim: usize,
}

impl Heads {
    /// Bytes of keys and values of `depth` tokens in half precision.
    fn bytes(self, depth: usize) -> usize {
        2 * depth * self.keys * self.dim * 2
    }
}

/// The usual format of a packing; `None` for floats.
fn format(packing: Packing) -> Option<Format> {
    match packing {
        Packing::Plain => None,
        Packing::Eight => Some(Format::Q8_0),
        Packing::Four => Some(Format::Q4_0),
        Packing::K => Some(Format::Q4K),
        Packing::K6 => Some(Format::Q6K),
        Packing::Affine => Some(Format::Affine { bits: 4, group: 64, scale: ScaleType::Bf16 }),
    }
}

/// Seconds of a step that computes next to nothing and depends on the one before, in passes that come again as those of
/// decode do.
fn steps(runtime: &Runtime) -> Result<f64> {
    const STEPS: usize = 64;
    let weight = Array::from_vec(vec![0.01f32; 64 * 64], [64, 64]);
    let mut again = Repeater::default();
    let seconds = usual(0.04, || {
        let inputs = vec![Array::from_vec(vec![1.0f32; 64], [1, 64])];
        let chain = |mut inputs: Vec<Array>| {
            for _ in 0..STEPS {
                inputs = vec![inputs[0].matmul(&weight)];
            }
            inputs
        };
        runtime.eval_again(&mut again, &[], inputs, chain).map(drop)
    })?;
    Ok(seconds / STEPS as f64)
}

/// The seconds that `work` usually took in `seconds`, after a first time.
fn usual(seconds: f64, mut work: impl FnMut() -> lazuli_core::Result<()>) -> Result<f64> {
    work()?;
    let (begin, mut times) = (Instant::now(), Vec::new());
    while begin.elapsed() < Duration::from_secs_f64(seconds) {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(median(times))
}

/// The number in the middle; of an even count, the larger of two.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
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
            weights: [1e10; 6],
            products: [1e12; 6],
            attention_byte: 1e-10,
            attention_operation: 1e-11,
            prompt_attention: 1e11,
            step: 2e-6,
        };
        made.save(&places).unwrap();
        assert_eq!(Calibration::load(&places), Some(made.clone()));
        assert_eq!(made.bandwidth(), 1.9e10);
        assert_eq!(made.measured().weights, made.weights);
        assert!((made.measured().launch / 2.6e-5 - 1.0).abs() < 1e-9);
        assert_eq!([1, 2, 3, 8].map(counts), [vec![1], vec![1, 2], vec![1, 2, 3], vec![1, 2, 4, 8]]);
    }
}
