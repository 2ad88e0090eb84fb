//! What the planner says of a model here: beside what is measured.

use lazuli::Model;
use lazuli::planner::speed::{self, Traffic};
use lazuli::planner::{EngineKind, Estimate, KvFormat, Machine};
use lazuli::planning::{Calibration, Subject, host};

/// A model on this machine, if it was calibrated.
pub struct Prediction {
    subject: Subject,
    machine: Machine,
}

impl Prediction {
    /// `None` without a calibration, or for a model whose settings the planner does not read.
    pub fn new(model: &Model, label: &str, calibration: Option<&Calibration>) -> Option<Self> {
        let machine = host(calibration);
        machine.measured?;
        let subject = Subject::files(model, label).ok()?;
        Some(Self { subject, machine })
    }

    /// Speed of a prompt of `tokens` tokens.
    pub fn prefill(&self, tokens: usize) -> Option<Estimate> {
        let Subject { shape, weights, .. } = &self.subject;
        speed::prefill(&self.machine, shape, weights, tokens).map(|(estimate, _)| estimate)
    }

    /// Speed of generation with `depth` tokens in the cache.
    pub fn decode(&self, depth: usize) -> Option<Estimate> {
        let Subject { shape, weights, .. } = &self.subject;
        let traffic = Traffic::decode(shape, weights, KvFormat::F16, depth, 1);
        speed::decode(&self.machine, EngineKind::Lazuli, &traffic).ok().map(|(estimate, _)| estimate)
    }
}
