//! The executor: a compiled plan, and the workers that walk it together.
//!
//! A plan's waves become *phases*: independent tasks that all workers share, and at the barrier after them whatever is
//! too slight to share, done by the last worker to arrive. `compile` chooses kernels and adds tasks for what they need
//! (dense copies, packed activations, second halves of attention); many rows of a norm or gate are packed as they are
//! made. `task` runs a piece of one. No thread is started while a plan runs.

mod attention;
mod compile;
mod elementwise;
mod experts;
mod latent;
mod matmul;
mod task;

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use lazuli_core::plan::Plan;
use lazuli_core::{Array, Backend, Bindings, Buffer, Error, Fused, Op, Program, Result, Ticket};

use crate::pool::{Pool, Worker};
use crate::simd::Level;

use task::ahead::Watch;
use task::{Memory, Phase, Scratch, Task};

/// How packed weights are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Activations are rounded to int8 in small groups, products are integer: the speed of memory.
    #[default]
    Fast,
    /// Weights are decoded to f32 and everything is computed in f32: for verification.
    Exact,
}

/// The CPU backend.
pub struct Cpu {
    machine: Machine,
    /// Where asynchronous programs queue; the thread behind it starts with the first of them.
    queue: Mutex<Option<mpsc::Sender<Submitted>>>,
}

/// What compiled programs share: the vector level, the precision and the workers.
#[derive(Clone)]
pub(crate) struct Machine {
    pub level: Level,
    pub precision: Precision,
    pub threads: usize,
    crew: Arc<Mutex<Crew>>,
}

/// The workers, and the memory that a program needs while it runs. Programs run one after another, so that they share
/// it: however many plans are cached, there is one, as large as the largest needs.
struct Crew {
    pool: Pool,
    workspace: Buffer,
}

impl Crew {
    /// Makes the workspace at least `bytes` long; what it held is lost.
    fn reserve(&mut self, bytes: usize) -> Result<()> {
        if self.workspace.len() < bytes {
            // The old one goes first, so that both never count together.
            self.workspace = Buffer::zeroed(0)?;
            self.workspace = Buffer::zeroed(bytes)?;
        }
        Ok(())
    }
}

struct Submitted {
    program: Arc<dyn Program>,
    bindings: Bindings,
    ticket: Ticket,
}

impl Cpu {
    /// A backend with `threads` workers on vectors of `level`.
    ///
    /// # Errors
    /// The operating system's error when a thread cannot be started.
    pub fn new(level: Level, precision: Precision, threads: usize) -> std::io::Result<Self> {
        let pool = Pool::new(threads)?;
        let threads = pool.threads();
        let workspace = Buffer::zeroed(0).map_err(std::io::Error::other)?;
        let crew = Arc::new(Mutex::new(Crew { pool, workspace }));
        let machine = Machine { level, precision, threads, crew };
        Ok(Self { machine, queue: Mutex::new(None) })
    }

    /// How many workers there are.
    pub fn threads(&self) -> usize {
        self.machine.threads
    }

    /// The vector level.
    pub fn level(&self) -> Level {
        self.machine.level
    }

    /// Runs `job` on all workers, for measurements that must use the same threads as the kernels.
    pub fn on_all_workers<F: Fn(crate::pool::Worker<'_>) + Sync>(&self, job: F) {
        self.machine.crew.lock().unwrap_or_else(PoisonError::into_inner).pool.run(job);
    }
}

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn supports(&self, op: &Op, inputs: &[&Array]) -> bool {
        match op {
            Op::Fused(Fused::ExpertChoice(choice)) => choice.groups <= crate::kernel::choice::MAX_GROUPS,
            Op::Fused(Fused::PagedAttention(_)) => {
                inputs[1].dtype() == inputs[2].dtype() && inputs[1].dtype().is_float()
            }
            Op::Fused(Fused::LatentAttention(_)) => inputs[1].dtype().is_float(),
            _ => true,
        }
    }

    fn compile(&self, plan: Arc<Plan>) -> Result<Arc<dyn Program>> {
        let compiled = compile::compile(&self.machine, &plan)?;
        let scratch = compiled.worker_scratch.next_multiple_of(4096);
        Ok(Arc::new(Compiled {
            machine: self.machine.clone(),
            plan,
            phases: compiled.phases,
            schedules: compiled.schedules.len(),
            watch: compiled.asks_ahead.then(Watch::default),
            scratch,
            scratch_start: compiled.workspace,
        }))
    }

    fn submit(&self, program: &Arc<dyn Program>, bindings: Bindings) -> Ticket {
        let ticket = Ticket::pending();
        let submitted = Submitted { program: program.clone(), bindings, ticket: ticket.clone() };
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = queue.get_or_insert_with(start_driver);
        if let Err(mpsc::SendError(back)) = sender.send(submitted) {
            // The thread could not be started or has ended: run it here, which is slower but the same.
            ticket.finish(back.program.run(&back.bindings));
        }
        ticket
    }
}

/// Starts the thread that plays worker 0 for asynchronous programs. It ends when the backend goes.
fn start_driver() -> mpsc::Sender<Submitted> {
    let (sender, receiver) = mpsc::channel::<Submitted>();
    let drive = move || {
        for Submitted { program, bindings, ticket } in receiver {
            let result = program.run(&bindings);
            // Memory is given back before the result is announced, so that the next plan may write over it.
            drop(bindings);
            ticket.finish(result);
        }
    };
    // A thread that cannot be started shows as a closed channel, which `submit` handles.
    let _ = std::thread::Builder::new().name("lazuli-cpu-driver".into()).spawn(drive);
    sender
}

