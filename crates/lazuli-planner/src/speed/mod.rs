//! How fast a model is on a machine: a roofline with an error band.
//!
//! A decode step takes `max(W / (e B), U / A) + K / (k B) + o`: weights `W` at the share `e` of the bandwidth `B`, or the
//! arithmetic `A` of decoding `U` packed elements where that takes longer; keys and values `K` at the share `k`; and
//! `o`, the launches of each layer. `fit` finds the constants from published measurements, `published` reads those.

mod fit;
mod published;

pub use fit::{Constants, fit};
pub use published::{Published, published};

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use serde::Serialize;

use crate::machine::{Kind, Machine, Measured};
use crate::{ByPacking, Error, KvFormat, ModelShape, Result, Weights};

/// Whose overheads are assumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// MLX's language models.
    MlxLm,
    /// llama.cpp.
    LlamaCpp,
    /// This project, where it has been calibrated.
    Lazuli,
}

impl EngineKind {
    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::MlxLm => "mlx-lm",
            Self::LlamaCpp => "llama.cpp",
            Self::Lazuli => "lazuli",
        }
    }

    /// What is assumed on a machine if nobody says: Lazuli where it is calibrated, else what most people run.
    pub fn usual(machine: &Machine) -> Self {
        match machine.kind {
            _ if machine.measured.is_some() => Self::Lazuli,
            Kind::Apple { .. } => Self::MlxLm,
            _ => Self::LlamaCpp,
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for EngineKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::MlxLm, Self::LlamaCpp, Self::Lazuli];
        let found = all.into_iter().find(|engine| engine.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| Error::value("engine", text, "expected mlx-lm, llama.cpp or lazuli"))
    }
}

/// What limits a speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Reading weights, keys and values.
    Bandwidth,
    /// Multiplying, or decoding packed weights.
    Arithmetic,
    /// Starting kernels, one after another.
    Launches,
}

impl Bound {
    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bandwidth => "bandwidth",
            Self::Arithmetic => "arithmetic",
            Self::Launches => "launches",
        }
    }
}

/// A speed in tokens a second, and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The middle.
    pub p50: f64,
    /// Slower is unlikely.
    pub low: f64,
    /// Faster is unlikely.
    pub high: f64,
}

/// What a step moves and computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traffic {
    /// Bytes of weights read.
    pub weights: f64,
    /// Elements whose decoding costs arithmetic.
    pub unpacked: f64,
    /// Bytes of weights read, by their packing.
    pub packed: ByPacking,
    /// Bytes of keys and values read.
    pub kv: f64,
    /// Floating-point operations of attention.
    pub attention: f64,
    /// Layers.
    pub layers: f64,
    /// Those with experts.
    pub expert_layers: f64,
}

impl Traffic {
    /// What a decode step of `sequences` sequences with `depth` tokens each moves.
    pub fn decode(
        model: &ModelShape,
        weights: &Weights,
        kv: KvFormat,
        depth: usize,
        sequences: usize,
    ) -> Self {
        Self {
            weights: weights.read_bytes(model, sequences),
            unpacked: weights.unpacked_elements(model, sequences),
            packed: weights.packed_bytes(model, sequences),
            kv: model.kv_read_bytes(kv, depth) as f64 * sequences as f64,
            attention: model.query_operations(depth) * sequences as f64,
            layers: model.layers.len() as f64,
            expert_layers: model.expert_layers() as f64,
        }
    }
}

/// What a machine does in a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Bytes of memory read.
    pub bandwidth: f64,
    /// Operations on matrices.
    pub operations: f64,
    /// 1 for M1, and so on: later ones launch kernels faster.
    pub generation: u8,
}

/// A predicted step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Seconds.
    pub seconds: f64,
    /// What takes the most of them.
    pub bound: Bound,
}

/// Operations a second of prompts on Apple's GPUs: what llama.cpp reaches, fitted over all chips published.
pub fn apple_operations(generation: u8, gpu_cores: f64) -> f64 {
    let (first, growth) = fit::prefill(published());
    first * growth.powi(i32::from(generation) - 1) * gpu_cores
}

/// The constants fitted on everything that is published for an engine.
pub fn constants(engine: EngineKind) -> Constants {
    static FITTED: OnceLock<[Constants; 2]> = OnceLock::new();
    let [mlx, llama] = FITTED.get_or_init(|| {
        let all: Vec<&Published> = published().iter().collect();
        [fit(EngineKind::MlxLm, &all), fit(EngineKind::LlamaCpp, &all)]
    });
    if engine == EngineKind::MlxLm { *mlx } else { *llama }
}

/// Tokens a second of one sequence among `sequences` at `depth`.
///
/// # Errors
/// [`Error::NotCalibrated`] for Lazuli on a machine that was not measured.
pub fn decode(machine: &Machine, engine: EngineKind, traffic: &Traffic) -> Result<(Estimate, Bound)> {
    let step = |bandwidth: f64| -> Result<Step> {
        if engine != EngineKind::Lazuli {
            return Ok(constants(engine).step(traffic, &rates(machine, bandwidth)));
        }
        let measured =
            machine.measured.ok_or_else(|| Error::NotCalibrated { machine: machine.name.clone() })?;
        let weights = traffic.weights / bandwidth;
        // What the kernels take is never less than reading, and more where decoding holds them up.
        let arithmetic = seconds(&traffic.packed, &measured.weights);
        let attention = measured.attention;
        let kv = traffic.kv * attention.byte + traffic.attention * attention.operation;
        let launches = measured.launch * (traffic.layers + traffic.expert_layers);
        Ok(Step::new(weights, arithmetic, kv, launches))
    };
    let (slow, fast) = (step(machine.bandwidth.0)?, step(machine.bandwidth.1)?);
    let band = band(machine, traffic.expert_layers > 0.0);
    let middle = 0.5f64.mul_add(slow.seconds, 0.5 * fast.seconds);
    let estimate =
        Estimate { p50: 1.0 / middle, low: (1.0 - band) / slow.seconds, high: (1.0 + band) / fast.seconds };
    Ok((estimate, slow.bound))
}

