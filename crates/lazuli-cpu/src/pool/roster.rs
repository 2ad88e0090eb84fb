//! How many workers a run should have while something else uses one of the cores.

use std::time::Duration;

/// Waves that take longer are cut into enough pieces that those who are there do the work of one who is away.
const SHORT_WAVE: Duration = Duration::from_micros(500);
/// Disturbed runs in a row before anybody stays away: a moment's disturbance is no reason.
const DISTURBED: u32 = 2;
/// For how many runs a worker stays away at first, and how often that doubles while the core stays taken.
const REST: u32 = 8;
const DOUBLINGS: u32 = 4;

/// Counts disturbed runs, and decides who stays away.
pub(super) struct Roster {
    count: usize,
    /// Disturbed runs of all workers in a row.
    disturbed: u32,
    /// Runs for which a worker still stays away.
    rest: u32,
}

impl Roster {
    pub(super) fn new(count: usize) -> Self {
        Self { count, disturbed: 0, rest: 0 }
    }

    /// How many workers the next run should have.
    pub(super) fn workers(&self) -> usize {
        if self.rest > 0 { (self.count - 1).max(1) } else { self.count }
    }

    /// Takes how a run of `count` workers went: for how long others had the core of the worker who lost most by that, and how
    /// long it took, in `waves` waves.
    ///
    /// While one is away the others wait, so that a run loses as much as that worker; without it a run takes longer by one
    /// part of `count`, or by less where memory is what workers share.
    pub(super) fn note(&mut self, count: usize, lost: Duration, run: Duration, waves: u32) {
        let disturbed = lost * (count as u32 + 2) > run && run / waves < SHORT_WAVE;
        if count < self.count {
            self.rest -= 1;
        } else if disturbed {
            self.disturbed += 1;
            if let Some(before) = self.disturbed.checked_sub(DISTURBED) {
                self.rest = REST << before.min(DOUBLINGS);
            }
        } else {
            self.disturbed = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of ten waves.
    const SHORT: Duration = Duration::from_micros(100);
    const WAVES: u32 = 10;

    /// Runs of ten waves with everybody among `runs`, of which others have a core for a third if `disturbed` says so.
    fn full_runs(runs: u32, mut disturbed: impl FnMut(u32) -> bool, took: Duration) -> u32 {
        let mut roster = Roster::new(2);
        let mut full = 0;
        for run in 0..runs {
            let count = roster.workers();
            full += u32::from(count == 2);
            let lost = if count == 2 && disturbed(run) { took / 3 } else { Duration::ZERO };
            roster.note(count, lost, took, WAVES);
        }
        full
    }

    #[test]
    fn a_worker_stays_away_while_its_core_is_taken_and_is_tried_again() {
        // Two that find out, and one after each rest of 8, 16, 32, 64, 128, 128, ..
        assert_eq!(full_runs(2 + 8 + 1 + 16 + 1 + 32 + 1 + 64 + 1 + 128, |_| true, SHORT), 6);
        // After the disturbance has ended everybody comes back.
        assert_eq!(full_runs(1010, |run| run < 2, SHORT), 1010 - 8);
    }

    #[test]
    fn a_moments_disturbance_and_long_waves_keep_nobody_away() {
        assert_eq!(full_runs(100, |run| run % 2 == 0, SHORT), 100);
        assert_eq!(full_runs(100, |_| true, Duration::from_millis(10)), 100);
        let mut alone = Roster::new(1);
        (0..9).for_each(|_| alone.note(1, SHORT, SHORT, WAVES));
        assert_eq!(alone.workers(), 1);
    }

    #[test]
    fn a_worker_who_loses_less_than_it_is_worth_is_kept() {
        for (count, part) in [(2, 5), (8, 12), (64, 70)] {
            let (mut kept, mut sent) = (Roster::new(count), Roster::new(count));
            for _ in 0..DISTURBED {
                kept.note(count, SHORT / part, SHORT, WAVES);
                sent.note(count, SHORT * 2 / part, SHORT, WAVES);
            }
            assert_eq!([kept.workers(), sent.workers()], [count, count - 1]);
        }
    }
}
