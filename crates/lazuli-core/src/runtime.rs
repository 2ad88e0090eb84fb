//! [`Runtime`]: a backend, its plans and its memory. Evaluating arrays is asking a runtime for them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::{Bindings, Ticket};
use crate::buffer::Recycler;
use crate::graph::{Graph, Trace};
use crate::plan::Plan;
use crate::plan::cache::{Compiled, PlanCache};
use crate::repeat::{Given, Inputs, Kind, Leaf, Recording, Repeater};
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
    repeats: u64,
}

/// What a runtime has done and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuntimeStats {
    /// Evaluations whose plan was in the cache, the repeated ones included.
    pub plan_hits: u64,
    /// Evaluations that had to plan.
    pub plan_misses: u64,
    /// Evaluations that were repeated without a graph: see [`Runtime::eval_again`].
    pub repeats: u64,
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
        let mut state = self.idle()?;
        self.start(&mut state, arrays, |program, bindings| {
            self.backend.run(program, bindings)?;
            Ok(None)
        })
    }

    /// Evaluates what `make` makes of `inputs`, which have been evaluated, as [`Runtime::eval`] does. If it did so for
    /// two inputs of the same shapes and types with equal `structure`, further ones do without `make`: it has to give
    /// the same graph for all of them. Each `again` is for one function.
    ///
    /// `make` gets the only handles to inputs that nobody else holds, so that operations may take over their memory.
    ///
    /// # Errors
    /// As [`Runtime::eval`]; or if an input was not evaluated.
    ///
    /// ```
    /// # use lazuli_core::{Array, Repeater, Runtime};
    /// let (rt, mut again) = (Runtime::reference(), Repeater::default());
    /// for x in [1.0f32, 2.0, 3.0] {
    ///     let inputs = vec![Array::from_slice(&[x], [1])];
    ///     let double = rt.eval_again(&mut again, &[], inputs, |inputs| vec![&inputs[0] * 2.0])?;
    ///     assert_eq!(double[0].as_slice::<f32>()?, &[2.0 * x]);
    /// }
    /// assert_eq!(rt.stats().repeats, 1);
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    pub fn eval_again(
        &self,
        again: &mut Repeater,
        structure: &[usize],
        inputs: Vec<Array>,
        make: impl FnOnce(Vec<Array>) -> Vec<Array>,
    ) -> Result<Vec<Array>> {
        let known = Inputs::of(&inputs)?;
        let kind = Kind::of(structure, &inputs);
        if let Some(recording) = again.find(&kind, &inputs) {
            return self.repeat(recording, &inputs);
        }
        let results = make(inputs);
        let given = |array: &Array| match known.position(array) {
            Some(index) => Given::Input(index),
            None if array.is_evaluated() => Given::Fixed(array.clone()),
            None => Given::Computed(array.shape().clone(), array.dtype()),
        };
        let given: Vec<Given> = results.iter().map(given).collect();
        let wanted: Vec<&Array> = results.iter().filter(|a| !a.is_evaluated()).collect();
        if wanted.is_empty() {
            return Ok(results);
        }
        let mut state = self.idle()?;
        let Trace { graph, leaves } = Graph::trace(&wanted, &*self.backend);
        let donations = graph.donations();
        let compiled = self.compiled(&mut state, graph)?;
        let views: Vec<View> = leaves.iter().map(|leaf| leaf.view().cloned()).collect::<Result<_>>()?;
        let sources = leaves.iter().zip(&views).zip(donations);
        let sources: Option<Vec<Leaf>> =
            sources.map(|((leaf, view), donated)| known.leaf(leaf, view, donated)).collect();
        let (views, _) = self.launch(&mut state, &compiled, views, |program, bindings| {
            self.backend.run(program, bindings)?;
            Ok(None)
        })?;
        for (array, view) in wanted.iter().zip(views) {
            array.fulfil(view, None);
        }
        if let Some(leaves) = sources {
            again.learn(Recording { kind, compiled, leaves, results: given, proven: false });
        }
        Ok(results)
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
            repeats: state.repeats,
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
        let leaves = leaves.iter().map(|leaf| leaf.view().cloned()).collect::<Result<_>>()?;
        let (views, ticket) = self.launch(state, &compiled, leaves, run)?;
        for (array, view) in wanted.iter().zip(views) {
            array.fulfil(view, ticket.clone());
        }
        Ok(())
    }

    /// Runs a plan with its leaves; where its outputs lie.
    fn launch(
        &self,
        state: &mut State,
        compiled: &Compiled,
        leaves: Vec<View>,
        run: impl FnOnce(&Arc<dyn crate::Program>, Bindings) -> Result<Option<Ticket>>,
    ) -> Result<(Vec<View>, Option<Ticket>)> {
        let plan = &compiled.plan;
        let outputs: Vec<Buffer> =
            plan.output_bytes.iter().map(|&bytes| self.recycler.take(bytes)).collect::<Result<_>>()?;
        let bindings = Bindings { leaves, arena: self.arena(state, plan.arena_bytes)?, outputs };
        let views: Vec<View> = plan.outputs.iter().map(|output| bindings.view(plan, output)).collect();
        let ticket = run(&compiled.program, bindings)?;
        Ok((views, ticket))
    }

    /// Runs a recording with other inputs.
    fn repeat(&self, recording: &Recording, inputs: &[Array]) -> Result<Vec<Array>> {
        let mut state = self.idle()?;
        let leaf = |leaf: &Leaf| match leaf {
            Leaf::Input { index, layout, .. } => {
                Ok(View { layout: layout.clone(), ..inputs[*index].view()?.clone() })
            }
            Leaf::Fixed(view) => Ok(view.clone()),
        };
        let leaves = recording.leaves.iter().map(leaf).collect::<Result<_>>()?;
        let (views, _) = self.launch(&mut state, &recording.compiled, leaves, |program, bindings| {
            self.backend.run(program, bindings)?;
            Ok(None)
        })?;
        state.cache.hits += 1;
        state.repeats += 1;
        let mut views = views.into_iter();
        let result = |given: &Given| match given {
            Given::Computed(shape, dtype) => {
                views.next().map(|view| Array::ready(shape.clone(), *dtype, view, None))
            }
            Given::Input(index) => Some(inputs[*index].clone()),
            Given::Fixed(array) => Some(array.clone()),
        };
        Ok(recording.results.iter().filter_map(result).collect())
    }

    /// The state, when nothing is running any more.
    fn idle(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = state.last.take() {
            last.wait()?;
        }
        Ok(state)
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
