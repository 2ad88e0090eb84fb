//! A counter that threads wait on: spinning first, then yielding, then asleep.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A yield that takes longer gave the core to somebody else: alone on it, a thread is back at once.
const LONG_YIELD: Duration = Duration::from_micros(20);

thread_local! {
    /// What this thread holds of its core.
    static CORE: Cell<Core> = const { Cell::new(Core::OWN) };
    /// For how long this thread has slept, in all.
    static ASLEEP: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// For how long this thread has been asleep at signals, in all.
pub(super) fn asleep() -> Duration {
    ASLEEP.get()
}

/// Whether a thread takes its core to be shared with others.
///
/// One long yield is little evidence: an interrupt, or a host that gave the core of its virtual machine to another one for a
/// moment, look like somebody who computes. So the first one makes few waits be those of a shared core, and each further one twice
/// as many, until for a while there is none.
#[derive(Clone, Copy)]
struct Core {
    /// How many of the next waits are on a shared core.
    shared: u32,
    /// How many they become at the next long yield.
    next: u32,
    /// Waits on a core of its own since the last of the others.
    quiet: u32,
}

impl Core {
    const FEWEST: u32 = 8;
    /// About the waits of a token.
    const MOST: u32 = 512;
    const OWN: Self = Self { shared: 0, next: Self::FEWEST, quiet: 0 };

    /// Its state after one more wait; that is on a shared core if `shared` is above zero now.
    fn waited(self) -> Self {
        if self.shared > 0 {
            Self { shared: self.shared - 1, ..self }
        } else if self.quiet < Self::MOST {
            Self { quiet: self.quiet + 1, ..self }
        } else {
            Self::OWN
        }
    }

    /// Its state after a long yield.
    fn yielded_long(self) -> Self {
        Self { shared: self.next, next: (2 * self.next).min(Self::MOST), quiet: 0 }
    }
}

/// How long a waiting thread spins and yields before it sleeps.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    spin: Duration,
    yielding: Duration,
}

impl Patience {
    /// Between runs: long enough to bridge the sampling of a token from a large vocabulary, short enough that an idle process uses
    /// no CPU.
    pub(super) fn between_runs(crowded: bool) -> Self {
        Self { spin: Duration::from_micros(if crowded { 2 } else { 500 }), yielding: Duration::ZERO }
    }

    /// At a barrier the others are known to be working, so the wait is short unless a core was taken away.
    pub(super) fn within_a_run(crowded: bool) -> Self {
        if crowded {
            Self { spin: Duration::from_micros(1), yielding: Duration::from_micros(50) }
        } else {
            Self { spin: Duration::from_micros(50), yielding: Duration::from_millis(1) }
        }
    }

    /// On a core that others use too, whoever spins may keep from it the very worker that it waits for, and whoever
    /// yields may come back last; a sleeper is woken first.
    fn here(self) -> Self {
        let core = CORE.get();
        CORE.set(core.waited());
        if core.shared > 0 { Self { spin: Duration::ZERO, yielding: Duration::ZERO } } else { self }
    }
}

/// An event counter. It has two cache lines to itself (adjacent lines are fetched in pairs).
#[repr(align(128))]
pub(super) struct Signal {
    value: AtomicU32,
    sleepers: AtomicU32,
    /// When sleepers were woken last.
    woken: Mutex<Option<Instant>>,
    wake: Condvar,
}

impl Signal {
    pub(super) fn new() -> Self {
        Self {
            value: AtomicU32::new(0),
            sleepers: AtomicU32::new(0),
            woken: Mutex::new(None),
            wake: Condvar::new(),
        }
    }

    pub(super) fn value(&self) -> u32 {
        self.value.load(Ordering::Acquire)
    }

    /// Counts one event and wakes whoever sleeps.
    pub(super) fn advance(&self) {
        self.value.fetch_add(1, Ordering::SeqCst);
        // Pairs with the sleeper, which counts itself before it looks at the value a last time.
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            self.wake.notify_all();
        }
    }

    /// Waits until the counter is no longer `seen`; returns its new value.
    pub(super) fn wait_past(&self, seen: u32, patience: Patience) -> u32 {
        /// The clock costs more than a look at the counter.
        const LOOKS_PER_CLOCK: u32 = 64;
        let patience = patience.here();
        for _ in 0..LOOKS_PER_CLOCK {
            let value = self.value();
            if value != seen {
                return value;
            }
            std::hint::spin_loop();
        }
        let began = Instant::now();
        while began.elapsed() < patience.spin {
            for _ in 0..LOOKS_PER_CLOCK {
                let value = self.value();
                if value != seen {
                    return value;
                }
                std::hint::spin_loop();
            }
        }
        while began.elapsed() < patience.spin + patience.yielding {
            let value = self.value();
            if value != seen {
                return value;
            }
            let yielded = Instant::now();
            std::thread::yield_now();
            if yielded.elapsed() > LONG_YIELD {
                CORE.set(CORE.get().yielded_long());
            }
        }
        self.sleep_past(seen)
    }

    #[cold]
    fn sleep_past(&self, seen: u32) -> u32 {
        let began = Instant::now();
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let mut value = self.value.load(Ordering::SeqCst);
        while value == seen {
            woken = self.wake.wait(woken).unwrap_or_else(PoisonError::into_inner);
            value = self.value.load(Ordering::SeqCst);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        // Whoever comes back later than it was woken did not sleep for so long: others had its core.
        let slept = woken.map_or(Duration::ZERO, |woken| woken.saturating_duration_since(began));
        ASLEEP.set(ASLEEP.get() + slept);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of the next `waits` are on a shared core.
    fn shared(core: &mut Core, waits: u32) -> u32 {
        (0..waits)
            .filter(|_| {
                let shared = core.shared > 0;
                *core = core.waited();
                shared
            })
            .count() as u32
    }

    #[test]
    fn a_core_is_taken_to_be_shared_for_longer_the_more_often_that_is_seen() {
        let mut core = Core::OWN;
        assert_eq!(shared(&mut core, 1000), 0);
        for expected in [8, 16, 32, 64, 128, 256, 512, 512] {
            core = core.yielded_long();
            assert_eq!(shared(&mut core, expected + 100), expected);
        }
        // Nothing of it for long enough, and it begins anew.
        assert_eq!(shared(&mut core, Core::MOST), 0);
        core = core.yielded_long();
        assert_eq!(shared(&mut core, 1000), Core::FEWEST);
    }
}
