//! Latent attention of one true-size DeepSeek-R1 layer in prefill, projections of heads included: absorbed, against keys
//! and values expanded for each head. `cargo bench -p lazuli-cpu --bench latent -- [[TOKENSx]CONTEXT]..`: so many tokens
//! (512) at the end of each context.

use std::sync::Arc;
use std::time::Instant;

use half::f16;
use lazuli_core::fused::{LatentAttention, Latents, PagedAttention, Pages};
use lazuli_core::{Array, Buffer, DType, Runtime};
use lazuli_cpu::{Cpu, Precision};
use lazuli_quant::{Format, ScaleType};

const TOKENS: usize = 512;
const HEADS: usize = 128;
const RANK: usize = 512;
const NOPE: usize = 128;
const ROPE: usize = 64;
const VALUE: usize = 128;
const PAGE: usize = 64;
const SCALE: f32 = 0.07;
const Q4: Format = Format::Affine { bits: 4, group: 64, scale: ScaleType::Bf16 };

fn main() {
    let sizes: Vec<[usize; 2]> = std::env::args().skip(1).filter_map(|text| size(&text)).collect();
    let sizes = if sizes.is_empty() { [512, 1024, 2048, 4096].map(|c| [TOKENS, c]).to_vec() } else { sizes };
    let threads = lazuli_cpu::pool::default_threads();
    let cpu = Cpu::new(lazuli_cpu::simd::Level::detect(), Precision::Fast, threads).expect("threads");
    let runtime = Runtime::new(Arc::new(cpu));
    println!("tokens context  absorbed ms (of it attention)  expanded ms  ratio  G MACs absorbed, expanded");
    for [tokens, context] in sizes {
        let batch = Batch::new(tokens, context);
        let layer = Layer::new(&batch);
        let [absorbed, alone] = layer.absorbed(&runtime, &batch);
        let expanded = layer.expanded(&runtime, &batch);
        let pairs = (tokens * (2 * context - tokens) / 2) as f64;
        let projection = (HEADS * RANK * (NOPE + VALUE)) as f64;
        let of_absorbed = tokens as f64 * projection + pairs * (HEADS * (2 * RANK + ROPE)) as f64;
        let of_expanded = context as f64 * projection + pairs * (HEADS * (NOPE + ROPE + VALUE)) as f64;
        println!(
            "{tokens:6} {context:7}  {absorbed:8.0} ({alone:.0})  {expanded:8.0}  {:.2}  {:.1}, {:.1}",
            absorbed / expanded,
            of_absorbed / 1e9,
            of_expanded / 1e9
        );
    }
}

/// `CONTEXT` or `TOKENSxCONTEXT`; nothing for options of `cargo bench`.
fn size(text: &str) -> Option<[usize; 2]> {
    let (tokens, context) = text.split_once('x').unwrap_or(("512", text));
    Some([tokens.parse().ok()?, context.parse().ok()?])
}

/// What says where tokens and their keys are.
struct Batch {
    tokens: usize,
    context: usize,
    table: Array,
    sequence: Array,
    position: Array,
}

impl Batch {
    fn new(tokens: usize, context: usize) -> Self {
        let list = |values: Vec<i32>| {
            let len = values.len();
            Array::from_vec(values, [len])
        };
        let pages = context.div_ceil(PAGE);
        Self {
            tokens,
            context,
            table: Array::from_vec((0..pages as i32).collect(), [1, pages]),
            sequence: list(vec![0; tokens]),
            position: list((context - tokens..context).map(|p| p as i32).collect()),
        }
    }
}

/// Some numbers below one.
fn floats(shape: &[usize]) -> Array {
    let len = shape.iter().product::<usize>();
    Array::from_vec((0..len).map(|i| ((i * 7919) % 1013) as f32 / 1013.0 - 0.5).collect::<Vec<f32>>(), shape)
}

/// Some weights in four bits.
fn weights(shape: &[usize]) -> Array {
    let cols = shape[shape.len() - 1];
    let rows = shape.iter().product::<usize>() / cols;
    let plane = |number: usize| {
        let mut buffer =
            Buffer::zeroed(Q4.plane_bytes(number, rows, cols).expect("whole groups")).expect("room");
        // As bf16 scales and biases these are small numbers of both signs; as codes they are any.
        let bytes: Vec<u8> =
            (0..buffer.len()).map(|i| if i % 2 == 0 { (i * 37) as u8 } else { 0x3c }).collect();
        buffer.write(0, &bytes);
        (buffer, 0)
    };
    let planes: Vec<(Buffer, usize)> = (0..Q4.planes()).map(plane).collect();
    Array::from_planes(&planes, shape, DType::Quant(Q4)).expect("planes fit")
}

/// Projections, queries and a pool: the inputs of a layer's attention.
struct Layer {
    key_up: Array,
    value_up: Array,
    q: Array,
    rows: Array,
}

impl Layer {
    fn new(batch: &Batch) -> Self {
        let both = weights(&[HEADS, NOPE + VALUE, RANK]);
        let shape = [batch.context.div_ceil(PAGE), 1, PAGE, RANK + ROPE];
        let values =
            floats(&shape).as_slice::<f32>().expect("floats").iter().map(|&v| f16::from_f32(v)).collect();
        Self {
            key_up: both.slice(1, 0..NOPE).transpose(&[0, 2, 1]),
            value_up: both.slice(1, NOPE..NOPE + VALUE),
            q: floats(&[batch.tokens, HEADS, NOPE + ROPE]),
            rows: Array::from_vec::<f16>(values, shape),
        }
    }

    fn latents<'a>(&'a self, batch: &'a Batch) -> Latents<'a> {
        Latents {
            rows: &self.rows,
            key_up: &self.key_up,
            value_up: &self.value_up,
            page_table: &batch.table,
            sequence: &batch.sequence,
            position: &batch.position,
        }
    }

    /// Milliseconds of the absorbed form, and of its attention alone.
    fn absorbed(&self, runtime: &Runtime, batch: &Batch) -> [f64; 2] {
        let latents = self.latents(batch);
        let (nope, rotated) = (self.q.slice(-1, 0..NOPE), self.q.slice(-1, NOPE..NOPE + ROPE));
        let q = floats(&[batch.tokens, HEADS, RANK + ROPE]);
        let pages = Pages {
            keys: &self.rows,
            values: &self.rows.slice(-1, 0..RANK),
            page_table: &batch.table,
            sequence: &batch.sequence,
            position: &batch.position,
        };
        let op = PagedAttention { scale: SCALE.into(), window: None, softcap: None, sinks: false };
        [
            time(runtime, || {
                nope.absorbed_attention(&rotated, &latents, LatentAttention { scale: SCALE.into() })
            }),
            time(runtime, || q.paged_attention(&pages, None, op)),
        ]
    }

    fn expanded(&self, runtime: &Runtime, batch: &Batch) -> f64 {
        let op = LatentAttention { scale: SCALE.into() };
        time(runtime, || self.q.latent_attention(&self.latents(batch), op))
    }
}

/// Milliseconds of the fastest of three evaluations.
fn time(runtime: &Runtime, make: impl Fn() -> Array) -> f64 {
    let once = || {
        let start = Instant::now();
        runtime.eval(&[&make()]).expect("it runs");
        start.elapsed().as_secs_f64() * 1e3
    };
    (0..3).map(|_| once()).fold(f64::MAX, f64::min)
}
