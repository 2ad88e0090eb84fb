//! For how long others had the core of a worker that wanted to run.

use super::signal;
use std::time::{Duration, Instant};

/// A span of one thread's life: what of it the thread neither ran nor chose to sleep, others had its core.
pub(super) struct Presence {
    began: Instant,
    ran: Option<Duration>,
    asleep: Duration,
}

impl Presence {
    /// Begins now, on this thread.
    pub(super) fn begin() -> Self {
        Self { began: Instant::now(), ran: cpu_time(), asleep: signal::asleep() }
    }

    /// For how long others have had this thread's core since. To wait for a disk counts as well; zero where the system does not
    /// say how long a thread has run.
    pub(super) fn lost(&self) -> Duration {
        let Some((before, now)) = self.ran.zip(cpu_time()) else { return Duration::ZERO };
        let slept = signal::asleep().saturating_sub(self.asleep);
        let here = now.saturating_sub(before) + slept;
        self.began.elapsed().saturating_sub(here)
    }
}

/// For how long this thread has run, in all.
#[cfg(unix)]
fn cpu_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).ok()
}

#[cfg(not(unix))]
fn cpu_time() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_runs_or_sleeps_by_choice_loses_nothing_and_who_is_kept_from_running_does() {
        let presence = Presence::begin();
        let mut spun = 0u64;
        while presence.began.elapsed() < Duration::from_millis(20) {
            spun = std::hint::black_box(spun + 1);
        }
        // On a machine that others use as well, as tests beside this one do, a moment may be lost: most of it is not.
        let ran = presence.began.elapsed().saturating_sub(presence.lost());
        assert!(cfg!(not(unix)) || ran > Duration::from_millis(2), "{ran:?} of 20 ms");
        if cfg!(unix) {
            let presence = Presence::begin();
            // Not one of the pool's own sleeps: as if others had the core.
            std::thread::sleep(Duration::from_millis(20));
            assert!(presence.lost() > Duration::from_millis(15), "{:?}", presence.lost());
        }
    }
}
