//! Latent attention of one true-size DeepSeek-R1 layer in prefill: absorbed, as it runs, against keys and values expanded
//! for each head. `cargo bench -p lazuli-cpu --bench latent -- [CONTEXT]..`: 512 tokens at the end of each context.

use std::sync::Arc;
use std::time::Instant;

use lazuli_core::fused::{PagedAttention, Pages};
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
const Q4: Format = Format::Affine { bits: 4, group: 64, scale: ScaleType::Bf16 };

fn main() {
    let contexts: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let contexts = if contexts.is_empty() { vec![512, 1024, 2048, 4096] } else { contexts };
    let threads = lazuli_cpu::pool::default_threads();
    let cpu = Cpu::new(lazuli_cpu::simd::Level::detect(), Precision::Fast, threads).expect("threads");
    let runtime = Runtime::new(Arc::new(cpu));
    println!(
        "context  absorbed ms (of it attention)  expanded ms (of it attention)  MACs absorbed, expanded"
    );
    for context in contexts {
        let batch = Batch::new(context);
        let [absorbed, alone] = absorbed(&runtime, &batch, context);
        let [expanded, alone_expanded] = expanded(&runtime, &batch, context);
        let pairs = (TOKENS * (2 * context - TOKENS) / 2) as f64;
        let projection = (HEADS * RANK * (NOPE + VALUE)) as f64;
        let of_absorbed = TOKENS as f64 * projection + pairs * (HEADS * (2 * RANK + ROPE)) as f64;
        let of_expanded = context as f64 * projection + pairs * (HEADS * (NOPE + ROPE + VALUE)) as f64;
        println!(
            "{context:7}  {absorbed:8.0} ({alone:.0})  {expanded:8.0} ({alone_expanded:.0})  {:.1}, {:.1} G",
            of_absorbed / 1e9,
            of_expanded / 1e9
        );
    }
}

/// What says where tokens and their keys are.
struct Batch {
    table: Array,
    sequence: Array,
    position: Array,
    /// Of all tokens of the context.
    slots: Array,
}

impl Batch {
    fn new(context: usize) -> Self {
        let list = |values: Vec<i32>| {
            let len = values.len();
            Array::from_vec(values, [len])
        };
        let pages = context.div_ceil(PAGE);
        Self {
            table: Array::from_vec((0..pages as i32).collect(), [1, pages]),
            sequence: list(vec![0; TOKENS]),
            position: list((context - TOKENS..context).map(|p| p as i32).collect()),
            slots: list((0..context as i32).collect()),
        }
    }

    fn attention(&self, q: &Array, keys: &Array, values: &Array) -> Array {
        let pages = Pages {
            keys,
            values,
            page_table: &self.table,
            sequence: &self.sequence,
            position: &self.position,
        };
        let op = PagedAttention { scale: 0.07.into(), window: None, softcap: None, sinks: false };
        q.paged_attention(&pages, None, op)
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

/// A pool of pages in f16.
fn pool(context: usize, heads: usize, dim: usize) -> Array {
    let shape = [context.div_ceil(PAGE), heads, PAGE, dim];
    let buffer = Buffer::zeroed(shape.iter().product::<usize>() * 2).expect("room");
    Array::from_buffer(buffer, 0, shape, DType::F16).expect("it fits")
}

/// Milliseconds of the fastest of three evaluations, of all and of the attention alone.
fn times(runtime: &Runtime, all: impl Fn() -> Array, attention: impl Fn() -> Array) -> [f64; 2] {
    let best = |make: &dyn Fn() -> Array| {
        let once = || {
            let start = Instant::now();
            runtime.eval(&[&make()]).expect("it runs");
            start.elapsed().as_secs_f64() * 1e3
        };
        (0..3).map(|_| once()).fold(f64::MAX, f64::min)
    };
    [best(&all), best(&attention)]
}

fn absorbed(runtime: &Runtime, batch: &Batch, context: usize) -> [f64; 2] {
    let (key_up, value_up) = (weights(&[HEADS, RANK, NOPE]), weights(&[HEADS, VALUE, RANK]));
    let q = floats(&[TOKENS, HEADS, NOPE + ROPE]);
    let latent_q = floats(&[TOKENS, HEADS, RANK + ROPE]);
    let keys = pool(context, 1, RANK + ROPE);
    let heads = || Array::iota(HEADS).broadcast_to([TOKENS, HEADS]);
    let attention = |q: &Array| batch.attention(q, &keys, &keys.slice(-1, 0..RANK));
    let all = || {
        let latent = q.slice(-1, 0..NOPE).expert_matmul(&key_up, &heads());
        let q = Array::concat(&[&latent, &q.slice(-1, NOPE..NOPE + ROPE)], -1);
        attention(&q).expert_matmul(&value_up, &heads())
    };
    times(runtime, all, || attention(&latent_q))
}

fn expanded(runtime: &Runtime, batch: &Batch, context: usize) -> [f64; 2] {
    let up = weights(&[HEADS * (NOPE + VALUE), RANK]);
    let q = floats(&[TOKENS, HEADS, NOPE + ROPE]);
    let (latent, rotated) = (floats(&[context, RANK]), floats(&[context, 1, ROPE]));
    let done = (pool(context, HEADS, NOPE + ROPE), pool(context, HEADS, VALUE));
    let all = || {
        let both = latent.matmul(&up.t()).reshape([context, HEADS, NOPE + VALUE]);
        let rotated = rotated.broadcast_to([context, HEADS, ROPE]);
        let keys = Array::concat(&[&both.slice(-1, 0..NOPE), &rotated], -1);
        let keys = pool(context, HEADS, NOPE + ROPE).kv_write(&keys, &batch.slots);
        let values = both.slice(-1, NOPE..NOPE + VALUE);
        let values = pool(context, HEADS, VALUE).kv_write(&values, &batch.slots);
        batch.attention(&q, &keys, &values)
    };
    times(runtime, all, || batch.attention(&q, &done.0, &done.1))
}
