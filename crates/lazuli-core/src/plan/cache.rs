//! Plans by structure: a decode step has the same graph as the one before, so it costs a hash and a comparison.

use std::collections::HashMap;
use std::sync::Arc;

use crate::graph::Graph;
use crate::{Program, plan::Plan};

/// The most plans kept. Each prompt length makes one; decode steps need a handful.
const CAPACITY: usize = 64;

/// A plan and what the backend made of it.
pub(crate) struct Compiled {
    pub plan: Arc<Plan>,
    pub program: Arc<dyn Program>,
}

/// Compiled plans, the least recently used of which is forgotten when there are too many.
#[derive(Default)]
pub(crate) struct PlanCache {
    plans: HashMap<Graph, (Arc<Compiled>, u64)>,
    clock: u64,
    pub hits: u64,
    pub misses: u64,
}

impl PlanCache {
    /// The plan of an equal graph, if there is one.
    pub fn get(&mut self, graph: &Graph) -> Option<Arc<Compiled>> {
        self.clock += 1;
        let found = self.plans.get_mut(graph).map(|(compiled, used)| {
            *used = self.clock;
            compiled.clone()
        });
        *(if found.is_some() { &mut self.hits } else { &mut self.misses }) += 1;
        found
    }

    /// Remembers a plan.
    pub fn insert(&mut self, graph: Graph, compiled: Arc<Compiled>) {
        if self.plans.len() >= CAPACITY {
            // Linear, but only when a new structure arrives, which costs far more.
            self.plans.retain(|_, (_, used)| self.clock - *used < CAPACITY as u64 / 2);
        }
        self.plans.insert(graph, (compiled, self.clock));
    }
}
