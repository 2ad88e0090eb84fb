//! Which rows go to which expert: an assignment that is known only when the plan runs, put in order.
//!
//! `across` multiplies with weights that lie with their outputs, not their inputs, side by side. All other products are
//! those of dense weights, made for one group of rows at a time.

mod across;

use super::IndexError;
use super::error::checked;

pub use across::Across;

/// How many (token, chosen expert) pairs a step has, over how many experts, and the most rows of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// Pairs, numbered row by row of the ids.
    pub slots: usize,
    /// Experts there are.
    pub experts: usize,
    /// Rows of a group: an expert with more gets several groups.
    pub most: usize,
}

/// Where an array of ids lies: `[tokens, chosen]` i32 with strides in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// Experts of each token.
    pub chosen: usize,
    /// Elements from one token to the next, and from one choice to the next.
    pub strides: [usize; 2],
}

/// An assignment in order: groups of slots with the same expert.
#[derive(Debug, Clone, Copy)]
pub struct Groups<'a> {
    experts: &'a [i32],
    /// Where each group's slots start in `order`, and where the last one's end.
    starts: &'a [i32],
    order: &'a [i32],
}

/// One expert and the slots that it serves.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a> {
    /// The expert.
    pub expert: usize,
    /// The place of the first of the slots among all in order.
    pub start: usize,
    /// The slots.
    pub slots: &'a [i32],
}

impl Assignment {
    /// Groups there can be.
    fn groups(self) -> usize {
        self.experts.min(self.slots) + self.slots / self.most
    }

    /// Bytes of memory that [`Assignment::make`] fills.
    pub fn bytes(self) -> usize {
        (1 + 2 * self.groups() + 1 + self.slots + self.experts + 1) * size_of::<i32>()
    }

    /// Sorts the slots by expert. If an id is out of range there are no groups.
    ///
    /// # Errors
    /// The first id that names no expert.
    ///
    /// # Safety
    /// `ids` must be valid for all slots, `out` for [`Assignment::bytes`], aligned to 4, and nobody else may use it.
    pub unsafe fn make(self, layout: Ids, ids: *const i32, out: *mut i32) -> Result<(), IndexError> {
        let groups = self.groups();
        // SAFETY: the caller's promise: the parts are disjoint and add up to `bytes`.
        let (count, experts, starts, order, at) = unsafe {
            let part = |from: usize, len: usize| std::slice::from_raw_parts_mut(out.add(from), len);
            let order = 2 + 2 * groups;
            (
                part(0, 1),
                part(1, groups),
                part(1 + groups, groups + 1),
                part(order, self.slots),
                part(order + self.slots, self.experts + 1),
            )
        };
        count[0] = 0;
        let id = |slot: usize| {
            let [down, along] = layout.strides;
            // SAFETY: the slot is one of the array's.
            unsafe { *ids.add(slot / layout.chosen * down + slot % layout.chosen * along) }
        };
        at.fill(0);
        for slot in 0..self.slots {
            at[checked("expert", slot, id(slot), self.experts)? + 1] += 1;
        }
        let (mut found, mut before) = (0, 0);
        for (expert, entry) in at.iter_mut().skip(1).enumerate() {
            let rows = *entry;
            let mut done = 0;
            while done < rows {
                (experts[found], starts[found]) = (expert as i32, before + done);
                found += 1;
                done += (rows - done).min(self.most as i32);
            }
            *entry = before;
            before += rows;
        }
        starts[found] = before;
        for slot in 0..self.slots {
            let next = &mut at[id(slot) as usize + 1];
            order[*next as usize] = slot as i32;
            *next += 1;
        }
        count[0] = found as i32;
        Ok(())
    }

    /// What [`Assignment::make`] left at `from`.
    ///
    /// # Safety
    /// It must have been made there, and nobody may write there while the result is used.
    pub unsafe fn read<'a>(self, from: *const i32) -> Groups<'a> {
        let groups = self.groups();
        // SAFETY: the caller's promise.
        unsafe {
            let count = *from as usize;
            let part = |at: usize, len: usize| std::slice::from_raw_parts(from.add(at), len);
            Groups {
                experts: part(1, count),
                starts: part(1 + groups, count + 1),
                order: part(2 + 2 * groups, self.slots),
            }
        }
    }
}

impl<'a> Groups<'a> {
    /// How many.
    pub fn len(&self) -> usize {
        self.experts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.experts.is_empty()
    }

    /// One of them.
    pub fn get(&self, index: usize) -> Group<'a> {
        let (start, end) = (self.starts[index] as usize, self.starts[index + 1] as usize);
        Group { expert: self.experts[index] as usize, start, slots: &self.order[start..end] }
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = Group<'a>> {
        (0..self.len()).map(move |index| self.get(index))
    }

    /// The slots in order.
    pub fn order(&self) -> &'a [i32] {
        self.order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_grouped_by_expert_and_large_groups_are_cut() {
        let assignment = Assignment { slots: 8, experts: 5, most: 2 };
        // Transposed: token by token this is 4, 0, 1, 0, 4, 4, 4, 4.
        let ids = [4, 1, 4, 4, 0, 0, 4, 4];
        let layout = Ids { chosen: 2, strides: [1, 4] };
        let mut memory = vec![-1; assignment.bytes() / 4];
        // SAFETY: the memory is as large as asked for.
        let groups = unsafe {
            assignment.make(layout, ids.as_ptr(), memory.as_mut_ptr()).expect("ids are in range");
            assignment.read(memory.as_ptr())
        };
        let found: Vec<_> = groups.iter().map(|g| (g.expert, g.start, g.slots.to_vec())).collect();
        let wanted: [(usize, usize, Vec<i32>); 5] =
            [(0, 0, vec![1, 3]), (1, 2, vec![2]), (4, 3, vec![0, 4]), (4, 5, vec![5, 6]), (4, 7, vec![7])];
        assert_eq!(found, wanted);
    }

    #[test]
    fn an_id_that_names_no_expert_leaves_no_groups() {
        let assignment = Assignment { slots: 2, experts: 3, most: 4 };
        for bad in [-1, 3, i32::MAX] {
            let mut memory = vec![7; assignment.bytes() / 4];
            let layout = Ids { chosen: 2, strides: [2, 1] };
            // SAFETY: the memory is as large as asked for.
            let (made, groups) = unsafe {
                let made = assignment.make(layout, [1, bad].as_ptr(), memory.as_mut_ptr());
                (made, assignment.read(memory.as_ptr()).len())
            };
            assert_eq!((made.map_err(|e| e.found), groups), (Err(bad.into()), 0));
        }
    }
}