/// Tokens a second of reading a prompt of `tokens` tokens, if the machine's arithmetic is known.
pub fn prefill(
    machine: &Machine,
    model: &ModelShape,
    weights: &Weights,
    tokens: usize,
) -> Option<(Estimate, Bound)> {
    if let Some(measured) = &machine.measured {
        return Some(measured_prefill(machine, measured, model, weights, tokens));
    }
    let operations = machine.operations?;
    let reached = match machine.kind {
        // What is usual of a datasheet's figure.
        Kind::Card | Kind::Unified => 0.45,
        Kind::Apple { .. } | Kind::Host => 1.0,
    };
    let needed = 2.0 * model.active_parameters() as f64 * tokens as f64 + model.attention_operations(tokens);
    let arithmetic = needed / (operations * reached);
    // Each chunk of the prompt reads the weights once.
    let chunks = tokens.div_ceil(crate::memory::PREFILL_CHUNK) as f64;
    let memory = weights.read_bytes(model, tokens.min(512)) * chunks / machine.bandwidth.0;
    let bound = if memory > arithmetic { Bound::Bandwidth } else { Bound::Arithmetic };
    let p50 = tokens as f64 / arithmetic.max(memory);
    let band = match machine.kind {
        _ if model.expert_layers() > 0 => 0.5,
        Kind::Apple { .. } => 0.2,
        _ => 0.5,
    };
    Some((Estimate { p50, low: p50 * (1.0 - band), high: p50 * (1.0 + band) }, bound))
}

/// A prompt where kernels were measured: products, attention, and the rows that the steps between them read and write.
fn measured_prefill(
    machine: &Machine,
    measured: &Measured,
    model: &ModelShape,
    weights: &Weights,
    tokens: usize,
) -> (Estimate, Bound) {
    let packed = weights.packed_bytes(model, 1);
    let bytes: f64 = packed.iter().sum();
    let operations = 2.0 * model.prompt_parameters() as f64 * tokens as f64;
    // Bytes stand for elements: a model's packings have much the same bits, or one of them is nearly all.
    let products = operations / bytes.max(1.0) * seconds(&packed, &measured.products);
    let attention = model.attention_operations(tokens) / measured.prompt_attention;
    let rows = model.step_bytes() as f64 * tokens as f64 / machine.bandwidth.0;
    let chunks = tokens.div_ceil(crate::memory::PREFILL_CHUNK) as f64;
    let launches = measured.launch * (model.layers.len() + model.expert_layers()) as f64 * chunks;
    let read = weights.read_bytes(model, tokens.min(512)) * chunks / machine.bandwidth.0;
    let arithmetic = products + attention;
    let p50 = tokens as f64 / (arithmetic.max(read) + rows + launches);
    let bound = if read > arithmetic { Bound::Bandwidth } else { Bound::Arithmetic };
    let band = if model.expert_layers() > 0 { 0.5 } else { 0.3 };
    (Estimate { p50, low: p50 * (1.0 - band), high: p50 * (1.0 + band) }, bound)
}

/// Amounts over rates.
fn seconds(amounts: &ByPacking, rates: &ByPacking) -> f64 {
    amounts.iter().zip(rates).map(|(amount, rate)| amount / rate.max(1.0)).sum()
}

fn rates(machine: &Machine, bandwidth: f64) -> Rates {
    let (generation, operations) = match machine.kind {
        Kind::Apple { generation, .. } => (generation, machine.operations.unwrap_or(f64::INFINITY)),
        // Nothing was fitted here: the fastest launches seen, and arithmetic that decoding does not wait for.
        _ => (5, f64::INFINITY),
    };
    Rates { bandwidth, operations, generation }
}

/// The width of the error band: what leaving one chip out of the fit showed, and more where nothing was fitted. Where
/// this machine was calibrated it is the memory's own unrest: three models at two depths in seven rounds and more, each
/// with a calibration that found 22 to 37 GB/s, ran at 70 to 124 per cent of the middle (45 of 46 points within the band),
/// each of the six at 89 to 109 in the median.
fn band(machine: &Machine, experts: bool) -> f64 {
    let fitted = matches!(machine.kind, Kind::Apple { .. });
    match (machine.measured.is_some(), fitted, experts) {
        (true, _, false) => 0.25,
        (true, _, true) => 0.35,
        (false, true, false) => 0.15,
        (false, true, true) => 0.30,
        (false, false, false) => 0.35,
        (false, false, true) => 0.50,
    }
}

impl Step {
    /// A step of these seconds; weights and their decoding overlap.
    pub(crate) fn new(weights: f64, arithmetic: f64, kv: f64, launches: f64) -> Self {
        let seconds = weights.max(arithmetic) + kv + launches;
        let bound = if launches > weights.max(arithmetic) + kv {
            Bound::Launches
        } else if arithmetic > weights + kv {
            Bound::Arithmetic
        } else {
            Bound::Bandwidth
        };
        Self { seconds, bound }
    }
}
