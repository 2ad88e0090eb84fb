//! The links of the chain that choose among logits: top-k, top-p, min-p, temperature, the draw, and greedy.

use std::cmp::Ordering;

use super::Rng;

/// A token that may come next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The token.
    pub id: u32,
    /// Its logit, which is finite.
    pub logit: f32,
}

/// The tokens that may come next: the best first behind [`Candidates::fill_top_k`], else in the order of their
/// ids. Equal logits rank by id, so the order is the same everywhere.
#[derive(Debug, Clone, Default)]
pub struct Candidates {
    items: Vec<Candidate>,
    ranked: bool,
}

/// Buckets per unit of logit, and how many there are: `top_p` weighs candidates in buckets by their distance from
/// the best, and the last one takes all that is further away (each of those weighs less than `e^-32`).
const BUCKETS_PER_UNIT: f32 = 32.0;
const BUCKETS: usize = 1025;

/// How many candidates a draw skips at a time.
const BLOCK: usize = 256;

impl Candidates {
    /// Every token whose logit is a finite number. The memory of `self` is used again.
    pub fn fill(&mut self, logits: &[f32]) {
        self.ranked = false;
        self.items.clear();
        let all = logits.iter().enumerate().filter(|(_, logit)| logit.is_finite());
        self.items.extend(all.map(|(id, &logit)| Candidate { id: id as u32, logit }));
    }

    /// The best `k` tokens, best first: one pass over the logits, which only looks closer at those that beat
    /// the k-th best so far. Gives the same as [`Candidates::fill`], ranked and cut.
    pub fn fill_top_k(&mut self, logits: &[f32], k: usize) {
        let room = k.saturating_mul(2).max(64);
        if k == 0 || room >= logits.len() {
            self.fill(logits);
        } else {
            self.items.clear();
            let mut least = f32::NEG_INFINITY;
            for (id, &logit) in logits.iter().enumerate() {
                // A later token with the logit of the k-th best ranks behind it, so `>` is exact.
                if logit > least && logit < f32::INFINITY {
                    self.items.push(Candidate { id: id as u32, logit });
                    if self.items.len() == room {
                        least = self.items.select_nth_unstable_by(k - 1, rank).1.logit;
                        self.items.truncate(k);
                    }
                }
            }
        }
        if k > 0 && self.items.len() > k {
            self.items.select_nth_unstable_by(k - 1, rank);
            self.items.truncate(k);
        }
        self.items.sort_unstable_by(rank);
        self.ranked = true;
    }

    /// Keeps the best candidates that together reach probability `p`, at least one. They stay in their order.
    pub fn top_p(&mut self, p: f32) {
        if p >= 1.0 || self.items.is_empty() {
            return;
        }
        let max = self.max();
        let bucket = |c: &Candidate| (((max - c.logit) * BUCKETS_PER_UNIT) as usize).min(BUCKETS - 1);
        let mut sums = [0.0f64; BUCKETS];
        for candidate in &self.items {
            sums[bucket(candidate)] += weight(candidate.logit, max);
        }
        let enough = f64::from(p) * sums.iter().sum::<f64>();
        let mut sum = 0.0;
        // The bucket in which the sum reaches `enough`; only its candidates have to be ranked.
        let Some(border) = sums.iter().position(|&bucket| {
            sum += bucket;
            sum >= enough
        }) else {
            return; // Only rounding gets here: everything together is just short of `enough`.
        };
        sum -= sums[border];
        let mut near: Vec<Candidate> = self.items.iter().copied().filter(|c| bucket(c) == border).collect();
        near.sort_unstable_by(rank);
        let reaches = |c: &&Candidate| {
            sum += weight(c.logit, max);
            sum >= enough
        };
        if let Some(&last) = near.iter().find(reaches).or(near.last()) {
            self.items.retain(|c| rank(c, &last).is_le());
        }
    }

    /// Keeps candidates with at least `p` times the probability of the best one.
    pub fn min_p(&mut self, p: f32) {
        if p > 0.0 && !self.items.is_empty() {
            let least = self.max() + p.ln();
            self.items.retain(|c| c.logit >= least);
        }
    }

