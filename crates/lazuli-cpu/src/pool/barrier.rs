//! The meeting point of all workers of a run, made to cost a fraction of a microsecond.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::signal::{Patience, Signal};

/// The payload with which a worker leaves a barrier that will never open because another worker panicked.
pub(super) struct Interrupted;

/// A counting barrier: the last to arrive starts the next generation, which lets the others go.
pub(super) struct Barrier {
    count: AtomicU32,
    arrived: Line,
    interrupted: AtomicBool,
    generation: Signal,
}

#[repr(align(128))]
struct Line(AtomicU32);

impl Barrier {
    pub(super) fn new() -> Self {
        Self {
            count: AtomicU32::new(0),
            arrived: Line(AtomicU32::new(0)),
            interrupted: AtomicBool::new(false),
            generation: Signal::new(),
        }
    }

    /// Makes the barrier new, for `count` workers. Only while no worker runs.
    pub(super) fn reset(&self, count: usize) {
        self.count.store(count as u32, Ordering::Relaxed);
        self.arrived.0.store(0, Ordering::Relaxed);
        self.interrupted.store(false, Ordering::Relaxed);
    }

    /// Waits for the others; unwinds with [`Interrupted`] if one of them panicked. The last to arrive does `work` before
    /// it lets the others go.
    pub(super) fn wait(&self, patience: Patience, work: impl FnOnce()) {
        let generation = self.generation.value();
        if self.arrived.0.fetch_add(1, Ordering::AcqRel) + 1 == self.count.load(Ordering::Relaxed) {
            // Nobody can arrive at the next barrier before the generation has advanced.
            self.arrived.0.store(0, Ordering::Relaxed);
            work();
            self.generation.advance();
        } else if !self.interrupted.load(Ordering::SeqCst) {
            self.generation.wait_past(generation, patience);
        }
        if self.interrupted.load(Ordering::SeqCst) {
            std::panic::resume_unwind(Box::new(Interrupted));
        }
    }

    /// How often it has opened, in all.
    pub(super) fn opened(&self) -> u32 {
        self.generation.value()
    }

    /// Opens the barrier for good: everyone who waits, or comes later in this run, unwinds.
    pub(super) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::SeqCst);
        self.generation.advance();
    }
}
