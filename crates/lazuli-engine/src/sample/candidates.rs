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

/// The tokens that may come next: in the order of their ids as long as none was cut off by rank, the best
/// first from then on. Equal logits rank by id, so the order is the same everywhere.
#[derive(Debug, Clone, Default)]
pub struct Candidates {
    items: Vec<Candidate>,
    ranked: bool,
}

/// How many candidates `top_p` ranks at first; it doubles until they hold enough probability.
const FIRST_RANKED: usize = 256;

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

    /// Keeps the best candidates that together reach probability `p`, at least one, best first. Only as many
    /// are ranked as it takes.
    pub fn top_p(&mut self, p: f32) {
        if p >= 1.0 || self.items.is_empty() {
            return;
        }
        let max = self.max();
        let enough = f64::from(p) * self.items.iter().map(|c| weight(c.logit, max)).sum::<f64>();
        let (mut sum, mut kept, mut ranked) = (0.0, 0, if self.ranked { self.items.len() } else { 0 });
        while kept < self.items.len() && sum < enough {
            if kept == ranked {
                ranked = self.rank_more(ranked);
            }
            sum += weight(self.items[kept].logit, max);
            kept += 1;
        }
        // Rounding may leave the sum of all just short of `enough`; then all of them stay, and all are ranked.
        self.items.truncate(kept);
        self.ranked = true;
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
        let total: f64 = self.items.iter().map(|c| weight(c.logit, max)).sum();
        let mut left = rng.next_unit() * total;
        for candidate in &self.items {
            left -= weight(candidate.logit, max);
            if left < 0.0 {
                return Some(candidate.id);
            }
        }
        // Rounding may leave a rest after the last; it belongs to the best, which has the largest share.
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

    /// Ranks more candidates behind the first `ranked`, and returns how many are ranked now.
    fn rank_more(&mut self, ranked: usize) -> usize {
        let wanted = (ranked * 2).max(FIRST_RANKED);
        let rest = &mut self.items[ranked..];
        let more = (wanted - ranked).min(rest.len());
        if more < rest.len() {
            rest.select_nth_unstable_by(more - 1, rank);
        }
        rest[..more].sort_unstable_by(rank);
        ranked + more
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
    f64::from((logit - max).exp())
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
