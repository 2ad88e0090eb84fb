//! The tables of chips, as machines.

use std::sync::OnceLock;

use super::{Kind, Machine};
use crate::csv;
use crate::speed;

/// A row of the tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Chip {
    /// The chip as a machine, with the most memory that it was sold with.
    pub machine: Machine,
    /// Gigabytes of memory that it was sold with, ascending; at least the most.
    pub sizes: Vec<u64>,
    /// What is known of it.
    pub status: Status,
    /// Where that was read.
    pub source: String,
}

/// What is known of a chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Sold, its numbers confirmed.
    Shipped,
    /// Reported, but not read at its maker's own page.
    SecondHand,
    /// Named by some, but never made.
    Missing,
}

impl Status {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shipped => "shipped",
            Self::SecondHand => "second-hand",
            Self::Missing => "does not exist",
        }
    }
}

/// All rows, those of chips that do not exist included.
pub fn machines() -> &'static [Chip] {
    static CHIPS: OnceLock<Vec<Chip>> = OnceLock::new();
    CHIPS.get_or_init(|| {
        let apple = csv::rows(include_str!("../../data/apple_silicon.csv")).map(|row| self::apple(&row));
        let other = csv::rows(include_str!("../../data/other_accelerators.csv")).map(|row| self::other(&row));
        apple.chain(other).collect()
    })
}

/// chip, gpu_cores, bandwidth_gbs, max_memory_gb, status, source. Memory is sold in powers of two.
fn apple(row: &[String]) -> Chip {
    let number = |index: usize| row[index].parse::<f64>().unwrap_or(0.0);
    let generation = generation(&row[0]);
    let gpu_cores = number(1);
    let status = match row[4].as_str() {
        "shipped" => Status::Shipped,
        "does not exist" => Status::Missing,
        _ => Status::SecondHand,
    };
    let bandwidth = number(2) * 1e9;
    let machine = Machine {
        name: row[0].clone(),
        kind: Kind::Apple { generation, gpu_cores },
        memory: row[3].parse::<u64>().ok().map(|gb| gb << 30),
        bandwidth: (bandwidth, bandwidth),
        operations: Some(speed::apple_operations(generation, gpu_cores)),
        measured: None,
        used: 0,
    };
    let most = row[3].parse().ok();
    Chip { machine, sizes: sizes(&row[0], most), status, source: row[5].clone() }
}

/// The sizes of the table, or the one that is known.
fn sizes(chip: &str, most: Option<u64>) -> Vec<u64> {
    let mut rows = csv::rows(include_str!("../../data/apple_memory.csv"));
    let known = rows.find(|row| row[0] == chip);
    match known {
        Some(row) => row[1].split(' ').filter_map(|size| size.parse().ok()).collect(),
        None => most.into_iter().collect(),
    }
}

/// device, memory_gb, bandwidth_gbs, unified, note.
fn other(row: &[String]) -> Chip {
    let bandwidth = row[2].parse::<f64>().unwrap_or(0.0) * 1e9;
    let machine = Machine {
        name: row[0].clone(),
        kind: if row[3] == "yes" { Kind::Unified } else { Kind::Card },
        memory: row[1].parse::<u64>().ok().map(|gb| gb << 30),
        bandwidth: (bandwidth, bandwidth),
        operations: OPERATIONS.iter().find(|(name, _)| *name == row[0]).map(|(_, tera)| tera * 1e12),
        measured: None,
        used: 0,
    };
    let sizes = machine.memory.iter().map(|memory| memory >> 30).collect();
    Chip { machine, sizes, status: Status::Shipped, source: row[4].clone() }
}

/// Dense half-precision matrix products, tera-operations a second, of datasheets: what kernels reach is less.
const OPERATIONS: &[(&str, f64)] = &[
    ("NVIDIA H100 SXM", 989.0),
    ("NVIDIA H200", 989.0),
    ("NVIDIA RTX 4090", 165.0),
    ("NVIDIA RTX 5090", 209.0),
    ("NVIDIA GB10 (DGX Spark)", 125.0),
    ("AMD Ryzen AI Max+ 395", 59.0),
];

/// 4 for "M4 Max".
pub(crate) fn generation(chip: &str) -> u8 {
    let digits = chip.strip_prefix('M').unwrap_or("");
    digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read() {
        let chips = machines();
        assert_eq!(chips.len(), 24 + 6);
        for chip in chips.iter().filter(|c| c.status != Status::Missing) {
            assert!(chip.machine.bandwidth.0 > 1e10, "{}", chip.machine.name);
            assert!(chip.machine.operations.is_some(), "{}", chip.machine.name);
            assert_eq!(
                chip.sizes.last().copied(),
                chip.machine.memory.map(|m| m >> 30),
                "{}",
                chip.machine.name
            );
            assert!(chip.sizes.is_sorted(), "{}", chip.machine.name);
        }
        let missing: Vec<_> = chips.iter().filter(|c| c.status == Status::Missing).collect();
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0].machine.name, "M4 Ultra");
        assert_eq!(generation("M5 Max (40-core)"), 5);
    }
}
