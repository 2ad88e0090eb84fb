//! From a batch's indices to units of work, with every index checked once.

use std::ops::Range;

use super::super::IndexError;
use super::super::error::checked;
use super::{Attention, Shape, Tile};

/// Which tokens a batch has and where their keys and values lie.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// `[sequences, pages_per_sequence]`: a page of the pool, or negative where a sequence has none.
    pub page_table: &'a [i32],
    /// `[tokens]`: a row of the page table, or negative for padding, whose result is zero.
    pub sequence: &'a [i32],
    /// `[tokens]`: where in its sequence the token stands.
    pub position: &'a [i32],
}

/// A checked batch, cut into units.
#[derive(Debug)]
pub struct Schedule<'a> {
    pub(super) batch: Batch<'a>,
    runs: Vec<Run>,
    /// `(run, partition)` of each unit, for one head tile.
    parts: Vec<(u32, u32)>,
    units: usize,
    joins: usize,
    /// For each token, its partitions.
    of_token: Vec<Range<u32>>,
}

/// Consecutive tokens of one sequence (or padding, which sees no keys), few enough for one tile.
#[derive(Debug, Clone)]
pub(in crate::kernel) struct Run {
    pub tokens: Range<usize>,
    /// The positions that some of them see.
    pub keys: Range<usize>,
    /// The lowest and the highest position of the tokens.
    pub positions: (usize, usize),
}

/// Checks a batch and cuts it into runs of at most `most` tokens.
///
/// # Errors
/// The first sequence, position or page that lies outside of the page table or the pool.
///
/// # Panics
/// If the arrays do not have the shape's sizes: a bug in the planner.
pub(in crate::kernel) fn runs(shape: &Shape, batch: &Batch<'_>, most: usize) -> Result<Vec<Run>, IndexError> {
    assert_eq!(batch.page_table.len(), shape.sequences * shape.pages_per_sequence, "page table");
    assert_eq!(batch.sequence.len(), shape.tokens, "sequences");
    assert_eq!(batch.position.len(), shape.tokens, "positions");
    let mut runs = Vec::new();
    let mut start = 0;
    while start < shape.tokens {
        let sequence = batch.sequence[start];
        let same = batch.sequence[start..].iter().take(most);
        let len = same.take_while(|&&s| s == sequence || (s < 0 && sequence < 0)).count();
        runs.push(Run::new(shape, batch, start..start + len)?);
        start += len;
    }
    Ok(runs)
}

impl<'a> Schedule<'a> {
    pub(super) fn new(attention: &Attention, batch: Batch<'a>) -> Result<Self, IndexError> {
        let shape = &attention.shape;
        let runs = runs(shape, &batch, attention.tile_tokens)?;
        let mut parts = Vec::new();
        let mut of_token = Vec::with_capacity(shape.tokens);
        let mut split = false;
        for (index, run) in runs.iter().enumerate() {
            let size = attention.partition;
            let range = (run.keys.start / size) as u32..run.keys.end.div_ceil(size).max(1) as u32;
            split |= range.len() > 1;
            of_token.extend(run.tokens.clone().map(|_| range.clone()));
            parts.extend(range.map(|part| (index as u32, part)));
        }
        // Later runs of a prompt see more keys: the longest work goes first.
        parts.reverse();
        let units = parts.len() * shape.kv_heads * attention.head_tiles;
        let joins = if split { shape.tokens * shape.heads } else { 0 };
        Ok(Self { batch, runs, parts, units, joins, of_token })
    }

    /// Units of the first phase.
    pub fn units(&self) -> usize {
        self.units
    }

    /// Rows to join in the second phase; 0 if it can be left out.
    pub fn joins(&self) -> usize {
        self.joins
    }

    /// The partitions of a token's context.
    pub(super) fn partitions(&self, token: usize) -> Range<usize> {
        self.of_token[token].start as usize..self.of_token[token].end as usize
    }

    /// A unit's tile, and its partition if the context has several; `None` for padding.
    pub(super) fn unit(&self, attention: &Attention, unit: usize) -> Option<(Tile, Option<usize>)> {
        let (run, part, head_tile) = self.place(unit);
        if run.keys.is_empty() {
            return None;
        }
        let kv_head = head_tile / attention.head_tiles;
        let within = head_tile % attention.head_tiles * attention.tile_heads;
        let size = attention.partition;
        let tile = Tile {
            tokens: run.tokens.clone(),
            kv_head,
            head: kv_head * attention.group + within,
            heads: attention.tile_heads.min(attention.group - within),
            keys: run.keys.start.max(part * size)..run.keys.end.min((part + 1) * size),
            positions: run.positions,
        };
        let split = self.partitions(run.tokens.start).len() > 1;
        Some((tile, split.then_some(part)))
    }

    /// The tokens of a padding unit, if it is the one of its run that answers for all heads.
    pub(super) fn padding(&self, unit: usize) -> Range<usize> {
        let (run, _, head_tile) = self.place(unit);
        if head_tile == 0 { run.tokens.clone() } else { 0..0 }
    }

    fn place(&self, unit: usize) -> (&Run, usize, usize) {
        let (run, part) = self.parts[unit % self.parts.len()];
        (&self.runs[run as usize], part as usize, unit / self.parts.len())
    }
}

impl Run {
    fn new(shape: &Shape, batch: &Batch<'_>, tokens: Range<usize>) -> Result<Self, IndexError> {
        if batch.sequence[tokens.start] < 0 {
            return Ok(Self { tokens, keys: 0..0, positions: (0, 0) });
        }
        let sequence = checked("sequence", tokens.start, batch.sequence[tokens.start], shape.sequences)?;
        let context = shape.pages_per_sequence * shape.page_size;
        let (mut low, mut high) = (usize::MAX, 0);
        for token in tokens.clone() {
            let position = checked("position", token, batch.position[token], context)?;
            (low, high) = (low.min(position), high.max(position));
        }
        let first = shape.window.map_or(0, |window| (low + 1).saturating_sub(window));
        let table = sequence * shape.pages_per_sequence;
        for page in first / shape.page_size..=high / shape.page_size {
            checked("page", table + page, batch.page_table[table + page], shape.pages)?;
        }
        Ok(Self { tokens, keys: first..high + 1, positions: (low, high) })
    }
}
