//! Speed of the float kernels beside the limits of this machine: bytes per second beside a streaming read, operations
//! per second beside a register-only multiply-add loop.
//!
//! `cargo bench -p lazuli-cpu --bench float [-- FILTER] [--threads N]`. Each figure is the best of several rounds.

use std::hint::black_box;
use std::time::Instant;

use lazuli_cpu::kernel::attention::{Arrays, Attention, Batch, Shape, Strides};
use lazuli_cpu::kernel::elementwise::{Access, Elementwise, Input, Instr, Operation, Output, Program};
use lazuli_cpu::kernel::matmul_float::{MatmulFloat, Weights};
use lazuli_cpu::kernel::{Element, gated, norm, stream};
use lazuli_cpu::pool::Pool;
use lazuli_cpu::simd::Level;

/// Pointers that the workers share.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);
// SAFETY: the benches hand each worker its own part of what is behind the pointer.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}
impl<T> Shared<T> {
    fn at(&self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}

struct Bench {
    pool: Pool,
    level: Level,
    filter: Option<String>,
}

fn main() {
    let mut filter = None;
    let mut threads = lazuli_cpu::pool::default_threads();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--threads" => {
                threads = arguments.next().and_then(|n| n.parse().ok()).expect("a number of threads");
            }
            "--bench" => {}
            _ => filter = Some(argument),
        }
    }
    let pool = Pool::new(threads).expect("threads can be started");
    let level = std::env::var("LAZULI_SIMD")
        .map_or_else(|_| Level::detect(), |name| Level::parse(&name).expect("a level"));
    println!("{level}, {threads} threads");
    let mut bench = Bench { pool, level, filter };
    bench.barrier();
    bench.streams();
    for (element, name) in [(Element::F32, "f32"), (Element::F16, "f16"), (Element::BF16, "bf16")] {
        for m in [1, 2, 4, 8] {
            bench.matmul(name, element, [m, 8960, 1536]);
        }
        // Short enough to fit between two interruptions of a busy machine.
        for m in [12, 16, 32, 64, 128, 512] {
            bench.matmul(name, element, [m, 480, 1536]);
        }
    }
    bench.matmul("f16", Element::F16, [1, 1536, 8960]);
    bench.matmul("f16", Element::F16, [512, 1536, 8960]);
    bench.matmul("f16", Element::F16, [512, 576, 576]);
    for (name, heads, kv_heads, dim) in
        [("qwen 1.5b", 12, 2, 128), ("smollm2", 9, 3, 64), ("gemma3 270m", 4, 1, 256), ("mha", 16, 16, 128)]
    {
        bench.attention(name, [heads, kv_heads, dim, dim], 1, 512);
        bench.attention(name, [heads, kv_heads, dim, dim], 1, 4096);
        bench.attention(name, [heads, kv_heads, dim, dim], 512, 512);
        bench.attention(name, [heads, kv_heads, dim, dim], 32, 4096);
        bench.attention(name, [heads, kv_heads, dim, dim], 512, 4096);
    }
    bench.attention("mla", [16, 1, 576, 512], 1, 4096);
    bench.small();
}

impl Bench {
    fn skip(&self, name: &str) -> bool {
        self.filter.as_ref().is_some_and(|filter| !name.contains(filter.as_str()))
    }

    /// Seconds of the fastest of several calls; `work` is told which call it is.
    fn best(&mut self, work: impl Fn(&mut Pool, usize)) -> f64 {
        let began = Instant::now();
        let mut best = f64::MAX;
        let mut rounds = 0;
        while rounds < 5 || (began.elapsed().as_secs_f64() < 0.6 && rounds < 1000) {
            let start = Instant::now();
            work(&mut self.pool, rounds);
            best = best.min(start.elapsed().as_secs_f64());
            rounds += 1;
        }
        best
    }

    fn barrier(&mut self) {
        if self.skip("barrier") {
            return;
        }
        let each = self.best(|pool, _| pool.run(|worker| (0..1000).for_each(|_| worker.barrier()))) / 1000.0;
        let run = self.best(|pool, _| (0..100).for_each(|_| pool.run(|_| ()))) / 100.0;
        println!("barrier {:.0} ns, empty run {:.0} ns", each * 1e9, run * 1e9);
    }

