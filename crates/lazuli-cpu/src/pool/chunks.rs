//! Work handed out piece by piece, so that a slow worker does not hold up the others.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter from which workers take the pieces `0..total` of one share of work after another.
///
/// Shares are numbered upwards. Nothing has to be reset between two shares and no barrier has to stand between them:
/// a worker goes on to a later share only when all pieces of the earlier one have been taken, so the first to ask for
/// a piece of a new share starts it, and whoever is late at the old one finds it finished.
#[repr(align(128))]
pub struct Chunks {
    /// The current share in the upper half, its next piece in the lower.
    state: AtomicU64,
}

impl Chunks {
    /// A counter before its first share (number 1).
    pub fn new() -> Self {
        Self { state: AtomicU64::new(0) }
    }

    /// Takes the next piece of `share`, or `None` when all of its `total` pieces (at most `u32::MAX`) are taken.
    pub fn take(&self, share: u32, total: usize) -> Option<usize> {
        // A guess in place of a load: whether it is right or not, the exchange brings the line here to be written, which a
        // load would have to ask for again.
        let mut state = u64::from(share) << 32;
        loop {
            let (current, next) = ((state >> 32) as u32, (state & 0xffff_ffff) as usize);
            let piece = if current < share { 0 } else { next };
            if current > share || piece >= total {
                return None;
            }
            let after = (u64::from(share) << 32) | (piece as u64 + 1);
            match self.state.compare_exchange_weak(state, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(piece),
                Err(found) => state = found,
            }
        }
    }

    /// Goes back to before share 1. Only while nobody takes pieces.
    pub fn reset(&self) {
        self.state.store(0, Ordering::Relaxed);
    }
}

impl Default for Chunks {
    fn default() -> Self {
        Self::new()
    }
}