/// A plan with its kernels.
struct Compiled {
    machine: Machine,
    plan: Arc<Plan>,
    phases: Vec<Phase>,
    /// How many schedules of attention a run makes for several steps.
    schedules: usize,
    /// Of plans that ask for weights before they are read.
    watch: Option<Watch>,
    /// Where in the workspace, after packed activations and the like, each worker's scratch begins.
    scratch_start: usize,
    scratch: usize,
}

impl Program for Compiled {
    fn run(&self, bindings: &Bindings) -> Result<()> {
        let watch = self.watch.as_ref().filter(|watch| watch.is_due());
        let failure: Mutex<Option<Error>> = Mutex::new(None);
        let mut crew = self.machine.crew.lock().unwrap_or_else(PoisonError::into_inner);
        crew.reserve(self.workspace_bytes())?;
        let Crew { pool, workspace } = &mut *crew;
        let memory = Memory::bind(&self.plan, bindings, workspace, watch, self.schedules);
        let run = |task: &Task, worker: &Worker<'_>, scratch: Scratch| {
            if let Err(error) = task.run(worker, &memory, scratch) {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        };
        pool.run_undisturbed(|worker| {
            let scratch = self.scratch_start + worker.index * self.scratch;
            let scratch = memory.workspace(scratch, self.scratch);
            for phase in &self.phases {
                phase.alone.iter().for_each(|task| task.ask(&memory));
                phase.shared.iter().for_each(|task| run(task, &worker, scratch));
                worker.barrier_and(|alone| phase.alone.iter().for_each(|task| run(task, alone, scratch)));
            }
        });
        watch.into_iter().for_each(Watch::run_ended);
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn workspace_bytes(&self) -> usize {
        self.scratch_start + self.scratch * self.machine.threads
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lazuli_core::{DType, Runtime};
    use lazuli_quant::Format;

    #[test]
    fn programs_share_one_workspace_as_large_as_the_largest_needs() {
        let cpu = Arc::new(Cpu::new(Level::detect(), Precision::Fast, 2).unwrap());
        let runtime = Runtime::new(cpu.clone());
        let held = || cpu.machine.crew.lock().unwrap().workspace.len();
        let bytes = Format::Q8_0.plane_bytes(0, 64, 256).unwrap();
        let planes = [(Buffer::zeroed(bytes).unwrap(), 0)];
        let weight = Array::from_planes(&planes, [64, 256], DType::Quant(Format::Q8_0)).unwrap();
        let mut sizes = Vec::new();
        for rows in [2, 40, 7] {
            let input = Array::from_vec(vec![1.0f32; rows * 256], [rows, 256]);
            runtime.eval(&[&input.matmul(&weight.t())]).unwrap();
            assert_eq!(held(), runtime.stats().workspace_bytes);
            sizes.push(held());
        }
        assert!(0 < sizes[0] && sizes[0] < sizes[1] && sizes[1] == sizes[2], "{sizes:?}");
        assert_eq!(runtime.stats().plan_misses, 3);
    }

    #[test]
    fn rows_that_are_packed_as_they_are_made_are_the_same() {
        let cpu = Arc::new(Cpu::new(Level::detect(), Precision::Fast, 2).unwrap());
        let runtime = Runtime::new(cpu);
        let (n, k) = (48, 288);
        let plane: Vec<u8> = (0..n * k / 32)
            .flat_map(|block| [0, 0x3c].into_iter().chain((0..32).map(move |i| (block * 37 + i * 11) as u8)))
            .collect();
        let planes = [(Buffer::from_vec(plane), 0)];
        let weight = Array::from_planes(&planes, [n, k], DType::Quant(Format::Q8_0)).unwrap();
        let floats = |rows: usize, seed: usize| {
            let values =
                (0..rows * k).map(|i| ((i * 7919 + seed) % 1013) as f32 / 250.0 - 2.0).collect::<Vec<_>>();
            Array::from_vec(values, [rows, k])
        };
        for rows in [3, 37, 64] {
            let (x, y) = (floats(rows, 1), floats(rows, 2));
            let scale = Array::from_vec(vec![0.5f32; k], [k]);
            let silu = lazuli_core::fused::Activation::Silu;
            // Halves of one array are copied into the workspace first, where packing must not write too soon.
            let both = Array::from_vec(
                [x.as_slice::<f32>(), y.as_slice::<f32>()].map(Result::unwrap).concat(),
                [rows, 2 * k],
            );
            let halves = both.slice(1, 0..k).gated(&both.slice(1, k..2 * k), silu);
            let made = [x.rms_norm(&scale, 1e-5, 0.0), x.gated(&y, silu), halves];
            for rows in made {
                let product = rows.matmul(&weight.t());
                runtime.eval(&[&product]).unwrap();
                // What is known already is only packed.
                runtime.eval(&[&rows]).unwrap();
                let apart = rows.matmul(&weight.t());
                runtime.eval(&[&apart]).unwrap();
                let (one, other) = (product.as_slice::<f32>().unwrap(), apart.as_slice::<f32>().unwrap());
                assert!(one.iter().any(|value| value.abs() > 1.0) && one == other);
            }
        }
    }
}
