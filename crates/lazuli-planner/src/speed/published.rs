//! Speeds that others measured and published, beside what the model's settings say was moved.

use std::sync::OnceLock;

use super::{EngineKind, Rates, Traffic};
use crate::{KvFormat, Weights, catalogue, csv};

/// A published measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// Which program.
    pub engine: EngineKind,
    /// On which chip.
    pub chip: String,
    /// Of which model.
    pub model: String,
    /// In which format.
    pub format: String,
    /// Tokens of context (decode) or of the prompt.
    pub context: usize,
    /// Tokens a second.
    pub speed: f64,
    /// Whether it is a prompt's speed.
    pub prefill: bool,
    /// Cores of the GPU, and generation.
    pub chip_size: (u8, f64),
    /// What a step moves.
    pub traffic: Traffic,
    /// Operations that a token of a prompt takes, attention left out.
    pub operations: f64,
    /// Bytes a second of the chip.
    pub bandwidth: f64,
    /// Where it was published.
    pub source: String,
}

impl Published {
    /// Whether the model has experts.
    pub fn has_experts(&self) -> bool {
        self.traffic.expert_layers > 0.0
    }

    /// The chip's rates, with `operations` for its arithmetic.
    pub fn rates(&self, operations: f64) -> Rates {
        Rates { bandwidth: self.bandwidth, operations, generation: self.chip_size.0 }
    }
}

/// All rows of the tables.
pub fn published() -> &'static [Published] {
    static ROWS: OnceLock<Vec<Published>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let first = csv::rows(include_str!("../../data/published_speeds.csv"));
        let more = csv::rows(include_str!("../../data/more_speeds.csv"));
        first.chain(more).filter_map(|row| read(&row)).collect()
    })
}

/// engine, chip, bandwidth_gbs, model, params_b, active_b, weights_gib, quant, metric, context, tokens_per_s, source.
fn read(row: &[String]) -> Option<Published> {
    let shape = catalogue::find(&row[3]).ok()?.shape().ok()?;
    let weights = Weights::parse(&row[7]).ok()?;
    let context = row[9].parse().ok()?;
    Some(Published {
        engine: row[0].parse().ok()?,
        chip_size: chip_size(&row[1]),
        chip: row[1].clone(),
        model: row[3].clone(),
        format: row[7].clone(),
        context,
        speed: row[10].parse().ok()?,
        prefill: row[8] == "prefill",
        traffic: Traffic::decode(&shape, &weights, KvFormat::F16, context, 1),
        operations: 2.0 * shape.active_parameters() as f64,
        bandwidth: row[2].parse::<f64>().ok()? * 1e9,
        source: row[11].clone(),
    })
}

/// Generation and GPU cores, read straight from the table: the machines' own arithmetic is fitted on these rows.
fn chip_size(chip: &str) -> (u8, f64) {
    let table = csv::rows(include_str!("../../data/apple_silicon.csv"));
    let cores = table.filter(|row| row[0] == chip).find_map(|row| row[1].parse().ok());
    (crate::machine::generation(chip), cores.unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Kind, machines};

    #[test]
    fn every_row_is_understood() {
        let count = |text: &str| text.lines().count() - 1;
        let (first, more) =
            (include_str!("../../data/published_speeds.csv"), include_str!("../../data/more_speeds.csv"));
        assert_eq!(published().len(), count(first) + count(more));
        for row in published() {
            assert!(row.chip_size.1 > 0.0, "{}", row.chip);
            let chip = machines().iter().find(|c| c.machine.name == row.chip).expect(&row.chip);
            assert_eq!(chip.machine.bandwidth.0, row.bandwidth, "{}", row.chip);
            assert!(matches!(chip.machine.kind, Kind::Apple { .. }));
        }
    }
}
