//! Times a session: prompts of a length, and generation at a depth.

use crate::cli::{Failure, Interrupt};
use indicatif::ProgressBar;
use lazuli::nn::Logits;
use lazuli::planner::Estimate;
use lazuli::{DecodeTraffic, PREFILL_CHUNK, Session};
use serde::Serialize;
use std::time::Instant;

/// Tokens a second over the repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of at least one number.
    fn of(mut speeds: Vec<f64>) -> Self {
        speeds.sort_by(f64::total_cmp);
        let (low, high) = (speeds[(speeds.len() - 1) / 2], speeds[speeds.len() / 2]);
        Spread { median: low.midpoint(high), min: speeds[0], max: speeds[speeds.len() - 1] }
    }
}

/// How fast a prompt is read.
#[derive(Debug, Serialize)]
pub struct Prefill {
    pub tokens: usize,
    pub tok_s: Spread,
    /// What the planner says, where this machine was calibrated.
    pub predicted_tok_s: Option<Estimate>,
}

/// How fast tokens are generated.
#[derive(Debug, Serialize)]
pub struct Decode {
    pub tokens: usize,
    pub depth: usize,
    pub tok_s: Spread,
    /// Weights, and keys and values at the mean depth.
    pub bytes_per_token: f64,
    /// Bytes a second at the median speed, in 10^9.
    pub gb_s: f64,
    /// The same as a share of the measured bandwidth.
    pub bandwidth_share: f64,
    /// What the planner says, where this machine was calibrated.
    pub predicted_tok_s: Option<Estimate>,
}

impl Decode {
    /// Sets a measured speed beside what it moved; `bandwidth` is in bytes a second.
    fn new(timing: Timing, traffic: &DecodeTraffic, bandwidth: f64) -> Self {
        let Timing { tokens, depth, tok_s } = timing;
        let bytes_per_token = traffic.mean(depth, tokens);
        let bytes_per_second = bytes_per_token * tok_s.median;
        Decode {
            tokens,
            depth,
            tok_s,
            bytes_per_token,
            gb_s: bytes_per_second / 1e9,
            bandwidth_share: bytes_per_second / bandwidth,
            predicted_tok_s: None,
        }
    }
}

/// A measured generation.
#[derive(Clone, Copy)]
struct Timing {
    tokens: usize,
    depth: usize,
    tok_s: Spread,
}

/// How often each thing is done.
#[derive(Clone, Copy)]
pub struct Repetitions {
    /// Times that count.
    pub measured: u32,
    /// Whether it is done once before, which does not count.
    pub warm_up: bool,
}

impl Repetitions {
    /// Times in all.
    pub fn all(self) -> u32 {
        self.measured + u32::from(self.warm_up)
    }

    /// The speeds that count, of all in order.
    fn counted(self, mut speeds: Vec<f64>) -> Vec<f64> {
        speeds.drain(..usize::from(self.warm_up));
        speeds
    }
}

/// A session being timed.
pub struct Bench {
    session: Session,
    repetitions: Repetitions,
    interrupt: Interrupt,
    bar: ProgressBar,
    random: u64,
    decodes: Vec<Timing>,
}

impl Bench {
    /// Does each thing as often as `repetitions` says and moves `bar` on after each time.
    pub fn new(session: Session, repetitions: Repetitions, interrupt: Interrupt, bar: ProgressBar) -> Self {
        Bench { session, repetitions, interrupt, bar, random: 0x9e37_79b9_7f4a_7c15, decodes: Vec::new() }
    }

    /// Reads prompts of `tokens` tokens; the last one's logits are computed, as a generation needs them.
    pub fn prefill(&mut self, tokens: usize) -> Result<Prefill, Failure> {
        self.bar.set_message(format!("prefill {tokens}"));
        let ids = self.draw(tokens);
        let mut speeds = Vec::new();
        for _ in 0..self.repetitions.all() {
            self.interrupt.check()?;
            self.session.rewind(0);
            let start = Instant::now();
            self.session.prompt(&ids)?;
            speeds.push(tokens as f64 / start.elapsed().as_secs_f64());
            self.bar.inc(1);
        }
        Ok(Prefill { tokens, tok_s: Spread::of(self.repetitions.counted(speeds)), predicted_tok_s: None })
    }

    /// Generates `tokens` tokens after `depth` others.
    pub fn decode(&mut self, tokens: usize, depth: usize) -> Result<(), Failure> {
        self.bar.set_message(format!("decode {tokens} at depth {depth}"));
        self.session.rewind(0);
        let before = self.draw(depth);
        for chunk in before.chunks(PREFILL_CHUNK) {
            self.interrupt.check()?;
            self.session.feed(chunk, Logits::None)?;
        }
        let ids = self.draw(tokens);
        let mut speeds = Vec::new();
        for _ in 0..self.repetitions.all() {
            if self.session.rewind(depth) < depth {
                // Layers with a window have given up what came before: it is computed again, not counted.
                self.session.feed(&before, Logits::None)?;
            }
            let start = Instant::now();
            for &id in &ids {
                self.interrupt.check()?;
                self.session.feed(&[id], Logits::Last)?;
            }
            speeds.push(tokens as f64 / start.elapsed().as_secs_f64());
            self.bar.inc(1);
        }
        let tok_s = Spread::of(self.repetitions.counted(speeds));
        self.decodes.push(Timing { tokens, depth, tok_s });
        Ok(())
    }

    /// The generations measured, beside the bytes that the plan of a step moves.
    pub fn finish(self, bandwidth: f64) -> Result<Vec<Decode>, Failure> {
        self.bar.finish_and_clear();
        if self.decodes.is_empty() {
            return Ok(Vec::new());
        }
        let traffic = DecodeTraffic::of(&self.session.decode_plan()?);
        Ok(self.decodes.into_iter().map(|timing| Decode::new(timing, &traffic, bandwidth)).collect())
    }

    /// Tokens of the vocabulary, the same in each run of the program (xorshift64, Marsaglia 2003).
    fn draw(&mut self, count: usize) -> Vec<u32> {
        let vocabulary = self.session.model().spec().vocabulary as u64;
        let mut next = || {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            (self.random % vocabulary) as u32
        };
        (0..count).map(|_| next()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_up_does_not_count() {
        let speeds = || vec![1.0, 5.0, 4.0];
        for (warm_up, counted) in [(false, speeds()), (true, vec![5.0, 4.0])] {
            let repetitions = Repetitions { measured: counted.len() as u32, warm_up };
            assert_eq!(repetitions.all(), 3);
            assert_eq!(repetitions.counted(speeds()), counted);
        }
    }

    #[test]
    fn a_median_of_even_counts_lies_between() {
        let odd = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!(odd, Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]).median, 2.5);
    }
}
