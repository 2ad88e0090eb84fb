//! The links of the chain that change logits: bias and penalties.

use std::collections::{HashMap, VecDeque};

use super::SamplingParams;

/// Adds each bias to its token's logit. Tokens outside the vocabulary are not touched.
pub fn bias(logits: &mut [f32], biases: &[(u32, f32)]) {
    for &(id, bias) in biases {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit += bias;
        }
    }
}

/// Repetition, presence and frequency penalties, in this order, for the tokens in `window`.
pub fn penalise(logits: &mut [f32], window: &Window, params: &SamplingParams) {
    for (id, count) in window.counts() {
        let Some(logit) = logits.get_mut(id as usize) else { continue };
        if *logit > 0.0 {
            *logit /= params.repetition_penalty;
        } else {
            *logit *= params.repetition_penalty;
        }
        *logit -= params.presence_penalty + params.frequency_penalty * count as f32;
    }
}

/// How often each token stands among the last few. Adding one costs the same however long the window is.
#[derive(Debug, Clone)]
pub struct Window {
    size: usize,
    last: VecDeque<u32>,
    counts: HashMap<u32, u32>,
}

impl Window {
    /// An empty window over the last `size` tokens.
    pub fn new(size: usize) -> Self {
        Self { size, last: VecDeque::new(), counts: HashMap::new() }
    }

    /// Adds the next token; the oldest one leaves when there are too many.
    pub fn push(&mut self, id: u32) {
        if self.size == 0 {
            return;
        }
        if self.last.len() == self.size {
            if let Some(oldest) = self.last.pop_front() {
                self.forget(oldest);
            }
        }
        self.last.push_back(id);
        *self.counts.entry(id).or_default() += 1;
    }

    /// Each token in the window once, with how often it stands there, in no order.
    pub fn counts(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.counts.iter().map(|(&id, &count)| (id, count))
    }

    fn forget(&mut self, id: u32) {
        if let Some(count) = self.counts.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(size: usize, ids: &[u32]) -> Window {
        let mut window = Window::new(size);
        for &id in ids {
            window.push(id);
        }
        window
    }

    #[test]
    fn bias_adds_and_forbids() {
        let mut logits = [1.0, 2.0, 3.0];
        bias(&mut logits, &[(0, 0.5), (2, f32::NEG_INFINITY), (9, 1.0)]);
        assert_eq!(logits, [1.5, 2.0, f32::NEG_INFINITY]);
    }

    #[test]
    fn penalties_follow_their_definitions() {
        let params = SamplingParams {
            repetition_penalty: 2.0,
            presence_penalty: 0.25,
            frequency_penalty: 0.5,
            ..SamplingParams::default()
        };
        let mut logits = [4.0, -4.0, 1.0, 0.0];
        penalise(&mut logits, &window(10, &[0, 1, 1, 3, 77]), &params);
        assert_eq!(logits, [2.0 - 0.75, -8.0 - 1.25, 1.0, -0.75]);
    }

    #[test]
    fn the_window_forgets() {
        let ids: Vec<u32> = (0..200).map(|i| i * i % 7).collect();
        for size in [0, 1, 3, 64, 1000] {
            let mut found: Vec<_> = window(size, &ids).counts().collect();
            found.sort_unstable();
            let kept = &ids[ids.len().saturating_sub(size)..];
            let expected: Vec<_> = (0..7)
                .map(|id| (id, kept.iter().filter(|&&k| k == id).count() as u32))
                .filter(|&(_, n)| n > 0)
                .collect();
            assert_eq!(found, expected, "size {size}");
        }
    }
}
