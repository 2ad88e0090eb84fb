//! [`Machine`]: memory, bandwidth and arithmetic of a computer, from tables of chips or from measurements.

mod budget;
mod lookup;
mod table;

pub use budget::Budget;
pub use lookup::find;
pub(crate) use table::generation;
pub use table::{Chip, Status, machines};

use crate::{ByPacking, Error, Result};

/// What a machine is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Apple silicon: CPU and GPU share memory, of which the GPU may use a part.
    Apple {
        /// 1 for M1, and so on.
        generation: u8,
        /// Cores of the GPU.
        gpu_cores: f64,
    },
    /// A graphics card with memory of its own.
    Card,
    /// Another processor whose GPU shares its memory.
    Unified,
    /// A computer whose processor computes.
    Host,
}

/// A computer, as far as memory and speed go.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// What to call it.
    pub name: String,
    /// What it is made of.
    pub kind: Kind,
    /// Bytes of memory, if they are known.
    pub memory: Option<u64>,
    /// Bytes a second that memory delivers: the least and the most, where it was sold in several bins. Zero if that
    /// is not known.
    pub bandwidth: (f64, f64),
    /// Floating-point operations a second on matrices, if they are known.
    pub operations: Option<f64>,
    /// What is measured here rather than read in a table.
    pub measured: Option<Measured>,
    /// Bytes that other programs use, if that is known.
    pub used: u64,
}

/// What a calibration found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Bytes of weights a second, by their packing, in a product with one row: reading, decoding and multiplying.
    pub weights: ByPacking,
    /// Operations a second in a product with many rows, by the packing of the weights.
    pub products: ByPacking,
    /// Attention of one query for each head.
    pub attention: Attention,
    /// Operations a second of attention of many queries.
    pub prompt_attention: f64,
    /// Seconds of a layer that are neither reading nor arithmetic.
    pub launch: f64,
}

/// What attention of one query for each head costs: two rates, as heads that share keys and values read them once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Seconds of a byte of keys and values.
    pub byte: f64,
    /// Seconds of an operation.
    pub operation: f64,
}

impl Machine {
    /// A machine of so many bytes and bytes a second, of which nothing else is known.
    pub fn custom(memory: Option<u64>, bandwidth: f64) -> Self {
        let gb = memory.map_or_else(String::new, |m| format!("{:.0} GB at ", m as f64 / 1e9));
        let name = format!("{gb}{:.0} GB/s", bandwidth / 1e9);
        let kind = Kind::Unified;
        Self {
            name,
            kind,
            memory,
            bandwidth: (bandwidth, bandwidth),
            operations: None,
            measured: None,
            used: 0,
        }
    }

    /// The machine with another size of memory.
    ///
    /// # Errors
    /// If nothing can be that small.
    pub fn with_memory(mut self, bytes: u64) -> Result<Self> {
        if bytes < 1 << 20 {
            return Err(Error::value("memory", &bytes.to_string(), "expected more than a megabyte"));
        }
        self.memory = Some(bytes);
        Ok(self)
    }

    /// The machine with another bandwidth.
    pub fn with_bandwidth(mut self, bandwidth: f64) -> Self {
        self.bandwidth = (bandwidth, bandwidth);
        self
    }
}
