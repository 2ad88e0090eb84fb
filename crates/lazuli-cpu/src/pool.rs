//! SPMD workers: one closure runs on all of them at once, and barriers inside it order the work.
//!
//! Owns the threads, how they wait (spin, then yield, then sleep) and how a panic travels.
//! What the workers do, and how a plan is cut into chunks, is the executor's business.

mod barrier;
mod chunks;
mod cores;
mod presence;
mod roster;
mod signal;

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use chunks::Chunks;
pub use cores::default_threads;

use barrier::{Barrier, Interrupted};
use presence::Presence;
use roster::Roster;
use signal::{Patience, Signal};

/// A fixed set of workers, of which the calling thread is number 0.
///
/// Between runs the other workers spin for a moment (so that the next step of a generation finds them awake)
/// and then sleep: an idle pool uses no CPU.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// let mut pool = lazuli_cpu::pool::Pool::new(2)?;
/// let sum = AtomicUsize::new(0);
/// pool.run(|worker| {
///     worker.for_each_chunk(10, |chunk| {
///         sum.fetch_add(chunk, Ordering::Relaxed);
///     });
///     worker.barrier();
///     assert_eq!(sum.load(Ordering::Relaxed), 45);
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Pool {
    shared: Arc<Shared>,
    roster: Roster,
    threads: Vec<JoinHandle<()>>,
}

/// One worker's view of a run: who it is, and the means to meet the others.
pub struct Worker<'run> {
    /// This worker's number, from 0 (the caller of [`Pool::run`]) to `count - 1`.
    pub index: usize,
    /// How many workers run the closure.
    pub count: usize,
    shared: &'run Shared,
    share: Cell<u32>,
}

