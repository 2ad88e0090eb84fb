//! Attention over pages: its two phases and their scratch memory.

use lazuli_core::Result;
use lazuli_core::fused::PagedAttention;
use lazuli_core::plan::Step;

use super::compile::{Wave, unsupported};

impl Wave<'_> {
    pub fn attention(&mut self, _op: &PagedAttention, step: &Step) -> Result<()> {
        Err(unsupported(step, "kernel not bound"))
    }
}
