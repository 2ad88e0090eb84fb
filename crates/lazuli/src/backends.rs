//! The backends that this build has, and how a runtime is made on one of them.
//!
//! The only file that names backend crates: a new backend is a dependency and a line here.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lazuli_core::Runtime;
use lazuli_cpu::Cpu;
use lazuli_cpu::pool::default_threads;
use lazuli_cpu::simd::Level;

pub use lazuli_cpu::Precision;

/// Why a backend could not be started.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A vector level that does not exist or that this processor lacks.
    #[error("{0}")]
    Level(String),
    /// The system gave no thread.
    #[error("cannot start {threads} worker threads: ask for fewer")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What a runtime should compute with. The default is what suits this machine.
///
/// ```
/// use lazuli::backends::{Precision, RuntimeOptions};
///
/// let exact = RuntimeOptions { precision: Precision::Exact, ..RuntimeOptions::default() };
/// let runtime = exact.runtime()?;
/// assert_eq!(runtime.backend().name(), "cpu");
/// # Ok::<(), lazuli::backends::BackendError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct RuntimeOptions<'a> {
    /// Workers; without it one for each physical (performance) core that the process may use.
    pub threads: Option<NonZeroUsize>,
    /// How packed weights are multiplied.
    pub precision: Precision,
    /// A vector level by name (`scalar`, `avx2`, `avx512`, `neon`), for tests; without it the best one.
    pub simd: Option<&'a str>,
}

impl RuntimeOptions<'_> {
    /// A runtime with these options.
    ///
    /// # Errors
    /// If the vector level is not available or threads cannot be started.
    pub fn runtime(&self) -> Result<Runtime, BackendError> {
        Ok(self.workers()?.runtime())
    }

    /// The workers that runtimes with these options share.
    ///
    /// # Errors
    /// As [`RuntimeOptions::runtime`].
    pub fn workers(&self) -> Result<Workers, BackendError> {
        let level = match self.simd {
            Some(name) => Level::parse(name).map_err(|error| BackendError::Level(error.to_string()))?,
            None => Level::detect(),
        };
        let threads = self.threads.map_or_else(default_threads, NonZeroUsize::get);
        let cpu = Cpu::new(level, self.precision, threads)
            .map_err(|source| BackendError::Threads { threads, source })?;
        Ok(Workers { cpu: Arc::new(cpu) })
    }
}

/// The threads that compute, and a way to put other work on them: measurements must run where the kernels do.
/// Cheap to clone.
#[derive(Clone)]
pub struct Workers {
    cpu: Arc<Cpu>,
}

impl Workers {
    /// A runtime on these workers.
    pub fn runtime(&self) -> Runtime {
        Runtime::new(self.cpu.clone())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.cpu.threads()
    }

    /// The vector level, in words such as `avx512+dot+bf16`.
    pub fn simd(&self) -> String {
        self.cpu.level().to_string()
    }

    /// The wrapping sum of `words`, read at the speed of memory by the calling worker.
    pub fn sum(&self, words: &[i32]) -> i32 {
        lazuli_cpu::kernel::stream::sum(self.cpu.level(), words)
    }

    /// Calls `job(index, count)` on all workers at once and returns when all have finished.
    pub fn run(&self, job: impl Fn(usize, usize) + Sync) {
        self.cpu.on_all_workers(|worker| job(worker.index, worker.count));
    }
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} workers on {}", self.count(), self.simd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_level_is_one_sentence_with_the_choices() {
        let options = RuntimeOptions { simd: Some("mmx"), ..RuntimeOptions::default() };
        let error = options.workers().expect_err("there is no such level").to_string();
        assert!(error.starts_with("vector level \"mmx\" is not available"), "{error}");
        assert!(error.contains("scalar"), "{error}");
    }

    #[test]
    fn the_options_are_what_runs() {
        let options = RuntimeOptions {
            threads: NonZeroUsize::new(3),
            simd: Some("scalar"),
            ..RuntimeOptions::default()
        };
        let workers = options.workers().expect("scalar is always there");
        assert_eq!((workers.count(), workers.simd().as_str()), (3, "scalar"));
        let seen = std::sync::Mutex::new(Vec::new());
        workers.run(|index, count| seen.lock().expect("no worker panics").push((index, count)));
        let mut seen = seen.into_inner().expect("no worker panics");
        seen.sort_unstable();
        assert_eq!(seen, [(0, 3), (1, 3), (2, 3)]);
    }
}