type Job = dyn Fn(Worker<'_>) + Sync;

struct Shared {
    count: usize,
    idle_patience: Patience,
    work_patience: Patience,
    /// Advanced once for each run, and once at the end of the pool's life.
    start: Signal,
    /// Advanced by the last of the other workers to finish a run.
    done: Signal,
    running: AtomicU32,
    /// The number of the run in the upper half, and in the lower how many workers it has.
    called: AtomicU64,
    stop: AtomicBool,
    job: UnsafeCell<Option<*const Job>>,
    barrier: Barrier,
    chunks: Chunks,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is written only by the thread that owns the `Pool`, while no worker runs (`running == 0`), and read by
// the workers only after `start` was advanced. The closure behind the pointer is `Sync`. All else is `Sync` by itself.
unsafe impl Sync for Shared {}
// SAFETY: as above: a raw pointer to a `Sync` closure may be used from any thread while `Pool::run` keeps it alive.
unsafe impl Send for Shared {}

impl Pool {
    /// Starts a pool of `threads` workers (at least 1), the caller included: `threads - 1` threads are spawned.
    ///
    /// # Errors
    /// The operating system's error when a thread cannot be started.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let count = threads.max(1);
        let crowded = count > cores::available();
        let shared = Arc::new(Shared {
            count,
            idle_patience: Patience::between_runs(crowded),
            work_patience: Patience::within_a_run(crowded),
            start: Signal::new(),
            done: Signal::new(),
            running: AtomicU32::new(0),
            called: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            job: UnsafeCell::new(None),
            barrier: Barrier::new(),
            chunks: Chunks::new(),
            panic: Mutex::new(None),
        });
        let mut pool = Self { shared, roster: Roster::new(count), threads: Vec::with_capacity(count - 1) };
        for index in 1..count {
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new().name(format!("lazuli-cpu-{index}"));
            pool.threads.push(thread.spawn(move || shared.serve(index))?);
        }
        Ok(pool)
    }

    /// How many workers the pool has, the caller included.
    pub fn threads(&self) -> usize {
        self.shared.count
    }

    /// Runs `job` on every worker at once, the calling thread being worker 0, and returns when all have finished.
    ///
    /// # Panics
    /// If a worker panics, the others are released from their barriers and the first panic continues here.
    pub fn run<F: Fn(Worker<'_>) + Sync>(&mut self, job: F) {
        self.run_on(self.shared.count, job);
    }

    /// As [`Pool::run`], with fewer workers for a while where a core turns out to be used by others and the run is one of
    /// many short waves: a worker that is away holds up all others at each barrier, and they are faster without it.
    pub fn run_undisturbed<F: Fn(Worker<'_>) + Sync>(&mut self, job: F) {
        let (count, began) = (self.roster.workers(), Instant::now());
        let opened = self.shared.barrier.opened();
        let most = AtomicU64::new(0);
        self.run_on(count, |worker| {
            let presence = Presence::begin();
            job(worker);
            most.fetch_max(presence.lost().as_nanos() as u64, Ordering::Relaxed);
        });
        let waves = self.shared.barrier.opened().wrapping_sub(opened) + 1;
        self.roster.note(count, Duration::from_nanos(most.into_inner()), began.elapsed(), waves);
    }

    /// Runs `job` on the first `count` workers.
    fn run_on<F: Fn(Worker<'_>) + Sync>(&mut self, count: usize, job: F) {
        let shared = &*self.shared;
        shared.barrier.reset(count);
        shared.chunks.reset();
        if count > 1 {
            let job: &(dyn Fn(Worker<'_>) + Sync + '_) = &job;
            // SAFETY: this only forgets the closure's lifetime. `run` does not return, nor unwind, before every worker
            // has finished with the pointer (`running == 0` below).
            let job = unsafe { std::mem::transmute::<&(dyn Fn(Worker<'_>) + Sync + '_), &'static Job>(job) };
            // SAFETY: `&mut self` and `running == 0` mean that no worker reads the cell now.
            unsafe { *shared.job.get() = Some(std::ptr::from_ref(job)) };
            shared.running.store(count as u32 - 1, Ordering::Relaxed);
            let run = u64::from(shared.start.value().wrapping_add(1));
            shared.called.store(run << 32 | count as u64, Ordering::SeqCst);
        }
        let done = shared.done.value();
        if count > 1 {
            shared.start.advance();
        }
        shared.guard(|| job(shared.worker(0, count)));
        if count > 1 {
            shared.done.wait_past(done, shared.work_patience);
        }
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.start.advance();
        for thread in self.threads.drain(..) {
            // A worker's own panics are caught and handed to `run`; there is nothing left to report here.
            let _ = thread.join();
        }
    }
}

impl Worker<'_> {
    /// Waits until every worker of the run has come to this barrier. What they wrote before is visible after it.
    pub fn barrier(&self) {
        self.barrier_and(|_| ());
    }

    /// As [`Worker::barrier`]; the last to come does `work`, as if it were the only worker, before anybody goes on.
    pub fn barrier_and(&self, work: impl FnOnce(&Worker<'_>)) {
        let alone = Worker { index: 0, count: 1, shared: self.shared, share: Cell::new(0) };
        if self.count > 1 {
            self.shared.barrier.wait(self.shared.work_patience, || work(&alone));
        } else {
            work(&alone);
        }
    }

    /// Calls `work` for those of the chunks `0..total` that this worker is the first to take.
    ///
    /// Every worker must make the same calls in the same order. Workers may be in different calls at one time (there
    /// is no barrier here): the results of one call are complete only after the next [`Worker::barrier`].
    pub fn for_each_chunk(&self, total: usize, mut work: impl FnMut(usize)) {
        self.for_each_chunk_ahead(total, false, |chunk, _| work(chunk));
    }

    /// As [`Worker::for_each_chunk`]; when `work` is near the end of a chunk it may ask which one this worker does next,
    /// so that what that one reads can be asked for. To ask is to take: whoever asks early may hold chunks that others
    /// wait for. If `own`, the first chunks belong to one worker each, which saves them taking.
    pub fn for_each_chunk_ahead(
        &self,
        total: usize,
        own: bool,
        mut work: impl FnMut(usize, &mut dyn FnMut() -> Option<usize>),
    ) {
        let share = self.share.get() + 1;
        self.share.set(share);
        let mut alone = 0..total;
        let owned = if own { self.count.min(total) } else { 0 };
        let mut take = || {
            if self.count == 1 {
                alone.next()
            } else {
                self.shared.chunks.take(share, total - owned).map(|chunk| chunk + owned)
            }
        };
        let mut next = if self.count > 1 && self.index < owned { Some(self.index) } else { take() };
        while let Some(chunk) = next {
            let mut asked = None;
            work(chunk, &mut || *asked.get_or_insert_with(&mut take));
            next = asked.unwrap_or_else(&mut take);
        }
    }

    /// This worker's fixed part of `0..total`: contiguous, in worker order, sizes differing by at most one.
    pub fn part(&self, total: usize) -> std::ops::Range<usize> {
        let (size, rest) = (total / self.count, total % self.count);
        let start = self.index * size + self.index.min(rest);
        start..start + size + usize::from(self.index < rest)
    }
}

impl Shared {
    fn worker(&self, index: usize, count: usize) -> Worker<'_> {
        Worker { index, count, shared: self, share: Cell::new(0) }
    }

    /// The life of a spawned worker: wait for a run, do it, say so.
    fn serve(&self, index: usize) {
        let mut seen = 0;
        loop {
            self.start.wait_past(seen, self.idle_patience);
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            // A worker that was not called for a run may wake when the next one begins, even before the signal: what counts
            // is the run that it finds, and it takes part in that once.
            let called = self.called.load(Ordering::SeqCst);
            let (run, count) = ((called >> 32) as u32, (called & u64::from(u32::MAX)) as usize);
            let known = run == seen;
            seen = run;
            if known || index >= count {
                continue;
            }
            // SAFETY: `start` was advanced after the cell was written, and it is not written again before this worker, who
            // was called, has counted itself out of `running`.
            if let Some(job) = unsafe { *self.job.get() } {
                // SAFETY: `Pool::run` keeps the closure alive until `running` is 0.
                self.guard(|| unsafe { &*job }(self.worker(index, count)));
            }
            if self.running.fetch_sub(1, Ordering::SeqCst) == 1 {
                self.done.advance();
            }
        }
    }

    /// Runs `work`; if it panics, keeps the first payload and frees the others from their barriers.
    fn guard(&self, work: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
            if !payload.is::<Interrupted>() {
                let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(payload);
            }
            self.barrier.interrupt();
        }
    }
}

#[cfg(test)]
mod tests;
