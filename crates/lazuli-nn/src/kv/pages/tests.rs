//! Pages come and go as sequences grow, are cut, share and slide.

use lazuli_core::DType;
use proptest::prelude::*;

use super::*;
use crate::LayerKv;

/// Pages for layers that look back as far as `windows` say.
fn pages(count: usize, context: usize, windows: &[Option<usize>], chunk: usize) -> FreePages {
    let layer = |&window| LayerKv { heads: 1, key_dim: 1, value_dim: 1, window };
    let layers = windows.iter().map(layer).collect();
    FreePages::new(&KvSpec { layers, dtype: DType::F16, pages: count, context, chunk })
}

fn table(sequence: &SequencePages, group: usize) -> Vec<i32> {
    sequence.table(group).collect()
}

#[test]
fn pages_come_lowest_first_and_go_back_when_dropped() {
    let free = pages(4, 1000, &[None], 512);
    let mut a = SequencePages::new(free.clone());
    assert_eq!(a.grow(65).unwrap(), 0..65);
    assert_eq!(table(&a, 0), [0, 1]);
    assert_eq!(a.slots(0, 63..65).collect::<Vec<_>>(), [63, 64]);
    let mut b = SequencePages::new(free.clone());
    b.grow(1).unwrap();
    drop(a);
    assert_eq!(free.free(), 3);
    b.grow(64).unwrap();
    assert_eq!(table(&b, 0), [2, 0]);
    assert_eq!(b.slots(0, 63..65).collect::<Vec<_>>(), [2 * 64 + 63, 0]);
}

#[test]
fn refusals_say_how_much_and_change_nothing() {
    let free = pages(2, 100, &[None], 512);
    let mut a = SequencePages::new(free.clone());
    a.grow(64).unwrap();
    let error = a.grow(37).unwrap_err().to_string();
    assert_eq!(error, "the context is full: 101 tokens were asked for, and a sequence may have 100");
    let mut b = SequencePages::new(free.clone());
    assert!(b.has_room(64) && !b.has_room(100));
    let error = b.grow(100).unwrap_err().to_string();
    assert!(error.contains("2 more pages of 64 tokens are needed and 1 of 2 are free"), "{error}");
    assert_eq!((a.len(), b.len(), table(&b, 0).len(), free.free()), (64, 0, 0, 1));
}

#[test]
fn a_shared_page_is_never_cut() {
    let free = pages(4, 256, &[None], 512);
    let mut a = SequencePages::new(free.clone());
    a.grow(150).unwrap();
    let mut b = a.prefix(140);
    assert_eq!((b.len(), table(&b, 0)), (128, vec![0, 1]));
    assert_eq!(b.truncate(100), 64);
    assert_eq!(a.truncate(100), 100); // only `a` has page 1 now
    assert_eq!(a.truncate(30), 0);
    assert_eq!((table(&b, 0), free.free()), (vec![0], 3));
}

#[test]
fn a_window_gives_up_the_oldest_pages_when_it_needs_new_ones() {
    // A window of 100 and chunks of 64: four pages of a ring beside all ten.
    let free = pages(10, 640, &[Some(100), None], 64);
    assert_eq!(free.free(), 4 + 10);
    let mut a = SequencePages::new(free.clone());
    for _ in 0..4 {
        a.grow(64).unwrap();
    }
    assert_eq!(table(&a, 0), [0, 1, 2, 3]);
    assert_eq!(a.least_len(), 0);
    a.grow(1).unwrap();
    assert_eq!(table(&a, 0), [-1, 1, 2, 3, 0]);
    assert_eq!(table(&a, 1), [0, 1, 2, 3, 4]);
    assert_eq!(a.slots(0, 255..257).collect::<Vec<_>>(), [3 * 64 + 63, 0]);
    // What the token behind a cut sees must be there: 64 + 99 tokens or more.
    assert_eq!(a.least_len(), 163);
    assert_eq!(a.prefix(128).len(), 0);
    let shared = a.prefix(200);
    assert_eq!((shared.len(), table(&shared, 0)), (192, vec![-1, 1, 2]));
    drop(shared);
    assert_eq!(a.truncate(163), 163);
    assert_eq!((table(&a, 0), free.free()), (vec![-1, 1, 2], 2 + 7));
    assert_eq!(a.truncate(162), 0);
    assert_eq!((table(&a, 0), free.free()), (vec![], 14));
}

proptest! {
    /// Whatever sequences do, a page belongs to one of them, or to several only as a whole page of a common prefix, or
    /// is free; and the pages that the next token sees are there.
    #[test]
    fn every_page_has_its_place(
        steps in prop::collection::vec((0u8..4, any::<prop::sample::Index>(), 0usize..200), 1..60),
    ) {
        let free = pages(12, 400, &[None, Some(70)], 50);
        let mut all = vec![SequencePages::new(free.clone())];
        for (step, which, amount) in steps {
            let i = which.index(all.len());
            match step {
                0 => drop(all[i].grow(amount % 51)),
                1 => { let len = all[i].len(); all[i].truncate(len.saturating_sub(amount)); }
                2 => { let prefix = all[i].prefix(amount); all.push(prefix); }
                _ => { all.swap_remove(i); all.push(SequencePages::new(free.clone())); }
            }
            for (group, (of_group, state)) in free.0.groups.iter().zip(free.locked().iter()).enumerate() {
                let mut users = vec![0; of_group.pages];
                for s in &all {
                    let list = &s.lists[group];
                    prop_assert_eq!(list.end(), s.len.div_ceil(PAGE_SIZE));
                    prop_assert!(list.pages.len() <= of_group.per_sequence);
                    let seen = of_group.window.map_or(0, |w| (s.len + 1).saturating_sub(w)) / PAGE_SIZE;
                    prop_assert!(list.first <= seen, "a page that is seen was given up");
                    for &p in &list.pages { users[p as usize] += 1; }
                    let tail = list.pages.last().filter(|_| s.len % PAGE_SIZE != 0);
                    prop_assert!(tail.is_none_or(|&p| state.users[p as usize] < 2), "a shared page may be written");
                }
                prop_assert_eq!(users.iter().filter(|&&u| u == 0).count(), state.free.len());
                prop_assert_eq!(&users, &state.users);
            }
        }
    }
}
