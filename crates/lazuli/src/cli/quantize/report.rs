//! What `lazuli quantize` says: sizes before, errors after, as text and as JSON.

use super::Measured;
use crate::cli::Failure;
use crate::cli::ui::{Paint, Table, bytes};
use lazuli::io::{Checkpoint, Encoding};
use lazuli::quantize::{Plan, Planned};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Tensors that are listed because they lost most.
const WORST: usize = 5;

/// What is printed under `--json`, in this order.
#[derive(Debug, Serialize)]
pub struct Report {
    source: PathBuf,
    target: PathBuf,
    format: String,
    tensors: usize,
    weights: usize,
    source_bytes: u64,
    source_bits_per_weight: f64,
    /// Of the file, or of all files of the folder.
    pub bytes: u64,
    bits_per_weight: f64,
    kinds: Vec<Group>,
    /// Missing before anything is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    worst: Option<Vec<Worst>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

/// Tensors that differ in their layer alone, and have the same format.
#[derive(Debug, Serialize)]
struct Group {
    kind: String,
    format: String,
    tensors: usize,
    weights: usize,
    bytes: usize,
    bits_per_weight: f64,
    /// The mean of the tensors' relative errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    mean_error: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Worst {
    tensor: String,
    format: String,
    error: f64,
}

fn format_name(encoding: Encoding) -> String {
    match encoding {
        Encoding::Quant(format) => format.name().into_owned(),
        plain => plain.to_string(),
    }
}

fn bits(bytes: u64, weights: usize) -> f64 {
    if weights == 0 { 0.0 } else { bytes as f64 * 8.0 / weights as f64 }
}

impl Report {
    /// What is known before anything is written.
    pub fn new(plan: &Plan, checkpoint: &Checkpoint, target: &Path, format: &str) -> Result<Self, Failure> {
        let weights = plan.elements();
        let source_bytes = checkpoint.tensor_bytes() as u64;
        let mut report = Self {
            source: checkpoint.path().to_owned(),
            target: target.to_owned(),
            format: format.to_owned(),
            tensors: plan.tensors().len(),
            weights,
            source_bytes,
            source_bits_per_weight: bits(source_bytes, weights),
            bytes: plan.file_bytes()?,
            bits_per_weight: bits(plan.tensor_bytes() as u64, weights),
            kinds: Vec::new(),
            worst: None,
            seconds: None,
            measured: None,
        };
        for tensor in plan.tensors() {
            let kind = report.kind(tensor);
            kind.tensors += 1;
            kind.weights += tensor.elements();
            kind.bytes += tensor.bytes();
        }
        for kind in &mut report.kinds {
            kind.bits_per_weight = bits(kind.bytes as u64, kind.weights);
        }
        Ok(report)
    }

    fn kind(&mut self, tensor: &Planned) -> &mut Group {
        let (kind, format) = (tensor.kind(), format_name(tensor.encoding));
        let found = self.kinds.iter().position(|k| k.kind == kind && k.format == format);
        let index = found.unwrap_or(self.kinds.len());
        if found.is_none() {
            let (tensors, weights, bytes, bits_per_weight) = (0, 0, 0, 0.0);
            self.kinds.push(Group {
                kind,
                format,
                tensors,
                weights,
                bytes,
                bits_per_weight,
                mean_error: None,
            });
        }
        &mut self.kinds[index]
    }

    /// Adds the relative errors of the plan's tensors, in their order.
    pub fn errors(&mut self, plan: &Plan, errors: &[f64]) {
        let mut worst = Vec::new();
        for (tensor, &error) in plan.tensors().iter().zip(errors) {
            let kind = self.kind(tensor);
            *kind.mean_error.get_or_insert(0.0) += error / kind.tensors as f64;
            let format = format_name(tensor.encoding);
            worst.push(Worst { tensor: tensor.name.clone(), format, error });
        }
        worst.retain(|one| one.error > 0.0);
        worst.sort_by(|a, b| b.error.total_cmp(&a.error));
        worst.truncate(WORST);
        self.worst = Some(worst);
    }

    /// One line on sizes.
    pub fn estimate(&self) -> String {
        format!(
            "{}: {} at {:.2} bits per weight, from {} at {:.2}",
            self.format,
            bytes(self.bytes),
            self.bits_per_weight,
            bytes(self.source_bytes),
            self.source_bits_per_weight,
        )
    }

    /// Tables for people.
    pub fn text(&self) -> String {
        let mut table = Table::new(&[
            "tensors of the kind",
            "format",
            ">tensors",
            ">weights",
            ">bytes",
            ">bits",
            ">error",
        ]);
        let error =
            |error: Option<f64>| error.map_or_else(String::new, |error| format!("{:.3} %", error * 100.0));
        for kind in &self.kinds {
            table.row([
                kind.kind.clone(),
                kind.format.clone(),
                kind.tensors.to_string(),
                kind.weights.to_string(),
                bytes(kind.bytes as u64),
                format!("{:.2}", kind.bits_per_weight),
                error(kind.mean_error),
            ]);
        }
        let mut text = format!("{}\n\n{}", table.render(), self.estimate());
        if let Some(worst) = self.worst.as_ref().filter(|worst| !worst.is_empty()) {
            let mut table = Table::new(&["the largest errors", "format", ">error"]);
            for one in worst {
                table.row([one.tensor.clone(), one.format.clone(), error(Some(one.error))]);
            }
            text = format!("{text}\n\n{}", table.render());
        }
        if let Some(measured) = &self.measured {
            text = format!("{text}\n\n{}\n{measured}", "measured".strong());
        }
        text
    }
}
