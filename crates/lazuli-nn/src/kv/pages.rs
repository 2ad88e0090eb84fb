//! [`SequencePages`]: the pages that one sequence has, and its share in pages of a common prefix.
//!
//! Layers that see everything keep all pages. Those with a window give up the oldest page when a new one would be more
//! than a window and a chunk need: a ring, whose page table still counts from the beginning of the sequence.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::spec::Group;
use super::{KvSpec, PAGE_SIZE};
use crate::{Error, Result};

/// Which pages of a pool are free, and how many sequences use each of the others. Shared by the pool and its
/// sequences.
#[derive(Clone, Debug)]
pub(super) struct FreePages(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    context: usize,
    groups: Vec<Group>,
    state: Mutex<Vec<State>>,
}

/// The pages of one group of layers.
#[derive(Debug)]
struct State {
    /// Used as a stack with the lowest page on top, so that a young pool touches little memory.
    free: Vec<u32>,
    /// For each page, how many sequences have it.
    users: Vec<u32>,
}

impl State {
    fn take(&mut self, count: usize, pages: &mut Vec<u32>) {
        let kept = self.free.len() - count;
        for page in self.free.drain(kept..).rev() {
            self.users[page as usize] = 1;
            pages.push(page);
        }
    }

    fn give_back(&mut self, pages: impl DoubleEndedIterator<Item = u32>) {
        for page in pages.rev() {
            self.users[page as usize] -= 1;
            if self.users[page as usize] == 0 {
                self.free.push(page);
            }
        }
    }

    /// How many of `pages` are free once one of their users has gone.
    fn own(&self, pages: &[u32]) -> usize {
        pages.iter().filter(|&&page| self.users[page as usize] == 1).count()
    }
}

impl FreePages {
    pub fn new(spec: &KvSpec) -> Self {
        let groups = spec.groups();
        let state = |group: &Group| State {
            free: (0..group.pages as u32).rev().collect(),
            users: vec![0; group.pages],
        };
        let state = Mutex::new(groups.iter().map(state).collect());
        Self(Arc::new(Shared { context: spec.context, groups, state }))
    }

    /// Pages that no sequence has, in all groups together.
    pub fn free(&self) -> usize {
        self.locked().iter().map(|state| state.free.len()).sum()
    }

    fn locked(&self) -> MutexGuard<'_, Vec<State>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pages of one sequence and how many tokens are in them. Dropping it gives the pages back.
#[derive(Debug)]
pub struct SequencePages {
    /// For each group of layers.
    lists: Vec<List>,
    len: usize,
    pool: FreePages,
}

/// Consecutive pages of a sequence: those before the first have been given up.
#[derive(Debug, Clone, Default)]
struct List {
    first: usize,
    pages: Vec<u32>,
}

/// How growing changes a list.
struct Growth {
    /// Pages given up at its beginning.
    dropped: usize,
    /// Pages taken at its end.
    taken: usize,
}

impl List {
    fn end(&self) -> usize {
        self.first + self.pages.len()
    }

    fn growth(&self, group: &Group, len: usize, tokens: usize) -> Growth {
        let end = (len + tokens).div_ceil(PAGE_SIZE).max(self.end());
        let taken = end - self.end();
        // The first page that the next token sees; what is older stays as long as there is room, for a text that is
        // cut and goes on differently.
        let seen = group.window.map_or(0, |window| (len + 1).saturating_sub(window) / PAGE_SIZE);
        let surplus = (end - self.first).saturating_sub(group.per_sequence);
        let dropped = if tokens == 0 { 0 } else { surplus.min(seen.saturating_sub(self.first)) };
        Growth { dropped: dropped.min(self.pages.len()), taken }
    }

    /// The least length, besides none, to which a sequence with this list can be cut.
    fn least(&self, group: &Group) -> usize {
        match (self.first, group.window) {
            (0, _) | (_, None) => 0,
            (first, Some(window)) => (first * PAGE_SIZE + window).saturating_sub(1),
        }
    }
}

impl SequencePages {
    pub(super) fn new(pool: FreePages) -> Self {
        Self { lists: vec![List::default(); pool.0.groups.len()], len: 0, pool }
    }

    /// Tokens that have a place.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token has a place.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The row of the page table for a group of layers (see [`KvSpec::groups`]): token `i` lies in page
    /// `i / PAGE_SIZE`, -1 where that page has been given up.
    pub fn table(&self, group: usize) -> impl Iterator<Item = i32> {
        let list = &self.lists[group];
        std::iter::repeat_n(-1, list.first).chain(list.pages.iter().map(|&page| page as i32))
    }

    /// Whether the pool has the pages that growing by `tokens` takes.
    pub fn has_room(&self, tokens: usize) -> bool {
        self.missing(&self.pool.locked(), tokens).is_ok()
    }