    fn streams(&mut self) {
        if self.skip("stream") {
            return;
        }
        let (level, data) = (self.level, vec![1_i32; 128 << 20]);
        // 16 MB at a time, cold each time.
        let piece = 4 << 20;
        let seconds = self.best(|pool, round| {
            let data = &data[round % 32 * piece..][..piece];
            pool.run(|worker| {
                black_box(stream::sum(level, &data[worker.part(data.len())]));
            });
        });
        println!("stream: {:.1} GB/s read", (piece * 4) as f64 / seconds / 1e9);
    }

    fn matmul(&mut self, name: &str, element: Element, [m, n, k]: [usize; 3]) {
        let title = format!("matmul {name} m={m} {k}->{n}");
        if self.skip(&title) {
            return;
        }
        // Enough copies of the weights that one row of x always finds them cold.
        let bytes = n * k * element.size();
        let copies = if m <= 8 { (400_000_000 / bytes).max(1) } else { 1 };
        let weights = vec![0x3c00_3c00_u32; copies * bytes / 4];
        let x = vec![0.01_f32; m * k];
        let mut y = vec![0.0_f32; m * n];
        let workers = self.pool.threads();
        let matmul = MatmulFloat::new(self.level, [m, n, k], [k, n], workers);
        let each = matmul.scratch_bytes(1) / 4;
        let mut scratch = vec![0.0_f32; each * workers];
        let (y, scratch) = (Shared(y.as_mut_ptr()), Shared(scratch.as_mut_ptr()));
        let (x, w) = (Shared(x.as_ptr().cast_mut()), Shared(weights.as_ptr().cast_mut()));
        let seconds = self.best(|pool, round| {
            let copy = round % copies;
            pool.run(|worker| {
                {
                    let data = w.at(copy * bytes / 4).cast::<u8>().cast_const();
                    let weights = Weights::Float { element, data, stride: k };
                    // SAFETY: the arrays have the product's sizes; each worker has its own scratch memory.
                    let run = |units| unsafe {
                        matmul.run(units, x.at(0), weights, y.at(0), scratch.at(worker.index * each));
                    };
                    if m == 1 {
                        run(worker.part(matmul.units()));
                    } else {
                        worker.for_each_chunk(matmul.units(), |unit| run(unit..unit + 1));
                    }
                }
            });
        });
        let (gb, gmac) = (bytes as f64 / seconds / 1e9, (m * n * k) as f64 / seconds / 1e9);
        println!("{title}: {:.3} ms, {gb:.1} GB/s, {gmac:.1} GMAC/s", seconds * 1e3);
    }

    /// `tokens` queries at the end of `context` positions.
    fn attention(
        &mut self,
        name: &str,
        [heads, kv_heads, dim, v_dim]: [usize; 4],
        tokens: usize,
        context: usize,
    ) {
        let title = format!("attention {name} tokens={tokens} context={context}");
        if self.skip(&title) {
            return;
        }
        let page_size = 64;
        let pages = context.div_ceil(page_size);
        // Several layers, so that a decode step finds its keys and values cold.
        let layers = if tokens == 1 {
            (300_000_000 / (context * kv_heads * (dim + v_dim) * 2)).clamp(1, 600)
        } else {
            1
        };
        let keys = vec![0x2c00_u16; layers * pages * kv_heads * page_size * dim];
        let values = vec![0x2c00_u16; layers * pages * kv_heads * page_size * v_dim];
        let q = vec![0.1_f32; tokens * heads * dim];
        let mut out = vec![0.0_f32; tokens * heads * v_dim];
        let table: Vec<i32> = (0..pages as i32).rev().collect();
        let sequence = vec![0; tokens];
        let position: Vec<i32> = (context - tokens..context).map(|p| p as i32).collect();
        let attention = Attention::new(
            self.level,
            Shape {
                tokens,
                heads,
                kv_heads,
                dim,
                v_dim,
                keys: Strides::dense(kv_heads, page_size, dim),
                values: Strides::dense(kv_heads, page_size, v_dim),
                pages,
                page_size,
                sequences: 1,
                pages_per_sequence: pages,
                kv: Element::F16,
                scale: 0.1,
                softcap: None,
                window: None,
            },
        );
        let each = attention.worker_scratch_bytes() / 4;
        let mut scratch = vec![0.0_f32; each * self.pool.threads()];
        let mut shared = vec![0.0_f32; attention.shared_scratch_bytes() / 4];
        let (out, scratch, shared) =
            (Shared(out.as_mut_ptr()), Shared(scratch.as_mut_ptr()), Shared(shared.as_mut_ptr()));
        let (q, k, v) = (
            Shared(q.as_ptr().cast_mut()),
            Shared(keys.as_ptr().cast_mut()),
            Shared(values.as_ptr().cast_mut()),
        );
        let seconds = self.best(|pool, round| {
            let layer = round % layers;
            pool.run(|worker| {
                {
                    let batch = Batch { page_table: &table, sequence: &sequence, position: &position };
                    let schedule = attention.schedule(batch).expect("the batch is sound");
                    let arrays = Arrays {
                        q: q.at(0),
                        q_stride: heads * dim,
                        keys: k.at(layer * pages * kv_heads * page_size * dim).cast(),
                        values: v.at(layer * pages * kv_heads * page_size * v_dim).cast(),
                        sinks: std::ptr::null(),
                        out: out.at(0),
                    };
                    let own = scratch.at(worker.index * each);
                    worker.for_each_chunk(schedule.units(), |unit| {
                        // SAFETY: the arrays have the shape's sizes; each worker has its own scratch memory.
                        unsafe { attention.run(&schedule, unit..unit + 1, &arrays, own, shared.at(0)) };
                    });
                    worker.barrier();
                    let rows = worker.part(schedule.joins());
                    // SAFETY: as above, and the first phase is over.
                    unsafe { attention.join(&schedule, rows, &arrays, shared.at(0)) };
                    worker.barrier();
                }
            });
        });
        let bytes = (context * kv_heads * (dim + v_dim) * 2) as f64;
        let seen: usize = (context - tokens + 1..=context).sum();
        let mac = (seen * heads * (dim + v_dim)) as f64;
        println!(
            "{title}: {:.3} ms, {:.1} GB/s of KV, {:.1} GMAC/s",
            seconds * 1e3,
            bytes / seconds / 1e9,
            mac / seconds / 1e9
        );
    }

