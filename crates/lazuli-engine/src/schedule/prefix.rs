//! Whose keys and values a new prompt can begin with.

use lazuli_nn::PAGE_SIZE;

/// Keys and values that a prompt need not compute, as it shares its first tokens with another text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// There are none.
    None,
    /// Take over a kept sequence, cut to so many tokens.
    Take {
        /// Index of the kept sequence.
        kept: usize,
        /// Tokens in common.
        tokens: usize,
    },
    /// Read the whole pages of a kept sequence, which stays as it is.
    ShareKept {
        /// Index of the kept sequence.
        kept: usize,
        /// Tokens in common, in whole pages.
        tokens: usize,
    },
    /// Read the whole pages of a running sequence.
    ShareRunning {
        /// Index of the running sequence.
        running: usize,
        /// Tokens in common, in whole pages.
        tokens: usize,
    },
}

/// Tokens whose keys and values are in the pool.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// The tokens.
    pub tokens: &'a [u32],
    /// The fewest of them, besides none, that can be used: before that, layers with a window have given up pages.
    pub least: usize,
}

impl Text<'_> {
    /// How many of `tokens` of them can be used: all or none.
    fn usable(&self, tokens: usize) -> usize {
        if tokens < self.least { 0 } else { tokens }
    }
}

/// The best beginning for `prompt` among texts whose keys and values are in the pool: those of sequences that
/// are kept, the one used longest ago first, and of those that run. At least one token of the prompt is left,
/// as there are no logits without computing one.
///
/// Whole pages can be shared, and nobody loses by it. Taking a kept sequence saves the tokens of the last,
/// partial page too, and costs what it has beyond the common beginning; it is done where it saves no less.
pub fn find_prefix<'a>(
    prompt: &[u32],
    kept: impl Iterator<Item = Text<'a>>,
    running: impl Iterator<Item = Text<'a>>,
) -> Prefix {
    let usable = &prompt[..prompt.len().saturating_sub(1)];
    let mut best = Prefix::None;
    for (index, text) in running.enumerate() {
        let tokens = text.usable(whole_pages(shared(text.tokens, usable)));
        best = better(best, Prefix::ShareRunning { running: index, tokens });
    }
    for (kept, text) in kept.enumerate() {
        let tokens = text.usable(shared(text.tokens, usable));
        let pages = text.usable(whole_pages(tokens));
        let candidate = if tokens - pages >= text.tokens.len() - tokens {
            Prefix::Take { kept, tokens }
        } else {
            Prefix::ShareKept { kept, tokens: pages }
        };
        best = better(best, candidate);
    }
    best
}

impl Prefix {
    /// Tokens that need no computing.
    pub fn tokens(self) -> usize {
        match self {
            Self::None => 0,
            Self::Take { tokens, .. }
            | Self::ShareKept { tokens, .. }
            | Self::ShareRunning { tokens, .. } => tokens,
        }
    }
}

/// The one that saves more; of equals the later.
fn better(best: Prefix, other: Prefix) -> Prefix {
    if other.tokens() > 0 && other.tokens() >= best.tokens() { other } else { best }
}

fn whole_pages(tokens: usize) -> usize {
    tokens / PAGE_SIZE * PAGE_SIZE
}

/// How many tokens both texts begin with.
fn shared(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(prompt: &[u32], kept: &[Vec<u32>], running: &[Vec<u32>]) -> Prefix {
        find_from(0, prompt, kept, running)
    }

    fn find_from(least: usize, prompt: &[u32], kept: &[Vec<u32>], running: &[Vec<u32>]) -> Prefix {
        let text = |tokens| Text { tokens, least };
        find_prefix(prompt, kept.iter().map(|t| text(t)), running.iter().map(|t| text(t)))
    }

    /// A text of `len` tokens that leaves the common line after `common`, in a direction of its own.
    fn text(common: usize, len: usize, own: u32) -> Vec<u32> {
        (0..len).map(|i| if i < common { i as u32 } else { 1000 * own + i as u32 }).collect()
    }

    #[test]
    fn a_text_that_goes_on_is_taken_over() {
        let kept = [text(2, 2, 0), text(100, 100, 0), text(4, 10, 0)];
        assert_eq!(find(&text(150, 150, 0), &kept, &[]), Prefix::Take { kept: 1, tokens: 100 });
        let equal = [text(100, 100, 0), text(100, 100, 0)];
        assert_eq!(find(&text(150, 150, 0), &equal, &[]), Prefix::Take { kept: 1, tokens: 100 });
    }

    #[test]
    fn what_a_window_has_given_up_is_not_reused() {
        let (long, goes_on) = ([text(200, 200, 0)], text(200, 300, 1));
        assert_eq!(find_from(150, &goes_on, &[], &long), Prefix::ShareRunning { running: 0, tokens: 192 });
        assert_eq!(find_from(193, &goes_on, &[], &long), Prefix::None);
        assert_eq!(find_from(193, &goes_on, &long, &[]), Prefix::Take { kept: 0, tokens: 200 });
        assert_eq!(find_from(201, &goes_on, &long, &[]), Prefix::None);
        // Whole pages are gone, and taking the text for 160 tokens would lose more than that.
        assert_eq!(find_from(150, &text(160, 300, 1), &[text(160, 900, 2)], &[]), Prefix::None);
    }

    #[test]
    fn one_token_of_the_prompt_is_always_computed() {
        assert_eq!(find(&[1, 2, 3, 4], &[vec![1, 2, 3, 4]], &[]), Prefix::Take { kept: 0, tokens: 3 });
        assert_eq!(find(&[1], &[vec![1]], &[]), Prefix::None);
        assert_eq!(find(&[], &[vec![1]], &[]), Prefix::None);
    }

    #[test]
    fn a_long_talk_is_not_destroyed_for_a_short_beginning() {
        let talk = [text(50, 3000, 1)];
        assert_eq!(find(&text(50, 80, 2), &talk, &[]), Prefix::None);
        let talk = [text(100, 3000, 1)];
        assert_eq!(find(&text(100, 180, 2), &talk, &[]), Prefix::ShareKept { kept: 0, tokens: 64 });
    }

    #[test]
    fn whole_pages_of_running_texts_are_shared() {
        let running = [text(10, 500, 1), text(200, 500, 2)];
        assert_eq!(find(&text(200, 300, 3), &[], &running), Prefix::ShareRunning { running: 1, tokens: 192 });
        assert_eq!(find(&text(60, 300, 3), &[], &running), Prefix::None);
        let kept = [text(200, 200, 4)];
        assert_eq!(find(&text(200, 300, 3), &kept, &running), Prefix::Take { kept: 0, tokens: 200 });
        assert_eq!(find(&text(0, 300, 3), &kept, &running), Prefix::None);
    }
}