    /// Divides the logits by `t`, which must be positive.
    pub fn temperature(&mut self, t: f32) {
        if t != 1.0 {
            self.items.iter_mut().for_each(|c| c.logit /= t);
        }
    }

    /// Draws one by the softmax of the logits; none if there are no candidates.
    pub fn draw(&self, rng: &mut Rng) -> Option<u32> {
        let max = self.max();
        let share = |block: &[Candidate]| block.iter().map(|c| weight(c.logit, max)).sum::<f64>();
        let shares: Vec<f64> = self.items.chunks(BLOCK).map(share).collect();
        let mut left = rng.next_unit() * shares.iter().sum::<f64>();
        for (block, share) in self.items.chunks(BLOCK).zip(shares) {
            if left >= share {
                left -= share;
                continue;
            }
            for candidate in block {
                left -= weight(candidate.logit, max);
                if left < 0.0 {
                    return Some(candidate.id);
                }
            }
        }
        // Rounding may leave a rest behind the last; it goes to the best, whose share it changes the least.
        self.items.iter().copied().min_by(rank).map(|c| c.id)
    }

    /// The candidates.
    pub fn items(&self) -> &[Candidate] {
        &self.items
    }

    fn max(&self) -> f32 {
        match self.items.first() {
            Some(best) if self.ranked => best.logit,
            _ => self.items.iter().fold(f32::NEG_INFINITY, |max, c| max.max(c.logit)),
        }
    }
}

/// The better candidate first; equal logits by id.
#[allow(clippy::trivially_copy_pass_by_ref)] // The signature that sorting takes.
fn rank(a: &Candidate, b: &Candidate) -> Ordering {
    // Finite logits always compare; `partial_cmp` makes both zeros equal, as `argmax` does.
    b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal).then(a.id.cmp(&b.id))
}

/// The share of a logit, relative to the largest one.
fn weight(logit: f32, max: f32) -> f64 {
    f64::from(exp(logit - max))
}

/// `e^x` for `x <= 0`, within two units in the last place, and 0 where that would be subnormal. The functions of
/// the system's library are slower, and differ from platform to platform, and so would the draws.
fn exp(x: f32) -> f32 {
    // x = n ln 2 + f, with |f| <= ln 2 / 2; adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x.max(-87.5) * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let f = (x.max(-87.5) - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let series = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let mantissa = series.iter().fold(0.0, |sum: f32, c| sum * f + c);
    let power = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    if x < -87.0 { 0.0 } else { mantissa * f32::from_bits(power) }
}

/// The token with the largest finite logit, the first of equals; none if no logit is finite.
pub fn argmax(logits: &[f32]) -> Option<u32> {
    // Lanes without a dependency between them, so that the compiler can use vectors; NaN never wins `>`.
    let mut lanes = [f32::NEG_INFINITY; 16];
    let mut chunks = logits.chunks_exact(16);
    for chunk in &mut chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    let larger = |max: f32, &x: &f32| if x > max { x } else { max };
    let mut max = lanes.iter().chain(chunks.remainder()).fold(f32::NEG_INFINITY, larger);
    if max == f32::INFINITY {
        let finite = logits.iter().filter(|x| x.is_finite());
        max = finite.fold(f32::NEG_INFINITY, larger);
    }
    if max == f32::NEG_INFINITY {
        return None;
    }
    logits.iter().position(|&x| x == max).map(|id| id as u32)
}

/// The natural logarithm of token `id`'s probability: its logit less the logarithm of the sum of all
/// exponentials. Logits that are no numbers count for nothing.
pub fn log_probability(logits: &[f32], id: u32) -> f32 {
    let max = logits.iter().fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max });
    let shares = logits.iter().map(|&x| weight(x, max)).filter(|w| !w.is_nan());
    let total: f64 = shares.sum();
    (f64::from(logits[id as usize] - max) - total.ln()) as f32
}

#[cfg(test)]
#[path = "candidates_tests.rs"]
mod tests;
