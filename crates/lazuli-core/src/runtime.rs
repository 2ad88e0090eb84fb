//! [`Runtime`]: a backend, its plans and its memory. Evaluating arrays is asking a runtime for them.

use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::{Bindings, Ticket};
use crate::buffer::Recycler;
use crate::graph::{Graph, Trace};
use crate::plan::Plan;
use crate::plan::cache::{Compiled, PlanCache};
use crate::{Array, Backend, Buffer, Error, Reference, Result, View};

/// Evaluates arrays on one backend. Plans are cached by structure, results reuse memory of earlier results, and
/// everything else lies in one arena.
pub struct Runtime {
    backend: Arc<dyn Backend>,
    chains: bool,
    recycler: Recycler,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cache: PlanCache,
    arena: Option<Buffer>,
    last: Option<Ticket>,
    workspace_bytes: usize,
}

/// What a runtime has done and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuntimeStats {
    /// Evaluations whose plan was in the cache.
    pub plan_hits: u64,
    /// Evaluations that had to plan.
    pub plan_misses: u64,
    /// Bytes of the arena.
    pub arena_bytes: usize,
    /// Bytes of scratch memory of compiled plans, the largest of them.
    pub workspace_bytes: usize,
    /// Bytes of results that were given back and wait to be used again.
    pub idle_bytes: usize,
}

impl Runtime {
    /// A runtime on `backend`.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend, chains: true, recycler: Recycler::default(), state: Mutex::default() }
    }

    /// A runtime on the slow interpreter that defines every operation: for tests and examples.
    pub fn reference() -> Self {
        // The oracle runs operations one by one, so that joining them is tested against it too.
        Self { chains: false, ..Self::new(Arc::new(Reference)) }
    }

    /// The backend.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Computes `arrays` and what they need, and nothing else; returns when they are done.
    ///
    /// # Errors
    /// If memory runs out, an index array points outside what it indexes, or packed bytes cannot be decoded.
    pub fn eval(&self, arrays: &[&Array]) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = state.last.take() {
            last.wait()?;
        }
        self.start(&mut state, arrays, |program, bindings| {
            self.backend.run(program, bindings)?;
            Ok(None)
        })
    }

    /// Starts computing `arrays` and returns where the backend can do that; borrowing their data waits.
    ///
    /// # Errors
    /// As [`Runtime::eval`] for what is found out before starting; later errors come from borrowing the data.
    pub fn async_eval(&self, arrays: &[&Array]) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = None;
        self.start(&mut state, arrays, |program, bindings| {
            let ticket = self.backend.submit(program, bindings);
            last = Some(ticket.clone());
            Ok(Some(ticket))
        })?;
        if last.is_some() {
            state.last = last;
        }
        Ok(())
    }

    /// The plan that evaluating `arrays` now would run, without running it.
    pub fn plan(&self, arrays: &[&Array]) -> Plan {
        let trace = Graph::trace(arrays, &*self.backend);
        Plan::new(&trace.graph, self.chains)
    }

    /// Counters and sizes.
    pub fn stats(&self) -> RuntimeStats {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        RuntimeStats {
            plan_hits: state.cache.hits,
            plan_misses: state.cache.misses,
            arena_bytes: state.arena.as_ref().map_or(0, Buffer::len),
            workspace_bytes: state.workspace_bytes,
            idle_bytes: self.recycler.idle_bytes(),
        }
    }

    fn start(
        &self,
        state: &mut State,
        arrays: &[&Array],
        run: impl FnOnce(&Arc<dyn crate::Program>, Bindings) -> Result<Option<Ticket>>,
    ) -> Result<()> {
        let wanted: Vec<&Array> = arrays.iter().copied().filter(|a| !a.is_evaluated()).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let Trace { graph, leaves } = Graph::trace(&wanted, &*self.backend);
        let compiled = self.compiled(state, graph)?;
        let plan = &compiled.plan;
        let leaves: Vec<View> = leaves.iter().map(|leaf| leaf.view().cloned()).collect::<Result<_>>()?;
        let outputs: Vec<Buffer> =
            plan.output_bytes.iter().map(|&bytes| self.recycler.take(bytes)).collect::<Result<_>>()?;
        let bindings = Bindings { leaves, arena: self.arena(state, plan.arena_bytes)?, outputs };
        let views: Vec<View> = plan.outputs.iter().map(|output| bindings.view(plan, output)).collect();
        let ticket = run(&compiled.program, bindings)?;
        for (array, view) in wanted.iter().zip(views) {
            array.fulfil(view, ticket.clone());
        }
        Ok(())
    }

    fn compiled(&self, state: &mut State, graph: Graph) -> Result<Arc<Compiled>> {
        if let Some(compiled) = state.cache.get(&graph) {
            return Ok(compiled);
        }
        let plan = Arc::new(Plan::new(&graph, self.chains));
        let program = self.backend.compile(plan.clone())?;
        state.workspace_bytes = state.workspace_bytes.max(program.workspace_bytes());
        let compiled = Arc::new(Compiled { plan, program });
        state.cache.insert(graph, compiled.clone());
        Ok(compiled)
    }

    fn arena(&self, state: &mut State, bytes: usize) -> Result<Buffer> {
        match &state.arena {
            Some(arena) if arena.len() >= bytes => Ok(arena.clone()),
            _ => {
                // The old arena goes first, so that both never count together.
                state.arena = None;
                let arena = self
                    .backend
                    .alloc(bytes)
                    .map_err(|_| Error::OutOfMemory { bytes, what: "intermediate results" })?;
                state.arena = Some(arena.clone());
                Ok(arena)
            }
        }
    }
}
