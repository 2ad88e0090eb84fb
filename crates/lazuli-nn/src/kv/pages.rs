//! [`SequencePages`]: the pages that one sequence has, and its share in pages of a common prefix.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::PAGE_SIZE;
use crate::{Error, Result};

/// Which pages of a pool are free, and how many sequences use each of the others. Shared by the pool and its
/// sequences.
#[derive(Clone, Debug)]
pub(super) struct FreePages(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    context: usize,
    total: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Used as a stack with the lowest page on top, so that a young pool touches little memory.
    free: Vec<u32>,
    /// For each page, how many sequences have it.
    users: Vec<u32>,
}

impl FreePages {
    pub fn new(pages: usize, context: usize) -> Self {
        let state = State { free: (0..pages as u32).rev().collect(), users: vec![0; pages] };
        Self(Arc::new(Shared { context, total: pages, state: Mutex::new(state) }))
    }

    pub fn free(&self) -> usize {
        self.locked().free.len()
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives `count` pages to `pages`, or none.
    fn take(&self, count: usize, pages: &mut Vec<u32>) -> Result<()> {
        let mut state = self.locked();
        let free = state.free.len();
        if count > free {
            return Err(Error::OutOfPages { needed: count, free, total: self.0.total });
        }
        for page in state.free.split_off(free - count).into_iter().rev() {
            state.users[page as usize] = 1;
            pages.push(page);
        }
        Ok(())
    }

    fn give_back(&self, pages: impl DoubleEndedIterator<Item = u32>) {
        let mut state = self.locked();
        for page in pages.rev() {
            state.users[page as usize] -= 1;
            if state.users[page as usize] == 0 {
                state.free.push(page);
            }
        }
    }

    fn share(&self, pages: &[u32]) {
        let mut state = self.locked();
        for &page in pages {
            state.users[page as usize] += 1;
        }
    }

    fn is_shared(&self, page: u32) -> bool {
        self.locked().users[page as usize] > 1
    }
}

/// The pages of one sequence and how many tokens are in them. Dropping it gives the pages back.
#[derive(Debug)]
pub struct SequencePages {
    pages: Vec<u32>,
    len: usize,
    pool: FreePages,
}

impl SequencePages {
    pub(super) fn new(pool: FreePages) -> Self {
        Self { pages: Vec::new(), len: 0, pool }
    }

    /// Tokens that have a place.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token has a place.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pages in order: token `i` lies in page `i / PAGE_SIZE`.
    pub fn pages(&self) -> &[u32] {
        &self.pages
    }

    /// Pages that growing by `tokens` takes from the pool.
    pub fn pages_to_grow(&self, tokens: usize) -> usize {
        (self.len + tokens).div_ceil(PAGE_SIZE).saturating_sub(self.pages.len())
    }

    /// Makes room for `tokens` more tokens, all or none, and returns their positions.
    ///
    /// # Errors
    /// [`Error::ContextFull`] or [`Error::OutOfPages`]; the sequence is then as it was.
    pub fn grow(&mut self, tokens: usize) -> Result<Range<usize>> {
        let context = self.pool.0.context;
        let len = self.len.saturating_add(tokens);
        if len > context {
            return Err(Error::ContextFull { tokens: len, context });
        }
        self.pool.take(self.pages_to_grow(tokens), &mut self.pages)?;
        let positions = self.len..len;
        self.len = len;
        Ok(positions)
    }

    /// Forgets all tokens from position `len` on and returns how many are left: `len`, or less where the last
    /// page would be cut although another sequence reads it too (such a page may not be written again).
    pub fn truncate(&mut self, len: usize) -> usize {
        if len >= self.len {
            return self.len;
        }
        let cuts_shared = len % PAGE_SIZE != 0 && self.pool.is_shared(self.pages[len / PAGE_SIZE]);
        self.len = if cuts_shared { len / PAGE_SIZE * PAGE_SIZE } else { len };
        self.pool.give_back(self.pages.drain(self.len.div_ceil(PAGE_SIZE)..));
        self.len
    }

    /// A new sequence that begins with this one's first tokens: as many as fill whole pages, at most `tokens`.
    /// Both then read the same pages; nothing is copied.
    pub fn prefix(&self, tokens: usize) -> Self {
        let pages = self.pages[..tokens.min(self.len) / PAGE_SIZE].to_vec();
        self.pool.share(&pages);
        Self { len: pages.len() * PAGE_SIZE, pages, pool: self.pool.clone() }
    }

