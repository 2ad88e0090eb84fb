//! The seam between plans and hardware: a [`Backend`] receives a whole plan, compiles it once and runs it.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use smallvec::smallvec;

use crate::array::Plane;
use crate::plan::{Operand, Place, Plan};
use crate::{Array, Buffer, Op, Result, View};

/// Hardware that runs plans. How it orders, overlaps and synchronises steps is its own business.
pub trait Backend: Send + Sync {
    /// A short name: `reference`, `cpu`.
    fn name(&self) -> &'static str;

    /// Whether this backend runs `op` on such inputs as it stands. A fused operation that it does not run is
    /// replaced by its decomposition before planning; a primitive must be run by every backend.
    fn supports(&self, op: &Op, inputs: &[&Array]) -> bool;

    /// Memory for arenas and results: zeroed, and shared with the CPU wherever the hardware allows it.
    fn alloc(&self, bytes: usize) -> Result<Buffer> {
        Buffer::zeroed(bytes)
    }

    /// Makes host memory (a mapped file) readable by the backend, without a copy where possible.
    fn wrap(&self, host: &Buffer) -> Result<Buffer> {
        Ok(host.clone())
    }

    /// Prepares a plan: picks kernels, sizes scratch memory. Called once per plan structure.
    fn compile(&self, plan: Arc<Plan>) -> Result<Arc<dyn Program>>;

    /// Runs a program to its end on the calling thread's time.
    fn run(&self, program: &Arc<dyn Program>, bindings: Bindings) -> Result<()> {
        program.run(&bindings)
    }

    /// Starts a program and returns at once where the backend can; programs run in the order of submission.
    fn submit(&self, program: &Arc<dyn Program>, bindings: Bindings) -> Ticket {
        Ticket::done(self.run(program, bindings))
    }
}

/// A compiled plan.
pub trait Program: Send + Sync {
    /// Runs all steps.
    fn run(&self, bindings: &Bindings) -> Result<()>;

    /// Bytes that a run needs besides the plan's arena (scratch of kernels, packed activations). Programs of a backend
    /// that run one after another may share them.
    fn workspace_bytes(&self) -> usize;
}

/// The memory that one run of a program reads and writes.
pub struct Bindings {
    /// Where each leaf lies, in the plan's order.
    pub leaves: Vec<View>,
    /// Memory for everything that nobody asked for.
    pub arena: Buffer,
    /// Memory for each result that was asked for.
    pub outputs: Vec<Buffer>,
}

impl Bindings {
    /// Where an operand of `plan` lies in this run: its planes, and its layout with the leaf's own offset.
    pub fn view(&self, plan: &Plan, operand: &Operand) -> View {
        let mut layout = operand.layout.clone();
        match plan.values[operand.value].place {
            Place::Leaf(leaf) => {
                layout.offset += self.leaves[leaf].layout.offset;
                let View { planes, stack, .. } = self.leaves[leaf].clone();
                View { planes, layout, stack }
            }
            Place::Arena(offset) => {
                let planes = smallvec![Plane { buffer: self.arena.clone(), offset }];
                View { planes, layout, stack: None }
            }
            Place::Output(output) => View::new(self.outputs[output].clone(), layout),
        }
    }
}

/// The end of a program that may still be running.
#[derive(Clone)]
pub struct Ticket(Arc<(Mutex<Option<Result<()>>>, Condvar)>);

impl Ticket {
    /// A ticket whose program is still to end.
    pub fn pending() -> Self {
        Self(Arc::new((Mutex::new(None), Condvar::new())))
    }

    /// A ticket of a program that has ended.
    pub fn done(result: Result<()>) -> Self {
        Self(Arc::new((Mutex::new(Some(result)), Condvar::new())))
    }

    /// Tells everybody who waits how the program ended.
    pub fn finish(&self, result: Result<()>) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.0.1.notify_all();
    }

    /// Whether the program has ended.
    pub fn is_done(&self) -> bool {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Blocks until the program has ended.
    ///
    /// # Errors
    /// What the program failed with.
    pub fn wait(&self) -> Result<()> {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = state.as_ref() {
                return result.clone();
            }
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_done() { "Ticket(done)" } else { "Ticket(pending)" })
    }
}
