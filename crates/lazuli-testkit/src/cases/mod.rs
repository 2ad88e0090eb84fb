//! The table of operation cases: operations x shapes x strides x types, each with the error it may have.
//!
//! A new operation is right on a backend when its rows here pass. Each file is a group of operations.

mod elementwise;
mod experts;
mod fused;
mod latent;
mod linear;
mod structure;

use lazuli_core::Array;

use crate::Random;

/// One case: inputs are drawn from the generator, so both runs see the same.
pub struct Case {
    /// What it covers, for messages.
    pub name: String,
    /// Seed of its inputs.
    pub seed: u64,
    /// Allowed error, relative to the scale of the result.
    pub tolerance: f32,
    /// Whether it multiplies packed weights, for which a backend may round activations to int8.
    pub packed: bool,
    /// Builds the graph.
    pub build: Box<dyn Fn(&mut Random) -> Array>,
}

/// All cases.
pub fn cases() -> Vec<Case> {
    let mut table = Table { cases: Vec::new() };
    elementwise::add(&mut table);
    structure::add(&mut table);
    linear::add(&mut table);
    fused::add(&mut table);
    experts::add(&mut table);
    latent::add(&mut table);
    table.cases
}

struct Table {
    cases: Vec<Case>,
}

impl Table {
    fn case(
        &mut self,
        name: impl Into<String>,
        tolerance: f32,
        build: impl Fn(&mut Random) -> Array + 'static,
    ) {
        let (name, seed) = (name.into(), self.cases.len() as u64 + 1);
        self.cases.push(Case { name, seed, tolerance, packed: false, build: Box::new(build) });
    }

    /// A case of packed weights.
    fn packed(
        &mut self,
        name: impl Into<String>,
        tolerance: f32,
        build: impl Fn(&mut Random) -> Array + 'static,
    ) {
        self.case(name, tolerance, build);
        if let Some(case) = self.cases.last_mut() {
            case.packed = true;
        }
    }
}