    /// Where the pool keeps the tokens at `positions`: `page * PAGE_SIZE + row` for each.
    ///
    /// # Panics
    /// If one of them has no place.
    pub fn slots(&self, positions: Range<usize>) -> impl Iterator<Item = i32> {
        assert!(positions.end <= self.len, "positions {positions:?} of a sequence of {}", self.len);
        positions.map(|p| (self.pages[p / PAGE_SIZE] as usize * PAGE_SIZE + p % PAGE_SIZE) as i32)
    }
}

impl Drop for SequencePages {
    fn drop(&mut self) {
        self.pool.give_back(self.pages.drain(..));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pages_come_lowest_first_and_go_back_when_dropped() {
        let free = FreePages::new(4, 1000);
        let mut a = SequencePages::new(free.clone());
        assert_eq!(a.grow(65).unwrap(), 0..65);
        assert_eq!(a.pages(), [0, 1]);
        assert_eq!(a.slots(63..65).collect::<Vec<_>>(), [63, 64]);
        let mut b = SequencePages::new(free.clone());
        b.grow(1).unwrap();
        drop(a);
        assert_eq!(free.free(), 3);
        b.grow(64).unwrap();
        assert_eq!(b.pages(), [2, 0]);
        assert_eq!(b.slots(63..65).collect::<Vec<_>>(), [2 * 64 + 63, 0]);
    }

    #[test]
    fn refusals_say_how_much_and_change_nothing() {
        let free = FreePages::new(2, 100);
        let mut a = SequencePages::new(free.clone());
        a.grow(64).unwrap();
        let error = a.grow(37).unwrap_err().to_string();
        assert_eq!(error, "the context is full: 101 tokens were asked for, and a sequence may have 100");
        let mut b = SequencePages::new(free.clone());
        let error = b.grow(100).unwrap_err().to_string();
        assert!(error.contains("2 more pages of 64 tokens are needed and 1 of 2 are free"), "{error}");
        assert_eq!((a.len(), b.len(), b.pages().len(), free.free()), (64, 0, 0, 1));
    }

    #[test]
    fn a_shared_page_is_never_cut() {
        let free = FreePages::new(4, 1000);
        let mut a = SequencePages::new(free.clone());
        a.grow(150).unwrap();
        let mut b = a.prefix(140);
        assert_eq!((b.len(), b.pages()), (128, &[0, 1][..]));
        assert_eq!(b.truncate(100), 64);
        assert_eq!(a.truncate(100), 100); // only `a` has page 1 now
        assert_eq!(a.truncate(30), 0);
        assert_eq!((b.pages(), free.free()), (&[0][..], 3));
    }

    proptest! {
        /// Whatever sequences do, a page belongs to one of them, or to several only as a whole page of a
        /// common prefix, or is free.
        #[test]
        fn every_page_has_its_place(
            steps in prop::collection::vec((0u8..4, any::<prop::sample::Index>(), 0usize..200), 1..60),
        ) {
            let free = FreePages::new(12, 400);
            let mut all = vec![SequencePages::new(free.clone())];
            for (step, which, amount) in steps {
                let i = which.index(all.len());
                match step {
                    0 => drop(all[i].grow(amount)),
                    1 => drop(all[i].truncate(amount)),
                    2 => { let prefix = all[i].prefix(amount); all.push(prefix); }
                    _ => { all.swap_remove(i); all.push(SequencePages::new(free.clone())); }
                }
                let mut users = [0; 12];
                for s in &all {
                    prop_assert_eq!(s.pages.len(), s.len.div_ceil(PAGE_SIZE));
                    for &p in &s.pages { users[p as usize] += 1; }
                    let tail = s.pages.last().filter(|_| s.len % PAGE_SIZE != 0);
                    prop_assert!(tail.is_none_or(|&p| !free.is_shared(p)), "a shared page may be written");
                }
                prop_assert_eq!(users.iter().filter(|&&u| u == 0).count(), free.free());
                prop_assert_eq!(&users[..], &free.locked().users[..]);
            }
        }
    }
}