    /// Kernels of a few microseconds, on one thread.
    fn small(&mut self) {
        let cols = 8960;
        let x = vec![0.5_f32; cols];
        let mut y = vec![0.0_f32; cols];
        let out = Shared(y.as_mut_ptr());
        let level = self.level;
        if !self.skip("norm") {
            let norm = norm::RmsNorm {
                level,
                cols: 1536,
                x_stride: 1536,
                eps: 1e-6,
                offset: 0.0,
                weight: Element::F32,
            };
            // SAFETY: the vectors hold more than one row.
            let seconds =
                self.best(|_, _| unsafe { norm.run(0..1, x.as_ptr(), x.as_ptr().cast(), out.at(0)) });
            println!("rms norm 1536: {:.2} us", seconds * 1e6);
        }
        if !self.skip("gated") {
            let activation = gated::Activation::Silu;
            let gated = gated::Gated { level, activation, cols, gate_stride: cols, up_stride: cols };
            // SAFETY: the vectors hold one row.
            let seconds = self.best(|_, _| unsafe { gated.run(0..cols, x.as_ptr(), x.as_ptr(), out.at(0)) });
            println!("gated silu {cols}: {:.2} us", seconds * 1e6);
        }
        if !self.skip("elementwise") {
            let dense = || Input { element: Element::F32, access: Access::Dense };
            let program = |instrs| Program {
                inputs: vec![dense(), dense()],
                constants: vec![0.5],
                instrs,
                outputs: vec![Output { register: 3, element: Element::F32 }],
            };
            let add = vec![Instr::binary(Operation::Add, 3, 0, 1)];
            let chain = vec![
                Instr::binary(Operation::Mul, 3, 0, 2),
                Instr::unary(Operation::Tanh, 3, 3),
                Instr::binary(Operation::Mul, 3, 3, 1),
                Instr::binary(Operation::Add, 3, 3, 0),
            ];
            for (name, instrs) in [("add", add), ("tanh chain", chain)] {
                let kernel = Elementwise::new(level, program(instrs), 1, cols);
                let mut scratch = vec![0f32; kernel.scratch_len()];
                let scratch = Shared(scratch.as_mut_ptr());
                let inputs = [x.as_ptr().cast(), x.as_ptr().cast()];
                // SAFETY: the vectors hold one row.
                let seconds = self
                    .best(|_, _| unsafe { kernel.run(0..cols, &inputs, &[out.at(0).cast()], scratch.at(0)) });
                println!("elementwise {name} {cols}: {:.2} us", seconds * 1e6);
            }
        }
    }
}