    /// The growth of each list, if all can grow.
    fn missing(&self, state: &[State], tokens: usize) -> Result<Vec<Growth>> {
        let lists = self.lists.iter().zip(&self.pool.0.groups).zip(state);
        let growths = lists.map(|((list, group), state)| {
            let growth = list.growth(group, self.len, tokens);
            let free = state.free.len() + state.own(&list.pages[..growth.dropped]);
            let missing = Error::OutOfPages { needed: growth.taken, free, total: group.pages };
            if growth.taken > free { Err(missing) } else { Ok(growth) }
        });
        growths.collect()
    }

    /// Makes room for `tokens` more tokens, all or none, and returns their positions. Pages that none of them sees are
    /// given up: what was computed before must have been evaluated.
    ///
    /// # Errors
    /// [`Error::ContextFull`] or [`Error::OutOfPages`]; the sequence is then as it was.
    pub fn grow(&mut self, tokens: usize) -> Result<Range<usize>> {
        let context = self.pool.0.context;
        let len = self.len.saturating_add(tokens);
        if len > context {
            return Err(Error::ContextFull { tokens: len, context });
        }
        let mut state = self.pool.locked();
        let growths = self.missing(&state, tokens)?;
        for ((list, growth), state) in self.lists.iter_mut().zip(growths).zip(state.iter_mut()) {
            state.give_back(list.pages.drain(..growth.dropped));
            list.first += growth.dropped;
            state.take(growth.taken, &mut list.pages);
        }
        drop(state);
        let positions = self.len..len;
        self.len = len;
        Ok(positions)
    }

    /// The least length, besides none, to which it can be cut: below it, a window lacks pages.
    pub fn least_len(&self) -> usize {
        let lists = self.lists.iter().zip(&self.pool.0.groups);
        lists.map(|(list, group)| list.least(group)).max().unwrap_or(0)
    }

    /// Forgets all tokens from position `len` on and returns how many are left: `len`, or less where the last
    /// page would be cut although another sequence reads it too (such a page may not be written again), or none where
    /// a window's pages before `len` have been given up.
    pub fn truncate(&mut self, len: usize) -> usize {
        if len >= self.len {
            return self.len;
        }
        let mut state = self.pool.locked();
        let page = len / PAGE_SIZE;
        let is_shared = |(list, state): (&List, &State)| {
            let found = page.checked_sub(list.first).and_then(|index| list.pages.get(index));
            found.is_some_and(|&page| state.users[page as usize] > 1)
        };
        let cuts_shared = len % PAGE_SIZE != 0 && self.lists.iter().zip(state.iter()).any(is_shared);
        let wanted = if cuts_shared { page * PAGE_SIZE } else { len };
        self.len = if wanted < self.least_len() { 0 } else { wanted };
        for (list, state) in self.lists.iter_mut().zip(state.iter_mut()) {
            let kept = self.len.div_ceil(PAGE_SIZE).saturating_sub(list.first);
            state.give_back(list.pages.drain(kept.min(list.pages.len())..));
            if self.len == 0 {
                list.first = 0;
            }
        }
        self.len
    }

    /// A new sequence that begins with this one's first tokens: as many as fill whole pages, at most `tokens`; none
    /// where a window's pages before that have been given up. Both then read the same pages; nothing is copied.
    pub fn prefix(&self, tokens: usize) -> Self {
        let whole = tokens.min(self.len) / PAGE_SIZE * PAGE_SIZE;
        let len = if whole < self.least_len() { 0 } else { whole };
        let mut state = self.pool.locked();
        let mut share = |(list, state): (&List, &mut State)| {
            if len == 0 {
                return List::default();
            }
            let pages = list.pages[..len / PAGE_SIZE - list.first].to_vec();
            for &page in &pages {
                state.users[page as usize] += 1;
            }
            List { first: list.first, pages }
        };
        let lists = self.lists.iter().zip(state.iter_mut()).map(&mut share).collect();
        drop(state);
        Self { lists, len, pool: self.pool.clone() }
    }

    /// Where a group of layers keeps the tokens at `positions`: `page * PAGE_SIZE + row` for each.
    ///
    /// # Panics
    /// If one of them has no place.
    pub fn slots(&self, group: usize, positions: Range<usize>) -> impl Iterator<Item = i32> {
        assert!(positions.end <= self.len, "positions {positions:?} of a sequence of {}", self.len);
        let list = &self.lists[group];
        let page = |position: usize| list.pages[position / PAGE_SIZE - list.first] as usize;
        positions.map(move |p| (page(p) * PAGE_SIZE + p % PAGE_SIZE) as i32)
    }
}

impl Drop for SequencePages {
    fn drop(&mut self) {
        let mut state = self.pool.locked();
        for (list, state) in self.lists.iter_mut().zip(state.iter_mut()) {
            state.give_back(list.pages.drain(..));
        }
    }
}

#[cfg(test)]
mod tests;
